#include "drivers/nvme_disk/nvme_queue.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/log.h"

namespace pollux {
namespace {

// Bounds what one turn does with completions.
constexpr int kCompletionsMax = 128;
// While there is a reset, or commands wait for the end of one.
constexpr uint64_t kShortTickNs = 2 * kNsPerMs;
constexpr int kShortTicks = 250;
// How long a command may take to end once it was aborted, before the controller is reset.
constexpr uint64_t kAbortTicksMax = 50;

}  // namespace

NvmeQueue::NvmeQueue(Reactor& reactor, Loop& control, pollux_nvme_queue* queue, Keeper& keeper)
    : reactor_(reactor),
      control_(control),
      queue_(queue),
      keeper_(keeper),
      event_fd_(pollux_nvme_queue_event_fd(queue)) {}

NvmeQueue::~NvmeQueue() {
  CHECK(!ticker_.armed() && !stuck_told_.load() && !doubt_told_.load() && !asking_ &&
            !nudge_under_way_.load(),
        "an NVMe queue died while it is used");
}

void NvmeQueue::Start() {
  ticks_ = reactor_.NowNs() / kTickNs;
  reactor_.AddPoller(*this);
  if (event_fd_ >= 0) {
    if (const Status watched = reactor_.Watch(event_fd_, EPOLLIN, waker_); !watched.ok()) {
      LogWarning("nvme", "%s: an event descriptor cannot be watched: %s", reactor_.name(),
                 watched.message());
    }
  }
  ArmTicker();
}

void NvmeQueue::Stop() {
  CHECK(line_.empty() && later_.empty() && aborting_.empty() && !asking_ && clients_.empty());
  reactor_.CancelTimer(ticker_);
  reactor_.CancelDeferred(ringer_);
  if (event_fd_ >= 0) reactor_.Unwatch(event_fd_, waker_);
  reactor_.RemovePoller(*this);
}

int NvmeQueue::Poll() {
  int done = pollux_nvme_queue_poll(queue_, kCompletionsMax);
  if (!line_.empty()) [[unlikely]]
    done += SendLine();
  return done;
}

bool NvmeQueue::MayBlock() {
  if (event_fd_ >= 0) return pollux_nvme_queue_prepare_sleep(queue_);
  return pollux_nvme_queue_in_flight(queue_) == 0;
}

void NvmeQueue::Waker::OnReady(uint32_t) {
  pollux_nvme_queue_prepare_sleep(queue_.queue_);  // Clears the descriptor.
  queue_.Poll();
}

void NvmeQueue::Nudge() {
  if (!nudge_under_way_.exchange(true)) reactor_.Post(nudging_);
}

void NvmeQueue::Nudging::Run() {
  queue_.nudge_under_way_.store(false);
  if (!queue_.ticker_.armed()) return;  // It has stopped.
  queue_.short_ticks_ = kShortTicks;
  queue_.Tick();
  auto& clients = queue_.clients_;
  for (Client* c = clients.Front(); c != nullptr; c = clients.Next(*c)) c->OnCondition();
}

void NvmeQueue::Await(NvmeCommand& command) {
  queued_count_.store(queued_count() + 1, std::memory_order_relaxed);
  line_.PushBack(command);
  // No completion will come along to make room: there is a reset.
  if (pollux_nvme_queue_in_flight(queue_) == 0) {
    reactor_.ArmTimer(ticker_, std::min(ticker_.deadline_ns(), reactor_.NowNs() + kShortTickNs));
  }
}

void NvmeQueue::AwaitLater(NvmeCommand& command, uint32_t delay_ms) {
  // One time for all: a command that joins late makes the others wait with it, for a tick or two.
  later_tick_ = ticks_ + 1 + uint64_t{delay_ms} * kNsPerMs / kTickNs;
  later_.PushBack(command);
}

void NvmeQueue::Leave(NvmeCommand& command) {
  for (Line* line : {&line_, &later_}) {
    for (NvmeCommand* c = line->Front(); c != nullptr; c = line->Next(*c)) {
      if (c == &command) return line->Remove(command);
    }
  }
  CHECK(false, "a command left a line in which it did not stand");
}

int NvmeQueue::SendLine() {
  int sent = 0;
  for (size_t left = line_.size(); left > 0; --left) {
    NvmeCommand& command = *line_.PopFront();
    if (!command.TrySend()) {
      line_.PushFront(command);
      break;
    }
    ++sent;
  }
  return sent;
}

void NvmeQueue::Abort(NvmeCommand& command) {
  if (command.node.linked()) return;  // It was asked for before.
  aborting_.PushBack(command);
  PressAborts();
}

// The driver asks for one abort at a time; the others are asked for at the next ticks. One that
// does not end is what a reset is for.
void NvmeQueue::PressAborts() {
  for (NvmeCommand* c = aborting_.Front(); c != nullptr; c = aborting_.Next(*c)) {
    if (pollux_nvme_abort(queue_, c) == -EAGAIN) break;
  }
  if (aborting_.Front() != abort_front_) {
    abort_front_ = aborting_.Front();
    abort_since_ = ticks_;
  }
  if (abort_front_ == nullptr || ticks_ - abort_since_ < kAbortTicksMax) return;
  abort_since_ = ticks_;
  if (!stuck_told_.exchange(true)) control_.Post(stuck_notice_);
}

void NvmeQueue::TellStuck() {
  stuck_told_.store(false);
  keeper_.OnStuck();
}

void NvmeQueue::DoubtAccess() {
  if (!doubt_told_.exchange(true)) control_.Post(doubt_notice_);
}

void NvmeQueue::TellDoubt() {
  doubt_told_.store(false);
  keeper_.OnAccessDoubt();
}

void NvmeQueue::AwaitSettled(Client& client) {
  if (asking_) {
    client.awaits_next_ = true;
    return;
  }
  asking_ = client.awaits_ = true;
  control_.Post(lost_notice_);
}

void NvmeQueue::OnSettled() {
  asking_ = false;
  bool again = false;
  for (Client* c = clients_.Front(); c != nullptr; c = clients_.Next(*c)) {
    const bool answered = std::exchange(c->awaits_, std::exchange(c->awaits_next_, false));
    again = again || c->awaits_;
    if (answered) c->OnSettled();
  }
  if (!again || asking_) return;
  asking_ = true;
  control_.Post(lost_notice_);
}

void NvmeQueue::ArmTicker() {
  // At multiples of the period, so that the queues of a reactor wake it together.
  reactor_.ArmTimer(ticker_, (reactor_.NowNs() / kTickNs + 1) * kTickNs);
}

void NvmeQueue::Tick() {
  const uint64_t tick = reactor_.NowNs() / kTickNs;
  if (tick > ticks_) {
    ticks_ = tick;
    pollux_nvme_queue_check_timeouts(queue_, reactor_.NowNs());
    if (ticks_ >= later_tick_) line_.TakeAll(later_);
    if (!aborting_.empty()) PressAborts();
  }
  Poll();
  const bool awaits_reset = !line_.empty() && pollux_nvme_queue_in_flight(queue_) == 0;
  if (awaits_reset || short_ticks_ > 0) {
    if (short_ticks_ > 0) --short_ticks_;
    reactor_.ArmTimerIn(ticker_, kShortTickNs);
  } else {
    ArmTicker();
  }
}

}  // namespace pollux
