#include "core/block/queue_depths.h"

#include <gtest/gtest.h>

#include "core/task_group.h"
#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::ManualDisk;
using testing_world::TestIo;

class QueueDepthsTest : public testing::Test {
 protected:
  QueueDepthsTest() {
    world_.devices.AddObserver(depths_);
    auto made = std::make_unique<ManualDisk>(ManualDisk::Options{.lends = true});
    disk_ = made.get();
    EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(made))).ok());
  }
  ~QueueDepthsTest() override {
    depths_.Stop();
    world_.Run(looks_.Drained());
    for (BlockDevice* device : world_.devices.devices()) {
      EXPECT_TRUE(world_.Run(world_.devices.Unregister(device->name())).ok());
    }
    world_.devices.RemoveObserver(depths_);
  }
  Status Set(uint64_t period_us, const std::string& name = "disk") {
    Status status;
    world_.OnControl([&] { status = depths_.Set(name, period_us); });
    return status;
  }
  // So long that a look is due, and what it takes to look.
  void Pass(uint64_t us) {
    world_.clock.Advance(us * kNsPerUs);
    world_.Turns(12);
  }
  const QueueDepths::Sampled& sampled() { return *depths_.Of("disk"); }

  BlockWorld world_;
  TaskGroup looks_;
  QueueDepths depths_{world_.control, world_.devices,
                      [this](Task<void> task) { looks_.Spawn(std::move(task)); }};
  ManualDisk* disk_ = nullptr;
};

TEST_F(QueueDepthsTest, AddsUpAllReactorsAndTheTime) {
  ASSERT_TRUE(Set(1000).ok());
  Pass(1000);
  EXPECT_EQ(sampled().queue_depth, 0u);
  EXPECT_EQ(sampled().io_time_us, 0u);

  TestIo one(IoType::kRead, 0, 1, 512), two(IoType::kRead, 0, 1, 512);
  Loan loan{.lba = 5, .blocks = 1};
  disk_->at(0).Submit(one);
  disk_->at(1).Submit(two);
  ASSERT_TRUE(disk_->at(1).TryLend(loan));
  Pass(1000);
  Pass(1000);
  EXPECT_EQ(sampled().period_us, 1000u);
  EXPECT_EQ(sampled().queue_depth, 3u);
  EXPECT_EQ(sampled().io_time_us, 2000u);
  EXPECT_EQ(sampled().weighted_io_time_us, 6000u);

  disk_->at(0).End();
  disk_->at(1).End();
  disk_->at(1).Return(loan);
  world_.Turn();  // They have ended when they were told so.
  Pass(1000);
  EXPECT_EQ(sampled().queue_depth, 0u);
  EXPECT_EQ(sampled().io_time_us, 2000u);
}

TEST_F(QueueDepthsTest, ALateLookCountsForTheWholeTime) {
  ASSERT_TRUE(Set(1000).ok());
  TestIo io(IoType::kRead, 0, 1, 512);
  disk_->at(0).Submit(io);
  Pass(7500);
  EXPECT_EQ(sampled().io_time_us, 7500u);
  disk_->at(0).End();
  world_.Turn();
}

TEST_F(QueueDepthsTest, LooksNoMoreOftenThanItMay) {
  ASSERT_TRUE(Set(1).ok());
  EXPECT_EQ(sampled().period_us, 1u);
  TestIo io(IoType::kRead, 0, 1, 512);
  disk_->at(0).Submit(io);
  Pass(QueueDepths::kPeriodMinUs - 1);
  EXPECT_EQ(sampled().queue_depth, 0u);
  Pass(1);
  EXPECT_EQ(sampled().queue_depth, 1u);
  disk_->at(0).End();
  world_.Turn();
}

TEST_F(QueueDepthsTest, BeginsAnewAndEnds) {
  ASSERT_TRUE(Set(1000).ok());
  TestIo io(IoType::kRead, 0, 1, 512);
  disk_->at(0).Submit(io);
  Pass(1000);
  EXPECT_EQ(sampled().queue_depth, 1u);
  ASSERT_TRUE(Set(500, disk_->uuid().ToString()).ok()) << "by an alias";
  EXPECT_EQ(sampled().queue_depth, 0u);
  ASSERT_TRUE(Set(0).ok());
  EXPECT_EQ(depths_.Of("disk"), nullptr);
  EXPECT_EQ(world_.control.timer_count(), 0u);
  disk_->at(0).End();
  world_.Turn();
}

TEST_F(QueueDepthsTest, RefusesWhatIsNotThereOrTooLong) {
  EXPECT_EQ(ErrnoOf(Set(1000, "nobody")), ENODEV);
  EXPECT_EQ(DetailOf(Set(UINT64_MAX)).field, "period");
  EXPECT_EQ(depths_.Of("disk"), nullptr);
}

TEST_F(QueueDepthsTest, ADeviceMayGoWhileItIsLookedAt) {
  ASSERT_TRUE(Set(1000).ok());
  world_.clock.Advance(1000 * kNsPerUs);
  world_.control.RunTurn();  // The first reactor has been asked.
  EXPECT_EQ(looks_.running(), 1u);
  EXPECT_TRUE(world_.Run(world_.devices.Unregister("disk")).ok());
  world_.Turns(12);
  EXPECT_EQ(looks_.running(), 0u);
  EXPECT_EQ(depths_.Of("disk"), nullptr);
}

TEST_F(QueueDepthsTest, ALookOfAnEarlierSettingIsForgotten) {
  ASSERT_TRUE(Set(1000).ok());
  world_.clock.Advance(1000 * kNsPerUs);
  world_.control.RunTurn();
  ASSERT_TRUE(Set(2000).ok());
  world_.Turns(12);
  EXPECT_EQ(sampled().io_time_us, 0u);
  EXPECT_EQ(looks_.running(), 0u);
  Pass(2000);
  EXPECT_EQ(sampled().period_us, 2000u);
}

}  // namespace
}  // namespace pollux
