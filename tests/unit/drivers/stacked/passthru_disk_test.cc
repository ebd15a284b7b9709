#include "drivers/stacked/passthru_disk.h"

#include <gtest/gtest.h>

#include "tests/unit/drivers/stacked/stacked_world.h"

namespace pollux {
namespace {

using testing_world::ManualDisk;
using testing_world::StackedTest;
using testing_world::TestIo;
using testing_world::TestUser;

class PassthruDiskTest : public StackedTest {};

TEST_F(PassthruDiskTest, LooksLikeItsBaseUnderAnotherName) {
  ManualDisk::Options options = AnyBase();
  options.geometry = {.block_bytes = 4096,
                      .blocks = 64,
                      .physical_block_bytes = 8192,
                      .metadata_bytes = 8,
                      .metadata_interleaved = true,
                      .protection_type = 1,
                      .optimal_boundary_blocks = 16};
  options.limits.preferred_write_alignment_blocks = 4;
  options.limits.io_bytes_max = 8192;
  options.volatile_cache = true;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  EXPECT_EQ(disk.product_name(), "passthru");
  EXPECT_EQ(disk.geometry().blocks, 64u);
  EXPECT_EQ(disk.geometry().data_block_bytes(), 4104u);
  EXPECT_EQ(disk.geometry().protection_type, 1);
  EXPECT_EQ(disk.geometry().optimal_boundary_blocks, 16u);
  EXPECT_EQ(disk.limits().preferred_write_alignment_blocks, 4u);
  EXPECT_EQ(disk.limits().io_bytes_max, 0u);
  EXPECT_TRUE(disk.volatile_cache());
  EXPECT_NE(disk.uuid(), base.uuid());
  EXPECT_EQ(disk.DriverSpecificJson(), R"({"passthru":{"name":"PT0","base_bdev_name":"disk"}})");
}

TEST_F(PassthruDiskTest, ItsIdentityFollowsFromTheBases) {
  ManualDisk& base = AddBase();
  const Uuid first = Stack("PT0", Passthru()).uuid();
  EXPECT_TRUE(world_.Run(stacks_.Delete("PT0")).ok());
  EXPECT_EQ(Stack("PT1", Passthru("PT1")).uuid(), first);
  EXPECT_NE(UuidOver(base, "passthru"), UuidOver(base, "delay"));
  EXPECT_NE(UuidOver(base, "split0"), UuidOver(base, "split1"));
}

TEST_F(PassthruDiskTest, WhatIsWrittenIsOnTheBase) {
  ManualDisk& base = AddBase();
  BlockDevice& disk = Stack("PT0", Passthru());
  TestIo write(IoType::kWrite, 7, 2, 1024, 0x5a);
  EXPECT_EQ(Do(disk, write, 1), IoStatus::kSuccess);
  EXPECT_EQ(base.memory()[7 * 512], std::byte{0x5a});
  EXPECT_EQ(base.memory()[9 * 512], std::byte{0});
  TestIo read(IoType::kRead, 8, 1, 512);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer[511], std::byte{0x5a});
}

TEST_F(PassthruDiskTest, EveryTypeOfIoGoesThrough) {
  ManualDisk::Options options = AnyBase();
  options.executes.push_back(IoType::kCompareAndWrite);
  options.executes.push_back(IoType::kReset);
  options.at_once = false;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  for (const IoType type :
       {IoType::kRead, IoType::kWrite, IoType::kFlush, IoType::kUnmap, IoType::kWriteZeroes,
        IoType::kCompare, IoType::kCompareAndWrite, IoType::kReset}) {
    const bool with_data = type == IoType::kRead || type == IoType::kWrite ||
                           type == IoType::kCompare || type == IoType::kCompareAndWrite;
    TestIo io(type, 3, 2, with_data ? 1024 : 0);
    if (type == IoType::kCompareAndWrite) io.compare_data = io.segments;
    io.fua = type == IoType::kWrite;
    Submit(disk, io);
    world_.Turns(2);
    ASSERT_EQ(base.at(0).pending.size(), 1u) << IoTypeName(type);
    const IoRequest& child = *base.at(0).pending.front();
    EXPECT_EQ(child.type, type);
    EXPECT_EQ(child.lba, 3u);
    EXPECT_EQ(child.blocks, 2u);
    EXPECT_EQ(child.fua, io.fua);
    EXPECT_EQ(child.data.data(), io.data.data());
    EXPECT_EQ(child.compare_data.data(), io.compare_data.data());
    base.at(0).End();
    world_.Turns(3);
    EXPECT_EQ(io.calls, 1);
    EXPECT_EQ(io.status, IoStatus::kSuccess) << IoTypeName(type);
  }
}

TEST_F(PassthruDiskTest, DoesWhatTheBlockLayerMakesOfItsBase) {
  ManualDisk::Options options = AnyBase();
  options.executes = {IoType::kRead, IoType::kWrite};
  options.limits.segments_max = 1;
  AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  TestIo write(IoType::kWrite, 0, 8, 4096, 1), zero(IoType::kWriteZeroes, 2, 4),
      read(IoType::kRead, 0, 8, 4096, 2);
  read.segments = {{read.buffer.data(), 1024}, {read.buffer.data() + 1024, 3072}};
  read.data = read.segments;
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, zero), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer[1023], std::byte{1});
  EXPECT_EQ(read.buffer[1024], std::byte{0});
  EXPECT_EQ(read.buffer[3 << 10], std::byte{1});
  TestIo unmap(IoType::kUnmap, 0, 1), flush(IoType::kFlush, 0, 0);
  EXPECT_EQ(Do(disk, unmap), IoStatus::kNotSupported);
  EXPECT_EQ(Do(disk, flush), IoStatus::kSuccess);
}

