#include "core/task.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/reactors.h"
#include "core/run_on.h"
#include "core/status.h"
#include "core/task_group.h"
#include "core/turn.h"
#include "tests/unit/core/loop_fixture.h"

namespace pollux {
namespace {

Task<int> Three() { co_return 3; }

Task<int> Sum(int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await Three();
  co_return sum;
}

Task<Result<std::string>> Checked(bool fail) {
  if (fail) CO_RETURN_IF_ERROR(Busy("not now"));
  co_return std::string("fine");
}

Task<Result<size_t>> Length(bool fail) {
  ASSIGN_OR_CO_RETURN(const std::string text, co_await Checked(fail));
  co_return text.size();
}

TEST(TaskTest, StartsWhenAskedAndGivesItsResult) {
  Task<int> task = Sum(4);
  EXPECT_FALSE(task.done());
  task.Start();
  ASSERT_TRUE(task.done());
  EXPECT_EQ(task.TakeResult(), 12);
}

TEST(TaskTest, ManyStepsThatNeverWaitAreFine) {
  constexpr int kSteps = 10'000;
  Task<int> task = Sum(kSteps);
  task.Start();
  EXPECT_EQ(task.TakeResult(), 3 * kSteps);
}

TEST(TaskTest, ErrorsTravelUp) {
  Task<Result<size_t>> good = Length(false), bad = Length(true);
  good.Start();
  bad.Start();
  EXPECT_EQ(*good.TakeResult(), 4u);
  EXPECT_EQ(ErrnoOf(bad.TakeResult().status()), EBUSY);
}

TEST(TaskTest, ATaskThatIsNeverStartedLeavesNothing) { Task<int> task = Sum(1); }

TEST(CompletionTest, WakesTheTaskThatWaits) {
  Completion<int> completion;
  auto wait = [&]() -> Task<int> { co_return co_await completion; };
  Task<int> task = wait();
  task.Start();
  EXPECT_FALSE(task.done());
  completion.Set(9);
  ASSERT_TRUE(task.done());
  EXPECT_EQ(task.TakeResult(), 9);
}

TEST(CompletionTest, MayBeSetBeforeAnybodyWaits) {
  Completion<std::unique_ptr<int>> completion;
  completion.Set(std::make_unique<int>(5));
  EXPECT_TRUE(completion.is_set());
  auto wait = [&]() -> Task<int> {
    const std::unique_ptr<int> value = co_await completion;
    co_return *value;
  };
  Task<int> task = wait();
  task.Start();
  EXPECT_EQ(task.TakeResult(), 5);
}

TEST(CompletionDeathTest, SettingItTwiceIsCaught) {
  EXPECT_DEATH(
      {
        Completion<int> completion;
        completion.Set(1);
        completion.Set(2);
      },
      "set twice");
}

class TaskGroupTest : public testing::Test {
 protected:
  Task<void> WaitFor(Completion<int>* completion) { last_ = co_await *completion; }
  Task<void> Drain() {
    co_await group_.Drained();
    ++drained_;
  }
  TaskGroup group_;
  int last_ = 0;
  int drained_ = 0;
};

TEST_F(TaskGroupTest, IsDrainedWhenItsLastTaskHasEnded) {
  Completion<int> a, b;
  group_.Spawn(WaitFor(&a));
  group_.Spawn(WaitFor(&b));
  EXPECT_EQ(group_.running(), 2u);
  Task<void> first = Drain(), second = Drain();
  first.Start();
  second.Start();
  b.Set(2);
  EXPECT_EQ(drained_, 0);
  a.Set(1);
  EXPECT_EQ(drained_, 2);
  EXPECT_EQ(last_, 1);
}

TEST_F(TaskGroupTest, AnEmptyGroupIsDrainedAtOnce) {
  Task<void> task = Drain();
  task.Start();
  EXPECT_EQ(drained_, 1);
}

TEST_F(TaskGroupTest, WhatATaskHoldsIsGoneBeforeTheGroupIsDrained) {
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = held;
  Completion<int> completion;
  auto hold = [](std::shared_ptr<int>, Completion<int>* c) -> Task<void> { co_await *c; };
  group_.Spawn(hold(std::move(held), &completion));
  bool gone = false;
  auto drain = [&]() -> Task<void> {
    co_await group_.Drained();
    gone = watched.expired();
  };
  Task<void> task = drain();
  task.Start();
  EXPECT_FALSE(watched.expired());
  completion.Set(1);
  EXPECT_TRUE(gone);
}

TEST(TaskGroupDeathTest, ATaskThatOutlivesItsOwnerIsCaught) {
  EXPECT_DEATH(
      {
        static Completion<int> never;
        TaskGroup group;
        auto wait = []() -> Task<void> { co_await never; };
        group.Spawn(wait());
      },
      "outlived");
}

class TurnTest : public testing::Test {
 protected:
  Task<void> Change(int number, Completion<int>* until) {
    const Turn::Holder held = co_await turn_.Take();
    order_.push_back(number);
    if (until != nullptr) co_await *until;
  }
  Turn turn_;
  TaskGroup group_;
  std::vector<int> order_;
};

TEST_F(TurnTest, IsGivenInTheOrderOfArrival) {
  Completion<int> first;
  group_.Spawn(Change(1, &first));
  for (int i = 2; i <= 5; ++i) group_.Spawn(Change(i, nullptr));
  EXPECT_EQ(order_, (std::vector{1}));
  EXPECT_TRUE(turn_.taken());
  first.Set(0);
  EXPECT_EQ(order_, (std::vector{1, 2, 3, 4, 5}));
  EXPECT_FALSE(turn_.taken());
}

TEST_F(TurnTest, IsHeldAcrossWaits) {
  Completion<int> first, second;
  group_.Spawn(Change(1, &first));
  group_.Spawn(Change(2, &second));
  group_.Spawn(Change(3, nullptr));
  first.Set(0);
  EXPECT_EQ(order_, (std::vector{1, 2}));
  EXPECT_TRUE(turn_.taken());
  second.Set(0);
  EXPECT_EQ(order_, (std::vector{1, 2, 3}));
}

TEST_F(TurnTest, MayBeGivenBackEarlyAndTakenAgain) {
  std::vector<int> order;
  auto twice = [&](int number) -> Task<void> {
    {
      Turn::Holder held = co_await turn_.Take();
      order.push_back(number);
      held.GiveBack();
      held.GiveBack();
    }
    const Turn::Holder again = co_await turn_.Take();
    order.push_back(number + 10);
  };
  Completion<int> first;
  group_.Spawn(Change(0, &first));
  group_.Spawn(twice(1));
  group_.Spawn(twice(2));
  first.Set(0);
  EXPECT_EQ(order, (std::vector{1, 2, 11, 12}));
  EXPECT_FALSE(turn_.taken());
}

TEST_F(TurnTest, ALongQueueOfShortTurnsTakesNoStack) {
  constexpr int kMany = 100'000;
  Completion<int> first;
  group_.Spawn(Change(0, &first));
  for (int i = 1; i < kMany; ++i) group_.Spawn(Change(i, nullptr));
  first.Set(0);
  EXPECT_EQ(order_.size(), static_cast<size_t>(kMany));
  EXPECT_TRUE(std::is_sorted(order_.begin(), order_.end()));
}

// --- Between loops.

class RunOnTest : public LoopFixture {
 protected:
  Loop other_{{.name = "other"}, clock_, std::make_unique<ScriptedWaiter>()};
  // Starts the task on loop_, as a message would.
  template <typename T>
  void StartHere(Task<T>& task) {
    TestMessage start([&] { task.Start(); });
    loop_.Post(start);
    loop_.RunTurn();
  }
};

TEST_F(RunOnTest, RunsTheStepThereAndComesBackWithItsResult) {
  Loop* there = nullptr;
  Loop* back = nullptr;
  auto go = [&]() -> Task<int> {
    auto step = [&] {
      there = Loop::Current();
      return 42;
    };
    const int result = co_await RunOn(other_, step);
    back = Loop::Current();
    co_return result;
  };
  Task<int> task = go();
  StartHere(task);
  EXPECT_EQ(there, nullptr);
  other_.RunTurn();
  EXPECT_EQ(there, &other_);
  EXPECT_FALSE(task.done());
  loop_.RunTurn();
  ASSERT_TRUE(task.done());
  EXPECT_EQ(task.TakeResult(), 42);
  EXPECT_EQ(back, &loop_);
}

TEST_F(RunOnTest, ToItsOwnLoopItTakesNoMessage) {
  auto go = [&]() -> Task<int> {
    auto step = [] { return 7; };
    co_return co_await RunOn(loop_, step);
  };
  Task<int> task = go();
  StartHere(task);
  ASSERT_TRUE(task.done());
  EXPECT_EQ(task.TakeResult(), 7);
}

TEST_F(RunOnTest, SleepWaitsForTheClock) {
  auto go = []() -> Task<void> { co_await Sleep(100); };
  Task<void> task = go();
  StartHere(task);
  clock_.Advance(99);
  loop_.RunTurn();
  EXPECT_FALSE(task.done());
  clock_.Advance(1);
  loop_.RunTurn();
  EXPECT_TRUE(task.done());
}

TEST(RunOnThreadTest, GoesToRealThreadsAndBackManyTimes) {
  constexpr int kRounds = 5'000;
  RealClock clock;
  Loop home({.name = "home"}, clock, *MakeEpollWaiter());
  Loop worker({.name = "worker"}, clock, *MakeEpollWaiter());
  worker.StartThread();
  int counter = 0;  // Touched by the worker only.
  auto go = [&]() -> Task<int> {
    int sum = 0;
    for (int i = 0; i < kRounds; ++i) {
      auto step = [&] { return ++counter; };
      sum += co_await RunOn(worker, step);
      CHECK(home.IsCurrent());
    }
    home.Stop();
    co_return sum;
  };
  Task<int> task = go();
  TestMessage start([&] { task.Start(); });
  home.Post(start);
  home.Run();
  worker.StopThread();
  EXPECT_EQ(task.TakeResult(), kRounds * (kRounds + 1) / 2);
}

// --- All reactors.

TEST(ReactorsTest, ForEachVisitsThemInOrderAndReturnsWhenAllHaveRun) {
  ManualClock clock;
  Loop control({.name = "control"}, clock, *MakeEpollWaiter());
  auto reactors = *Reactors::MakeStill({.cores = {3, 5, 9}}, clock);
  std::vector<size_t> visited;
  auto go = [&]() -> Task<void> {
    auto step = [&](Reactor& reactor) {
      EXPECT_EQ(Reactor::Current(), &reactor);
      visited.push_back(reactor.index());
    };
    EXPECT_EQ(Reactor::Current(), nullptr) << "the control loop is none";
    co_await reactors->ForEach(step);
  };
  Task<void> task = go();
  TestMessage start([&] { task.Start(); });
  control.Post(start);
  for (int i = 0; i < 10; ++i) {
    control.RunTurn();
    for (auto& reactor : *reactors) reactor->RunTurn();
  }
  EXPECT_TRUE(task.done());
  EXPECT_EQ(visited, (std::vector<size_t>{0, 1, 2}));
  EXPECT_EQ((*reactors)[1].name(), "reactor_5");
  EXPECT_EQ((*reactors)[1].core(), 5);
  EXPECT_EQ(Reactor::Current(), nullptr);
}

TEST(ReactorsTest, RunOnThreadsOfTheirOwnUntilStopped) {
  RealClock clock;
  auto reactors = *Reactors::Start({.cores = {0, 0}}, clock);
  std::atomic<int> ran{0};
  TestMessage a([&] { ran.fetch_add(1); }), b([&] { ran.fetch_add(1); });
  (*reactors)[0].Post(a);
  (*reactors)[1].Post(b);
  while (ran < 2) std::this_thread::yield();
  reactors->Stop();
  reactors->Stop();
}

TEST(ReactorsTest, RefusesNoneAndTooMany) {
  ManualClock clock;
  EXPECT_EQ(ErrnoOf(Reactors::MakeStill({.cores = {}}, clock).status()), EINVAL);
  const std::vector<int> many(Reactors::kReactorsMax + 1, 0);
  EXPECT_EQ(ErrnoOf(Reactors::MakeStill({.cores = many}, clock).status()), EINVAL);
}

}  // namespace
}  // namespace pollux
