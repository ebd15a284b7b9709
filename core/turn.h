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
    Holder& operator=(Holder&& other) noexcept {
      GiveBack();
      turn_ = std::exchange(other.turn_, nullptr);
      return *this;
    }
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
  // The turn passes on; it is never free in between. One that is given back while it is being
  // passed on goes on from the outer call, or a long queue of short turns would fill the stack.
  void Next() {
    if (waiting_.empty()) {
      taken_ = false;
      return;
    }
    if (passing_) {
      given_back_ = true;
      return;
    }
    passing_ = true;
    do {
      given_back_ = false;
      const std::coroutine_handle<> next = waiting_.front();
      waiting_.pop_front();
      next.resume();
    } while (given_back_);
    passing_ = false;
  }

  bool taken_ = false;
  bool passing_ = false;
  bool given_back_ = false;
  std::deque<std::coroutine_handle<>> waiting_;
};

}  // namespace pollux
