#include "drivers/nvme/queue_pair.h"

#include <array>

#include "tests/unit/drivers/nvme/queue_pair_fixture.h"

namespace pollux::nvme {
namespace {

TEST_F(QueuePairTest, DeviceSeesNothingBeforeTheDoorbell) {
  QueueRecorder read;
  Submit(read);
  EXPECT_EQ(device_.Step(), 0u);
  EXPECT_EQ(Fetch(), 1u);
}

TEST_F(QueuePairTest, PollRingsForWhatWasSubmitted) {
  QueueRecorder read;
  Submit(read);
  EXPECT_EQ(queue_->Poll(0), 0);
  EXPECT_EQ(device_.Step(), 1u);
}

TEST_F(QueuePairTest, OneDoorbellAnnouncesABatch) {
  std::array<QueueRecorder, 5> commands;
  for (auto& command : commands) Submit(command);
  EXPECT_EQ(Fetch(), 5u);
  queue_->Ring();
  EXPECT_EQ(Statistics().doorbells, 1u);
  EXPECT_EQ(Statistics().submitted, 5u);
}

TEST_F(QueuePairTest, CompletesOutOfOrder) {
  QueueRecorder first, second;
  Submit(first);
  Submit(second);
  Fetch();
  device_.Complete(1, 0, 0x11, 0x22);
  EXPECT_EQ(queue_->Poll(0), 1);
  EXPECT_EQ(first.calls, 0);
  EXPECT_EQ(second.calls, 1);
  EXPECT_EQ(second.last.dw0, 0x11u);
  EXPECT_EQ(second.last.dw1, 0x22u);
  EXPECT_EQ(queue_->in_flight(), 1u);
}

TEST_F(QueuePairTest, ReportsTheDevicesStatus) {
  QueueRecorder command;
  Submit(command);
  Fetch();
  device_.Complete(0, 0x4281);
  queue_->Poll(0);
  EXPECT_EQ(command.last.status, 0x4281);
  EXPECT_EQ(pollux_nvme_code(command.last), status::kUnrecoveredReadError);
  EXPECT_TRUE(pollux_nvme_do_not_retry(command.last));
  EXPECT_EQ(Statistics().failed, 1u);
}

TEST_F(QueuePairTest, RefusesWhenFullAndChangesNothing) {
  std::array<QueueRecorder, kDepth - 1> held;
  for (auto& command : held) Submit(command);
  QueueRecorder refused;
  EXPECT_EQ(TrySubmit(refused), -EAGAIN);
  EXPECT_EQ(queue_->room(), 0u);
  EXPECT_EQ(Fetch(), held.size());
  device_.CompleteAll();
  EXPECT_EQ(queue_->Poll(0), int{kDepth} - 1);
  EXPECT_EQ(refused.calls, 0);
}

TEST_F(QueuePairTest, GoesRoundManyLapsFull) {
  std::array<QueueRecorder, kDepth - 1> commands;
  for (int lap = 0; lap < 1000; ++lap) {
    for (auto& command : commands) Submit(command);
    EXPECT_EQ(Fetch(), commands.size());
    EXPECT_EQ(queue_->Poll(0), 0) << "a stale entry of the last lap was taken for a new one";
    device_.CompleteAll();
    EXPECT_EQ(queue_->Poll(0), int{kDepth} - 1);
  }
  for (auto& command : commands) EXPECT_EQ(command.calls, 1000);
  EXPECT_EQ(strays(), 0u);
}

TEST_F(QueuePairTest, NoIdentifierIsZeroOrReserved) {
  for (int i = 0; i < 3 * 65536; ++i) {
    QueueRecorder command;
    Submit(command);
    Fetch();
    ASSERT_NE(device_.held(0).cid, 0);
    ASSERT_NE(device_.held(0).cid, 0xffff);
    device_.Complete(0);
    ASSERT_EQ(queue_->Poll(0), 1);
  }
}

TEST_F(QueuePairTest, PollTakesNoMoreThanItIsAskedFor) {
  std::array<QueueRecorder, 5> commands;
  for (auto& command : commands) Submit(command);
  Fetch();
  device_.CompleteAll();
  EXPECT_EQ(queue_->Poll(2), 2);
  EXPECT_EQ(queue_->Poll(2), 2);
  EXPECT_EQ(queue_->Poll(2), 1);
}

TEST_F(QueuePairTest, WhatCompletesMaySubmitAgain) {
  QueueRecorder command;
  command.then = [&] {
    if (command.calls < 3) Submit(command);
  };
  Submit(command);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Fetch(), 1u);
    device_.Complete(0);
    EXPECT_EQ(queue_->Poll(0), 1);
  }
  EXPECT_EQ(command.calls, 3);
}

TEST_F(QueuePairTest, APollInsideAPollDoesNothing) {
  QueueRecorder first, second;
  int inner = -1;
  first.then = [&] { inner = queue_->Poll(0); };
  Submit(first);
  Submit(second);
  Fetch();
  device_.CompleteAll();
  EXPECT_EQ(queue_->Poll(0), 2);
  EXPECT_EQ(inner, 0);
}

TEST_F(QueuePairTest, CompletionDoorbellWaitsUntilEntriesRunOut) {
  for (int i = 0; i < 6; ++i) {  // Six entries taken, one command in flight: eight is the ring.
    QueueRecorder command;
    Submit(command);
    Fetch();
    device_.Complete(0);
    queue_->Poll(0);
    EXPECT_EQ(device_.cq_doorbell(), 0u) << i;
  }
  QueueRecorder first, second;
  Submit(first);
  Submit(second);
  Fetch();
  EXPECT_EQ(device_.cq_doorbell(), 6u);
  EXPECT_EQ(Statistics().doorbells, 6u + 2u);
}

