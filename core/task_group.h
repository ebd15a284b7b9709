#pragma once
#include <coroutine>
#include <cstddef>
#include <vector>

#include "core/check.h"
#include "core/task.h"

namespace pollux {

// Tasks that nobody awaits one by one, and that are all waited for at the end: the owner's shutdown
// ends with `co_await tasks.Drained()`. One loop's thread only.
class TaskGroup {
 public:
  TaskGroup() = default;
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup() { CHECK(running_ == 0, "a task outlived the owner of its group"); }

  // Starts `task` now; it is destroyed when it ends.
  void Spawn(Task<void> task) {
    ++running_;
    RunDetached(*this, std::move(task));
  }
  size_t running() const { return running_; }

  // Waits until no task runs. Several may wait.
  Task<void> Drained() {
    while (running_ > 0) co_await AllDone{*this};
  }

 private:
  struct Detached {
    struct promise_type {
      Detached get_return_object() { return {}; }
      std::suspend_never initial_suspend() noexcept { return {}; }
      std::suspend_never final_suspend() noexcept { return {}; }
      void return_void() {}
      void unhandled_exception() { std::terminate(); }
    };
  };
  struct AllDone {
    TaskGroup& group;
    bool await_ready() const noexcept { return group.running_ == 0; }
    void await_suspend(std::coroutine_handle<> waiter) { group.waiters_.push_back(waiter); }
    void await_resume() noexcept {}
  };

  static Detached RunDetached(TaskGroup& group, Task<void> task) {
    {
      // What the task holds is gone before somebody who waits for it goes on.
      Task<void> running = std::move(task);
      co_await running;
    }
    group.OnDone();
  }
  void OnDone() {
    if (--running_ > 0) return;
    for (std::coroutine_handle<> waiter : std::exchange(waiters_, {})) waiter.resume();
  }

  size_t running_ = 0;
  std::vector<std::coroutine_handle<>> waiters_;
};

}  // namespace pollux
