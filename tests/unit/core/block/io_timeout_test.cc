#include "core/block/io_timeout.h"

#include <gtest/gtest.h>

#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::ManualDisk;
using testing_world::TestIo;

constexpr uint64_t kLimit = kNsPerSecond;

class IoTimeoutTest : public testing::Test, protected DeviceRegistry::Observer {
 protected:
  IoTimeoutTest() { world_.devices.AddObserver(*this); }
  ~IoTimeoutTest() override {
    for (BlockDevice* device : world_.devices.devices()) {
      EXPECT_TRUE(world_.Run(world_.devices.Unregister(device->name())).ok());
    }
    world_.devices.RemoveObserver(*this);
  }
  ManualDisk::Channel& Make(bool abortable = false) {
    auto made = std::make_unique<ManualDisk>(ManualDisk::Options{.abortable = abortable});
    disk_ = made.get();
    EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(made))).ok());
    return disk_->at(0);
  }
  Status Set(uint64_t after_ns, IoTimeout::Action action = IoTimeout::Action::kNone,
             const std::string& name = "disk") {
    IoTimeout timeout{.after_ns = after_ns, .action = action};
    return world_.Run(SetIoTimeout(world_.devices, name, timeout));
  }
  // Time goes by, with a turn every now and then.
  void Pass(uint64_t ns) {
    for (constexpr uint64_t kStep = kLimit / 10; ns > 0; ns -= std::min(ns, kStep)) {
      world_.clock.Advance(std::min(ns, kStep));
      world_.Turns(2);
    }
  }
  uint64_t counted(size_t reactor = 0) { return disk_->at(reactor).counters().timed_out.load(); }

  void OnRegistered(BlockDevice&) override {}
  void OnUnregistered(const std::string&) override {}
  void OnResized(BlockDevice&) override {}
  void OnTimedOut(const std::string& name) override { told_.push_back(name); }

  BlockWorld world_;
  ManualDisk* disk_ = nullptr;
  std::vector<std::string> told_;
};

TEST_F(IoTimeoutTest, SaysOnceThatAnIoTakesTooLong) {
  auto& channel = Make();
  ASSERT_TRUE(Set(kLimit).ok());
  TestIo io(IoType::kRead, 7, 1, 512);
  channel.Submit(io);
  Pass(kLimit * 9 / 10);
  EXPECT_EQ(counted(), 0u);
  Pass(kLimit * 3 / 10);
  EXPECT_EQ(counted(), 1u);
  EXPECT_EQ(told_, std::vector<std::string>{"disk"});
  Pass(kLimit * 5);
  EXPECT_EQ(counted(), 1u);
  EXPECT_EQ(told_.size(), 1u);
  EXPECT_EQ(io.calls, 0);
  channel.End();
  world_.Turn();
  EXPECT_EQ(io.status, IoStatus::kSuccess);
}

TEST_F(IoTimeoutTest, IsQuietAboutWhatEndsInTime) {
  auto& channel = Make();
  ASSERT_TRUE(Set(kLimit).ok());
  for (int i = 0; i < 10; ++i) {
    TestIo io(IoType::kRead, 0, 1, 512);
    channel.Submit(io);
    Pass(kLimit / 2);
    channel.End();
    world_.Turn();
  }
  EXPECT_EQ(counted(), 0u);
  EXPECT_TRUE(told_.empty());
}

TEST_F(IoTimeoutTest, EachThatIsLateIsCountedAndThoseOfAMomentAreToldTogether) {
  auto& channel = Make();
  ASSERT_TRUE(Set(kLimit).ok());
  TestIo first(IoType::kRead, 0, 1, 512), second(IoType::kRead, 1, 1, 512),
      third(IoType::kRead, 2, 1, 512);
  channel.Submit(first);
  channel.Submit(second);
  Pass(kLimit / 2);
  channel.Submit(third);
  Pass(kLimit * 7 / 10);
  EXPECT_EQ(counted(), 2u);
  EXPECT_EQ(told_.size(), 1u);
  Pass(kLimit);
  EXPECT_EQ(counted(), 3u);
  EXPECT_EQ(told_.size(), 2u);
  channel.EndAll();
  world_.Turn();
}

TEST_F(IoTimeoutTest, ReactorsWatchTheirOwn) {
  Make();
  ASSERT_TRUE(Set(kLimit).ok());
  TestIo io(IoType::kRead, 0, 1, 512);
  disk_->at(1).Submit(io);
  Pass(kLimit * 2);
  EXPECT_EQ(counted(0), 0u);
  EXPECT_EQ(counted(1), 1u);
  disk_->at(1).End();
  world_.Turn();
}

TEST_F(IoTimeoutTest, AnIoThatIsHeldBackIsLateToo) {
  auto& channel = Make();
  ASSERT_TRUE(Set(kLimit).ok());
  TestIo stuck(IoType::kRead, 0, 1, 512), reset(IoType::kReset, 0, 0),
      held(IoType::kRead, 1, 1, 512);
  channel.Submit(stuck);
  channel.Submit(reset);
  channel.Submit(held);
  Pass(kLimit * 2);
  EXPECT_EQ(counted(), 3u);
  channel.End();  // The reset ends, and `held` begins.
  world_.Turns(3);
  ASSERT_EQ(channel.pending.size(), 1u);
  Pass(kLimit * 2);
  EXPECT_EQ(counted(), 3u) << "it was counted before";
  channel.End();
  world_.Turn();
}

