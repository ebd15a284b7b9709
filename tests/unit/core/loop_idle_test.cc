// How a loop goes to sleep, wakes, and accounts for its time.
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <memory>
#include <thread>

#include "core/unique_fd.h"
#include "tests/unit/core/loop_fixture.h"

namespace pollux {
namespace {

constexpr uint64_t kIdleAfter = 1000;

class LoopIdleTest : public LoopFixture {
 protected:
  LoopIdleTest() : LoopFixture(kIdleAfter) {}
  // Turns in vain until the loop may block.
  void TurnIdle() {
    clock_.Advance(kIdleAfter);
    loop_.RunTurn(/*may_block=*/true);
  }
};

TEST_F(LoopIdleTest, BlocksWhenItFoundNothingForLongEnough) {
  clock_.Advance(kIdleAfter - 1);
  loop_.RunTurn(/*may_block=*/true);
  EXPECT_EQ(waiter_.sleeps, 0);
  clock_.Advance(1);
  loop_.RunTurn(/*may_block=*/true);
  EXPECT_EQ(waiter_.sleeps, 1);
  EXPECT_EQ(waiter_.last_timeout, std::nullopt);
  EXPECT_EQ(loop_.blocked_count(), 1u);
}

TEST_F(LoopIdleTest, WorkPutsTheSleepOff) {
  TestMessage message;
  clock_.Advance(kIdleAfter);
  loop_.Post(message);
  loop_.RunTurn(/*may_block=*/true);
  clock_.Advance(kIdleAfter - 1);
  loop_.RunTurn(/*may_block=*/true);
  EXPECT_EQ(waiter_.sleeps, 0);
}

TEST_F(LoopIdleTest, ATurnThatMayNotBlockDoesNot) {
  clock_.Advance(100 * kIdleAfter);
  loop_.RunTurn();
  EXPECT_EQ(waiter_.sleeps, 0);
}

TEST(LoopNeverIdleTest, ALoopThatPollsForEverNeverBlocks) {
  ManualClock clock;
  auto* waiter = new ScriptedWaiter;
  Loop loop({.name = "x", .idle_after_ns = Loop::kNever}, clock, std::unique_ptr<Waiter>(waiter));
  clock.Advance(3600 * kNsPerSecond);
  loop.RunTurn(/*may_block=*/true);
  EXPECT_EQ(waiter->sleeps, 0);
}

TEST_F(LoopIdleTest, SleepsNoLongerThanItsNextTimer) {
  LoopTimer timer;
  loop_.ArmTimerIn(timer, kIdleAfter + 77);
  TurnIdle();
  EXPECT_EQ(waiter_.last_timeout, 77u);
  loop_.CancelTimer(timer);
}

TEST_F(LoopIdleTest, AMessageBetweenTheAnnouncementAndTheSleepEndsTheSleep) {
  TestMessage message;
  waiter_.before_sleep = [&] { std::thread([&] { loop_.Post(message); }).join(); };
  TurnIdle();
  EXPECT_EQ(waiter_.sleeps, 1);
  EXPECT_FALSE(waiter_.slept_over) << "nobody rang, and the message would lie there";
  loop_.RunTurn();
  EXPECT_EQ(message.calls, 1);
}

TEST_F(LoopIdleTest, AMessageAfterTheLastLookAtTheMailboxEndsTheSleep) {
  TestMessage message;
  TestPoller poller;
  poller.may_block = [&] {  // The mailbox was looked at before the pollers are asked.
    std::thread([&] { loop_.Post(message); }).join();
    return true;
  };
  loop_.AddPoller(poller);
  TurnIdle();
  EXPECT_FALSE(waiter_.sleeps == 1 && waiter_.slept_over);
  loop_.RunTurn();
  EXPECT_EQ(message.calls, 1);
  loop_.RemovePoller(poller);
}

TEST_F(LoopIdleTest, AMessageToALoopThatIsAwakeRingsNoBell) {
  TestMessage message;
  std::thread([&] { loop_.Post(message); }).join();
  EXPECT_FALSE(waiter_.woken);
  loop_.RunTurn();
  EXPECT_EQ(message.calls, 1);
}

TEST_F(LoopIdleTest, AfterTheSleepNobodyRingsAnyMore) {
  TurnIdle();
  waiter_.woken = false;
  TestMessage message;
  std::thread([&] { loop_.Post(message); }).join();
  EXPECT_FALSE(waiter_.woken);
  loop_.RunTurn();
}

TEST_F(LoopIdleTest, StoppingEndsTheSleep) {
  waiter_.before_sleep = [&] { loop_.Stop(); };
  clock_.Advance(kIdleAfter);
  loop_.RunTurn(/*may_block=*/true);
  EXPECT_FALSE(waiter_.slept_over);
}

TEST_F(LoopIdleTest, WorkLeftForTheNextTurnKeepsItAwake) {
  TestDeferred again;
  again.action = [&] { loop_.AtEndOfTurn(again); };
  loop_.AtEndOfTurn(again);
  TurnIdle();
  TurnIdle();
  EXPECT_EQ(waiter_.sleeps, 0);
  again.action = [&] { loop_.AfterEndOfTurn(again); };
  TurnIdle();
  TurnIdle();
  EXPECT_EQ(waiter_.sleeps, 0);
  again.action = {};
  TurnIdle();
  TurnIdle();
  EXPECT_GT(waiter_.sleeps, 0);
}

TEST_F(LoopIdleTest, APollerThatMustPollKeepsTheLoopAwakeAndIsTold) {
  TestPoller poller;
  poller.may_block = [] { return false; };
  loop_.AddPoller(poller);
  for (int i = 0; i < 5; ++i) TurnIdle();
  EXPECT_EQ(waiter_.sleeps, 0);
  EXPECT_TRUE(loop_.must_poll());
  loop_.RemovePoller(poller);
  for (int i = 0; i < 5; ++i) TurnIdle();
  EXPECT_GT(waiter_.sleeps, 0);
  EXPECT_FALSE(loop_.must_poll());
}

TEST_F(LoopIdleTest, ALoopThatMustPollDoesNotAskAgainAtOnce) {
  TestPoller poller;
  poller.may_block = [] { return false; };
  loop_.AddPoller(poller);
  TurnIdle();
  for (int i = 0; i < 10; ++i) loop_.RunTurn(/*may_block=*/true);
  EXPECT_EQ(poller.asked, 1);
  loop_.RemovePoller(poller);
}

TEST_F(LoopIdleTest, AWakeablePollerThatHasWorkIsNoReasonToSayMustPoll) {
  TestPoller poller;
  poller.may_block = [&] { return poller.asked > 1; };  // Its work came while it armed.
  loop_.AddPoller(poller);
  TurnIdle();
  EXPECT_EQ(waiter_.sleeps, 0);
  EXPECT_FALSE(loop_.must_poll());
  TurnIdle();
  EXPECT_EQ(waiter_.sleeps, 1);
  loop_.RemovePoller(poller);
}

TEST_F(LoopIdleTest, TimeIsBusyWhenATurnFoundWorkAndIdleOtherwise) {
  TestPoller poller;
  poller.poll = [&] {
    clock_.Advance(10);
    return poller.calls % 2;
  };
  loop_.AddPoller(poller);
  for (int i = 0; i < 10; ++i) loop_.RunTurn();
  EXPECT_EQ(loop_.busy_ns(), 50u);
  EXPECT_EQ(loop_.idle_ns(), 50u);
  loop_.RemovePoller(poller);
}

TEST_F(LoopIdleTest, SleepIsIdleTimeAndWhatItWokeForIsBusy) {
  TestHandler handler([&] { clock_.Advance(30); });
  ASSERT_TRUE(loop_.Watch(1, EPOLLIN, handler).ok());
  waiter_.before_sleep = [&] {
    clock_.Advance(5000);
    waiter_.ready = {1};
  };
  TurnIdle();
  loop_.RunTurn();
  EXPECT_EQ(loop_.idle_ns(), kIdleAfter + 5000);
  EXPECT_EQ(loop_.busy_ns(), 30u);
  loop_.Unwatch(1, handler);
}

// --- Real threads, and the real place to sleep.

class LoopThreadTest : public testing::Test {
 protected:
  RealClock clock_;
  Loop a_{{.name = "a"}, clock_, *MakeEpollWaiter()};
  Loop b_{{.name = "b"}, clock_, *MakeEpollWaiter()};
};

TEST_F(LoopThreadTest, NoMessageIsSleptOver) {
  constexpr int kRounds = 20'000;  // Both fall asleep between any two of them.
  std::atomic<int> rounds{0};
  TestMessage there, back;
  there.action = [&] { a_.Post(back); };
  back.action = [&] {
    if (rounds.fetch_add(1) + 1 < kRounds) {
      b_.Post(there);
    } else {
      rounds.notify_one();
    }
  };
  a_.StartThread();
  b_.StartThread();
  b_.Post(there);
  for (int seen = rounds; seen < kRounds; seen = rounds) std::this_thread::yield();
  a_.StopThread();
  b_.StopThread();
  EXPECT_EQ(back.calls, kRounds);
}

TEST_F(LoopThreadTest, ThreadsThatAreNoLoopsMayPostTogether) {
  constexpr int kThreads = 4;
  constexpr size_t kEach = 10'000;  // More than the mailbox holds.
  std::atomic<size_t> ran{0};
  std::vector<std::vector<TestMessage>> messages(kThreads);
  for (auto& list : messages) {
    list = std::vector<TestMessage>(kEach);
    for (auto& m : list) m.action = [&ran] { ran.fetch_add(1); };
  }
  a_.StartThread();
  std::vector<std::thread> senders;
  for (auto& list : messages) {
    senders.emplace_back([this, &list] {
      for (auto& m : list) a_.Post(m);
    });
  }
  for (auto& sender : senders) sender.join();
  while (ran < kThreads * kEach) std::this_thread::yield();
  a_.StopThread();
}

TEST_F(LoopThreadTest, ABlockedLoopWakesForADescriptorAndForATimer) {
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::atomic<int> seen{0};
  TestHandler handler([&] {
    uint64_t value;
    EXPECT_EQ(read(event.get(), &value, sizeof(value)), 8);
    seen.fetch_add(1);
  });
  LoopTimer timer([&] { seen.fetch_add(1); });
  ASSERT_TRUE(a_.Watch(event.get(), EPOLLIN, handler).ok());
  a_.StartThread();
  while (a_.blocked_count() == 0) std::this_thread::yield();
  const uint64_t one = 1;
  ASSERT_EQ(write(event.get(), &one, sizeof(one)), 8);
  while (seen < 1) std::this_thread::yield();
  TestMessage arm([&] { a_.ArmTimerIn(timer, kNsPerMs); });
  a_.Post(arm);
  while (seen < 2) std::this_thread::yield();
  a_.StopThread();
  a_.Unwatch(event.get(), handler);
}

TEST_F(LoopThreadTest, StopsFromAnyThreadWhileBlocked) {
  a_.StartThread();
  while (a_.blocked_count() == 0) std::this_thread::yield();
  a_.StopThread();
  a_.StartThread();  // And again.
  a_.StopThread();
}

TEST_F(LoopThreadTest, KnowsTheThreadItRunsOn) {
  a_.StartThread();
  while (a_.thread_id() == 0) std::this_thread::yield();
  EXPECT_NE(a_.thread_id(), gettid());
  a_.StopThread();
}

TEST(LoopPinnedTest, ACoreThatIsNotThereIsToldAndLivedWith) {
  RealClock clock;
  Loop loop({.name = "nowhere", .core = 1000}, clock, *MakeEpollWaiter());
  std::atomic<bool> ran{false};
  TestMessage message([&] { ran = true; });
  testing::internal::CaptureStderr();
  loop.StartThread();
  loop.Post(message);
  while (!ran) std::this_thread::yield();
  loop.StopThread();
  EXPECT_NE(testing::internal::GetCapturedStderr().find("core 1000"), std::string::npos);
}

}  // namespace
}  // namespace pollux
