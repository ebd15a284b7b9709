#include "core/loop.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/epoll.h>

#include <memory>

#include "tests/unit/core/loop_fixture.h"

namespace pollux {
namespace {

class LoopTest : public LoopFixture {
 protected:
  // Returns an action that writes down that it ran.
  std::function<void()> Note(std::string what) {
    return [this, what] { notes_.push_back(what); };
  }
  std::vector<std::string> notes_;
};

TEST_F(LoopTest, ATurnRunsItsStagesInOrder) {
  TestDeferred submission(Note("submission")), end(Note("end of turn")), deferred(Note("deferred"));
  LoopTimer timer(Note("timer"));
  TestHandler handler(Note("descriptor"));
  TestPoller poller([&] {
    notes_.push_back("poller");
    return 1;
  });
  TestMessage message([&] {
    notes_.push_back("message");
    loop_.AfterEndOfTurn(submission);
    loop_.AtEndOfTurn(end);
    loop_.Defer(deferred);
    loop_.ArmTimerIn(timer, 0);
  });
  ASSERT_TRUE(loop_.Watch(7, EPOLLIN, handler).ok());
  waiter_.ready = {7};
  loop_.AddPoller(poller);
  loop_.Post(message);
  EXPECT_EQ(loop_.RunTurn(), 5);
  EXPECT_EQ(notes_, (std::vector<std::string>{"message", "poller", "descriptor", "timer",
                                              "deferred", "end of turn", "submission"}));
  EXPECT_EQ(handler.events, uint32_t{EPOLLIN});
  loop_.RemovePoller(poller);
  loop_.Unwatch(7, handler);
}

TEST_F(LoopTest, MessagesRunInTheOrderOfPosting) {
  std::vector<std::unique_ptr<TestMessage>> messages;
  for (int i = 0; i < 1000; ++i) {
    messages.push_back(std::make_unique<TestMessage>(Note(std::to_string(i))));
    loop_.Post(*messages.back());
  }
  int turns = 0;
  while (notes_.size() < 1000) {
    const size_t before = notes_.size();
    loop_.RunTurn();
    EXPECT_LT(notes_.size() - before, 1000u) << "a turn is bounded";
    ASSERT_LT(++turns, 100);
  }
  for (size_t i = 0; i < notes_.size(); ++i) ASSERT_EQ(notes_[i], std::to_string(i));
}

TEST_F(LoopTest, AMessageMayPostItselfAgain) {
  TestMessage message;
  message.action = [&] {
    if (message.calls < 3) loop_.Post(message);
  };
  loop_.Post(message);
  for (int i = 0; i < 5; ++i) loop_.RunTurn();
  EXPECT_EQ(message.calls, 3);
}

TEST_F(LoopTest, WhatAFullMailboxRefusesWaitsAtTheSenderInOrder) {
  Loop sender({.name = "sender"}, clock_, std::make_unique<ScriptedWaiter>());
  constexpr size_t kMany = Loop::kMailboxCapacity + 500;
  std::vector<int> order;
  std::vector<std::unique_ptr<TestMessage>> messages;
  for (size_t i = 0; i < kMany; ++i) {
    messages.push_back(
        std::make_unique<TestMessage>([&order, i] { order.push_back(static_cast<int>(i)); }));
  }
  TestMessage send_all([&] {
    for (size_t i = 0; i + 1 < kMany; ++i) loop_.Post(*messages[i]);
  });
  TestMessage send_last([&] { loop_.Post(*messages.back()); });
  sender.Post(send_all);
  sender.RunTurn();
  loop_.RunTurn();  // There is room again; what is posted now must not overtake what waits.
  sender.Post(send_last);
  for (int i = 0; i < 100; ++i) {
    sender.RunTurn(/*may_block=*/true);
    loop_.RunTurn();
  }
  ASSERT_EQ(order.size(), kMany);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(LoopTest, WaitingMessagesOfSeveralReceiversKeepTheirOrder) {
  Loop sender({.name = "sender"}, clock_, std::make_unique<ScriptedWaiter>());
  Loop other({.name = "other"}, clock_, std::make_unique<ScriptedWaiter>());
  constexpr size_t kMany = Loop::kMailboxCapacity + 500;
  std::vector<size_t> order[2];
  std::vector<std::unique_ptr<TestMessage>> messages;
  for (size_t i = 0; i < 2 * kMany; ++i) {
    messages.push_back(std::make_unique<TestMessage>([&, i] { order[i % 2].push_back(i); }));
  }
  TestMessage send_all([&] {
    for (size_t i = 0; i < 2 * kMany; ++i) (i % 2 == 0 ? loop_ : other).Post(*messages[i]);
  });
  sender.Post(send_all);
  // One is much slower than the other, and does not hold it up.
  for (int i = 0; i < 100; ++i) {
    sender.RunTurn();
    other.RunTurn();
  }
  EXPECT_EQ(order[1].size(), kMany);
  for (int i = 0; i < 100; ++i) {
    sender.RunTurn();
    loop_.RunTurn();
  }
  EXPECT_EQ(order[0].size(), kMany);
  for (const auto& received : order) EXPECT_TRUE(std::is_sorted(received.begin(), received.end()));
}

TEST_F(LoopTest, AMessageThatWaitsCostsNoMemory) {
  Loop sender({.name = "sender"}, clock_, std::make_unique<ScriptedWaiter>());
  std::vector<TestMessage> messages(2 * Loop::kMailboxCapacity);
  uint64_t cost = 1;
  TestMessage send_all([&] {
    const size_t before = mallinfo2().uordblks;
    for (auto& m : messages) loop_.Post(m);
    cost = mallinfo2().uordblks - before;
  });
  sender.Post(send_all);
  sender.RunTurn();
  EXPECT_EQ(cost, 0u);
  for (int i = 0; i < 100; ++i) sender.RunTurn(), loop_.RunTurn();
  for (const auto& m : messages) EXPECT_EQ(m.calls, 1);
}

TEST_F(LoopTest, ALoopMayEndWhileMessagesWait) {
  std::vector<TestMessage> messages(Loop::kMailboxCapacity + 1);
  Loop sender({.name = "sender"}, clock_, std::make_unique<ScriptedWaiter>());
  TestMessage send_all([&] {
    for (auto& m : messages) loop_.Post(m);
  });
  sender.Post(send_all);
  sender.RunTurn();
}

TEST_F(LoopTest, ALoopDoesNotBlockWhileMessagesWaitForOthers) {
  auto* waiter = new ScriptedWaiter;
  Loop sender({.name = "sender"}, clock_, std::unique_ptr<Waiter>(waiter));
  std::vector<TestMessage> messages(Loop::kMailboxCapacity + 1);
  TestMessage send_all([&] {
    for (auto& m : messages) loop_.Post(m);
  });
  sender.Post(send_all);
  for (int i = 0; i < 5; ++i) sender.RunTurn(/*may_block=*/true);
  EXPECT_EQ(waiter->sleeps, 0);
  loop_.RunTurn();
  for (int i = 0; i < 5; ++i) sender.RunTurn(/*may_block=*/true);
  EXPECT_GT(waiter->sleeps, 0);
  for (int i = 0; i < 100; ++i) loop_.RunTurn();
  for (const auto& m : messages) EXPECT_EQ(m.calls, 1);
}

TEST_F(LoopTest, APollerMayRemoveItselfAndDie) {
  auto doomed = std::make_unique<TestPoller>();
  TestPoller before, after;
  doomed->poll = [&] {
    loop_.RemovePoller(*doomed);
    doomed.reset();
    return 1;
  };
  loop_.AddPoller(before);
  loop_.AddPoller(*doomed);
  loop_.AddPoller(after);
  loop_.RunTurn();
  loop_.RunTurn();
  EXPECT_EQ(doomed, nullptr);
  EXPECT_EQ(before.calls, 2);
  EXPECT_EQ(after.calls, 2);
  loop_.RemovePoller(before);
  loop_.RemovePoller(after);
}

TEST_F(LoopTest, APollerMayRemoveItsNeighbours) {
  TestPoller first, second, third, fourth;
  for (TestPoller* p : {&first, &second, &third, &fourth}) loop_.AddPoller(*p);
  second.poll = [&] {
    loop_.RemovePoller(first);
    loop_.RemovePoller(third);
    second.poll = {};
    return 1;
  };
  loop_.RunTurn();
  EXPECT_EQ(first.calls, 1);
  EXPECT_EQ(third.calls, 0);
  EXPECT_EQ(fourth.calls, 1);
  loop_.RemovePoller(second);
  loop_.RemovePoller(fourth);
}

TEST_F(LoopTest, APollerAddedWhilePollingRunsFromThenOn) {
  TestPoller added;
  TestPoller adding([&] {
    loop_.AddPoller(added);
    return 1;
  });
  loop_.AddPoller(adding);
  loop_.RunTurn();
  adding.poll = {};
  loop_.RunTurn();
  EXPECT_GE(added.calls, 1);
  loop_.RemovePoller(adding);
  loop_.RemovePoller(added);
}

TEST_F(LoopTest, CountsHowOftenAPollerRanAndFoundWork) {
  TestPoller poller;
  poller.poll = [&] { return poller.calls % 3 == 0 ? 5 : 0; };
  loop_.AddPoller(poller);
  for (int i = 0; i < 9; ++i) loop_.RunTurn();
  const std::vector<PollerInfo> pollers = loop_.pollers();
  ASSERT_EQ(pollers.size(), 1u);
  EXPECT_EQ(pollers[0].name, "test");
  EXPECT_EQ(pollers[0].run_count, 9u);
  EXPECT_EQ(pollers[0].busy_count, 3u);
  loop_.RemovePoller(poller);
}

TEST_F(LoopTest, AHandlerUnwatchedInATurnIsNotCalledInIt) {
  TestHandler second;
  TestHandler first([&] {
    loop_.Unwatch(2, second);
    loop_.Unwatch(1, first);
  });
  ASSERT_TRUE(loop_.Watch(1, EPOLLIN, first).ok());
  ASSERT_TRUE(loop_.Watch(2, EPOLLIN, second).ok());
  waiter_.ready = {1, 2};
  loop_.RunTurn();
  EXPECT_EQ(first.calls, 1);
  EXPECT_EQ(second.calls, 0);
}

TEST_F(LoopTest, AHandlerUnwatchedBetweenTheSleepAndItsTurnIsNotCalled) {
  TestHandler handler;
  ASSERT_TRUE(loop_.Watch(1, EPOLLIN, handler).ok());
  waiter_.before_sleep = [&] { waiter_.ready = {1}; };
  loop_.RunTurn(/*may_block=*/true);
  EXPECT_EQ(waiter_.sleeps, 1);
  loop_.Unwatch(1, handler);
  loop_.RunTurn();
  EXPECT_EQ(handler.calls, 0);
}

TEST_F(LoopTest, WhatEndedTheSleepIsServedByTheNextTurn) {
  TestHandler handler;
  ASSERT_TRUE(loop_.Watch(1, EPOLLIN, handler).ok());
  waiter_.before_sleep = [&] { waiter_.ready = {1}; };
  loop_.RunTurn(/*may_block=*/true);
  EXPECT_EQ(loop_.RunTurn(), 1);
  EXPECT_EQ(handler.calls, 1);
  loop_.Unwatch(1, handler);
}

TEST_F(LoopTest, WorkThatDefersItselfRunsOncePerTurn) {
  TestDeferred deferred;
  deferred.action = [&] {
    if (deferred.calls < 3) loop_.Defer(deferred);
  };
  loop_.Defer(deferred);
  loop_.RunTurn();
  EXPECT_EQ(deferred.calls, 1);
  EXPECT_TRUE(deferred.deferred());
  loop_.RunTurn();
  loop_.RunTurn();
  EXPECT_EQ(deferred.calls, 3);
  EXPECT_EQ(loop_.RunTurn(), 0);
}

TEST_F(LoopTest, WhatTheEndOfATurnDefersRunsInTheNext) {
  TestDeferred deferred;
  TestDeferred end([&] { loop_.Defer(deferred); });
  loop_.AtEndOfTurn(end);
  loop_.RunTurn();
  EXPECT_EQ(deferred.calls, 0);
  loop_.RunTurn();
  EXPECT_EQ(deferred.calls, 1);
}

TEST_F(LoopTest, TheEndOfATurnComesOnceHoweverOftenItIsAskedFor) {
  TestDeferred end, submission;
  for (int i = 0; i < 3; ++i) loop_.AtEndOfTurn(end);
  for (int i = 0; i < 3; ++i) loop_.AfterEndOfTurn(submission);
  loop_.RunTurn();
  loop_.RunTurn();
  EXPECT_EQ(end.calls, 1);
  EXPECT_EQ(submission.calls, 1);
}

TEST_F(LoopTest, TheSubmissionTakesWhatTheEndOfTheTurnQueued) {
  TestDeferred submission(Note("submission"));
  TestDeferred late([&] {
    notes_.push_back("late flush");
    loop_.AfterEndOfTurn(submission);
  });
  loop_.AfterEndOfTurn(submission);
  loop_.AtEndOfTurn(late);
  loop_.RunTurn();
  EXPECT_EQ(notes_, (std::vector<std::string>{"late flush", "submission"}));
}

TEST_F(LoopTest, WhatIsCancelledDoesNotRunInAnyStage) {
  TestDeferred deferred, end, submission, kept;
  loop_.Defer(deferred);
  loop_.Defer(kept);
  loop_.AtEndOfTurn(end);
  loop_.AfterEndOfTurn(submission);
  for (TestDeferred* work : {&deferred, &end, &submission}) {
    loop_.CancelDeferred(*work);
    loop_.CancelDeferred(*work);
    EXPECT_FALSE(work->deferred());
  }
  loop_.RunTurn();
  EXPECT_EQ(deferred.calls + end.calls + submission.calls, 0);
  EXPECT_EQ(kept.calls, 1);
}

TEST_F(LoopTest, DeferredWorkMayCancelWhatComesAfterIt) {
  TestDeferred second;
  TestDeferred first([&] { loop_.CancelDeferred(second); });
  loop_.Defer(first);
  loop_.Defer(second);
  loop_.RunTurn();
  EXPECT_EQ(second.calls, 0);
}

TEST_F(LoopTest, TimersRunWhenTheirTimeHasCome) {
  LoopTimer timer;
  loop_.ArmTimerIn(timer, 100);
  loop_.RunTurn();
  EXPECT_EQ(timer.calls, 0);
  clock_.Advance(100);
  loop_.RunTurn();
  EXPECT_EQ(timer.calls, 1);
  EXPECT_EQ(loop_.timer_count(), 0u);
}

TEST_F(LoopTest, IsTheCurrentLoopDuringItsTurnsOnly) {
  Loop* seen = nullptr;
  TestMessage message([&] { seen = Loop::Current(); });
  loop_.Post(message);
  EXPECT_EQ(Loop::Current(), nullptr);
  loop_.RunTurn();
  EXPECT_EQ(seen, &loop_);
  EXPECT_EQ(Loop::Current(), nullptr);
}

TEST_F(LoopTest, ATurnWithinATurnOfAnotherLoopComesBack) {
  Loop other({.name = "other"}, clock_, std::make_unique<ScriptedWaiter>());
  TestMessage message([&] {
    other.RunTurn();
    EXPECT_TRUE(loop_.IsCurrent());
    EXPECT_FALSE(other.IsCurrent());
  });
  loop_.Post(message);
  loop_.RunTurn();
  EXPECT_EQ(message.calls, 1);
}

TEST(LoopDeathTest, ALoopThatEndsWithPollersIsCaught) {
  EXPECT_DEATH(
      {
        ManualClock clock;
        TestPoller poller;
        Loop loop({.name = "x"}, clock, std::make_unique<ScriptedWaiter>());
        loop.AddPoller(poller);
      },
      "ended with pollers");
}

}  // namespace
}  // namespace pollux
