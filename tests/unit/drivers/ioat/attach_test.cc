// Attaching and detaching, step by step: nothing waits, whatever the device does.
#include <cerrno>
#include <string>

#include "tests/unit/drivers/ioat/channel_world.h"

namespace pollux::ioat {
namespace {

class AttachTest : public ChannelWorld {
 protected:
  AttachTest() {
    options_.descriptors = 16;
    model_.device.channels = 2;
  }
  ~AttachTest() override {
    for (const Begun& each : begun_) {
      if (each.device != nullptr) pollux_ioat_release(each.device);
    }
  }
  struct Begun {
    pollux_ioat_device* device = nullptr;
    models::IoatModelDevice* model = nullptr;
  };
  Begun& Begin(const std::string& name = "model") {
    auto made = std::make_unique<models::IoatModelDevice>(model_, registry_);
    device_ = made.get();
    if (before_start_) before_start_();
    const auto begun = host_->AttachDeviceBegin(std::move(made), name, options_);
    EXPECT_TRUE(begun.ok()) << begun.status();
    if (begun.ok()) begun_.push_back({*begun, device_});
    return begun_.back();
  }
  // One poll, one step of the device, one millisecond.
  int Turn(const Begun& begun) {
    const int error = pollux_ioat_device_poll(begun.device);
    begun.model->model().Step();
    clock_.Advance(kNsPerMs);
    return error;
  }
  enum pollux_ioat_device_state After(const Begun& begun, enum pollux_ioat_device_state left) {
    for (int i = 0; i < 1000 && pollux_ioat_device_state(begun.device) == left; ++i) Turn(begun);
    return pollux_ioat_device_state(begun.device);
  }
  void Release(Begun& begun) {
    ASSERT_EQ(pollux_ioat_detach_begin(begun.device), 0);
    EXPECT_EQ(After(begun, POLLUX_IOAT_DEVICE_DETACHING), POLLUX_IOAT_DEVICE_DETACHED);
    pollux_ioat_release(std::exchange(begun.device, nullptr));
  }

