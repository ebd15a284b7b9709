#include "tests/unit/drivers/nvme/controller_world.h"

namespace pollux::nvme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ResetTest : public ControllerWorld {
 protected:
  ~ResetTest() override {
    if (controller_ != nullptr) Detach();
    FreeData();
  }
  // Reads that the device holds.
  void SubmitHeld(pollux_nvme_queue* queue, std::deque<Recorder>& requests, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      requests.emplace_back();
      ASSERT_EQ(Read(queue, requests.back()), 0);
    }
    pollux_nvme_queue_ring(queue);
    model_->Step();
  }
  void ExpectEnded(const std::deque<Recorder>& requests, uint16_t status) {
    for (const Recorder& request : requests) {
      EXPECT_EQ(request.calls, 1);
      EXPECT_EQ(request.status, status);
    }
  }
  // What a ready controller can do.
  void ExpectReads() {
    for (pollux_nvme_queue* queue : queues_) {
      Recorder request;
      ASSERT_EQ(Read(queue, request), 0) << pollux_nvme_error_text();
      for (int i = 0; i < 100 && request.calls == 0; ++i) Turn();
      EXPECT_EQ(request.calls, 1);
      EXPECT_EQ(request.status, 0);
    }
  }
};

TEST_F(ResetTest, EndsWhatIsInFlightAndGoesOnWithTheSameQueues) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  TakeQueue();
  TakeQueue();
  model_->HoldCommands(NvmeModel::Hold::kIo);
  std::deque<Recorder> requests;
  SubmitHeld(queues_[0], requests, 5);
  SubmitHeld(queues_[1], requests, 3);
  ASSERT_EQ(pollux_nvme_reset(controller_), 0);
  Turn();
  Recorder refused;
  EXPECT_EQ(Read(queues_[0], refused), -EAGAIN);
  model_->HoldCommands(NvmeModel::Hold::kNothing);
  PollUntil(POLLUX_NVME_STATE_READY);
  ExpectEnded(requests, POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_EQ(refused.calls, 0);
  ExpectReads();
  EXPECT_THAT(model_->complaints(), IsEmpty());
}

TEST_F(ResetTest, WaitsForTheOwnersOfTheQueues) {
  Attach();
  pollux_nvme_queue* queue = TakeQueue();
  model_->HoldCommands(NvmeModel::Hold::kIo);
  std::deque<Recorder> requests;
  SubmitHeld(queue, requests, 2);
  model_->HoldCommands(NvmeModel::Hold::kNothing);
  pollux_nvme_reset(controller_);
  queues_.clear();  // Its owner is busy elsewhere.
  Turns(2000);
  EXPECT_EQ(state(), POLLUX_NVME_STATE_RESETTING);
  EXPECT_EQ(requests[0].calls, 0);
  queues_.push_back(queue);
  PollUntil(POLLUX_NVME_STATE_READY);
  ExpectEnded(requests, POLLUX_NVME_ABORTED_BY_HOST);
}

TEST_F(ResetTest, EndsCommandsWithinASecondThoughTheDeviceTakesLongerToStop) {
  device_options_.controller.ready_steps = 3000;  // At a millisecond each.
  Attach();
  TakeQueue();
  std::deque<Recorder> requests;
  model_->HoldCommands(NvmeModel::Hold::kIo);
  SubmitHeld(queues_[0], requests, 2);
  pollux_nvme_reset(controller_);
  const uint64_t began = clock_.NowNs();
  for (int i = 0; i < kTurnsMax && requests[1].calls == 0; ++i) Turn();
  EXPECT_LT(clock_.NowNs() - began, kNsPerSecond);
  ExpectEnded(requests, POLLUX_NVME_ABORTED_BY_HOST);
  model_->HoldCommands(NvmeModel::Hold::kNothing);
  PollUntil(POLLUX_NVME_STATE_READY);
  ExpectReads();
}

TEST_F(ResetTest, TriesAgainAndThenHasFailed) {
  attach_options_.reset_attempts_max = 3;
  Attach();
  TakeQueue();
  for (uint32_t nth = 1; nth <= 3; ++nth) {
    model_->faults().OnAdmin(admin::kCreateCq, nth, status::kInternalError);
  }
  pollux_nvme_reset(controller_);
  PollUntil(POLLUX_NVME_STATE_FAILED);
  EXPECT_EQ(failure(), -EIO);
  EXPECT_TRUE(Logged("reset 3 of 3 failed"));
  Recorder refused;
  EXPECT_EQ(Read(queues_[0], refused), -ENXIO);

  // It may still be asked for.
  EXPECT_EQ(pollux_nvme_reset(controller_), 0);
  PollUntil(POLLUX_NVME_STATE_READY);
  ExpectReads();
}

