#include "drivers/nvme/async_events.h"
#include "tests/unit/drivers/nvme/controller_world.h"

namespace pollux::nvme {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class EventsTest : public ControllerWorld {
 protected:
  void AttachQuietly() {
    ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text();
    Turns(10);
    events_.clear();
  }
};

TEST_F(EventsTest, TellOfTheHealth) {
  AttachQuietly();
  model_->SetCriticalWarning(0x04);
  Turns(50);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_HEALTH), ElementsAre(0x04));
  // The log was read, so that the next one is heard.
  model_->SetCriticalWarning(0x08);
  Turns(50);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_HEALTH), ElementsAre(0x04, 0x08));
}

TEST_F(EventsTest, TellOfErrorsAndFirmware) {
  AttachQuietly();
  model_->PostEvent(async_event::kErrorStatus, 3, log_page::kError);
  Turns(50);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_ERROR), ElementsAre(3));
}

TEST_F(EventsTest, ThatNobodyKnowsAreToldAsTheyAre) {
  AttachQuietly();
  model_->PostEvent(async_event::kVendor, 0x42, 0xc0);
  Turns(50);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_OTHER), SizeIs(1));
}

TEST_F(EventsTest, AreBoundedInAStorm) {
  AttachQuietly();
  // A warning that comes and goes; reading the log is what lets the next one be told.
  const uint64_t began = clock_.NowNs();
  for (uint8_t warning = 1; clock_.NowNs() - began < 3 * kNsPerSecond; warning ^= 1) {
    model_->SetCriticalWarning(warning);
    Turn();
  }
  const size_t told = EventsOf(POLLUX_NVME_EVENT_HEALTH).size();
  EXPECT_GT(told, 2u * AsyncEvents::kEventsPerSecond);
  EXPECT_LE(told, 4u * AsyncEvents::kEventsPerSecond);
  EXPECT_EQ(state(), POLLUX_NVME_STATE_READY);
}

TEST_F(EventsTest, AreNotAskedForAgainWhenTheDeviceTakesNoMore) {
  Plug();
  for (uint32_t nth = 1; nth <= 8; ++nth) {
    model_->faults().OnAdmin(admin::kAsyncEventRequest, nth, status::kAsyncEventLimitExceeded);
  }
  AttachQuietly();
  const uint64_t fetched = model_->commands_fetched(0);
  Turns(100);
  EXPECT_EQ(model_->commands_fetched(0), fetched);
}

TEST_F(EventsTest, NeverTimeOut) {
  attach_options_.admin_timeout_ms = 100;
  AttachQuietly();
  step_ns_ = kNsPerSecond;
  Turns(200);
  EXPECT_EQ(state(), POLLUX_NVME_STATE_READY);
  EXPECT_THAT(EventsOf(POLLUX_NVME_EVENT_STATE), IsEmpty());
}

TEST_F(EventsTest, StopWhenALogIsNeverAnsweredAndAResetFollows) {
  attach_options_.admin_timeout_ms = 100;
  AttachQuietly();
  model_->faults().OnAdmin(admin::kGetLogPage, 1, models::Faults::kLost);
  model_->SetCriticalWarning(0x01);
  for (int i = 0; i < 2000 && state() == POLLUX_NVME_STATE_READY; ++i) Turn();
  EXPECT_EQ(state(), POLLUX_NVME_STATE_RESETTING);
  PollUntil(POLLUX_NVME_STATE_READY);
}

TEST_F(EventsTest, KeepAliveIsSentTwiceInItsTime) {
  attach_options_.keep_alive_ms = 950;  // Rounded up to 1000, by the device's 100.
  AttachQuietly();
  const uint64_t fetched = model_->commands_fetched(0);
  const uint64_t began = clock_.NowNs();
  while (clock_.NowNs() - began < 10 * kNsPerSecond) Turn();
  EXPECT_NEAR(static_cast<double>(model_->commands_fetched(0) - fetched), 20, 1);
}

TEST_F(EventsTest, AKeepAliveThatIsRefusedResets) {
  attach_options_.keep_alive_ms = 1000;
  AttachQuietly();
  model_->faults().OnAdmin(admin::kKeepAlive, 1, status::kInternalError);
  for (int i = 0; i < 2000 && state() == POLLUX_NVME_STATE_READY; ++i) Turn();
  EXPECT_EQ(state(), POLLUX_NVME_STATE_RESETTING);
  PollUntil(POLLUX_NVME_STATE_READY);
}

TEST_F(EventsTest, TheShutdownIsWaitedFor) {
  device_options_.controller.shutdown_steps = 50;
  AttachQuietly();
  const uint64_t began = clock_.NowNs();
  Detach();
  EXPECT_GE(clock_.NowNs() - began, 40 * kNsPerMs);
}

TEST_F(EventsTest, AShutdownThatNeverEndsIsGivenUp) {
  device_options_.controller.shutdown_steps = NvmeModel::kNever;
  AttachQuietly();
  step_ns_ = 10 * kNsPerMs;
  const uint64_t began = clock_.NowNs();
  Detach();
  EXPECT_LE(clock_.NowNs() - began, 13 * kNsPerSecond);
  EXPECT_TRUE(Logged("the shutdown failed"));
}

}  // namespace
}  // namespace pollux::nvme
