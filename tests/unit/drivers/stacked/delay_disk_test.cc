#include "drivers/stacked/delay_disk.h"

#include <gtest/gtest.h>

#include "tests/unit/drivers/stacked/stacked_world.h"

namespace pollux {
namespace {

using testing_world::ManualDisk;
using testing_world::StackedTest;
using testing_world::TestIo;

class DelayDiskTest : public StackedTest {
 protected:
  static MakeOne Delay(DelayLatencies latencies) {
    return [latencies](BlockDevice& base) {
      return MakeDelayDisk({.name = "Slow", .uuid = "", .latencies = latencies}, base);
    };
  }
  BlockDevice& Slow(DelayLatencies latencies) { return Stack("Slow", Delay(latencies)); }
  void Pass(uint64_t us) {
    world_.clock.Advance(us * kNsPerUs);
    world_.Turns(4);
  }
};

TEST_F(DelayDiskTest, ReadsAndWritesEndLater) {
  ManualDisk& base = AddBase();
  BlockDevice& disk = Slow({100, 100, 300, 300});
  EXPECT_EQ(disk.product_name(), "delay");
  TestIo read(IoType::kRead, 0, 1, 512), write(IoType::kWrite, 1, 1, 512, 5);
  Submit(disk, read);
  Submit(disk, write);
  world_.Turns(5);
  EXPECT_EQ(base.memory()[512], std::byte{5});
  Pass(99);
  EXPECT_EQ(read.calls, 0);
  Pass(1);
  EXPECT_EQ(read.calls, 1);
  Pass(199);
  EXPECT_EQ(write.calls, 0);
  Pass(1);
  EXPECT_EQ(write.calls, 1);
  EXPECT_EQ(write.status, IoStatus::kSuccess);
}

TEST_F(DelayDiskTest, OtherIoIsNotDelayed) {
  AddBase();
  BlockDevice& disk = Slow({100, 100, 100, 100});
  TestIo flush(IoType::kFlush, 0, 0), unmap(IoType::kUnmap, 0, 4),
      compare(IoType::kCompare, 0, 1, 512);
  for (TestIo* io : {&flush, &unmap, &compare}) EXPECT_EQ(Do(disk, *io), IoStatus::kSuccess);
}

TEST_F(DelayDiskTest, OneInAHundredHasTheOtherLatency) {
  AddBase();
  BlockDevice& disk = Slow({0, 1000, 0, 0});
  int slow = 0;
  constexpr int kCount = 20000;
  for (int i = 0; i < kCount; ++i) {
    TestIo read(IoType::kRead, 0, 1, 512);
    Submit(disk, read);
    world_.Turns(3);
    if (read.calls == 1) continue;
    ++slow;
    Pass(1000);
    ASSERT_EQ(read.calls, 1);
  }
  EXPECT_GT(slow, kCount / 100 * 8 / 10);
  EXPECT_LT(slow, kCount / 100 * 12 / 10);
}

TEST_F(DelayDiskTest, WhatIsDelayedHoldsNoPlaceInThePool) {
  ManualDisk& base = AddBase();
  BlockDevice& disk = Slow({1000, 1000, 0, 0});
  std::vector<std::unique_ptr<TestIo>> ios;
  for (size_t i = 0; i < 4 * StackedChannel::kChildCount; ++i) {
    ios.push_back(std::make_unique<TestIo>(IoType::kRead, i, 1, 512));
    Submit(disk, *ios.back());
  }
  world_.Turns(20);
  EXPECT_EQ(base.at(0).submitted, ios.size());
  Pass(1000);
  world_.Turns(20);
  for (const auto& io : ios) EXPECT_EQ(io->calls, 1);
}

TEST_F(DelayDiskTest, ItsLatencyCanBeChanged) {
  AddBase();
  BlockDevice& disk = Slow({1000, 1000, 0, 0});
  ASSERT_TRUE(UpdateDelays(world_.devices, "Slow", {10, 10, 20, 20}).ok());
  TestIo read(IoType::kRead, 0, 1, 512);
  Submit(disk, read);
  world_.Turns(5);
  Pass(10);
  EXPECT_EQ(read.calls, 1);
  EXPECT_NE(disk.DriverSpecificJson().find(R"("p99_write_latency":20)"), std::string::npos);
}

TEST_F(DelayDiskTest, AFailureIsDelayedToo) {
  ManualDisk::Options options = AnyBase();
  options.at_once = false;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Slow({100, 100, 0, 0});
  TestIo read(IoType::kRead, 0, 1, 512);
  Submit(disk, read);
  base.at(0).End(IoStatus::kMediumError);
  world_.Turns(4);
  EXPECT_EQ(read.calls, 0);
  Pass(100);
  EXPECT_EQ(read.status, IoStatus::kMediumError);
}

TEST_F(DelayDiskTest, WhatIsDelayedCanBeAborted) {
  AddBase();
  BlockDevice& disk = Slow({1000, 1000, 0, 0});
  TestIo read(IoType::kRead, 0, 1, 512), other(IoType::kRead, 0, 1, 512);
  Submit(disk, read);
  Submit(disk, other);
  world_.Turns(4);
  EXPECT_EQ(Abort(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(read.status, IoStatus::kAborted);
  EXPECT_EQ(other.calls, 0);
  Pass(1000);
  EXPECT_EQ(read.calls, 1);
  EXPECT_EQ(other.status, IoStatus::kSuccess);
}

TEST_F(DelayDiskTest, AResetDoesNotWaitForWhatIsDelayed) {
  AddBase();
  BlockDevice& disk = Slow({1000, 1000, 0, 0});
  TestIo read(IoType::kRead, 0, 1, 512), reset(IoType::kReset, 0, 0);
  Submit(disk, read);
  world_.Turns(4);
  EXPECT_EQ(Do(disk, reset), IoStatus::kSuccess);
  EXPECT_EQ(read.status, IoStatus::kAborted);
}

TEST_F(DelayDiskTest, WhatIsDelayedEndsWhenTheDiskGoes) {
  ManualDisk::Options options = AnyBase();
  options.at_once = false;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Slow({kDelayUsMax, kDelayUsMax, 0, 0});
  TestIo delayed(IoType::kRead, 0, 1, 512), under_way(IoType::kRead, 0, 1, 512);
  Submit(disk, delayed);
  base.at(0).End();
  world_.Turns(4);
  Submit(disk, under_way);
  Remove("disk");
  EXPECT_EQ(delayed.status, IoStatus::kSuccess);
  EXPECT_EQ(under_way.calls, 1);
}

TEST_F(DelayDiskTest, ParametersThatMakeNoSenseAreRefused) {
  AddBase();
  const Status status = TryStack("Slow", Delay({0, 0, kDelayUsMax + 1, 0}));
  EXPECT_EQ(DetailOf(status).field, "avg_write_latency");
  EXPECT_EQ(ErrnoOf(UpdateDelays(world_.devices, "disk", {})), ENODEV);
  EXPECT_EQ(ErrnoOf(UpdateDelays(world_.devices, "disk", {UINT64_MAX, 0, 0, 0})), EINVAL);
}

}  // namespace
}  // namespace pollux
