#include "core/timer_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace pollux {
namespace {

struct TestTimer final : Timer {
  explicit TestTimer(std::function<void()> a = {}) : action(std::move(a)) {}
  void OnTimer() override {
    ++calls;
    if (action) action();
  }
  std::function<void()> action;
  int calls = 0;
};

constexpr int kManyMax = 1000;

TEST(TimerQueueTest, RunsWhatIsDueInOrderOfTime) {
  TimerQueue queue;
  std::vector<int> order;
  TestTimer late([&] { order.push_back(3); }), soon([&] { order.push_back(1); }),
      next([&] { order.push_back(2); });
  queue.Arm(late, 30);
  queue.Arm(soon, 10);
  queue.Arm(next, 20);
  EXPECT_EQ(queue.NextDeadlineNs(), 10u);
  EXPECT_EQ(queue.RunDue(9, kManyMax), 0);
  EXPECT_EQ(queue.RunDue(20, kManyMax), 2);
  EXPECT_EQ(queue.RunDue(100, kManyMax), 1);
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
  EXPECT_EQ(queue.NextDeadlineNs(), std::nullopt);
}

TEST(TimerQueueTest, EqualDeadlinesRunInTheOrderOfArming) {
  TimerQueue queue;
  std::vector<int> order;
  std::vector<std::unique_ptr<TestTimer>> timers;
  for (int i = 0; i < 50; ++i) {
    timers.push_back(std::make_unique<TestTimer>([&order, i] { order.push_back(i); }));
    queue.Arm(*timers.back(), 5);
  }
  queue.RunDue(5, kManyMax);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(order.size(), 50u);
}

TEST(TimerQueueTest, ArmingAgainMovesATimer) {
  TimerQueue queue;
  TestTimer timer;
  queue.Arm(timer, 10);
  queue.Arm(timer, 50);
  EXPECT_EQ(queue.size(), 1u);
  EXPECT_EQ(queue.RunDue(49, kManyMax), 0);
  EXPECT_EQ(queue.RunDue(50, kManyMax), 1);
}

TEST(TimerQueueTest, CancellingWhatIsNotArmedChangesNothing) {
  TimerQueue queue;
  TestTimer timer;
  queue.Cancel(timer);
  queue.Arm(timer, 1);
  queue.Cancel(timer);
  queue.Cancel(timer);
  EXPECT_EQ(queue.RunDue(9, kManyMax), 0);
  EXPECT_FALSE(timer.armed());
}

TEST(TimerQueueTest, ATimerMayArmItselfAndCancelOthers) {
  TimerQueue queue;
  TestTimer other, self;
  self.action = [&] {
    EXPECT_FALSE(self.armed());
    queue.Cancel(other);
    if (self.calls < 3) queue.Arm(self, 10);
  };
  queue.Arm(self, 5);
  queue.Arm(other, 6);
  EXPECT_EQ(queue.RunDue(10, kManyMax), 3);
  EXPECT_EQ(other.calls, 0);
}

TEST(TimerQueueTest, ATimerThatArmsItselfForNowCannotHoldTheLoop) {
  TimerQueue queue;
  TestTimer self;
  self.action = [&] { queue.Arm(self, 0); };
  queue.Arm(self, 0);
  EXPECT_EQ(queue.RunDue(10, 7), 7);
  queue.Cancel(self);
}

TEST(TimerQueueTest, AnyMixOfArmingAndCancellingKeepsTheOrder) {
  std::mt19937 random(7);
  TimerQueue queue;
  std::vector<std::unique_ptr<TestTimer>> timers;
  for (int i = 0; i < 200; ++i) timers.push_back(std::make_unique<TestTimer>());
  uint64_t now = 0;
  for (int step = 0; step < 20'000; ++step) {
    TestTimer& timer = *timers[random() % timers.size()];
    switch (random() % 4) {
      case 0:
      case 1:
        queue.Arm(timer, now + random() % 100);
        break;
      case 2:
        queue.Cancel(timer);
        break;
      case 3:
        now += random() % 5;
        queue.RunDue(now, 3);
        break;
    }
    std::optional<uint64_t> next;
    size_t armed = 0;
    for (const auto& t : timers) {
      if (!t->armed()) continue;
      ++armed;
      next = std::min(next.value_or(UINT64_MAX), t->deadline_ns());
    }
    ASSERT_EQ(queue.size(), armed);
    ASSERT_EQ(queue.NextDeadlineNs(), next);
  }
  for (const auto& t : timers) queue.Cancel(*t);
}

TEST(TimerQueueDeathTest, ATimerThatDiesArmedIsCaught) {
  EXPECT_DEATH(
      {
        TimerQueue queue;
        TestTimer timer;
        queue.Arm(timer, 1);
      },
      "a timer died while armed");
}

}  // namespace
}  // namespace pollux