// Their owners have them, and are not to lose what they were given.
TEST_F(ResetTest, FailsWithFewerQueuesThanBeforeUntilThereAreAsMany) {
  attach_options_.reset_attempts_max = 2;
  attach_options_.io_queues = 3;
  Attach();
  TakeQueue();
  TakeQueue();
  model_->io_queues_granted = 2;
  pollux_nvme_reset(controller_);
  PollUntil(POLLUX_NVME_STATE_FAILED);
  EXPECT_THAT(failure_text(), HasSubstr("grants 2 I/O queues, not 3"));
  Recorder refused;
  EXPECT_EQ(Read(queues_[0], refused), -ENXIO);
  EXPECT_EQ(refused.calls, 0);

  model_->io_queues_granted = 3;
  EXPECT_EQ(pollux_nvme_reset(controller_), 0);
  PollUntil(POLLUX_NVME_STATE_READY);
  EXPECT_EQ(info().io_queues, 3);
  ExpectReads();
}

TEST_F(ResetTest, MoreQueuesThanBeforeAreNotTaken) {
  attach_options_.io_queues = 4;
  device_options_.controller.io_queues_granted = 2;
  Attach();
  TakeQueue();
  model_->io_queues_granted = 4;
  pollux_nvme_reset(controller_);
  PollUntil(POLLUX_NVME_STATE_READY);
  EXPECT_EQ(info().io_queues, 2);
  ExpectReads();
  EXPECT_THAT(model_->complaints(), IsEmpty());
}

TEST_F(ResetTest, OutlivesARefusalOfEachCommandInTurn) {
  attach_options_.admin_timeout_ms = 100;
  Attach();
  TakeQueue();
  for (uint32_t nth = 1; nth < 16; ++nth) {
    model_->faults().OnAdmin(models::Faults::kAnyOpcode, nth,
                             nth % 2 == 0 ? models::Faults::kLost : status::kInternalError);
    pollux_nvme_reset(controller_);
    PollUntil(POLLUX_NVME_STATE_READY);
    // A namespace that could not be read again is gone until it can.
    pollux_nvme_rescan(controller_);
    Turns(50);
    ExpectReads();
  }
}

TEST_F(ResetTest, FollowsAFatalStatus) {
  Attach();
  TakeQueue();
  model_->GoFatal();
  std::deque<Recorder> requests;
  SubmitHeld(queues_[0], requests, 2);
  PollWhile(POLLUX_NVME_STATE_READY);
  EXPECT_EQ(state(), POLLUX_NVME_STATE_RESETTING);
  EXPECT_THAT(failure_text(), HasSubstr("fatal"));
  PollUntil(POLLUX_NVME_STATE_READY);
  ExpectEnded(requests, POLLUX_NVME_ABORTED_BY_HOST);
  ExpectReads();
}

TEST_F(ResetTest, IsMadeForATimeOut) {
  attach_options_.io_timeout_ms = 50;
  attach_options_.on_io_timeout = POLLUX_NVME_ON_TIMEOUT_RESET;
  Attach();
  pollux_nvme_queue* queue = TakeQueue();
  model_->HoldCommands(NvmeModel::Hold::kIo);
  std::deque<Recorder> requests;
  SubmitHeld(queue, requests, 1);
  for (int i = 0; i < 1000 && requests[0].calls == 0; ++i) {
    pollux_nvme_queue_check_timeouts(queue, clock_.NowNs());
    Turn();
  }
  model_->HoldCommands(NvmeModel::Hold::kNothing);
  PollUntil(POLLUX_NVME_STATE_READY);
  ExpectEnded(requests, POLLUX_NVME_ABORTED_BY_HOST);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_TIMEOUT), testing::SizeIs(1));
}

TEST_F(ResetTest, IsNotMadeWhenTheAbortHelps) {
  attach_options_.io_timeout_ms = 50;
  attach_options_.on_io_timeout = POLLUX_NVME_ON_TIMEOUT_ABORT;
  Attach();
  pollux_nvme_queue* queue = TakeQueue();
  model_->HoldCommands(NvmeModel::Hold::kIo);
  std::deque<Recorder> requests;
  SubmitHeld(queue, requests, 1);
  for (int i = 0; i < 1000 && requests[0].calls == 0; ++i) {
    pollux_nvme_queue_check_timeouts(queue, clock_.NowNs());
    Turn();
  }
  EXPECT_EQ(state(), POLLUX_NVME_STATE_READY);
  ExpectEnded(requests, status::kAbortRequested);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_STATE), ElementsAre(POLLUX_NVME_STATE_READY));
}

