// How a controller leaves its device. Base §3.6.1.
#include "tests/unit/drivers/nvme/controller_world.h"

namespace pollux::nvme {
namespace {

using testing::IsEmpty;

class ShutdownTest : public ControllerWorld {
 protected:
  ShutdownTest() { device_options_.controller.shutdown_steps = 5; }
  // Until the device has heard of the shutdown.
  void DetachUntilShutdown() {
    ASSERT_EQ(pollux_nvme_detach_begin(controller_), 0) << pollux_nvme_error_text();
    for (int i = 0; i < kTurnsMax && cc::kShn.Get(model_->cc()) == 0; ++i) Turn();
    EXPECT_EQ(cc::kShn.Get(model_->cc()), 1u);
  }
  int LiveQueues() const {
    int live = 0;
    for (uint16_t qid = 1; qid <= attach_options_.io_queues; ++qid) {
      live += (model_->sq(qid).live ? 1 : 0) + (model_->cq(qid).live ? 1 : 0);
    }
    return live;
  }
};

TEST_F(ShutdownTest, DeletesTheQueuesFirst) {
  attach_options_.io_queues = 3;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  ASSERT_EQ(LiveQueues(), 6);
  DetachUntilShutdown();
  EXPECT_EQ(LiveQueues(), 0);
  EXPECT_THAT(model_->complaints(), IsEmpty());
}

TEST_F(ShutdownTest, GoesOnWhenAQueueIsNotDeleted) {
  for (const uint8_t opcode : {admin::kDeleteSq, admin::kDeleteCq}) {
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
    model_->faults().OnAdmin(opcode, 1, status::kInternalError);
    DetachUntilShutdown();
    // Of the others, nothing is left; a completion queue stays as long as its submission queue.
    EXPECT_EQ(LiveQueues(), opcode == admin::kDeleteSq ? 2 : 1);
    EXPECT_THAT(model_->complaints(), IsEmpty());
    Detach();
  }
}

TEST_F(ShutdownTest, DoesNotWaitLongForADeviceThatDoesNotAnswer) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  Turns(20);
  model_->HoldCommands(NvmeModel::Hold::kEverything);
  const uint64_t began = clock_.NowNs();
  DetachUntilShutdown();
  EXPECT_LE(clock_.NowNs() - began, 2 * kNsPerSecond);
  model_->HoldCommands(NvmeModel::Hold::kNothing);
}

TEST_F(ShutdownTest, EndsWhenTheDeviceIsRemovedMeanwhile) {
  for (uint64_t n = 1; n < 40; ++n) {
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
    model_->DisappearAtAccess(n);
    Detach();
  }
  EXPECT_EQ(host_->controllers(), 0u);
}

}  // namespace
}  // namespace pollux::nvme
