#pragma once
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "core/check.h"

namespace pollux {

// A control-plane operation that may wait. It starts when first awaited (or Start()ed) and runs on
// one loop, apart from the steps that it runs on others (RunOn in run_on.h).
//
// g++ 12 destroys some temporaries twice when they stand in an expression with co_await: aggregates
// written with braces, and lambdas that capture by value. Give them a name on the line before.
// Parameters are taken by value, since a reference may dangle after the first wait.
template <typename T = void>
class Task;

namespace task_internal {

struct PromiseBase {
  std::coroutine_handle<> waiter = std::noop_coroutine();

  std::suspend_always initial_suspend() noexcept { return {}; }
  void unhandled_exception() { std::terminate(); }  // We do not throw.

  struct ResumeWaiter {
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) noexcept {
      return self.promise().waiter;
    }
    void await_resume() noexcept {}
  };
  ResumeWaiter final_suspend() noexcept { return {}; }
};

template <typename T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object();
  template <typename U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T Take() { return *std::move(value); }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() {}
  void Take() {}
};

}  // namespace task_internal

template <typename T>
class [[nodiscard]] Task {
 public:
  using promise_type = task_internal::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) noexcept {
    handle_.promise().waiter = waiter;
    return handle_;
  }
  T await_resume() { return handle_.promise().Take(); }

  // Without somebody who awaits: for tests, and for main().
  void Start() { handle_.resume(); }
  bool done() const { return handle_.done(); }
  T TakeResult() {
    CHECK(done());
    return handle_.promise().Take();
  }

 private:
  Handle handle_;
};

namespace task_internal {
template <typename T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}
}  // namespace task_internal

// Turns a callback into something to wait for, once, by one task, on one loop:
//
//   Completion<Status> paused;
//   subsystem.Pause([&](Status s) { paused.Set(std::move(s)); });
//   CO_RETURN_IF_ERROR(co_await paused);
template <typename T>
class Completion {
 public:
  Completion() = default;
  Completion(const Completion&) = delete;  // Whoever sets it knows its address.
  Completion& operator=(const Completion&) = delete;

  void Set(T value) {
    CHECK(!value_.has_value(), "a completion was set twice");
    value_ = std::move(value);
    if (waiter_) std::exchange(waiter_, {}).resume();
  }
  bool is_set() const { return value_.has_value(); }

  // Apart from the completion, since g++ 12 copies what is awaited when a lambda captured it.
  struct Awaiter {
    Completion* completion;
    bool await_ready() const noexcept { return completion->is_set(); }
    void await_suspend(std::coroutine_handle<> w) noexcept { completion->waiter_ = w; }
    T await_resume() { return *std::move(completion->value_); }
  };
  Awaiter operator co_await() { return Awaiter{this}; }

 private:
  std::optional<T> value_;
  std::coroutine_handle<> waiter_;
};

}  // namespace pollux