TEST_F(ResetTest, DisablesAndEnables) {
  Attach();
  TakeQueue();
  ASSERT_EQ(pollux_nvme_disable(controller_), 0);
  PollUntil(POLLUX_NVME_STATE_DISABLED);
  EXPECT_EQ(cc::kEn.Get(model_->cc()), 0u);
  EXPECT_EQ(pollux_nvme_reset(controller_), -EBUSY);
  Recorder refused;
  EXPECT_EQ(Read(queues_[0], refused), -EAGAIN);
  ASSERT_EQ(pollux_nvme_enable(controller_), 0);
  PollUntil(POLLUX_NVME_STATE_READY);
  ExpectReads();
  EXPECT_EQ(pollux_nvme_enable(controller_), -EBUSY);
}

TEST_F(ResetTest, ARemovalEndsEveryCommandOnceWithinASecond) {
  Attach();
  TakeQueue();
  TakeQueue();
  model_->HoldCommands(NvmeModel::Hold::kIo);
  std::deque<Recorder> requests;
  SubmitHeld(queues_[0], requests, 6);
  SubmitHeld(queues_[1], requests, 6);
  model_->Complete(3);  // What was answered before counts.
  model_->Disappear();
  const uint64_t began = clock_.NowNs();
  PollUntil(POLLUX_NVME_STATE_GONE);
  Turns(2);
  EXPECT_LT(clock_.NowNs() - began, kNsPerSecond);
  int pathing = 0;
  for (const Recorder& request : requests) {
    EXPECT_EQ(request.calls, 1);
    pathing += request.status == POLLUX_NVME_HOST_PATHING_ERROR ? 1 : 0;
  }
  EXPECT_EQ(pathing, 11);
  Recorder refused;
  EXPECT_EQ(Read(queues_[0], refused), -ENXIO);
  EXPECT_EQ(pollux_nvme_reset(controller_), -ENODEV);
}

TEST_F(ResetTest, ARemovalDuringAResetIsSeenAtEveryAccess) {
  for (uint64_t n = 1; n < 30; ++n) {
    Attach();
    TakeQueue();
    model_->HoldCommands(NvmeModel::Hold::kIo);
    std::deque<Recorder> requests;
    SubmitHeld(queues_[0], requests, 3);
    model_->DisappearAtAccess(n);
    pollux_nvme_reset(controller_);
    for (int i = 0; i < 2000 && state() != POLLUX_NVME_STATE_GONE; ++i) Turn();
    EXPECT_EQ(state(), POLLUX_NVME_STATE_GONE) << n;
    for (const Recorder& request : requests) EXPECT_EQ(request.calls, 1) << n;
    Detach();
  }
}

TEST_F(ResetTest, AThousandOnesLeaveNothingBehind) {
  Attach();
  TakeQueue();
  const size_t free = host_->arena().free_bytes();
  for (int n = 0; n < 1000; ++n) {
    model_->HoldCommands(NvmeModel::Hold::kIo);
    std::deque<Recorder> requests;
    SubmitHeld(queues_[0], requests, 4);
    ASSERT_EQ(pollux_nvme_reset(controller_), 0);
    Turn();
    model_->HoldCommands(NvmeModel::Hold::kNothing);
    PollUntil(POLLUX_NVME_STATE_READY);
    ExpectEnded(requests, POLLUX_NVME_ABORTED_BY_HOST);
  }
  ExpectReads();
  // The buffer of Read() is there now, and was not before.
  EXPECT_GE(host_->arena().free_bytes() + 4096, free);
  EXPECT_THAT(model_->complaints(), IsEmpty());
}

TEST_F(ResetTest, AThousandRemovalsUnderLoadLeaveNothingBehind) {
  for (int n = 0; n < 1000; ++n) {
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY);
    TakeQueue();
    model_->HoldCommands(NvmeModel::Hold::kIo);
    std::deque<Recorder> requests;
    SubmitHeld(queues_[0], requests, 4);
    model_->Disappear();
    PollUntil(POLLUX_NVME_STATE_GONE);
    Turn();
    ExpectEnded(requests, POLLUX_NVME_HOST_PATHING_ERROR);
    Detach();
  }
  EXPECT_EQ(host_->controllers(), 0u);
}

}  // namespace
}  // namespace pollux::nvme
