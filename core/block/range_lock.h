#pragma once
#include <coroutine>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/loop.h"
#include "core/reactors.h"

namespace pollux {

class BlockChannel;

// Keeps a range of one device to one owner, against the I/O of all reactors, without a lock or an
// atomic on the I/O path: each channel is told by message to hold new I/O on the range back, and
// answers when the old has ended.
//
//   kFree --Ask--> kLocking --all channels quiet--> kHeld --Release--> kUnlocking --all--> kFree
//
// One owner at a time, in order of arrival; the state belongs to reactor 0, the home.
class RangeLock {
 public:
  // One that wants a range. Embed it; it stays until the lock was released.
  class Owner {
   public:
    explicit Owner(RangeLock& lock) : asking_(lock, *this), granted_(*this), releasing_(lock) {}
    Owner(const Owner&) = delete;
    Owner& operator=(const Owner&) = delete;

    // Runs on the owner's reactor: nobody else does I/O on the range until Release.
    virtual void OnLocked() = 0;

   protected:
    ~Owner() = default;
    void Lock(Reactor& reactor, uint64_t lba, uint64_t blocks);
    void Release();

   private:
    friend class RangeLock;
    class Asking final : public Message {
     public:
      Asking(RangeLock& l, Owner& o) : lock(l), owner(o) {}
      void Run() override { lock.OnAsked(owner); }
      RangeLock& lock;
      Owner& owner;
    };
    class Granted final : public Message {
     public:
      explicit Granted(Owner& o) : owner(o) {}
      void Run() override { owner.OnLocked(); }
      Owner& owner;
    };
    class Releasing final : public Message {
     public:
      explicit Releasing(RangeLock& l) : lock(l) {}
      void Run() override { lock.OnReleased(); }
      RangeLock& lock;
    };
    Asking asking_;
    Granted granted_;
    Releasing releasing_;
    ListNode line_node_;
    Reactor* reactor_ = nullptr;
    uint64_t lba_ = 0, blocks_ = 0;
  };

  explicit RangeLock(Reactors& reactors);
  ~RangeLock();

  // By each channel, before any I/O.
  void Join(size_t reactor_index, BlockChannel& channel);
  // By a channel, on its reactor: what it was asked for is so.
  void Acknowledge(size_t reactor_index);

  // co_await lock.Idle() on the home reactor: until it is free and no message is under way.
  struct Idle {
    RangeLock& lock;
    bool await_ready() const noexcept { return lock.state_ == State::kFree; }
    void await_suspend(std::coroutine_handle<> waiter) noexcept { lock.idle_waiter_ = waiter; }
    void await_resume() noexcept {}
  };
  Reactor& home() { return home_; }

 private:
  enum class State { kFree, kLocking, kHeld, kUnlocking };
  // One reactor's side: the messages to it and from it.
  class Peer;

  void OnAsked(Owner& owner);
  void OnReleased();
  void OnAcknowledged();
  void LockForNext();

  Reactor& home_;
  State state_ = State::kFree;
  size_t missing_ = 0;  // Acknowledgements.
  IntrusiveList<Owner, &Owner::line_node_> line_;
  Owner* owner_ = nullptr;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::coroutine_handle<> idle_waiter_;
};

}  // namespace pollux
