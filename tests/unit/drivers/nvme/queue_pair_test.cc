#include "drivers/nvme/queue_pair.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <thread>

#include "core/unique_fd.h"
#include "drivers/nvme/event_set.h"
#include "tests/unit/drivers/nvme/queue_world.h"

namespace pollux::nvme {
namespace {

constexpr uint16_t kId = 3;
constexpr uint16_t kDepth = 8;

class QueuePairTest : public testing::Test {
 protected:
  SharedMemory memory_{16};
  QueueDevice device_{kId, kDepth};
  std::unique_ptr<pollux_nvme_queue> queue_;

  QueuePairTest() { Make(device_.Parts(memory_.map())); }
  ~QueuePairTest() override { QueueRecorder::EndTest(*queue_); }

  void Make(const QueuePair::Parts& parts) {
    queue_ = std::make_unique<pollux_nvme_queue>(parts);
    queue_->Reopen();
  }
  int TrySubmit(QueueRecorder& command, uint8_t opc = io::kFlush, uint8_t fuse = 0) {
    SubmissionEntry entry;
    entry.opc = opc;
    entry.flags = fuse;
    return queue_->Submit(*command.c(), entry, {});
  }
  void Submit(QueueRecorder& command, uint8_t opc = io::kFlush) {
    ASSERT_EQ(TrySubmit(command, opc), 0);
  }
  // Announces, and lets the device fetch.
  size_t Fetch() {
    queue_->Ring();
    return device_.Step();
  }
  pollux_nvme_queue_statistics Statistics() const {
    pollux_nvme_queue_statistics statistics;
    queue_->ReadStatistics(statistics);
    return statistics;
  }
  uint64_t strays() const { return Statistics().stray_completions; }
};

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

// --- The gate.

TEST_F(QueuePairTest, AClosedQueueRefusesAndStillCompletes) {
  QueueRecorder command, refused;
  Submit(command);
  Fetch();
  queue_->Close();
  EXPECT_EQ(TrySubmit(refused), -EAGAIN);
  device_.Complete(0);
  EXPECT_EQ(queue_->Poll(0), 1);
  EXPECT_EQ(command.last.status, 0);
}

TEST_F(QueuePairTest, DrainingEndsEverythingOnce) {
  std::array<QueueRecorder, 3> commands;
  for (auto& command : commands) Submit(command);
  Fetch();
  queue_->Close();
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_EQ(queue_->gate(), QueuePair::Gate::kDraining);
  EXPECT_EQ(queue_->Poll(0), 3);
  EXPECT_EQ(queue_->gate(), QueuePair::Gate::kDrained);
  EXPECT_EQ(queue_->Poll(0), 0);
  for (auto& command : commands) {
    EXPECT_EQ(command.calls, 1);
    EXPECT_EQ(command.last.status, POLLUX_NVME_ABORTED_BY_HOST);
  }
  EXPECT_EQ(queue_->in_flight(), 0u);
}

TEST_F(QueuePairTest, WhatHadCompletedEndsAsTheDeviceSaid) {
  QueueRecorder done, lost;
  Submit(done);
  Submit(lost);
  Fetch();
  device_.Complete(0, 0, 42);
  queue_->Close();
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_EQ(queue_->Poll(0), 2);
  EXPECT_EQ(done.last.status, 0);
  EXPECT_EQ(done.last.dw0, 42u);
  EXPECT_EQ(lost.last.status, POLLUX_NVME_ABORTED_BY_HOST);
}

TEST_F(QueuePairTest, DrainsInBoundedPolls) {
  std::array<QueueRecorder, 5> commands;
  for (auto& command : commands) Submit(command);
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_EQ(queue_->Poll(2), 2);
  EXPECT_EQ(queue_->gate(), QueuePair::Gate::kDraining);
  EXPECT_EQ(queue_->Poll(2), 2);
  EXPECT_EQ(queue_->Poll(2), 1);
  EXPECT_EQ(queue_->gate(), QueuePair::Gate::kDrained);
}

TEST_F(QueuePairTest, WorksAnewAfterAReset) {
  QueueRecorder command;
  for (int reset = 0; reset < 20; ++reset) {
    for (int i = 0; i <= reset; ++i) {
      Submit(command);
      Fetch();
      device_.Complete(0);
      ASSERT_EQ(queue_->Poll(0), 1);
    }
    queue_->Close();
    queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
    queue_->Poll(0);
    device_.Restart();
    queue_->Reopen();
  }
  EXPECT_EQ(strays(), 0u);
}

TEST_F(QueuePairTest, ACompletionThatComesAfterTheResetIsAStray) {
  QueueRecorder old, young;
  Submit(old);
  Fetch();
  const uint16_t cid = device_.held(0).cid;
  queue_->Close();
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  queue_->Poll(0);
  device_.Restart();
  queue_->Reopen();
  Submit(young);
  Fetch();
  device_.Post(kId, cid);
  EXPECT_EQ(queue_->Poll(0), 0);
  EXPECT_EQ(young.calls, 0);
  EXPECT_EQ(old.calls, 1);
  EXPECT_EQ(strays(), 1u);
}

TEST_F(QueuePairTest, WhatIsWrittenIntoADrainedQueueIsForgotten) {
  queue_->Close();
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  queue_->Poll(0);
  device_.Restart();
  device_.Post(kId, 1);
  EXPECT_EQ(queue_->Poll(0), 0);
  device_.Restart();
  queue_->Reopen();
  EXPECT_EQ(strays(), 1u);
  QueueRecorder command;
  Submit(command);
  Fetch();
  device_.Complete(0);
  EXPECT_EQ(queue_->Poll(0), 1);
}

TEST_F(QueuePairTest, WhatEndsInADrainCannotSubmit) {
  QueueRecorder command;
  int error = 0;
  command.then = [&] { error = TrySubmit(command); };
  Submit(command);
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  queue_->Poll(0);
  EXPECT_EQ(error, -EAGAIN);
  EXPECT_EQ(command.calls, 1);
}

TEST_F(QueuePairTest, ADeadQueueEndsEverythingAndStaysDead) {
  QueueRecorder command;
  Submit(command);
  Fetch();
  queue_->Kill(POLLUX_NVME_HOST_PATHING_ERROR);
  EXPECT_EQ(TrySubmit(command), -ENXIO);
  EXPECT_EQ(queue_->Poll(0), 1);
  EXPECT_EQ(command.last.status, POLLUX_NVME_HOST_PATHING_ERROR);
  EXPECT_EQ(queue_->Poll(0), 0);
  EXPECT_EQ(queue_->gate(), QueuePair::Gate::kDead);
}

TEST_F(QueuePairTest, ADeadQueueMayBeDrainedAndOpenedAgain) {
  queue_->Kill(POLLUX_NVME_HOST_PATHING_ERROR);
  queue_->Poll(0);
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  queue_->Poll(0);
  ASSERT_EQ(queue_->gate(), QueuePair::Gate::kDrained);
  device_.Restart();
  queue_->Reopen();
  QueueRecorder command;
  Submit(command);
  EXPECT_EQ(Fetch(), 1u);
}

TEST_F(QueuePairTest, AQueueThatDiesWhileItDrainsIsDead) {
  QueueRecorder command;
  command.then = [&] { queue_->Kill(POLLUX_NVME_HOST_PATHING_ERROR); };
  Submit(command);
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  queue_->Poll(0);
  EXPECT_EQ(queue_->gate(), QueuePair::Gate::kDead);
  EXPECT_EQ(command.calls, 1);
}

TEST_F(QueuePairTest, AClosedQueueWritesNoDoorbellOnceItDrains) {
  QueueRecorder command;
  Submit(command);
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  queue_->Ring();
  queue_->Poll(0);
  EXPECT_EQ(device_.sq_doorbell(), 0u);
  EXPECT_EQ(Statistics().doorbells, 0u);
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

// --- Time-outs and aborts.

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

// --- Sleeping.

class SleepTest : public QueuePairTest {
 protected:
  SleepTest() {
    EXPECT_TRUE(HearRings(set_.get(), interrupt_.get()).ok());
    QueuePair::Parts parts = device_.Parts(memory_.map());
    parts.event_fd = set_.get();
    Make(parts);
  }
  void Interrupt() { eventfd_write(interrupt_.get(), 1); }
  bool Awake() const {
    pollfd state{.fd = set_.get(), .events = POLLIN, .revents = 0};
    return poll(&state, 1, 0) == 1;
  }

  UniqueFd set_ = *MakeEventSet();
  UniqueFd interrupt_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

TEST_F(SleepTest, IsNotOverACompletion) {
  Interrupt();
  QueueRecorder command;
  Submit(command);
  EXPECT_TRUE(Awake());
  EXPECT_TRUE(queue_->PrepareSleep());
  EXPECT_FALSE(Awake()) << "the descriptor was not cleared";
  device_.Step();
  device_.Complete(0);
  EXPECT_FALSE(queue_->PrepareSleep());
  queue_->Poll(0);
  EXPECT_TRUE(queue_->PrepareSleep());
  EXPECT_EQ(device_.cq_doorbell(), 1u) << "the device sees an entry that was not taken";
}

TEST_F(SleepTest, EndsByADrain) {
  ASSERT_TRUE(queue_->PrepareSleep());
  queue_->Close();
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_TRUE(Awake());
  EXPECT_FALSE(queue_->PrepareSleep());
  queue_->Poll(0);
  EXPECT_TRUE(queue_->PrepareSleep());
}

TEST_F(SleepTest, EndsByEachInterrupt) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(queue_->PrepareSleep());
    EXPECT_FALSE(Awake());
    Interrupt();
    EXPECT_TRUE(Awake());
  }
}

// A device at a socket has the same eventfd, and is not to be trusted with it.
TEST_F(SleepTest, CannotBeMadeForEverByTheDevice) {
  fcntl(interrupt_.get(), F_SETFL, 0);  // From now on reads and writes of it wait.
  Interrupt();
  EXPECT_TRUE(Awake());
  eventfd_t taken = 0;
  ASSERT_EQ(eventfd_read(interrupt_.get(), &taken), 0);  // It takes back what it gave.
  EXPECT_TRUE(queue_->PrepareSleep());
  EXPECT_FALSE(Awake());

  ASSERT_EQ(eventfd_write(interrupt_.get(), UINT64_MAX - 1), 0);  // And leaves no room.
  EXPECT_TRUE(Awake());
  EXPECT_TRUE(queue_->PrepareSleep());
  queue_->Close();
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_TRUE(Awake());
}

// --- Shadow doorbells.

class ShadowTest : public QueuePairTest {
 protected:
  ShadowTest() {
    QueuePair::Parts parts = device_.Parts(memory_.map());
    parts.shadow_sq = &shadow(0);
    parts.shadow_cq = &shadow(1);
    parts.event_sq = &shadow(2);
    parts.event_cq = &shadow(3);
    Make(parts);
  }
  Le32& shadow(size_t n) { return device_.shadows()[n]; }
};

TEST_F(ShadowTest, RingsOnlyWhenTheEventIndexIsPassed) {
  QueueRecorder commands[3];
  Submit(commands[0]);
  queue_->Ring();
  EXPECT_EQ(shadow(0), 1u);
  EXPECT_EQ(device_.sq_doorbell(), 1u);
  shadow(2) = 2;  // The device looks by itself until then.
  Submit(commands[1]);
  queue_->Ring();
  EXPECT_EQ(shadow(0), 2u);
  EXPECT_EQ(device_.sq_doorbell(), 1u);
  Submit(commands[2]);
  queue_->Ring();
  EXPECT_EQ(shadow(0), 3u);
  EXPECT_EQ(device_.sq_doorbell(), 3u);
}

TEST_F(ShadowTest, AnIndexThatWasPassedAsksForNothing) {
  QueueRecorder first, second;
  Submit(first);
  queue_->Ring();
  Submit(second);
  queue_->Ring();  // From 1 to 2, and the index is still 0.
  EXPECT_EQ(shadow(0), 2u);
  EXPECT_EQ(device_.sq_doorbell(), 1u);
}

TEST_F(ShadowTest, RingsAcrossTheEndOfTheRing) {
  // The device asks to be told of everything: its index is always the last tail that it saw.
  for (int i = 0; i < 100; ++i) {
    QueueRecorder command;
    Submit(command);
    queue_->Ring();
    ASSERT_EQ(device_.Step(), 1u) << i;
    shadow(2) = device_.sq_doorbell();
    shadow(3) = shadow(1);
    device_.Complete(0);
    ASSERT_EQ(queue_->Poll(0), 1);
  }
}

TEST_F(ShadowTest, AreEmptyAfterADrain) {
  QueueRecorder command;
  Submit(command);
  queue_->Ring();
  shadow(2) = 5;
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  queue_->Poll(0);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(shadow(i), 0u) << i;
}

// --- Injections.

class InjectionTest : public QueuePairTest {
 protected:
  void Inject(pollux_nvme_injection injection) {
    injections_ = injections_->With(injection);
    queue_->SetInjections(injections_);
    queue_->Poll(0);
  }
  std::shared_ptr<const Injections> injections_ = std::make_shared<Injections>();
};

TEST_F(InjectionTest, FailsACommandThatTheDeviceNeverSees) {
  Inject({.opc = io::kRead, .do_not_submit = true, .count = 1, .status = 0x281});
  QueueRecorder read, flush, next;
  Submit(read, io::kRead);
  Submit(flush, io::kFlush);
  Submit(next, io::kRead);
  EXPECT_EQ(read.calls, 0);
  EXPECT_EQ(Fetch(), 2u);
  EXPECT_EQ(queue_->Poll(0), 1);
  EXPECT_EQ(read.last.status, 0x281);
  device_.CompleteAll();
  EXPECT_EQ(queue_->Poll(0), 2);
  EXPECT_EQ(next.last.status, 0);
  EXPECT_EQ(Statistics().submitted, 3u);
  EXPECT_EQ(Statistics().completed, 3u);
  EXPECT_EQ(Statistics().failed, 1u);
}

TEST_F(InjectionTest, ReplacesTheDevicesStatus) {
  Inject({.opc = io::kWrite, .count = 0, .status = 0x280});
  for (int i = 0; i < 20; ++i) {
    QueueRecorder write;
    Submit(write, io::kWrite);
    EXPECT_EQ(Fetch(), 1u);
    device_.Complete(0, 0, 9);
    EXPECT_EQ(queue_->Poll(0), 1);
    EXPECT_EQ(write.last.status, 0x280);
    EXPECT_EQ(write.last.dw0, 9u);
  }
}

TEST_F(InjectionTest, IsNotAboutTheAdminQueue) {
  Inject({.admin = true, .opc = io::kWrite, .do_not_submit = true, .status = 0x280});
  QueueRecorder write;
  Submit(write, io::kWrite);
  EXPECT_EQ(Fetch(), 1u);
}

TEST_F(InjectionTest, HoldsACommandBack) {
  Inject({.opc = io::kRead, .timeout_us = 3600ull * 1000 * 1000, .count = 1});
  QueueRecorder read;
  Submit(read, io::kRead);
  Fetch();
  const uint16_t cid = device_.held(0).cid;
  device_.Complete(0);
  EXPECT_EQ(queue_->Poll(0), 0);
  device_.Post(kId, cid);
  EXPECT_EQ(queue_->Poll(0), 0);
  EXPECT_EQ(strays(), 1u);
  EXPECT_EQ(queue_->in_flight(), 1u);
  queue_->Drain(POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_EQ(queue_->Poll(0), 1);
  EXPECT_EQ(read.last.status, POLLUX_NVME_ABORTED_BY_HOST);
}

TEST_F(InjectionTest, EndsWhenItIsRemoved) {
  Inject({.opc = io::kRead, .do_not_submit = true, .status = 0x281});
  EXPECT_TRUE(injections_->Has(false, io::kRead));
  queue_->SetInjections(injections_->Without(false, io::kRead));
  queue_->Poll(0);
  QueueRecorder read;
  Submit(read, io::kRead);
  EXPECT_EQ(Fetch(), 1u);
}

TEST_F(InjectionTest, WhatFailsAndIsSubmittedAgainDoesNotHoldAPoll) {
  Inject({.opc = io::kRead, .do_not_submit = true, .status = 0x281});
  QueueRecorder read;
  read.then = [&] { Submit(read, io::kRead); };
  Submit(read, io::kRead);
  const int ended = queue_->Poll(0);
  EXPECT_GE(ended, 1);
  EXPECT_LE(ended, int{kDepth});
}

// --- The owner in another thread.

TEST(QueuePairThreads, ResetsUnderLoadEndEachCommandOnce) {
  constexpr int kResets = 200;
  constexpr size_t kCommands = 24;
  SharedMemory memory(4);
  QueueDevice device(kId, 32);
  QueuePair::Parts parts = device.Parts(memory.map());
  auto queue = std::make_unique<pollux_nvme_queue>(parts);
  queue->SetTimeout(kMs, POLLUX_NVME_ON_TIMEOUT_ABORT);
  queue->Reopen();

  std::atomic<bool> stop{false};
  uint64_t begun = 0, ended = 0;
  std::thread owner([&] {
    std::array<QueueRecorder, kCommands> commands;
    std::array<bool, kCommands> busy{};
    for (size_t i = 0; i < kCommands; ++i) {
      commands[i].then = [&, i] { ++ended, busy[i] = false; };
    }
    uint64_t now = 0;
    while (!stop.load() || queue->in_flight() > 0) {
      for (size_t i = 0; i < kCommands && !stop.load(); ++i) {
        SubmissionEntry entry;
        if (busy[i] || queue->Submit(*commands[i].c(), entry, {}) != 0) continue;
        busy[i] = true;
        ++begun;
      }
      queue->Ring();
      // The device belongs to this thread while the queue is open.
      if (queue->gate() == QueuePair::Gate::kOpen && device.Step() > 0) device.Complete(0);
      queue->Poll(0);
      queue->CheckTimeouts(now += kMs);
    }
  });
  pollux_nvme_queue_statistics statistics;
  for (int i = 0; i < kResets; ++i) {
    if (queue->TakeAbortWish() >= 0) queue->AbortEnded();
    queue->TakeResetWish();
    queue->TakeTimeoutNotice();
    queue->ReadStatistics(statistics);
    queue->Close();
    queue->Drain(POLLUX_NVME_ABORTED_BY_HOST);
    while (queue->gate() != QueuePair::Gate::kDrained) std::this_thread::yield();
    device.Restart();
    queue->Reopen();
    std::this_thread::yield();
  }
  queue->Kill(POLLUX_NVME_HOST_PATHING_ERROR);
  stop = true;
  owner.join();
  EXPECT_EQ(begun, ended);
  queue->ReadStatistics(statistics);
  EXPECT_EQ(statistics.completed, ended);
  EXPECT_EQ(queue->in_flight(), 0u);
}

}  // namespace
}  // namespace pollux::nvme
