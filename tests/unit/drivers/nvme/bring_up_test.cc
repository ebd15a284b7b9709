#include "drivers/nvme/bring_up.h"

#include "tests/unit/drivers/nvme/controller_world.h"

namespace pollux::nvme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class BringUpTest : public ControllerWorld {};

TEST_F(BringUpTest, AttachesAndDescribesTheController) {
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_THAT(model_->complaints(), IsEmpty());
  EXPECT_STREQ(info().serial_number, "POLLUX-MODEL-0");
  EXPECT_EQ(info().version, 0x020000u);
  EXPECT_EQ(info().io_queues, 2);
  EXPECT_EQ(info().io_queue_depth, 16);
  EXPECT_EQ(info().transfer_bytes_max, 4096u << 5);
  EXPECT_TRUE(info().shadow_doorbells);
  EXPECT_THAT(Namespaces(), ElementsAre(1));
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_NAMESPACE_ADDED), ElementsAre(1));
  EXPECT_EQ(model_->event_requests(), 0u);  // They are sent by the next polls.
  Turns(3);
  EXPECT_EQ(model_->event_requests(), AsyncEvents::kRequests);
}

TEST_F(BringUpTest, WaitsAsLongAsTheDeviceMayTake) {
  device_options_.controller.ready_steps = 5000;  // At a millisecond each: CAP.TO is 10 s.
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
}

TEST_F(BringUpTest, GivesUpADeviceThatIsNeverReady) {
  device_options_.controller.ready_steps = NvmeModel::kNever;
  step_ns_ = 10 * kNsPerMs;
  const uint64_t began = clock_.NowNs();
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
  EXPECT_EQ(failure(), -ETIMEDOUT);
  EXPECT_THAT(failure_text(), HasSubstr("CSTS.RDY"));
  // CAP.TO, and the grace of the stop that follows.
  EXPECT_LT(clock_.NowNs() - began, 25 * kNsPerSecond);
}

TEST_F(BringUpTest, TakesADeviceThatAnotherDriverLeftEnabled) {
  Plug();
  model_->WriteRegister(nvme::kAqa.offset, 4, 0x001f001f);
  model_->WriteRegister(nvme::kCc.offset, 4, 0x00460001);
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
}

TEST_F(BringUpTest, FailsWithADeviceThatGoesFatalMeanwhile) {
  device_options_.controller.ready_steps = 5;
  AttachBegin();
  Turns(3);
  model_->GoFatal();
  PollWhile(POLLUX_NVME_STATE_ATTACHING);
  EXPECT_EQ(state(), POLLUX_NVME_STATE_FAILED);
  EXPECT_EQ(failure(), -EIO);
}

TEST_F(BringUpTest, SeesARemovalAtEveryAccessToARegister) {
  Attach();
  const uint64_t accesses = model_->register_accesses();
  ASSERT_GT(accesses, 10u);
  Detach();
  for (uint64_t n = 1; n <= accesses; ++n) {
    Plug();
    model_->DisappearAtAccess(n);
    AttachBegin();
    PollWhile(POLLUX_NVME_STATE_ATTACHING);
    // The last accesses are those of the ready controller.
    for (int i = 0; i < 500 && state() == POLLUX_NVME_STATE_READY; ++i) Turn();
    EXPECT_EQ(state(), POLLUX_NVME_STATE_GONE) << "access " << n;
    EXPECT_EQ(failure(), -ENODEV) << "access " << n;
    Detach();
  }
}

TEST_F(BringUpTest, FailsWhenAMandatoryCommandIsRefused) {
  for (const uint8_t opcode : {admin::kIdentify, admin::kCreateCq, admin::kCreateSq}) {
    Plug();
    model_->faults().OnAdmin(opcode, 1, status::kInternalError);
    EXPECT_EQ(Attach(), POLLUX_NVME_STATE_FAILED) << int{opcode};
    EXPECT_EQ(failure(), -EIO) << int{opcode};
    Detach();
  }
}

