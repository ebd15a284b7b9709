#include "core/block/device_registry.h"

#include <gtest/gtest.h>

#include <atomic>

#include "core/loop_task.h"
#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::ManualDisk;
using testing_world::TestIo;
using testing_world::TestUser;

class Observer final : public DeviceRegistry::Observer {
 public:
  void OnRegistered(BlockDevice& device) override { heard.push_back("+" + device.name()); }
  void OnUnregistered(const std::string& name) override { heard.push_back("-" + name); }
  void OnResized(BlockDevice& device) override { heard.push_back("~" + device.name()); }
  std::vector<std::string> heard;
};

class DeviceRegistryTest : public testing::Test {
 protected:
  DeviceRegistryTest() { world_.devices.AddObserver(observer_); }
  ~DeviceRegistryTest() override {
    world_.devices.RemoveObserver(observer_);
    for (BlockDevice* device : world_.devices.devices()) {
      EXPECT_TRUE(Unregister(device->name()).ok());
    }
  }
  ManualDisk* Register(ManualDisk::Options options = {}) {
    auto disk = std::make_unique<ManualDisk>(std::move(options));
    ManualDisk* made = disk.get();
    EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(disk))).ok());
    return made;
  }
  Status Unregister(const std::string& name) { return world_.Run(world_.devices.Unregister(name)); }

  BlockWorld world_{3};
  Observer observer_;
};

TEST_F(DeviceRegistryTest, FindsByNameAndByUuid) {
  ManualDisk* disk = Register();
  EXPECT_EQ(*world_.devices.Find("disk"), disk);
  EXPECT_EQ(*world_.devices.Find(disk->uuid().ToString()), disk);
  EXPECT_EQ(disk->aliases()[0], disk->uuid().ToString());
  EXPECT_EQ(disk->state(), BlockDevice::State::kReady);
  EXPECT_NE(disk->channel(2), nullptr);
  EXPECT_EQ(disk->channel(3), nullptr);
  const ErrorDetail detail = DetailOf(world_.devices.Find("other").status());
  EXPECT_EQ(detail.error_number, ENODEV);
  EXPECT_EQ(detail.field, "name");
  EXPECT_EQ(detail.value, "other");
}

TEST_F(DeviceRegistryTest, ATakenNameIsRefused) {
  ManualDisk* disk = Register();
  const auto again = world_.Run(
      world_.devices.Register(std::make_unique<ManualDisk>(ManualDisk::Options{.name = "disk"})));
  EXPECT_EQ(ErrnoOf(again.status()), EEXIST);
  const auto alias = world_.Run(world_.devices.Register(
      std::make_unique<ManualDisk>(ManualDisk::Options{.name = disk->uuid().ToString()})));
  EXPECT_EQ(ErrnoOf(alias.status()), EEXIST);
  EXPECT_EQ(world_.devices.devices().size(), 1u);
}

TEST_F(DeviceRegistryTest, UnusedNamesCountUp) {
  EXPECT_EQ(world_.devices.UnusedName("Malloc"), "Malloc0");
  Register({.name = "Malloc0"});
  Register({.name = "Malloc2"});
  EXPECT_EQ(world_.devices.UnusedName("Malloc"), "Malloc1");
}

TEST_F(DeviceRegistryTest, WhatFailsOnOneReactorLeavesNothing) {
  auto disk = std::make_unique<ManualDisk>(ManualDisk::Options{.fails_on_reactor = 2});
  const auto result = world_.Run(world_.devices.Register(std::move(disk)));
  EXPECT_EQ(ErrnoOf(result.status()), ENOSPC);
  EXPECT_TRUE(world_.devices.devices().empty());
  EXPECT_FALSE(world_.devices.Find("disk").ok());
  Register();  // The name is free.
  EXPECT_EQ(observer_.heard, (std::vector<std::string>{"+disk"}));
}

