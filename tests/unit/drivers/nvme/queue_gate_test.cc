// Closing, draining, killing and opening a queue pair.
#include <array>
#include <thread>

#include "tests/unit/drivers/nvme/queue_pair_fixture.h"

namespace pollux::nvme {
namespace {

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

// --- The owner in another thread.

TEST(QueuePairThreads, ResetsUnderLoadEndEachCommandOnce) {
  constexpr uint16_t kId = 3;
  constexpr uint64_t kMs = 1'000'000;
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
