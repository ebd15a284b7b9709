#include "core/timer_queue.h"

#include "core/check.h"

namespace pollux {

Timer::~Timer() { CHECK(!armed(), "a timer died while armed"); }

TimerQueue::~TimerQueue() { CHECK(heap_.empty(), "a loop ended with timers armed"); }

bool TimerQueue::Before(const Timer& a, const Timer& b) const {
  if (a.deadline_ns_ != b.deadline_ns_) return a.deadline_ns_ < b.deadline_ns_;
  return a.order_ < b.order_;
}

void TimerQueue::Place(size_t slot, Timer* timer) {
  heap_[slot] = timer;
  timer->slot_ = slot;
}

void TimerQueue::Rise(size_t slot) {
  Timer* timer = heap_[slot];
  while (slot > 0) {
    const size_t parent = (slot - 1) / 2;
    if (!Before(*timer, *heap_[parent])) break;
    Place(slot, heap_[parent]);
    slot = parent;
  }
  Place(slot, timer);
}

void TimerQueue::Sink(size_t slot) {
  Timer* timer = heap_[slot];
  for (;;) {
    size_t child = 2 * slot + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && Before(*heap_[child + 1], *heap_[child])) ++child;
    if (!Before(*heap_[child], *timer)) break;
    Place(slot, heap_[child]);
    slot = child;
  }
  Place(slot, timer);
}

void TimerQueue::Arm(Timer& timer, uint64_t deadline_ns) {
  Cancel(timer);
  timer.deadline_ns_ = deadline_ns;
  timer.order_ = next_order_++;
  heap_.push_back(&timer);
  timer.slot_ = heap_.size() - 1;
  Rise(timer.slot_);
}

void TimerQueue::Cancel(Timer& timer) {
  if (!timer.armed()) return;
  const size_t slot = timer.slot_;
  CHECK(slot < heap_.size() && heap_[slot] == &timer, "a timer of another loop");
  Timer* last = heap_.back();
  heap_.pop_back();
  timer.slot_ = Timer::kNone;
  if (last == &timer) return;
  Place(slot, last);
  Rise(slot);
  Sink(last->slot_);
}

std::optional<uint64_t> TimerQueue::NextDeadlineNs() const {
  if (heap_.empty()) return std::nullopt;
  return heap_.front()->deadline_ns_;
}

int TimerQueue::RunDue(uint64_t now_ns, int budget) {
  int ran = 0;
  while (ran < budget && !heap_.empty() && heap_.front()->deadline_ns_ <= now_ns) {
    Timer* timer = heap_.front();
    Cancel(*timer);
    timer->OnTimer();
    ++ran;
  }
  return ran;
}

}  // namespace pollux
