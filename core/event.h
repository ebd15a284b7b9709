#pragma once
#include <coroutine>
#include <utility>
#include <vector>

namespace pollux {

// Something that happens once and may be awaited by several tasks of one loop, before or after.
class Event {
 public:
  void Set() {
    set_ = true;
    for (std::coroutine_handle<> waiter : std::exchange(waiters_, {})) waiter.resume();
  }
  bool is_set() const { return set_; }
  bool await_ready() const noexcept { return set_; }
  void await_suspend(std::coroutine_handle<> waiter) { waiters_.push_back(waiter); }
  void await_resume() noexcept {}

 private:
  bool set_ = false;
  std::vector<std::coroutine_handle<>> waiters_;
};

}  // namespace pollux
