#include "core/block/latency_histogram.h"

#include <gtest/gtest.h>

#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::ManualDisk;
using testing_world::TestIo;

class LatencyHistogramTest : public testing::Test {
 protected:
  LatencyHistogramTest() {
    ManualDisk::Options options;
    options.executes = {IoType::kRead, IoType::kWrite, IoType::kUnmap};
    options.lends = true;
    auto made = std::make_unique<ManualDisk>(options);
    disk_ = made.get();
    EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(made))).ok());
  }
  ~LatencyHistogramTest() override {
    if (disk_ != nullptr) Unregister();
  }
  void Unregister() {
    disk_ = nullptr;
    EXPECT_TRUE(world_.Run(world_.devices.Unregister("disk")).ok());
  }
  Status Enable(LatencyHistogramOptions options = {}, const std::string& name = "disk") {
    return world_.Run(EnableLatencyHistogram(world_.devices, name, options));
  }
  // An I/O that takes so long.
  void Pass(uint64_t ns, IoType type = IoType::kRead, size_t reactor = 0,
            IoStatus status = IoStatus::kSuccess) {
    TestIo io(type, 0, 1, type == IoType::kUnmap ? 0 : 512);
    disk_->at(reactor).Submit(io);
    world_.clock.Advance(ns);
    disk_->at(reactor).End(status);
    world_.Turn();
    EXPECT_EQ(io.calls, 1);
  }
  LatencyHistogram Get() {
    Result<LatencyHistogram> got = LatencyHistogramOf(*disk_);
    EXPECT_TRUE(got.ok()) << got.status();
    return got.ok() ? *got : LatencyHistogram();
  }

  BlockWorld world_;
  ManualDisk* disk_ = nullptr;
};

TEST_F(LatencyHistogramTest, IsLaidOutAsSpdkDoes) {
  ASSERT_TRUE(Enable().ok());
  Pass(1'000'000);
  const LatencyHistogram got = Get();
  EXPECT_EQ(got.granularity, 7u);
  EXPECT_EQ(got.min_range, 3u);   // 1000 has ten bits: 10 - 7.
  EXPECT_EQ(got.max_range, 30u);  // 120 s - 1 ns has 37.
  ASSERT_EQ(got.buckets.size(), 28u * 128);
  // 1,000,000 has twenty bits: range 13, and the seven bits below the topmost.
  EXPECT_EQ(got.buckets[(13 - 3) * 128 + (1'000'000 >> 12) - 128], 1u);
  EXPECT_EQ(got.count(), 1u);
}

TEST_F(LatencyHistogramTest, IsTheSumOfTheReactors) {
  ASSERT_TRUE(Enable().ok());
  Pass(5000, IoType::kRead, 0);
  Pass(5000, IoType::kWrite, 1);
  Pass(9000, IoType::kUnmap, 1);
  EXPECT_EQ(Get().count(), 3u);
  EXPECT_EQ(Get().CountUntil(5000), 2u);
}

