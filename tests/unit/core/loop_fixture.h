#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/loop.h"
#include "tests/unit/core/scripted_waiter.h"

namespace pollux {

// One of each kind of work, made of a function.
struct TestMessage final : Message {
  explicit TestMessage(std::function<void()> a = {}) : action(std::move(a)) {}
  void Run() override {
    ++calls;
    if (action) action();
  }
  std::function<void()> action;
  int calls = 0;
};

struct TestDeferred final : Deferred {
  explicit TestDeferred(std::function<void()> a = {}) : action(std::move(a)) {}
  void RunDeferred() override {
    ++calls;
    if (action) action();
  }
  std::function<void()> action;
  int calls = 0;
};

struct TestPoller final : Poller {
  explicit TestPoller(std::function<int()> p = {}) : poll(std::move(p)) {}
  const char* name() const override { return "test"; }
  int Poll() override {
    ++calls;
    return poll ? poll() : 0;
  }
  bool MayBlock() override {
    ++asked;
    return may_block ? may_block() : true;
  }
  std::function<int()> poll;
  std::function<bool()> may_block;
  int calls = 0;
  int asked = 0;
};

struct TestHandler final : FdHandler {
  explicit TestHandler(std::function<void()> a = {}) : action(std::move(a)) {}
  void OnReady(uint32_t e) override {
    ++calls;
    events = e;
    if (action) action();
  }
  std::function<void()> action;
  int calls = 0;
  uint32_t events = 0;
};

struct LoopTimer final : Timer {
  explicit LoopTimer(std::function<void()> a = {}) : action(std::move(a)) {}
  void OnTimer() override {
    ++calls;
    if (action) action();
  }
  std::function<void()> action;
  int calls = 0;
};

// A loop whose time stands still and which never really sleeps.
class LoopFixture : public testing::Test {
 protected:
  explicit LoopFixture(uint64_t idle_after_ns = 0)
      : LoopFixture(idle_after_ns, new ScriptedWaiter) {}

  ManualClock clock_;
  ScriptedWaiter& waiter_;
  Loop loop_;

 private:
  LoopFixture(uint64_t idle_after_ns, ScriptedWaiter* waiter)
      : waiter_(*waiter),
        loop_({.name = "test", .idle_after_ns = idle_after_ns}, clock_,
              std::unique_ptr<Waiter>(waiter)) {}
};

}  // namespace pollux
