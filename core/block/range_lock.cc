#include "core/block/range_lock.h"

#include <utility>

#include "core/block/block_channel.h"
#include "core/check.h"

namespace pollux {
namespace {

// To another reactor by message; on this one at once.
void Send(Loop& loop, Message& message) { loop.IsCurrent() ? message.Run() : loop.Post(message); }

}  // namespace

class RangeLock::Peer {
 public:
  explicit Peer(RangeLock& lock)
      : locking_(lock, *this), unlocking_(lock, *this), acknowledged_(lock) {}

  void Join(BlockChannel& channel) { channel_ = &channel; }
  void Lock() { Send(channel_->reactor(), locking_); }
  void Unlock() { Send(channel_->reactor(), unlocking_); }
  void Acknowledge(Reactor& home) { Send(home, acknowledged_); }

 private:
  class Locking final : public Message {
   public:
    Locking(RangeLock& lock, Peer& peer) : lock_(lock), peer_(peer) {}
    // The owner does not change before this channel has answered.
    void Run() override { peer_.channel_->LockRange(lock_.owner_->lba_, lock_.owner_->blocks_); }

   private:
    RangeLock& lock_;
    Peer& peer_;
  };
  class Unlocking final : public Message {
   public:
    Unlocking(RangeLock& lock, Peer& peer) : lock_(lock), peer_(peer) {}
    void Run() override {
      peer_.channel_->UnlockRange();
      lock_.Acknowledge(peer_.channel_->reactor().index());
    }

   private:
    RangeLock& lock_;
    Peer& peer_;
  };
  class Acknowledged final : public Message {
   public:
    explicit Acknowledged(RangeLock& lock) : lock_(lock) {}
    void Run() override { lock_.OnAcknowledged(); }

   private:
    RangeLock& lock_;
  };

  BlockChannel* channel_ = nullptr;
  Locking locking_;
  Unlocking unlocking_;
  Acknowledged acknowledged_;
};

RangeLock::RangeLock(Reactors& reactors) : home_(reactors[0]) {
  for (size_t i = 0; i < reactors.size(); ++i) peers_.push_back(std::make_unique<Peer>(*this));
}

RangeLock::~RangeLock() { CHECK(state_ == State::kFree && line_.empty()); }

void RangeLock::Join(size_t reactor_index, BlockChannel& channel) {
  peers_[reactor_index]->Join(channel);
}

void RangeLock::Acknowledge(size_t reactor_index) { peers_[reactor_index]->Acknowledge(home_); }

void RangeLock::Owner::Lock(Reactor& reactor, uint64_t lba, uint64_t blocks) {
  reactor_ = &reactor;
  lba_ = lba;
  blocks_ = blocks;
  Send(asking_.lock.home_, asking_);
}

void RangeLock::Owner::Release() { Send(releasing_.lock.home_, releasing_); }

void RangeLock::OnAsked(Owner& owner) {
  line_.PushBack(owner);
  if (state_ == State::kFree) LockForNext();
}

void RangeLock::LockForNext() {
  owner_ = line_.PopFront();
  state_ = State::kLocking;
  missing_ = peers_.size();
  for (auto& peer : peers_) peer->Lock();
}

void RangeLock::OnReleased() {
  CHECK(state_ == State::kHeld);
  state_ = State::kUnlocking;
  missing_ = peers_.size();
  for (auto& peer : peers_) peer->Unlock();
}

void RangeLock::OnAcknowledged() {
  CHECK(missing_ > 0);
  if (--missing_ > 0) return;
  if (state_ == State::kLocking) {
    state_ = State::kHeld;
    return Send(*owner_->reactor_, owner_->granted_);
  }
  CHECK(state_ == State::kUnlocking);
  state_ = State::kFree;
  owner_ = nullptr;
  if (!line_.empty()) return LockForNext();
  if (idle_waiter_) std::exchange(idle_waiter_, {}).resume();
}

}  // namespace pollux
