// Devices that fail, hang, lie or go: every request ends once, and in bounded time.
#include <cerrno>

#include "tests/unit/drivers/ioat/channel_world.h"

namespace pollux::ioat {
namespace {

class DamageTest : public ChannelWorld {
 protected:
  void CopyFive() {
    for (int i = 0; i < 5; ++i) ASSERT_EQ(CopyPage(New(), 2 + static_cast<size_t>(i), 1), 0);
    Ring();
  }
  void ExpectOutOfService() {
    EXPECT_EQ(state(), POLLUX_IOAT_STATE_OUT_OF_SERVICE);
    EXPECT_NE(*pollux_ioat_channel_reason(channel_), 0);
    EXPECT_EQ(CopyPage(New(), 2, 1), -ENXIO);
    EXPECT_EQ(pollux_ioat_channel_reset(channel_), -ENXIO);
  }
};

TEST_F(DamageTest, EachErrorBitEndsItsRequestAndNoOther) {
  Attach();
  for (unsigned bit = 0; bit < chanerr::kBits; ++bit) {
    for (uint32_t nth = 1; nth <= 5; ++nth) {
      all_.clear();
      model().FailDescriptor(0, nth, 1u << bit);
      CopyFive();
      Turns(10);
      for (uint32_t i = 0; i < 5; ++i) {
        const bool failed = i + 1 == nth;
        ASSERT_EQ(all_[i].calls, 1) << bit << " " << nth;
        EXPECT_EQ(all_[i].completion.status != POLLUX_IOAT_OK, failed) << bit << " " << nth;
        EXPECT_EQ(all_[i].completion.chanerr, failed ? 1u << bit : 0);
      }
      EXPECT_EQ(state(), POLLUX_IOAT_STATE_RUNNING);
    }
  }
  EXPECT_EQ(statistics().errors, chanerr::kBits * 5u);
  EXPECT_TRUE(model().complaints().empty());
}

TEST_F(DamageTest, TheRestOfARequestThatFailedIsNotExecuted) {
  model_.device.xfercap = 12;
  Attach();
  Pattern(4, 1);
  Waiting& longer = New();
  Waiting& next = New();
  model().FailDescriptor(0, 2, chanerr::kWriteData);
  ASSERT_EQ(pollux_ioat_copy(channel_, longer.c(), Page(20), Page(1), 4 * kPage), 0);
  ASSERT_EQ(CopyPage(next, 30, 4), 0);
  Ring();
  Turns(10);
  EXPECT_EQ(longer.completion.status, POLLUX_IOAT_FAILED);
  EXPECT_EQ(longer.completion.chanerr, chanerr::kWriteData);
  EXPECT_TRUE(next.ok());
  EXPECT_EQ(Page(23)[100], std::byte{0});
}

TEST_F(DamageTest, AnErrorWhoseStatusIsLostIsFoundInTheRegister) {
  Attach();
  CopyFive();
  model().mute = true;
  model().FailDescriptor(0, 3, chanerr::kReadData);
  model().Run();
  model().mute = false;
  Turns(300);
  EXPECT_EQ(all_[2].completion.chanerr, chanerr::kReadData);
  for (const size_t i : {0u, 1u, 3u, 4u}) EXPECT_TRUE(all_[i].ok()) << i;
}

TEST_F(DamageTest, ErrorsInARowAreAllRecoveredFrom) {
  Attach();
  for (int i = 0; i < 100; ++i) {
    all_.clear();
    model().FailDescriptor(0, 1, chanerr::kSourceAddress);
    Waiting& bad = New();
    ASSERT_EQ(CopyPage(bad, 2, 1), 0);
    Turns(10);
    EXPECT_EQ(bad.completion.status, POLLUX_IOAT_FAILED);
  }
}

TEST_F(DamageTest, AResetEndsWhatIsInFlightOnce) {
  Attach();
  for (size_t done = 0; done <= 5; ++done) {
    all_.clear();
    CopyFive();
    for (size_t i = 0; i < done; ++i) model().Step();
    ASSERT_EQ(pollux_ioat_channel_reset(channel_), 0);
    EXPECT_EQ(CopyPage(New(), 2, 1), -EAGAIN);
    Turns(10);
    for (size_t i = 0; i < 5; ++i) {
      ASSERT_EQ(all_[i].calls, 1);
      EXPECT_EQ(all_[i].completion.status, i < done ? POLLUX_IOAT_OK : POLLUX_IOAT_ABORTED);
    }
    EXPECT_EQ(state(), POLLUX_IOAT_STATE_RUNNING);
  }
}

TEST_F(DamageTest, SuspendKeepsWhatIsInFlightForResume) {
  Attach();
  CopyFive();
  model().Step();
  ASSERT_EQ(pollux_ioat_channel_suspend(channel_), 0);
  Turns(5);
  EXPECT_EQ(state(), POLLUX_IOAT_STATE_SUSPENDED);
  EXPECT_EQ(CopyPage(New(), 2, 1), -EAGAIN);
  EXPECT_EQ(all_[0].calls, 1);
  EXPECT_EQ(all_[1].calls, 0);
  ASSERT_EQ(pollux_ioat_channel_resume(channel_), 0);
  Turns(10);
  for (size_t i = 0; i < 5; ++i) EXPECT_TRUE(all_[i].ok());
  EXPECT_EQ(pollux_ioat_channel_resume(channel_), -EAGAIN);
}

TEST_F(DamageTest, ResetIsNotForCallbacks) {
  Attach();
  Waiting& copy = New();
  copy.then = [this] { EXPECT_EQ(pollux_ioat_channel_reset(channel_), -EBUSY); };
  ASSERT_EQ(CopyPage(copy, 2, 1), 0);
  EXPECT_EQ(Go(), 1);
}

TEST_F(DamageTest, ADeviceThatStallsIsResetAndThenLeavesService) {
  Attach();
  CopyFive();
  model().stalled = true;
  Turns(2100);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(all_[i].completion.status, POLLUX_IOAT_TIMEOUT);
  Turns(2000);
  ExpectOutOfService();
}

TEST_F(DamageTest, ADeviceThatComesBackAfterAStallGoesOn) {
  Attach();
  CopyFive();
  model().stalled = true;
  Turns(2050);
  model().stalled = false;
  Turns(50);
  EXPECT_EQ(state(), POLLUX_IOAT_STATE_RUNNING);
  Waiting& copy = New();
  ASSERT_EQ(CopyPage(copy, 2, 1), 0);
  EXPECT_EQ(Go(), 1);
  EXPECT_TRUE(copy.ok());
}

TEST_F(DamageTest, AResetThatDoesNotEndKeepsTheDeviceOffTheBus) {
  Attach();
  CopyFive();
  model().reset_hangs = true;
  ASSERT_EQ(pollux_ioat_channel_reset(channel_), 0);
  Turns(150);
  EXPECT_EQ(all_[0].calls, 0);  // It might still write.
  Turns(100);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(all_[i].completion.status, POLLUX_IOAT_OUT_OF_SERVICE);
  }
  EXPECT_EQ(device_->ReadConfig(4, 2) & 4, 0u);
  ExpectOutOfService();
}

TEST_F(DamageTest, LiesTakeItOutOfService) {
  for (int lie = 0; lie < 7; ++lie) {
    Attach();
    all_.clear();
    const uint64_t ring = LastReported();  // Of the first descriptor: the ring's beginning.
    CopyFive();
    switch (lie) {
      case 0:
        model().PostStatus(0, 0xdead000 | chansts::kIdle);
        break;
      case 1:
        model().PostStatus(0, ring + 6 * kDescriptorBytes);  // Beyond what was submitted.
        break;
      case 2:
        model().PostStatus(0, ~uint64_t{0});
        break;
      case 3:
        model().PostStatus(0, ring - kDescriptorBytes);
        break;
      case 4:
        model().PostStatus(0, ring + 16 * kDescriptorBytes);
        break;
      case 5:
        model().PostStatus(0, ring + 2 * kDescriptorBytes);
        Poll();
        model().PostStatus(0, ring + 1 * kDescriptorBytes);  // Back again.
        break;
      case 6:
        model().PostStatus(0, ring | chansts::kHalted);  // Without an error.
        break;
    }
    Poll();
    Turns(20);
    ExpectOutOfService();
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(all_[i].calls, 1) << lie;
    pollux_ioat_channel_return(std::exchange(channel_, nullptr));
    EXPECT_EQ(pollux_ioat_detach(std::exchange(attached_, nullptr)), 0);
    device_ = nullptr;
  }
}

TEST_F(DamageTest, TheSecondHalfOfADescriptorIsNoAnswer) {
  Attach();
  const uint64_t ring = LastReported();
  const void* sources[8];
  for (size_t i = 0; i < 8; ++i) sources[i] = Page(10 + i);
  Waiting& made = New();
  ASSERT_EQ(pollux_ioat_xor(channel_, made.c(), Page(1), sources, 8, 16), 0);
  Ring();
  model().PostStatus(0, ring + 2 * kDescriptorBytes);
  Poll();
  Turns(10);
  EXPECT_EQ(made.completion.status, POLLUX_IOAT_OUT_OF_SERVICE);
}

TEST_F(DamageTest, RemovalEndsEverythingWhereverItStands) {
  for (int step = 0; step < 12; ++step) {
    Attach();
    all_.clear();
    CopyFive();
    if (step >= 6) model().FailDescriptor(0, 2, chanerr::kReadData);
    for (int i = 0; i < step % 6; ++i) {
      model().Step();
      if (i % 2 == 1) Poll();
    }
    if (step == 11) {
      EXPECT_EQ(pollux_ioat_channel_suspend(channel_), 0);
    }
    model().Remove();
    // Seen by the owner alone, by registers; or told by the control thread.
    if (step % 2 == 0) {
      EXPECT_EQ(pollux_ioat_device_poll(attached_), -ENODEV);
    }
    Turns(400);
    for (size_t i = 0; i < 5; ++i) ASSERT_EQ(all_[i].calls, 1) << step;
    pollux_ioat_channel_return(std::exchange(channel_, nullptr));
    EXPECT_EQ(pollux_ioat_detach(std::exchange(attached_, nullptr)), 0);
    device_ = nullptr;
  }
}

// Between any two steps of the device and of its owner, whatever is under way.
TEST_F(DamageTest, RemovalEndsEverythingWhateverIsUnderWay) {
  enum { kCopies, kReset, kSuspending, kSuspended, kResuming, kError, kTwoResets, kAll };
  for (int what = 0; what < kAll; ++what) {
    for (int steps = 0; steps < 8; ++steps) {
      for (const bool told : {false, true}) {
        model_.device.reset_steps = 3;
        Attach();
        all_.clear();
        if (what == kError) model().FailDescriptor(0, 2, chanerr::kLength);
        CopyFive();
        model().Step();
        if (what == kReset || what == kTwoResets) {
          EXPECT_EQ(pollux_ioat_channel_reset(channel_), 0);
        }
        if (what == kTwoResets) {
          Poll();
          EXPECT_EQ(pollux_ioat_channel_reset(channel_), 0);
        }
        if (what == kSuspending || what == kSuspended || what == kResuming) {
          EXPECT_EQ(pollux_ioat_channel_suspend(channel_), 0);
        }
        if (what == kSuspended || what == kResuming) {
          Turns(3);
          EXPECT_EQ(state(), POLLUX_IOAT_STATE_SUSPENDED);
        }
        if (what == kResuming) {
          EXPECT_EQ(pollux_ioat_channel_resume(channel_), 0);
        }
        for (int i = 0; i < steps; ++i) {
          if (i % 2 == 0) model().Step();
          if (i % 2 == 1) Poll();
        }
        model().Remove();
        // A suspended channel asks its device nothing.
        if (told || state() == POLLUX_IOAT_STATE_SUSPENDED) {
          EXPECT_EQ(pollux_ioat_device_poll(attached_), -ENODEV);
        }
        Turns(400);
        for (size_t i = 0; i < 5; ++i) {
          ASSERT_EQ(all_[i].calls, 1) << what << " " << steps << " " << told;
        }
        if (told) ExpectOutOfService();
        pollux_ioat_channel_return(std::exchange(channel_, nullptr));
        EXPECT_EQ(pollux_ioat_detach(std::exchange(attached_, nullptr)), 0);
        device_ = nullptr;
      }
    }
  }
}

TEST_F(DamageTest, AResetEndsEverythingWhateverIsUnderWay) {
  for (int what = 0; what < 4; ++what) {
    for (int steps = 0; steps < 10; ++steps) {
      model_.device.reset_steps = 3;
      Attach();
      all_.clear();
      if (what == 1) model().FailDescriptor(0, 2, chanerr::kLength);
      CopyFive();
      model().Step();
      if (what == 2) {
        EXPECT_EQ(pollux_ioat_channel_suspend(channel_), 0);
      }
      if (what == 3) {
        EXPECT_EQ(pollux_ioat_channel_reset(channel_), 0);
      }
      for (int i = 0; i < steps; ++i) {
        if (i % 2 == 0) model().Step();
        if (i % 2 == 1) Poll();
      }
      // Not while its first descriptor is executed: nothing is in flight then.
      const int error = pollux_ioat_channel_reset(channel_);
      EXPECT_TRUE(error == 0 || (error == -EAGAIN && what == 3)) << what << " " << steps;
      Turns(10);
      for (size_t i = 0; i < 5; ++i) ASSERT_EQ(all_[i].calls, 1) << what << " " << steps;
      EXPECT_EQ(state(), POLLUX_IOAT_STATE_RUNNING);
      Waiting& next = New();
      EXPECT_EQ(CopyPage(next, 2, 1), 0);
      EXPECT_EQ(Go(), 1);
      EXPECT_TRUE(next.ok());
      pollux_ioat_channel_return(std::exchange(channel_, nullptr));
      EXPECT_EQ(pollux_ioat_detach(std::exchange(attached_, nullptr)), 0);
      device_ = nullptr;
    }
  }
}

TEST_F(DamageTest, AnyTwoErrorBitsEndOneRequest) {
  Attach();
  for (unsigned a = 0; a < chanerr::kBits; ++a) {
    for (unsigned b = 0; b < a; ++b) {
      all_.clear();
      model().FailDescriptor(0, 3, 1u << a | 1u << b);
      CopyFive();
      Turns(10);
      const bool mismatch = a == 17 && b == 16;
      for (size_t i = 0; i < 5; ++i) {
        ASSERT_EQ(all_[i].calls, 1) << a << " " << b;
        const Completion& how = all_[i].completion;
        EXPECT_EQ(how.chanerr, i == 2 ? 1u << a | 1u << b : 0);
        EXPECT_EQ(how.status, i != 2     ? POLLUX_IOAT_OK
                              : mismatch ? POLLUX_IOAT_MISMATCH
                                         : POLLUX_IOAT_FAILED);
      }
    }
  }
}

TEST_F(DamageTest, DetachEndsWhatIsInFlight) {
  Attach();
  CopyFive();
  pollux_ioat_channel_return(std::exchange(channel_, nullptr));
  EXPECT_EQ(pollux_ioat_detach(std::exchange(attached_, nullptr)), 0);
  device_ = nullptr;
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(all_[i].calls, 1);
}

// --- Attaching what cannot be driven.

TEST_F(DamageTest, RefusesStrangersAndOldVersions) {
  model_.device.device = 0x1234;
  EXPECT_EQ(TryAttach(), -ENODEV);
  model_.device.device = 0x0b00;
  model_.device.version = 0x20;
  EXPECT_EQ(TryAttach(), -ENODEV);
  model_.device.version = 0x34;
  model_.device.channels = 0;
  EXPECT_EQ(TryAttach(), -ENODEV);
  model_.device.channels = 1;
  model_.device.xfercap = 7;
  EXPECT_EQ(TryAttach(), -ENODEV);
  model_.device.xfercap = 20;
  options_.descriptors = 100;
  EXPECT_EQ(TryAttach(), -EINVAL);
  options_.descriptors = 16;
  EXPECT_EQ(TryAttach(), 0) << said_;
}

TEST_F(DamageTest, ADeviceThatDoesNotStartIsRefusedInBoundedTime) {
  before_start_ = [this] { model().stalled = true; };
  EXPECT_EQ(TryAttach(), -ETIMEDOUT);
  before_start_ = [this] { model().reset_hangs = true; };
  EXPECT_EQ(TryAttach(), -ETIMEDOUT);
  before_start_ = [this] { model().mute = true; };
  EXPECT_EQ(TryAttach(), -ETIMEDOUT);
  before_start_ = [this] { model().Remove(); };
  EXPECT_EQ(TryAttach(), -ENODEV);
  EXPECT_LT(clock_.NowNs(), 6 * kNsPerSecond);
}

TEST_F(DamageTest, MemoryThatIsNotOnePieceForTheDeviceIsSplitAtItsPages) {
  model_.dma_page_bytes = 65536;
  Attach();
  for (size_t page = 0; page < 20; ++page) Pattern(page, static_cast<unsigned>(page));
  Waiting& copy = New();
  ASSERT_EQ(pollux_ioat_copy(channel_, copy.c(), Page(30), Page(0), 20 * kPage), 0);
  EXPECT_EQ(Go(), 1);
  EXPECT_EQ(std::memcmp(Page(30), Page(0), 20 * kPage), 0);
}

}  // namespace
}  // namespace pollux::ioat