  std::deque<Begun> begun_;
};

TEST_F(AttachTest, IsReadyWhenEachChannelHasExecutedItsFirstDescriptor) {
  const uint64_t began = clock_.NowNs();
  Begun& begun = Begin();
  EXPECT_EQ(pollux_ioat_device_state(begun.device), POLLUX_IOAT_DEVICE_ATTACHING);
  EXPECT_EQ(clock_.NowNs(), began);  // It did not wait.
  EXPECT_EQ(pollux_ioat_channel_take(begun.device, -1, &channel_), -EAGAIN);
  EXPECT_EQ(After(begun, POLLUX_IOAT_DEVICE_ATTACHING), POLLUX_IOAT_DEVICE_READY);
  EXPECT_EQ(begun.model->model().executed().size(), 2u);
  const char* text = nullptr;
  EXPECT_EQ(pollux_ioat_device_failure(begun.device, &text), 0);
  EXPECT_STREQ(text, "");
  Release(begun);
  EXPECT_EQ(host_->devices(), 0u);
}

TEST_F(AttachTest, StaysAttachingWhileTheDeviceTakesItsTime) {
  model_.device.reset_steps = 100;
  Begun& begun = Begin();
  for (int i = 0; i < 90; ++i) {
    EXPECT_EQ(Turn(begun), 0);
    ASSERT_EQ(pollux_ioat_device_state(begun.device), POLLUX_IOAT_DEVICE_ATTACHING);
  }
  EXPECT_EQ(After(begun, POLLUX_IOAT_DEVICE_ATTACHING), POLLUX_IOAT_DEVICE_READY);
}

TEST_F(AttachTest, TwoDevicesAreAttachedAtTheSameTime) {
  Begun& slow = Begin("slow");
  Begun& fast = Begin("fast");
  EXPECT_EQ(After(fast, POLLUX_IOAT_DEVICE_ATTACHING), POLLUX_IOAT_DEVICE_READY);
  EXPECT_EQ(pollux_ioat_device_state(slow.device), POLLUX_IOAT_DEVICE_ATTACHING);
  EXPECT_EQ(After(slow, POLLUX_IOAT_DEVICE_ATTACHING), POLLUX_IOAT_DEVICE_READY);
  EXPECT_EQ(host_->devices(), 2u);
}

TEST_F(AttachTest, HasFailedInLessThanASecondWithAReason) {
  for (const auto& [fault, expected] : {std::pair{0, "the first descriptor was not executed"},
                                        {1, "a reset of the channel does not end"},
                                        {2, "the first descriptor was not executed"}}) {
    before_start_ = [this, fault = fault] {
      model().stalled = fault == 0;
      model().reset_hangs = fault == 1;
      model().mute = fault == 2;
    };
    Begun& begun = Begin();
    const uint64_t began = clock_.NowNs();
    EXPECT_EQ(After(begun, POLLUX_IOAT_DEVICE_ATTACHING), POLLUX_IOAT_DEVICE_FAILED) << fault;
    EXPECT_LT(clock_.NowNs() - began, kNsPerSecond);
    const char* text = nullptr;
    EXPECT_EQ(pollux_ioat_device_failure(begun.device, &text), -ETIMEDOUT);
    EXPECT_NE(std::string(text).find(expected), std::string::npos) << text;
    EXPECT_EQ(pollux_ioat_device_poll(begun.device), -ETIMEDOUT);
    EXPECT_EQ(pollux_ioat_channel_take(begun.device, -1, &channel_), -ENODEV);
    Release(begun);
  }
}

TEST_F(AttachTest, IsGoneWhereverItIsUnplugged) {
  bool attached = false;
  for (int turns = 0; !attached; ++turns) {
    ASSERT_LT(turns, 100);
    Begun& begun = Begin();
    for (int i = 0; i < turns; ++i) Turn(begun);
    attached = pollux_ioat_device_state(begun.device) == POLLUX_IOAT_DEVICE_READY;
    begun.model->model().Remove();
    EXPECT_EQ(Turn(begun), -ENODEV) << turns;
    EXPECT_EQ(pollux_ioat_device_state(begun.device), POLLUX_IOAT_DEVICE_GONE);
    EXPECT_EQ(pollux_ioat_channel_take(begun.device, -1, &channel_), -ENODEV);
    Release(begun);
  }
}

TEST_F(AttachTest, DetachesWhereverItStands) {
  bool attached = false;
  for (int turns = 0; !attached; ++turns) {
    ASSERT_LT(turns, 100);
    Begun& begun = Begin();
    for (int i = 0; i < turns; ++i) Turn(begun);
    attached = pollux_ioat_device_state(begun.device) == POLLUX_IOAT_DEVICE_READY;
    Release(begun);
    EXPECT_EQ(host_->devices(), 0u);
  }
}

TEST_F(AttachTest, ASecondDetachWhileOneIsUnderWayChangesNothing) {
  Begun& begun = Begin();
  ASSERT_EQ(After(begun, POLLUX_IOAT_DEVICE_ATTACHING), POLLUX_IOAT_DEVICE_READY);
  ASSERT_EQ(pollux_ioat_channel_take(begun.device, -1, &channel_), 0);
  EXPECT_EQ(pollux_ioat_detach_begin(begun.device), -EBUSY);
  pollux_ioat_channel_return(std::exchange(channel_, nullptr));
  EXPECT_EQ(pollux_ioat_detach_begin(begun.device), 0);
  EXPECT_EQ(pollux_ioat_channel_take(begun.device, -1, &channel_), -ENODEV);
  EXPECT_EQ(pollux_ioat_detach_begin(begun.device), 0);
  EXPECT_EQ(After(begun, POLLUX_IOAT_DEVICE_DETACHING), POLLUX_IOAT_DEVICE_DETACHED);
  EXPECT_EQ(pollux_ioat_detach_begin(begun.device), 0);
  pollux_ioat_release(std::exchange(begun.device, nullptr));
}

TEST_F(AttachTest, WhatWasLeftInFlightEndsWhileItIsDetached) {
  Begun& begun = Begin();
  ASSERT_EQ(After(begun, POLLUX_IOAT_DEVICE_ATTACHING), POLLUX_IOAT_DEVICE_READY);
  ASSERT_EQ(pollux_ioat_channel_take(begun.device, -1, &channel_), 0);
  Waiting& copy = New();
  copy.then = [&begun] { EXPECT_EQ(pollux_ioat_detach(begun.device), -EDEADLK); };
  ASSERT_EQ(CopyPage(copy, 2, 1), 0);
  pollux_ioat_channel_return(std::exchange(channel_, nullptr));
  Release(begun);
  EXPECT_EQ(copy.calls, 1);
  EXPECT_EQ(copy.completion.status, POLLUX_IOAT_OUT_OF_SERVICE);
}

TEST_F(AttachTest, AnAddressThatIsNoneOrIsTakenIsRefused) {
  pollux_ioat_device* device = nullptr;
  EXPECT_EQ(pollux_ioat_attach_begin(host_.get(), "model", nullptr, &device), -EINVAL);
  EXPECT_LT(pollux_ioat_attach_begin(host_.get(), "/nowhere/at/all", nullptr, &device), 0);
  Begin("/run/ioat/cntrl");
  for (const char* again : {"/run/ioat", "/run/ioat/", "/run/./ioat/cntrl", "/run//ioat"}) {
    EXPECT_EQ(pollux_ioat_attach_begin(host_.get(), again, nullptr, &device), -EEXIST) << again;
    EXPECT_NE(std::string(pollux_ioat_error_text()).find("attaching"), std::string::npos);
  }
  EXPECT_EQ(device, nullptr);
}

}  // namespace
}  // namespace pollux::ioat