TEST_F(LatencyHistogramTest, WhatIsOutsideItsRangesFallsIntoTheOuterBuckets) {
  ASSERT_TRUE(Enable({.granularity = 4, .min_nsec = 1024, .max_nsec = 4096}).ok());
  Pass(0);
  Pass(1023);
  Pass(1024);
  Pass(4095);
  Pass(1'000'000'000);
  const LatencyHistogram got = Get();
  ASSERT_EQ(got.buckets.size(), 2u * 16);
  EXPECT_EQ(got.buckets.front(), 3u);
  EXPECT_EQ(got.buckets.back(), 2u);
}

TEST_F(LatencyHistogramTest, IsOfOneTypeWhenAskedFor) {
  ASSERT_TRUE(Enable({.type = IoType::kWrite}).ok());
  Pass(2000, IoType::kRead);
  Pass(2000, IoType::kWrite);
  Pass(2000, IoType::kUnmap);
  EXPECT_EQ(Get().count(), 1u);
}

TEST_F(LatencyHistogramTest, IsOfWhatSucceeded) {
  ASSERT_TRUE(Enable().ok());
  Pass(2000, IoType::kRead, 0, IoStatus::kMediumError);
  TestIo wrong(static_cast<IoType>(200), 0, 1, 512);
  disk_->at(0).Submit(wrong);
  world_.Turn();
  EXPECT_EQ(wrong.status, IoStatus::kNotSupported);
  EXPECT_EQ(Get().count(), 0u);
}

TEST_F(LatencyHistogramTest, LoansCountAsLongAsTheyLast) {
  ASSERT_TRUE(Enable({.type = IoType::kRead}).ok());
  world_.Turn();
  Loan read{.lba = 0, .blocks = 1}, write{.write = true, .lba = 1, .blocks = 1};
  ASSERT_TRUE(disk_->at(0).TryLend(read) && disk_->at(0).TryLend(write));
  world_.clock.Advance(70'000);
  world_.Turn();
  disk_->at(0).Return(read);
  disk_->at(0).Return(write);
  EXPECT_EQ(Get().count(), 1u);
  EXPECT_EQ(Get().CountUntil(65'000), 0u);
  EXPECT_EQ(Get().CountUntil(70'000), 1u);
}

// The values of SPDK's own unit test of its borders.
TEST_F(LatencyHistogramTest, CountsUntilTheBucketOfABorder) {
  ASSERT_TRUE(Enable({.min_nsec = 0, .max_nsec = UINT64_MAX}).ok());
  for (uint64_t ns = 990; ns < 1010; ++ns) Pass(ns);
  // 1000 to 1003 share a bucket.
  EXPECT_EQ(Get().CountUntil(1000), 14u);
  EXPECT_EQ(Get().CountUntil(1003), 14u);
  EXPECT_EQ(Get().CountUntil(1004), 18u);
  EXPECT_EQ(Get().CountUntil(0), 0u);
  EXPECT_EQ(Get().CountUntil(UINT64_MAX), 20u);
}

TEST_F(LatencyHistogramTest, ABorderOutsideTheRangesCountsNothingOrAll) {
  ASSERT_TRUE(Enable({.min_nsec = 1024, .max_nsec = 4096}).ok());
  Pass(10);
  Pass(10'000);
  EXPECT_EQ(Get().CountUntil(100), 0u);
  EXPECT_EQ(Get().CountUntil(1'000'000), 2u);
}

TEST_F(LatencyHistogramTest, BeginsAnewWhenItIsEnabledAgain) {
  ASSERT_TRUE(Enable().ok());
  Pass(5000);
  ASSERT_TRUE(Enable({.granularity = 3}).ok());
  EXPECT_EQ(Get().count(), 0u);
  EXPECT_EQ(Get().granularity, 3u);
  Pass(5000);
  EXPECT_EQ(Get().count(), 1u);
}

TEST_F(LatencyHistogramTest, AnIoThatBeganBeforeItIsCountedWhenItEnds) {
  TestIo io(IoType::kRead, 0, 1, 512);
  disk_->at(0).Submit(io);
  world_.clock.Advance(5000);
  ASSERT_TRUE(Enable().ok());
  disk_->at(0).End();
  world_.Turn();
  EXPECT_EQ(Get().count(), 1u);
}

TEST_F(LatencyHistogramTest, WhatIsNotEnabledIsNotThere) {
  EXPECT_EQ(ErrnoOf(LatencyHistogramOf(*disk_).status()), EFAULT);
  ASSERT_TRUE(Enable().ok());
  ASSERT_TRUE(world_.Run(DisableLatencyHistogram(world_.devices, "disk")).ok());
  ASSERT_TRUE(world_.Run(DisableLatencyHistogram(world_.devices, "disk")).ok());
  EXPECT_EQ(ErrnoOf(LatencyHistogramOf(*disk_).status()), EFAULT);
  Pass(5000);
}

TEST_F(LatencyHistogramTest, RefusesWhatItCannotBe) {
  EXPECT_EQ(ErrnoOf(Enable({}, "nobody")), ENODEV);
  EXPECT_EQ(DetailOf(Enable({.granularity = 0})).field, "granularity");
  EXPECT_EQ(DetailOf(Enable({.granularity = 11})).field, "granularity");
  EXPECT_EQ(DetailOf(Enable({.min_nsec = 7, .max_nsec = 7})).field, "max_nsec");
  EXPECT_EQ(DetailOf(Enable({.min_nsec = 0, .max_nsec = 0})).field, "max_nsec");
  EXPECT_EQ(ErrnoOf(LatencyHistogramOf(*disk_).status()), EFAULT);
}

TEST_F(LatencyHistogramTest, GoesWithItsDevice) {
  ASSERT_TRUE(Enable().ok());
  Pass(5000);
  Unregister();
}

TEST_F(LatencyHistogramTest, ARemovalWaitsUntilItIsEnabled) {
  Task<Status> enabling = EnableLatencyHistogram(world_.devices, "disk", {});
  Task<Status> removing = world_.devices.Unregister("disk");
  world_.Begin(enabling);
  world_.Begin(removing);
  disk_ = nullptr;
  world_.Until([&] { return enabling.done() && removing.done(); });
  EXPECT_TRUE(enabling.TakeResult().ok());
  EXPECT_TRUE(removing.TakeResult().ok());
}

TEST_F(LatencyHistogramTest, IsNotEnabledWhileItsDeviceGoes) {
  Task<Status> removing = world_.devices.Unregister("disk");
  world_.Begin(removing);
  world_.control.RunTurn();
  Task<Status> enabling = EnableLatencyHistogram(world_.devices, "disk", {});
  world_.Begin(enabling);
  disk_ = nullptr;
  world_.Until([&] { return enabling.done() && removing.done(); });
  EXPECT_EQ(ErrnoOf(enabling.TakeResult()), ENODEV);
  EXPECT_TRUE(removing.TakeResult().ok());
}

}  // namespace
}  // namespace pollux