TEST_F(DeviceRegistryTest, ObserversHearInOrder) {
  ManualDisk* disk = Register();
  EXPECT_TRUE(world_.Run(world_.devices.Resize(*disk, 512)).ok());
  EXPECT_TRUE(Unregister(disk->uuid().ToString()).ok());
  EXPECT_EQ(observer_.heard, (std::vector<std::string>{"+disk", "~disk", "-disk"}));
}

TEST_F(DeviceRegistryTest, RemovingWhatIsNotThereIsRefused) {
  EXPECT_EQ(ErrnoOf(Unregister("disk")), ENODEV);
  Register();
  EXPECT_EQ(ErrnoOf(world_.Run(world_.devices.UnregisterKind("disk", "Malloc disk"))), ENODEV);
  EXPECT_EQ(ErrnoOf(world_.devices.FindKind("disk", "Malloc disk").status()), ENODEV);
  EXPECT_TRUE(world_.Run(world_.devices.UnregisterKind("disk", "Manual disk")).ok());
}

TEST_F(DeviceRegistryTest, RemovalRefusesNewIoAndWaitsForTheOld) {
  ManualDisk* disk = Register();
  TestIo old(IoType::kRead, 0, 1, 512), young(IoType::kRead, 0, 1, 512);
  disk->at(1).Submit(old);
  auto removal = world_.devices.Unregister("disk");
  world_.Begin(removal);
  world_.Turns(20);
  EXPECT_FALSE(removal.done());
  EXPECT_EQ(disk->state(), BlockDevice::State::kRemoving);
  EXPECT_FALSE(world_.devices.Find("disk").ok());
  for (size_t i = 0; i < 3; ++i) {
    disk->at(i).Submit(young);
    world_.Turn();
    EXPECT_EQ(young.status, IoStatus::kGone);
  }
  EXPECT_EQ(ErrnoOf(Unregister("disk")), EBUSY);
  Loan loan{.lba = 0, .blocks = 1};
  EXPECT_FALSE(disk->at(0).TryLend(loan));

  disk->at(1).End();
  world_.Until([&] { return removal.done(); });
  EXPECT_TRUE(removal.TakeResult().ok());
  EXPECT_EQ(old.status, IoStatus::kSuccess);
  EXPECT_TRUE(world_.devices.devices().empty());
}

TEST_F(DeviceRegistryTest, RemovalAwaitsUsersAllAtOnce) {
  ManualDisk* disk = Register();
  TestUser first("first"), second("second");
  Completion<bool> first_goes, second_goes;
  first.lets_go = &first_goes;
  second.lets_go = &second_goes;
  ASSERT_TRUE(disk->Open(first, true).ok());
  ASSERT_TRUE(disk->Open(second, false).ok());
  auto removal = world_.devices.Unregister("disk");
  world_.Begin(removal);
  world_.Turns(20);
  EXPECT_EQ(first.removing + second.removing, 2);
  TestUser late;
  EXPECT_EQ(ErrnoOf(disk->Open(late, false)), ENODEV);
  world_.OnControl([&] { first_goes.Set(true); });
  world_.Turns(20);
  EXPECT_FALSE(removal.done());
  world_.OnControl([&] { second_goes.Set(true); });
  world_.Until([&] { return removal.done(); });
  EXPECT_TRUE(removal.TakeResult().ok());
}

TEST_F(DeviceRegistryTest, RemovalWaitsForLoans) {
  ManualDisk* disk = Register({.lends = true});
  Loan loan{.lba = 0, .blocks = 1};
  ASSERT_TRUE(disk->at(2).TryLend(loan));
  auto removal = world_.devices.Unregister("disk");
  world_.Begin(removal);
  world_.Turns(20);
  EXPECT_FALSE(removal.done());
  world_.On(2, [&] { disk->at(2).Return(loan); });
  world_.Until([&] { return removal.done(); });
}

