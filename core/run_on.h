#pragma once
#include <coroutine>
#include <type_traits>
#include <utility>

#include "core/loop.h"
#include "core/task.h"

namespace pollux {

// Suspends the task here and resumes it on `loop`. The message lies in the coroutine's frame.
class SwitchTo final : public Message {
 public:
  explicit SwitchTo(Loop& loop) : loop_(loop) {}
  bool await_ready() const noexcept { return loop_.IsCurrent(); }
  void await_suspend(std::coroutine_handle<> task) noexcept {
    task_ = task;
    loop_.Post(*this);
  }
  void await_resume() noexcept {}

 private:
  void Run() override { task_.resume(); }
  Loop& loop_;
  std::coroutine_handle<> task_;
};

// Runs `step` on another loop and comes back with its result:
//
//   auto step = [channel] { return channel->statistics(); };   // Named: see task.h.
//   const Statistics s = co_await RunOn(reactor, step);
template <typename Step>
Task<std::invoke_result_t<Step>> RunOn(Loop& loop, Step step) {
  Loop* const home = Loop::Current();
  CHECK(home != nullptr, "RunOn from a thread that is no loop");
  co_await SwitchTo(loop);
  if constexpr (std::is_void_v<std::invoke_result_t<Step>>) {
    step();
    co_await SwitchTo(*home);
  } else {
    auto result = step();
    co_await SwitchTo(*home);
    co_return result;
  }
}

// Waits `delay_ns` on the current loop.
class Sleep final : public Timer {
 public:
  explicit Sleep(uint64_t delay_ns) : delay_ns_(delay_ns) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) noexcept {
    task_ = task;
    Loop::Current()->ArmTimerIn(*this, delay_ns_);
  }
  void await_resume() noexcept {}

 private:
  void OnTimer() override { task_.resume(); }
  uint64_t delay_ns_;
  std::coroutine_handle<> task_;
};

}  // namespace pollux