// --- A device that lies.

TEST_F(QueuePairTest, SurvivesIdentifiersThatItNeverIssued) {
  for (const uint32_t cid : {0x0000u, 0x0001u, 0x0009u, 0x000fu, 0xbeefu, 0xffffu})
    device_.Post(kId, static_cast<uint16_t>(cid));
  EXPECT_EQ(queue_->Poll(0), 0);
  EXPECT_EQ(strays(), 6u);
  EXPECT_EQ(queue_->in_flight(), 0u);
}

TEST_F(QueuePairTest, EveryWrongIdentifierIsAStray) {
  QueueRecorder command;
  Submit(command);
  Fetch();
  const uint16_t right = device_.held(0).cid;
  for (uint32_t cid = 0; cid <= 0xffff; ++cid) {
    if (cid == right) continue;
    device_.Post(kId, static_cast<uint16_t>(cid));
    queue_->Poll(0);
  }
  EXPECT_EQ(command.calls, 0);
  EXPECT_EQ(strays(), 0xffffu);
  device_.Complete(0);
  EXPECT_EQ(queue_->Poll(0), 1);
}

TEST_F(QueuePairTest, ASecondCompletionIsAStray) {
  QueueRecorder command;
  Submit(command);
  Fetch();
  const uint16_t cid = device_.held(0).cid;
  device_.Complete(0);
  device_.Post(kId, cid);
  EXPECT_EQ(queue_->Poll(0), 1);
  QueueRecorder next;
  Submit(next);
  Fetch();
  device_.Post(kId, cid);
  EXPECT_EQ(queue_->Poll(0), 0);
  EXPECT_EQ(command.calls, 1);
  EXPECT_EQ(next.calls, 0);
  EXPECT_EQ(strays(), 2u);
}

TEST_F(QueuePairTest, ACompletionOfAnotherSubmissionQueueIsAStray) {
  QueueRecorder command;
  Submit(command);
  Fetch();
  device_.Post(kId + 1, device_.held(0).cid);
  EXPECT_EQ(queue_->Poll(0), 0);
  EXPECT_EQ(strays(), 1u);
  EXPECT_EQ(command.calls, 0);
}

TEST_F(QueuePairTest, AnEntryWithTheOldPhaseIsNotTaken) {
  QueueRecorder command;
  Submit(command);
  Fetch();
  device_.cq()[0].cid = device_.held(0).cid;
  device_.cq()[0].sqid = kId;
  EXPECT_EQ(queue_->Poll(0), 0);
  EXPECT_EQ(strays(), 0u);
}

TEST_F(QueuePairTest, StraysWithoutEndDoNotHoldAPoll) {
  for (CompletionEntry& entry : device_.cq()) entry.status = 1;
  EXPECT_EQ(queue_->Poll(3), 0);
  EXPECT_EQ(strays(), 3u);
  for (int i = 0; i < 10; ++i) {
    for (CompletionEntry& entry : device_.cq()) entry.status = static_cast<uint16_t>(i & 1);
    queue_->Poll(0);
  }
  EXPECT_LE(strays(), 3u + 10 * kDepth);
}

// --- Fused commands.

TEST_F(QueuePairTest, OneDoorbellAnnouncesBothFusedCommands) {
  QueueRecorder before, compare, write;
  Submit(before);
  ASSERT_EQ(TrySubmit(compare, io::kCompare, kFuseFirst), 0);
  EXPECT_EQ(Fetch(), 1u);
  EXPECT_EQ(queue_->Poll(0), 0);
  EXPECT_EQ(device_.Step(), 1u);
  ASSERT_EQ(TrySubmit(write, io::kWrite, kFuseSecond), 0);
  EXPECT_EQ(Fetch(), 3u);
  EXPECT_EQ(device_.held(1).flags, kFuseFirst);
  EXPECT_EQ(device_.held(2).flags, kFuseSecond);
}

TEST_F(QueuePairTest, NothingComesBetweenFusedCommands) {
  QueueRecorder compare, write, other;
  EXPECT_EQ(TrySubmit(write, io::kWrite, kFuseSecond), -EINVAL);
  ASSERT_EQ(TrySubmit(compare, io::kCompare, kFuseFirst), 0);
  EXPECT_EQ(TrySubmit(other), -EINVAL);
  EXPECT_EQ(TrySubmit(other, io::kCompare, kFuseFirst), -EINVAL);
  ASSERT_EQ(TrySubmit(write, io::kWrite, kFuseSecond), 0);
  ASSERT_EQ(TrySubmit(other), 0);
  EXPECT_EQ(Fetch(), 3u);
}

TEST_F(QueuePairTest, TheFirstOfTwoFusedCommandsNeedsRoomForBoth) {
  std::array<QueueRecorder, kDepth - 2> held;
  for (auto& command : held) Submit(command);
  QueueRecorder compare;
  EXPECT_EQ(TrySubmit(compare, io::kCompare, kFuseFirst), -EAGAIN);
  Submit(compare);
}

TEST_F(QueuePairTest, AFirstCommandWithoutItsSecondEndsWithTheDrain) {
  QueueRecorder compare;
  ASSERT_EQ(TrySubmit(compare, io::kCompare, kFuseFirst), 0);
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_EQ(queue_->Poll(0), 1);
  device_.Restart();
  queue_->Reopen();
  Submit(compare);
  EXPECT_EQ(Fetch(), 1u);
}

}  // namespace
}  // namespace pollux::nvme
