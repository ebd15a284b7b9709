#include "drivers/null/null_disk.h"

#include <gtest/gtest.h>

#include "tests/unit/block_world.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::TestIo;
using testing_world::TestUser;

class NullDiskTest : public testing::Test {
 protected:
  ~NullDiskTest() override {
    for (BlockDevice* device : world_.devices.devices()) {
      EXPECT_TRUE(world_.Run(world_.devices.Unregister(device->name())).ok());
    }
  }
  static NullDiskOptions Options() {
    return {.name = "Null0", .block_size = 4096, .num_blocks = 1024};
  }
  BlockDevice* Make(NullDiskOptions options = Options()) {
    auto disk = MakeNullDisk(std::move(options));
    EXPECT_TRUE(disk.ok()) << disk.status();
    return *world_.Run(world_.devices.Register(*std::move(disk)));
  }
  IoStatus Do(BlockDevice* disk, TestIo& io) {
    disk->channel(0)->Submit(io);
    EXPECT_EQ(io.calls, 0);
    world_.Turn();
    EXPECT_EQ(io.calls, 1);
    return io.status;
  }

  BlockWorld world_;
};

TEST_F(NullDiskTest, ReadsAsZeroesWhateverTheBufferHeld) {
  BlockDevice* disk = Make();
  EXPECT_EQ(disk->product_name(), "Null disk");
  TestIo read(IoType::kRead, 1022, 2, 8192, 0xee);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(std::count(read.buffer.begin(), read.buffer.end(), std::byte{0}), 8192);
}

TEST_F(NullDiskTest, LendsZeroesToReadAndNothingToWrite) {
  BlockDevice* disk = Make();
  Loan loan{.lba = 3, .blocks = 40};  // 160 KiB.
  ASSERT_TRUE(disk->channel(0)->TryLend(loan));
  size_t bytes = 0;
  for (size_t i = 0; i < loan.part_count; ++i) {
    const auto* part = static_cast<const std::byte*>(loan.parts[i].iov_base);
    bytes += loan.parts[i].iov_len;
    EXPECT_EQ(std::count(part, part + loan.parts[i].iov_len, std::byte{0}),
              static_cast<ptrdiff_t>(loan.parts[i].iov_len));
  }
  EXPECT_EQ(bytes, 40u * 4096);
  disk->channel(0)->Return(loan);
  Loan large{.lba = 0, .blocks = 65};
  EXPECT_FALSE(disk->channel(0)->TryLend(large));
  Loan write{.write = true, .lba = 0, .blocks = 1};
  EXPECT_FALSE(disk->channel(0)->TryLend(write));
}

TEST_F(NullDiskTest, TakesWhateverIsWritten) {
  BlockDevice* disk = Make();
  TestIo write(IoType::kWrite, 0, 1, 4096, 1), unmap(IoType::kUnmap, 0, 1024),
      zeroes(IoType::kWriteZeroes, 0, 1024), flush(IoType::kFlush, 0, 0),
      reset(IoType::kReset, 0, 0);
  for (TestIo* io : {&write, &unmap, &zeroes, &flush, &reset}) {
    EXPECT_EQ(Do(disk, *io), IoStatus::kSuccess) << IoTypeName(io->type);
  }
  TestIo behind(IoType::kWrite, 1024, 1, 4096), compare(IoType::kCompare, 0, 1, 4096);
  EXPECT_EQ(Do(disk, behind), IoStatus::kOutOfRange);
  EXPECT_EQ(Do(disk, compare), IoStatus::kNotSupported);
}

TEST_F(NullDiskTest, MetadataLiesBetweenTheBlocks) {
  NullDiskOptions options = Options();
  options.md_size = 64;
  BlockDevice* disk = Make(options);
  EXPECT_EQ(disk->geometry().data_block_bytes(), 4160u);
  TestIo read(IoType::kRead, 0, 1, 4160, 0xee);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer[4159], std::byte{0});
}

TEST_F(NullDiskTest, ShowsTheHintsThatItWasGiven) {
  NullDiskOptions options = Options();
  options.preferred_write_granularity = 2;
  options.preferred_write_alignment = 4;
  options.optimal_write_size = 8;
  options.preferred_unmap_granularity = 16;
  options.preferred_unmap_alignment = 32;
  const Limits& limits = Make(options)->limits();
  EXPECT_EQ(limits.preferred_write_granularity_blocks, 2u);
  EXPECT_EQ(limits.preferred_write_alignment_blocks, 4u);
  EXPECT_EQ(limits.optimal_write_blocks, 8u);
  EXPECT_EQ(limits.preferred_unmap_granularity_blocks, 16u);
  EXPECT_EQ(limits.preferred_unmap_alignment_blocks, 32u);
}

TEST_F(NullDiskTest, IsResizedInMebibytes) {
  BlockDevice* disk = Make();
  TestUser user;
  ASSERT_TRUE(disk->Open(user, true).ok());
  EXPECT_TRUE(world_.Run(ResizeNullDisk(world_.devices, "Null0", 8)).ok());
  EXPECT_EQ(disk->geometry().blocks, 2048u);
  EXPECT_EQ(user.resized_to, 2048u);
  EXPECT_EQ(ErrnoOf(world_.Run(ResizeNullDisk(world_.devices, "Null0", 4))), EBUSY);
  disk->Close(user);
  EXPECT_TRUE(world_.Run(ResizeNullDisk(world_.devices, "Null0", 4)).ok());
  EXPECT_EQ(disk->geometry().blocks, 1024u);
}

TEST_F(NullDiskTest, AResizeThatMakesNoSenseIsRefused) {
  Make();
  EXPECT_EQ(ErrnoOf(world_.Run(ResizeNullDisk(world_.devices, "Null1", 4))), ENODEV);
  for (const uint64_t size : {uint64_t{0}, UINT64_MAX, uint64_t{1} << 50}) {
    const Status status = world_.Run(ResizeNullDisk(world_.devices, "Null0", size));
    EXPECT_EQ(ErrnoOf(status), EINVAL);
    EXPECT_EQ(DetailOf(status).field, "new_size");
  }
}

TEST_F(NullDiskTest, RefusalsNameTheParameter) {
  const auto refused = [](auto change) {
    NullDiskOptions options = Options();
    change(options);
    return DetailOf(MakeNullDisk(options).status()).field;
  };
  using O = NullDiskOptions;
  EXPECT_EQ(refused([](O& o) { o.name = ""; }), "name");
  EXPECT_EQ(refused([](O& o) { o.block_size = 7; }), "block_size");
  EXPECT_EQ(refused([](O& o) { o.num_blocks = 0; }), "num_blocks");
  EXPECT_EQ(refused([](O& o) { o.num_blocks = uint64_t{1} << 60; }), "num_blocks");
  EXPECT_EQ(refused([](O& o) { o.dif_type = 3; }), "dif_type");
  EXPECT_EQ(refused([](O& o) { o.uuid = "?"; }), "uuid");
}

}  // namespace
}  // namespace pollux
