#pragma once
#include <coroutine>
#include <deque>
#include <utility>

#include "core/check.h"

namespace pollux {

// The turn for changes: calls that change something take it one at a time, in order of arrival.
//
//   const Turn::Holder held = co_await turn.Take();   // Given back when `held` dies.
class Turn {
 public:
  class Holder {
   public:
    explicit Holder(Turn* turn) : turn_(turn) {}
    Holder(Holder&& other) noexcept : turn_(std::exchange(other.turn_, nullptr)) {}
    Holder& operator=(Holder&&) = delete;
    ~Holder() { GiveBack(); }
    void GiveBack() {
      if (Turn* turn = std::exchange(turn_, nullptr)) turn->Next();
    }

   private:
    Turn* turn_;
  };

  struct Awaiter {
    Turn& turn;
    bool await_ready() noexcept {
      if (turn.taken_) return false;
      turn.taken_ = true;
      return true;
    }
    void await_suspend(std::coroutine_handle<> waiter) { turn.waiting_.push_back(waiter); }
    Holder await_resume() noexcept { return Holder(&turn); }
  };

  Turn() = default;
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { CHECK(!taken_ && waiting_.empty()); }

  Awaiter Take() { return {*this}; }
  bool taken() const { return taken_; }

 private:
  void Next() {
    if (waiting_.empty()) {
      taken_ = false;
      return;
    }
    const std::coroutine_handle<> next = waiting_.front();
    waiting_.pop_front();
    next.resume();  // The turn passes on; it is never free in between.
  }

  bool taken_ = false;
  std::deque<std::coroutine_handle<>> waiting_;
};

}  // namespace pollux
