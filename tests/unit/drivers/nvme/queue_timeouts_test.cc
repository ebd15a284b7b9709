// Time-outs of a queue pair's commands, and their aborts.
#include <array>

#include "tests/unit/drivers/nvme/queue_pair_fixture.h"

namespace pollux::nvme {
namespace {

constexpr uint64_t kMs = 1'000'000;

TEST_F(QueuePairTest, ATimeoutIsNotedOnce) {
  queue_->SetTimeout(100 * kMs, POLLUX_NVME_ON_TIMEOUT_NOTHING);
  QueueRecorder slow;
  Submit(slow);
  Fetch();
  queue_->CheckTimeouts(1000 * kMs);
  queue_->CheckTimeouts(1099 * kMs);
  EXPECT_EQ(queue_->TakeTimeoutNotice(), 0u);
  queue_->CheckTimeouts(1104 * kMs);
  EXPECT_EQ(queue_->TakeTimeoutNotice(), uint32_t{kId} << 16 | device_.held(0).cid);
  queue_->CheckTimeouts(9000 * kMs);
  EXPECT_EQ(queue_->TakeTimeoutNotice(), 0u);
  EXPECT_FALSE(queue_->TakeResetWish());
  EXPECT_EQ(queue_->TakeAbortWish(), -1);
  EXPECT_EQ(Statistics().timeouts, 1u);
}

TEST_F(QueuePairTest, ASlotThatIsUsedAnewStartsAnew) {
  queue_->SetTimeout(100 * kMs, POLLUX_NVME_ON_TIMEOUT_RESET);
  for (uint64_t now = 1000; now < 5000; now += 60) {
    QueueRecorder command;
    Submit(command);
    Fetch();
    queue_->CheckTimeouts(now * kMs);
    device_.Complete(0);
    queue_->Poll(0);
  }
  EXPECT_EQ(Statistics().timeouts, 0u);
}

TEST_F(QueuePairTest, ATimeoutAsksForAnAbortAndThenForAReset) {
  queue_->SetTimeout(100 * kMs, POLLUX_NVME_ON_TIMEOUT_ABORT);
  QueueRecorder slow;
  Submit(slow);
  Fetch();
  queue_->CheckTimeouts(1000 * kMs);
  queue_->CheckTimeouts(1104 * kMs);
  EXPECT_EQ(queue_->TakeAbortWish(), device_.held(0).cid);
  EXPECT_EQ(queue_->TakeAbortWish(), -1);
  queue_->AbortEnded();
  queue_->CheckTimeouts(1190 * kMs);
  EXPECT_FALSE(queue_->TakeResetWish());
  EXPECT_EQ(queue_->TakeAbortWish(), -1);
  queue_->CheckTimeouts(1208 * kMs);
  EXPECT_TRUE(queue_->TakeResetWish());
  EXPECT_FALSE(queue_->TakeResetWish());
  queue_->CheckTimeouts(9000 * kMs);
  EXPECT_FALSE(queue_->TakeResetWish());
}

TEST_F(QueuePairTest, OneAbortAtATime) {
  queue_->SetTimeout(100 * kMs, POLLUX_NVME_ON_TIMEOUT_ABORT);
  QueueRecorder first, second;
  Submit(first);
  Submit(second);
  Fetch();
  queue_->CheckTimeouts(1000 * kMs);
  queue_->CheckTimeouts(1104 * kMs);
  EXPECT_EQ(Statistics().timeouts, 2u);
  EXPECT_EQ(queue_->TakeAbortWish(), device_.held(0).cid);
  queue_->CheckTimeouts(1110 * kMs);
  EXPECT_EQ(queue_->TakeAbortWish(), -1);
  queue_->AbortEnded();
  queue_->CheckTimeouts(1120 * kMs);
  EXPECT_EQ(queue_->TakeAbortWish(), device_.held(1).cid);
}

TEST_F(QueuePairTest, ATimeoutMayAskForAResetAtOnce) {
  queue_->SetTimeout(100 * kMs, POLLUX_NVME_ON_TIMEOUT_RESET);
  QueueRecorder slow;
  Submit(slow);
  queue_->CheckTimeouts(0);
  queue_->CheckTimeouts(104 * kMs);
  EXPECT_TRUE(queue_->TakeResetWish());
  EXPECT_EQ(queue_->TakeAbortWish(), -1);
}

TEST_F(QueuePairTest, AbortsOnlyWhatIsInFlight) {
  QueueRecorder command, other;
  EXPECT_EQ(queue_->Abort(*command.c()), -ENOENT);
  Submit(command);
  Submit(other);
  EXPECT_EQ(queue_->Abort(*command.c()), 0);
  EXPECT_EQ(device_.Step(), 2u) << "the device must know what it is to abort";
  EXPECT_EQ(queue_->Abort(*other.c()), -EAGAIN);
  EXPECT_EQ(queue_->TakeAbortWish(), device_.held(0).cid);
  EXPECT_EQ(queue_->Abort(*other.c()), -EAGAIN);
  queue_->AbortEnded();
  EXPECT_EQ(queue_->Abort(*other.c()), 0);
  device_.CompleteAll();
  queue_->Poll(0);
  EXPECT_EQ(queue_->Abort(*command.c()), -ENOENT);
}

TEST_F(QueuePairTest, AWishDiesWithTheReset) {
  QueueRecorder command;
  Submit(command);
  ASSERT_EQ(queue_->Abort(*command.c()), 0);
  queue_->Close();
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  queue_->Poll(0);
  EXPECT_EQ(queue_->TakeAbortWish(), -1);
}

}  // namespace
}  // namespace pollux::nvme
