#pragma once
#include <coroutine>
#include <utility>
#include <vector>

namespace pollux::nvme {

// Lets the controller's coroutines go on at its next poll: they never run inside a callback of a
// queue, whose owner may not be entered twice.
class Polls {
 public:
  struct Awaiter {
    Polls* polls;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiter) const { polls->Wake(waiter); }
    void await_resume() const noexcept {}
  };
  // co_await polls.Next();
  Awaiter Next() { return {this}; }
  void Wake(std::coroutine_handle<> waiter) { waiting_.push_back(waiter); }

  // What waits now goes on; what begins to wait meanwhile does at the next one.
  void Run() {
    running_.swap(waiting_);
    for (const std::coroutine_handle<> waiter : running_) waiter.resume();
    running_.clear();
  }
  bool empty() const { return waiting_.empty(); }

 private:
  std::vector<std::coroutine_handle<>> waiting_, running_;
};

}  // namespace pollux::nvme
