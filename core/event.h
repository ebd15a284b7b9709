#pragma once
#include <coroutine>
#include <cstdint>
#include <utility>

#include "core/intrusive_list.h"
#include "core/loop.h"

namespace pollux {

// Something that several tasks of one loop wait for. Set() is for good: who waits later does not
// wait. Pulse() wakes those who wait now, who then look again for themselves.
//
//   co_await initialised;                                     // Without limit.
//   const bool happened = co_await changed.Until(deadline);   // False: the deadline came first.
class Event {
 public:
  class Awaiter final : public Timer {
   public:
    Awaiter(Event& event, uint64_t deadline_ns) : event_(event), deadline_ns_(deadline_ns) {}
    bool await_ready() const noexcept { return event_.set_; }
    void await_suspend(std::coroutine_handle<> task) {
      task_ = task;
      event_.waiting_.PushBack(*this);
      if (deadline_ns_ != Loop::kNever) Loop::Current()->ArmTimer(*this, deadline_ns_);
    }
    bool await_resume() const noexcept { return !late_; }

   private:
    friend class Event;
    void OnTimer() override {
      event_.waiting_.Remove(*this);
      late_ = true;
      task_.resume();
    }
    void Wake() {
      if (armed()) Loop::Current()->CancelTimer(*this);
      task_.resume();
    }
    Event& event_;
    const uint64_t deadline_ns_;
    std::coroutine_handle<> task_;
    ListNode node_;
    bool late_ = false;
  };

  // In the time of the loop's clock.
  Awaiter Until(uint64_t deadline_ns) { return Awaiter(*this, deadline_ns); }
  Awaiter operator co_await() { return Until(Loop::kNever); }

  void Set() {
    set_ = true;
    Pulse();
  }
  void Pulse() {
    // Only those who wait now: a task that waits again is for the next pulse.
    for (size_t left = waiting_.size(); left > 0 && !waiting_.empty(); --left) {
      waiting_.PopFront()->Wake();
    }
  }
  bool is_set() const { return set_; }

 private:
  bool set_ = false;
  IntrusiveList<Awaiter, &Awaiter::node_> waiting_;
};

}  // namespace pollux