TEST_F(PassthruDiskTest, LendsWhatItsBaseLends) {
  ManualDisk::Options options = AnyBase();
  options.lends = true;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  Loan loan{.lba = 5, .blocks = 2};
  world_.On(0, [&] { ASSERT_TRUE(disk.channel(0)->TryLend(loan)); });
  EXPECT_EQ(loan.parts[0].iov_base, &base.memory()[5 * 512]);
  EXPECT_EQ(base.at(0).loans_out, 1u);
  EXPECT_EQ(base.at(0).loans(), 1u);
  world_.On(0, [&] { disk.channel(0)->Return(loan); });
  EXPECT_EQ(base.at(0).loans_out, 0u);
  EXPECT_EQ(disk.channel(0)->loans(), 0u);
}

TEST_F(PassthruDiskTest, AReadOnlyBaseMakesAReadOnlyDisk) {
  ManualDisk::Options options = AnyBase();
  options.read_only = true;
  AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  TestIo write(IoType::kWrite, 0, 1, 512), read(IoType::kRead, 0, 1, 512);
  EXPECT_EQ(Do(disk, write), IoStatus::kWriteProtected);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
}

TEST_F(PassthruDiskTest, SaysWhereACompareDiffers) {
  AddBase();
  BlockDevice& disk = Stack("PT0", Passthru());
  TestIo compare(IoType::kCompare, 0, 2, 1024);
  compare.buffer[700] = std::byte{1};
  EXPECT_EQ(Do(disk, compare), IoStatus::kMiscompare);
  EXPECT_EQ(compare.miscompare_offset, 700u);
}

TEST_F(PassthruDiskTest, PassesOnHowTheBaseFails) {
  ManualDisk::Options options = AnyBase();
  options.at_once = false;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  for (const IoStatus status : {IoStatus::kMediumError, IoStatus::kNoSpace, IoStatus::kNoResources,
                                IoStatus::kTimedOut, IoStatus::kNvmeFailure}) {
    TestIo read(IoType::kRead, 0, 1, 512);
    Submit(disk, read);
    world_.Turns(2);
    base.at(0).pending.front()->nvme_status = 0x281;
    base.at(0).End(status);
    world_.Turns(3);
    EXPECT_EQ(read.status, status);
    EXPECT_EQ(read.nvme_status, 0x281);
  }
}

TEST_F(PassthruDiskTest, MoreIoThanThePoolHasWaitsInOrder) {
  ManualDisk::Options options = AnyBase();
  options.at_once = false;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  constexpr size_t kCount = 2 * StackedChannel::kChildCount + 50;
  std::vector<std::unique_ptr<TestIo>> ios;
  std::vector<uint64_t> order;
  for (size_t i = 0; i < kCount; ++i) {
    ios.push_back(std::make_unique<TestIo>(IoType::kRead, i % 1024, 1, 512));
    ios.back()->then = [&order, i] { order.push_back(i); };
    Submit(disk, *ios.back());
  }
  world_.Turns(2);
  EXPECT_EQ(base.at(0).pending.size(), StackedChannel::kChildCount);
  while (order.size() < kCount) {
    world_.On(0, [&] {
      if (!base.at(0).pending.empty()) base.at(0).End();
    });
    world_.Turn();
    ASSERT_LE(base.at(0).pending.size(), StackedChannel::kChildCount);
  }
  for (size_t i = 0; i < kCount; ++i) EXPECT_EQ(order[i], i);
}