TEST_F(IoTimeoutTest, AnIoThatWaitsForTheLimitsIsLateToo) {
  auto& channel = Make();
  RateLimits limits{.rw_ios = 1};
  ASSERT_TRUE(world_.Run(world_.devices.SetRateLimits(*disk_, limits)).ok());
  ASSERT_TRUE(Set(kLimit, IoTimeout::Action::kAbort).ok());
  std::vector<std::unique_ptr<TestIo>> ios;
  for (uint64_t i = 0; i < 4; ++i) {
    ios.push_back(std::make_unique<TestIo>(IoType::kRead, i, 1, 512));
    channel.Submit(*ios.back());
  }
  Pass(kLimit / 2);
  channel.EndAll();
  Pass(kLimit * 7 / 10);
  channel.EndAll();
  world_.Turns(2);
  EXPECT_GE(counted(), 2u);
  EXPECT_EQ(ios[3]->status, IoStatus::kAborted);
  for (auto& io : ios) EXPECT_EQ(io->calls, 1);
}

TEST_F(IoTimeoutTest, AbortsWhatIsLateAndNothingElse) {
  auto& channel = Make(/*abortable=*/true);
  ASSERT_TRUE(Set(kLimit, IoTimeout::Action::kAbort).ok());
  TestIo late(IoType::kRead, 0, 1, 512), early(IoType::kRead, 1, 1, 512);
  channel.Submit(late);
  Pass(kLimit * 8 / 10);
  channel.Submit(early);
  Pass(kLimit * 4 / 10);
  EXPECT_EQ(late.calls, 1);
  EXPECT_EQ(late.status, IoStatus::kAborted);
  EXPECT_EQ(early.calls, 0);
  channel.End();
  world_.Turn();
}

TEST_F(IoTimeoutTest, WhatCannotBeAbortedEndsByItself) {
  auto& channel = Make();
  ASSERT_TRUE(Set(kLimit, IoTimeout::Action::kAbort).ok());
  TestIo io(IoType::kRead, 0, 1, 512);
  channel.Submit(io);
  Pass(kLimit * 3);
  EXPECT_EQ(io.calls, 0);
  EXPECT_EQ(counted(), 1u);
  channel.End();
  world_.Turn();
  EXPECT_EQ(io.status, IoStatus::kSuccess);
}

TEST_F(IoTimeoutTest, ResetsTheChannel) {
  auto& channel = Make(/*abortable=*/true);
  ASSERT_TRUE(Set(kLimit, IoTimeout::Action::kReset).ok());
  TestIo late(IoType::kRead, 0, 1, 512), early(IoType::kRead, 1, 1, 512);
  channel.Submit(late);
  Pass(kLimit * 8 / 10);
  channel.Submit(early);
  Pass(kLimit * 4 / 10);
  EXPECT_EQ(late.status, IoStatus::kAborted);
  EXPECT_EQ(early.status, IoStatus::kAborted);
  EXPECT_EQ(channel.in_flight(), 0u);
  TestIo next(IoType::kRead, 0, 1, 512);
  channel.Submit(next);
  channel.End();
  world_.Turn();
  EXPECT_EQ(next.status, IoStatus::kSuccess);
}

TEST_F(IoTimeoutTest, AResetThatIsItselfLateBringsNoOther) {
  auto& channel = Make();
  ASSERT_TRUE(Set(kLimit, IoTimeout::Action::kReset).ok());
  TestIo stuck(IoType::kRead, 0, 1, 512);
  channel.Submit(stuck);
  Pass(kLimit * 6);
  EXPECT_EQ(channel.in_flight(), 2u);  // `stuck`, and one reset.
  EXPECT_EQ(counted(), 2u);
  channel.End();
  world_.Turns(3);
  EXPECT_EQ(channel.in_flight(), 0u);
}

TEST_F(IoTimeoutTest, IsSetAnewAndSwitchedOffWhileIoRuns) {
  auto& channel = Make();
  ASSERT_TRUE(Set(kLimit).ok());
  TestIo io(IoType::kRead, 0, 1, 512);
  channel.Submit(io);
  ASSERT_TRUE(Set(10 * kLimit).ok());
  Pass(3 * kLimit);
  EXPECT_EQ(counted(), 0u);
  ASSERT_TRUE(Set(0).ok());
  const size_t timers = (*world_.reactors)[0].timer_count();
  Pass(20 * kLimit);
  EXPECT_EQ(counted(), 0u);
  EXPECT_EQ(timers, 0u);
  channel.End();
  world_.Turn();
}

TEST_F(IoTimeoutTest, GoesWithItsDeviceAndTheNewsMayComeAfterIt) {
  auto& channel = Make(/*abortable=*/true);
  ASSERT_TRUE(Set(kLimit).ok());
  TestIo io(IoType::kRead, 0, 1, 512);
  channel.Submit(io);
  world_.clock.Advance(2 * kLimit);
  (*world_.reactors)[0].RunTurn();  // It is found; the control loop has not been told yet.
  EXPECT_EQ(counted(), 1u);
  channel.End();
  EXPECT_TRUE(world_.Run(world_.devices.Unregister("disk")).ok());
  EXPECT_EQ(told_.size(), 1u);
  EXPECT_EQ(ErrnoOf(Set(kLimit)), ENODEV);
  EXPECT_EQ((*world_.reactors)[0].timer_count(), 0u);
}

TEST_F(IoTimeoutTest, AVeryShortTimeIsStillATime) {
  auto& channel = Make();
  ASSERT_TRUE(Set(1).ok());
  TestIo io(IoType::kRead, 0, 1, 512);
  channel.Submit(io);
  Pass(kLimit);
  EXPECT_EQ(counted(), 1u);
  channel.End();
  world_.Turn();
}

}  // namespace
}  // namespace pollux