TEST_F(DeviceRegistryTest, RemovalAbortsWhatDoesNotEndInTime) {
  ManualDisk* disk = Register({.abortable = true});
  TestIo stuck(IoType::kRead, 0, 1, 512);
  disk->at(1).Submit(stuck);
  auto removal = world_.devices.Unregister("disk");
  world_.Begin(removal);
  world_.Turns(20);
  EXPECT_EQ(stuck.calls, 0);
  world_.clock.Advance(11 * kNsPerSecond);
  world_.Until([&] { return removal.done(); });
  EXPECT_EQ(stuck.status, IoStatus::kAborted);
}

TEST_F(DeviceRegistryTest, ResizeTellsChannelsAndUsers) {
  ManualDisk* disk = Register();
  TestUser user;
  ASSERT_TRUE(disk->Open(user, false).ok());
  EXPECT_TRUE(world_.Run(world_.devices.Resize(*disk, 100)).ok());
  EXPECT_EQ(user.resized_to, 100u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(disk->channel(i)->blocks(), 100u);
  TestIo behind(IoType::kRead, 100, 1, 512);
  disk->at(0).Submit(behind);
  world_.Turn();
  EXPECT_EQ(behind.status, IoStatus::kOutOfRange);
  EXPECT_EQ(ErrnoOf(world_.Run(world_.devices.Resize(*disk, 1025))), ENOSPC);
  EXPECT_EQ(disk->geometry().blocks, 100u);
  disk->Close(user);
}

TEST_F(DeviceRegistryTest, AResizeThatMeetsARemovalEndsWell) {
  ManualDisk* disk = Register();
  auto resize = world_.devices.Resize(*disk, 100);
  auto removal = world_.devices.Unregister("disk");
  world_.Begin(resize);
  world_.Begin(removal);
  world_.Until([&] { return resize.done() && removal.done(); });
  EXPECT_EQ(ErrnoOf(resize.TakeResult()), ENODEV);
  EXPECT_TRUE(removal.TakeResult().ok());
}

class ClaimTest : public DeviceRegistryTest {
 protected:
  ManualDisk* disk_ = Register();
  TestUser a_{"a"}, b_{"b"};
};

TEST_F(ClaimTest, AnExclusiveClaimKeepsOtherWritersOut) {
  ASSERT_TRUE(disk_->Open(a_, true).ok());
  ASSERT_TRUE(disk_->Claim(a_, ClaimType::kExclusiveWrite).ok());
  const Status refused = disk_->Open(b_, true);
  EXPECT_EQ(ErrnoOf(refused), EPERM);
  EXPECT_EQ(refused.message(), "block device 'disk' is claimed (exclusive_write) by a");
  ASSERT_TRUE(disk_->Open(b_, false).ok());
  EXPECT_EQ(ErrnoOf(disk_->Claim(b_, ClaimType::kReadManyWriteNone)), EPERM);
  disk_->ReleaseClaim(a_);
  EXPECT_EQ(disk_->claim(), ClaimType::kNone);
  disk_->Close(b_);
  EXPECT_TRUE(disk_->Open(b_, true).ok());
  disk_->Close(a_);
  disk_->Close(b_);
}

TEST_F(ClaimTest, AWriterKeepsAClaimOut) {
  ASSERT_TRUE(disk_->Open(a_, true).ok());
  ASSERT_TRUE(disk_->Open(b_, false).ok());
  for (const ClaimType type : {ClaimType::kExclusiveWrite, ClaimType::kReadManyWriteOne,
                               ClaimType::kReadManyWriteNone, ClaimType::kReadManyWriteShared}) {
    EXPECT_EQ(ErrnoOf(disk_->Claim(b_, type)), EPERM) << ClaimTypeName(type);
  }
  disk_->Close(a_);
  EXPECT_TRUE(disk_->Claim(b_, ClaimType::kReadManyWriteOne).ok());
  disk_->Close(b_);
  EXPECT_EQ(disk_->claim(), ClaimType::kNone);
}

TEST_F(ClaimTest, SharedClaimsAreShared) {
  ASSERT_TRUE(disk_->Open(a_, false).ok());
  ASSERT_TRUE(disk_->Open(b_, false).ok());
  for (const ClaimType type : {ClaimType::kReadManyWriteNone, ClaimType::kReadManyWriteShared}) {
    EXPECT_TRUE(disk_->Claim(a_, type).ok());
    EXPECT_TRUE(disk_->Claim(b_, type).ok());
    EXPECT_EQ(ErrnoOf(disk_->Claim(b_, type)), EPERM);  // Twice.
    disk_->ReleaseClaim(a_);
    EXPECT_EQ(disk_->claim(), type);
    disk_->ReleaseClaim(b_);
    EXPECT_EQ(disk_->claim(), ClaimType::kNone);
  }
  disk_->Close(a_);
  disk_->Close(b_);
}

TEST_F(ClaimTest, AReadOnlyDeviceIsNotOpenedForWriting) {
  ManualDisk* disk = Register({.name = "rom", .read_only = true});
  EXPECT_EQ(ErrnoOf(disk->Open(a_, true)), EPERM);
  EXPECT_TRUE(disk->Open(a_, false).ok());
  disk->Close(a_);
}

// With threads: devices come and go while every reactor does I/O on them.
class ChurnIo final : public IoRequest {
 public:
  ChurnIo(BlockChannel& channel, std::atomic<int>& running) : channel_(channel), running_(running) {
    segment_ = {buffer_, sizeof(buffer_)};
    data = {&segment_, 1};
    blocks = 1;
    lba = channel.reactor().index();  // Nobody else's block.
  }
  void Begin() { channel_.Submit(*this); }
  void OnComplete() override {
    if (status == IoStatus::kGone) return static_cast<void>(running_.fetch_sub(1));
    CHECK(status == IoStatus::kSuccess);
    type = type == IoType::kRead ? IoType::kWrite : IoType::kRead;
    channel_.Submit(*this);
  }

 private:
  BlockChannel& channel_;
  std::atomic<int>& running_;
  std::byte buffer_[512] = {};
  iovec segment_;
};

TEST(DeviceRegistryThreadsTest, RemovalUnderLoadLosesNoRequest) {
  constexpr size_t kReactors = 3;
  const RealClock clock;
  auto reactors = *Reactors::Start({.cores = {0, 0, 0}}, clock);
  Loop control({.name = "control"}, clock, *MakeEpollWaiter());
  DeviceRegistry devices(*reactors);

  auto body = [&]() -> Task<void> {
    for (int round = 0; round < 30; ++round) {
      std::atomic<int> running{static_cast<int>(kReactors)};
      ManualDisk::Options options{.limits = {.io_bytes_max = 512},
                                  .executes = {IoType::kRead, IoType::kWrite, IoType::kCompare},
                                  .at_once = true};
      auto made = std::make_unique<ManualDisk>(options);
      ManualDisk& disk = *made;
      Result<BlockDevice*> registered = co_await devices.Register(std::move(made));
      CHECK(registered.ok());
      std::vector<std::unique_ptr<ChurnIo>> ios;
      for (size_t i = 0; i < kReactors; ++i) {
        ios.push_back(std::make_unique<ChurnIo>(disk.at(i), running));
        auto begin = [io = ios[i].get()] { io->Begin(); };
        co_await RunOn((*reactors)[i], begin);
      }
      if (round % 3 == 0) {
        const Status resized = co_await devices.Resize(disk, 512);
        CHECK(resized.ok());
      }
      const Status removed = co_await devices.Unregister("disk");
      CHECK(removed.ok());
      CHECK(running.load() == 0, "a request was lost");
    }
  };
  RunOnLoop(control, body());
  reactors->Stop();
}

}  // namespace
}  // namespace pollux