// Whatever is refused or lost, it ends, and the next attach succeeds.
TEST_F(BringUpTest, OutlivesARefusalOfEachCommandInTurn) {
  attach_options_.admin_timeout_ms = 100;
  attach_options_.arbitration_burst = 3;
  attach_options_.keep_alive_ms = 1000;
  device_options_.controller.host_memory_preferred_pages = 16;
  for (const uint16_t fate : {status::kInternalError, models::Faults::kLost}) {
    int ready = 0, failed = 0;
    for (uint32_t nth = 1; nth < 40; ++nth) {
      Plug();
      model_->faults().OnAdmin(models::Faults::kAnyOpcode, nth, fate);
      const ControllerState ended = Attach();
      if (ended == POLLUX_NVME_STATE_READY) ++ready;
      if (ended == POLLUX_NVME_STATE_FAILED) {
        ++failed;
        EXPECT_EQ(failure(), fate == models::Faults::kLost ? -ETIMEDOUT : -EIO) << nth;
      }
      Detach();
    }
    EXPECT_GT(failed, 4);
    EXPECT_EQ(ready + failed, 39);
    EXPECT_EQ(Attach(), POLLUX_NVME_STATE_READY);
    Detach();
  }
}

TEST_F(BringUpTest, TakesFewerQueuesWhenFewerAreGranted) {
  attach_options_.io_queues = 8;
  device_options_.controller.io_queues_granted = 3;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_EQ(info().io_queues, 3);
}

TEST_F(BringUpTest, KeepsTheQueuesThatTheDeviceDidNotRefuse) {
  attach_options_.io_queues = 4;
  Plug();
  model_->faults().OnAdmin(admin::kCreateSq, 3, status::kInvalidQueueIdentifier);
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_EQ(info().io_queues, 2);
}

TEST_F(BringUpTest, ShortensQueuesToWhatTheDeviceTakes) {
  attach_options_.io_queue_depth = 300;
  device_options_.controller.queue_entries_max = 64;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_EQ(info().io_queue_depth, 64);
}

TEST_F(BringUpTest, FindsDoorbellsAtAnyStride) {
  device_options_.controller.doorbell_stride = 3;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_THAT(model_->complaints(), IsEmpty());
}

TEST_F(BringUpTest, SpeaksEveryRevision) {
  for (const uint32_t version :
       {0x010000u, 0x010100u, 0x010200u, 0x010300u, 0x010400u, 0x020000u}) {
    device_options_.controller.version = version;
    EXPECT_EQ(Attach(), POLLUX_NVME_STATE_READY) << version << failure_text();
    EXPECT_EQ(info().version, version);
    EXPECT_THAT(Namespaces(), ElementsAre(1)) << version;
    Detach();
  }
}

TEST_F(BringUpTest, PutsSubmissionQueuesIntoTheControllersMemory) {
  device_options_.controller.cmb_bytes = 1 << 20;
  attach_options_.submission_queues_in_cmb = true;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_TRUE(info().submission_queues_in_cmb);
  EXPECT_THAT(model_->complaints(), IsEmpty());
}

TEST_F(BringUpTest, LendsMemoryToADeviceThatWantsIt) {
  device_options_.controller.host_memory_preferred_pages = 256;
  device_options_.controller.host_memory_min_pages = 16;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_TRUE(info().host_memory_buffer);
  EXPECT_THAT(model_->complaints(), IsEmpty());
}

TEST_F(BringUpTest, DoesWithoutWhatTheUserForbids) {
  device_options_.controller.host_memory_preferred_pages = 256;
  attach_options_.no_host_memory_buffer = true;
  attach_options_.no_shadow_doorbells = true;
  attach_options_.no_sgl = true;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_FALSE(info().host_memory_buffer);
  EXPECT_FALSE(info().shadow_doorbells);
  EXPECT_FALSE(info().sgl);
}

TEST_F(BringUpTest, CanBeDetachedAtAnyMoment) {
  device_options_.controller.ready_steps = 3;
  for (int turns = 0; turns < 60; ++turns) {
    AttachBegin();
    Turns(turns);
    Detach();
  }
}

TEST_F(BringUpTest, IsDetachedAtOnceThoughTheDeviceIsNeverReady) {
  device_options_.controller.ready_steps = NvmeModel::kNever;
  AttachBegin();
  Turns(5);
  const uint64_t began = clock_.NowNs();
  Detach();
  EXPECT_LT(clock_.NowNs() - began, kNsPerSecond);
}

TEST_F(BringUpTest, RefusesADeviceWithQueuesOfOneEntry) {
  device_options_.controller.queue_entries_max = 1;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_FAILED);
  EXPECT_THAT(failure_text(), HasSubstr("MQES"));
}

TEST_F(BringUpTest, RaisesItsDescriptorWithInterrupts) {
  attach_options_.interrupts = true;
  ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
  EXPECT_GE(pollux_nvme_controller_event_fd(controller_), 0);
  EXPECT_EQ(info().interrupt_vectors, 3u);
  EXPECT_GE(pollux_nvme_queue_event_fd(TakeQueue()), 0);
}

}  // namespace
}  // namespace pollux::nvme