TEST_F(PassthruDiskTest, AnAbortReachesTheBase) {
  ManualDisk::Options options = AnyBase();
  options.at_once = false;
  options.abortable = true;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  TestIo read(IoType::kRead, 0, 1, 512), other(IoType::kRead, 1, 1, 512);
  Submit(disk, read);
  Submit(disk, other);
  EXPECT_EQ(Abort(disk, read), IoStatus::kSuccess);
  world_.Turns(3);
  EXPECT_EQ(read.status, IoStatus::kAborted);
  EXPECT_EQ(other.calls, 0);
  EXPECT_EQ(base.at(0).pending.size(), 1u);
  base.at(0).EndAll();
  world_.Turns(3);
  EXPECT_EQ(other.status, IoStatus::kSuccess);
}

TEST_F(PassthruDiskTest, AnAbortThatTheBaseRefusesIsRefused) {
  ManualDisk::Options options = AnyBase();
  options.at_once = false;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  TestIo read(IoType::kRead, 0, 1, 512);
  Submit(disk, read);
  EXPECT_EQ(Abort(disk, read), IoStatus::kNotSupported);
  EXPECT_EQ(Abort(disk, read), IoStatus::kNotSupported);
  EXPECT_EQ(read.calls, 0);
  base.at(0).End();
  world_.Turns(3);
  EXPECT_EQ(read.calls, 1);
  EXPECT_EQ(read.status, IoStatus::kSuccess);
}

TEST_F(PassthruDiskTest, WhatWaitsForThePoolCanBeAborted) {
  ManualDisk::Options options = AnyBase();
  options.at_once = false;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  std::vector<std::unique_ptr<TestIo>> ios;
  for (size_t i = 0; i <= StackedChannel::kChildCount; ++i) {
    ios.push_back(std::make_unique<TestIo>(IoType::kRead, i, 1, 512));
    Submit(disk, *ios.back());
  }
  EXPECT_EQ(Abort(disk, *ios.back()), IoStatus::kSuccess);
  EXPECT_EQ(ios.back()->status, IoStatus::kAborted);
  base.at(0).EndAll();
  world_.Turns(3);
  for (const auto& io : ios) EXPECT_EQ(io->calls, 1);
}

TEST_F(PassthruDiskTest, AResetAbortsWhatIsInFlightAndIsPassedOn) {
  ManualDisk::Options options = AnyBase();
  options.executes.push_back(IoType::kReset);
  options.at_once = false;
  options.abortable = true;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  TestIo read(IoType::kRead, 0, 1, 512), reset(IoType::kReset, 0, 0),
      after(IoType::kRead, 1, 1, 512);
  Submit(disk, read);
  Submit(disk, reset);
  Submit(disk, after);
  world_.Turns(4);
  EXPECT_EQ(read.status, IoStatus::kAborted);
  EXPECT_EQ(after.calls, 0);
  ASSERT_EQ(base.at(0).pending.size(), 1u);
  EXPECT_EQ(base.at(0).pending.front()->type, IoType::kReset);
  base.at(0).End();
  world_.Turns(4);
  EXPECT_EQ(reset.calls, 1);
  ASSERT_EQ(base.at(0).pending.size(), 1u);
  base.at(0).End();
  world_.Turns(4);
  EXPECT_EQ(after.status, IoStatus::kSuccess);
}

TEST_F(PassthruDiskTest, AnAtomicWriteMayCrossABoundary) {
  ManualDisk::Options options = AnyBase();
  options.geometry.optimal_boundary_blocks = 4;
  AddBase(options);
  BlockDevice& disk = Stack("PT0", Passthru());
  TestIo io(IoType::kCompareAndWrite, 3, 2, 1024, 9);
  std::vector<std::byte> expected(1024);
  const iovec part{expected.data(), expected.size()};
  io.compare_data = {&part, 1};
  EXPECT_EQ(Do(disk, io), IoStatus::kSuccess);
}

TEST_F(PassthruDiskTest, ParametersThatMakeNoSenseAreRefused) {
  AddBase();
  const auto without_name = [](BlockDevice& base) { return MakePassthruDisk({}, base); };
  EXPECT_EQ(ErrnoOf(TryStack("PT0", without_name)), EINVAL);
  const auto bad_uuid = [](BlockDevice& base) {
    return MakePassthruDisk({.name = "PT0", .uuid = "no"}, base);
  };
  EXPECT_EQ(DetailOf(TryStack("PT0", bad_uuid)).field, "uuid");
  TestUser user;
  EXPECT_TRUE((*world_.devices.Find("disk"))->Open(user, true).ok());
  (*world_.devices.Find("disk"))->Close(user);
}

}  // namespace
}  // namespace pollux
