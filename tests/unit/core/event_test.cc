#include "core/event.h"

#include <gtest/gtest.h>

#include "core/task.h"

namespace pollux {
namespace {

class EventTest : public testing::Test {
 protected:
  // Starts a task that waits, on the loop.
  struct Waiting {
    std::optional<bool> happened;
    std::optional<Task<void>> task;
  };
  static Task<void> WaitUntil(Event& event, uint64_t deadline_ns, Waiting& waiting) {
    waiting.happened = co_await event.Until(deadline_ns);
  }
  void Start(Waiting& waiting, uint64_t deadline_ns = Loop::kNever) {
    waiting.task.emplace(WaitUntil(event_, deadline_ns, waiting));
    Do([&] { waiting.task->Start(); });
  }
  template <typename Step>
  void Do(Step step) {
    struct Call final : Message {
      explicit Call(Step s) : step(s) {}
      void Run() override { step(); }
      Step step;
    } call(step);
    loop_.Post(call);
    loop_.RunTurn();
  }

  ManualClock clock_;
  Loop loop_{
      {.name = "test", .idle_after_ns = Loop::kNever, .core = -1}, clock_, *MakeEpollWaiter()};
  Event event_;
};

TEST_F(EventTest, WakesAllWhoWaitWhenSet) {
  Waiting first, second;
  Start(first);
  Start(second);
  EXPECT_FALSE(first.happened.has_value());
  Do([&] { event_.Set(); });
  EXPECT_EQ(first.happened, true);
  EXPECT_EQ(second.happened, true);
}

TEST_F(EventTest, LetsLateComersPassOnceSet) {
  Do([&] { event_.Set(); });
  Waiting late;
  Start(late);
  EXPECT_EQ(late.happened, true);
}

TEST_F(EventTest, APulseIsForThoseWhoWaitNow) {
  Waiting before, after;
  Start(before);
  Do([&] { event_.Pulse(); });
  Start(after);
  EXPECT_EQ(before.happened, true);
  EXPECT_FALSE(after.happened.has_value());
  Do([&] { event_.Pulse(); });
}

TEST_F(EventTest, GivesUpAtTheDeadline) {
  Waiting waiting;
  Start(waiting, clock_.NowNs() + 10 * kNsPerMs);
  clock_.Advance(9 * kNsPerMs);
  loop_.RunTurn();
  EXPECT_FALSE(waiting.happened.has_value());
  clock_.Advance(1 * kNsPerMs);
  loop_.RunTurn();
  EXPECT_EQ(waiting.happened, false);
  Do([&] { event_.Set(); });  // Nobody is left to wake.
}

TEST_F(EventTest, CancelsTheDeadlineWhenItHappened) {
  Waiting waiting;
  Start(waiting, clock_.NowNs() + 10 * kNsPerMs);
  EXPECT_EQ(loop_.timer_count(), 1u);
  Do([&] { event_.Set(); });
  EXPECT_EQ(waiting.happened, true);
  EXPECT_EQ(loop_.timer_count(), 0u);
}

}  // namespace
}  // namespace pollux
