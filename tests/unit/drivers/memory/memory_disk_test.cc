#include "drivers/memory/memory_disk.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/accel/error_module.h"
#include "tests/unit/block_world.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::TestIo;

class MemoryDiskTest : public testing::Test {
 protected:
  ~MemoryDiskTest() override {
    for (BlockDevice* device : world_.devices.devices()) {
      EXPECT_TRUE(world_.Run(world_.devices.Unregister(device->name())).ok());
    }
    EXPECT_TRUE(regions_.regions().empty());
  }
  static MemoryDiskOptions Options() {
    return {.name = "Malloc0", .block_size = 512, .num_blocks = 2048};
  }
  BlockDevice* Make(MemoryDiskOptions options = Options()) {
    auto disk = MakeMemoryDisk(std::move(options), regions_, accel_);
    EXPECT_TRUE(disk.ok()) << disk.status();
    return *world_.Run(world_.devices.Register(*std::move(disk)));
  }
  ErrorDetail RefusalOf(MemoryDiskOptions options) {
    auto disk = MakeMemoryDisk(std::move(options), regions_, accel_);
    EXPECT_FALSE(disk.ok());
    EXPECT_TRUE(regions_.regions().empty());
    return DetailOf(disk.status());
  }
  IoStatus Do(BlockDevice* disk, IoRequest& request, size_t reactor = 0) {
    auto& io = static_cast<TestIo&>(request);
    const int before = io.calls;
    world_.On(reactor, [&] { disk->channel(reactor)->Submit(io); });
    world_.Until([&] { return io.calls > before; });
    return io.status;
  }

  BlockWorld world_;
  RegionRegistry regions_;
  Accel accel_{*world_.reactors};
};

TEST_F(MemoryDiskTest, ReadsBackWhatWasWrittenThroughAnyReactor) {
  BlockDevice* disk = Make();
  EXPECT_EQ(disk->product_name(), "Malloc disk");
  TestIo write(IoType::kWrite, 5, 3, 1536, 0x5a), read(IoType::kRead, 4, 5, 2560, 0xff);
  EXPECT_EQ(Do(disk, write, 0), IoStatus::kSuccess);
  read.segments = {{read.buffer.data(), 700}, {nullptr, 0}, {read.buffer.data() + 700, 1860}};
  read.data = read.segments;
  EXPECT_EQ(Do(disk, read, 1), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer[511], std::byte{0});
  EXPECT_EQ(read.buffer[512], std::byte{0x5a});
  EXPECT_EQ(read.buffer[2047], std::byte{0x5a});
  EXPECT_EQ(read.buffer[2048], std::byte{0});
}

TEST_F(MemoryDiskTest, UnmapAndWriteZeroesReadAsZeroes) {
  BlockDevice* disk = Make();
  EXPECT_TRUE(disk->limits().unmapped_reads_zero);
  for (const IoType type : {IoType::kUnmap, IoType::kWriteZeroes}) {
    TestIo write(IoType::kWrite, 0, 2048, 2048 * 512, 0x11), zero(type, 3, 2000),
        read(IoType::kRead, 0, 2048, 2048 * 512);
    EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
    EXPECT_EQ(Do(disk, zero), IoStatus::kSuccess);
    EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
    EXPECT_EQ(std::count(read.buffer.begin(), read.buffer.end(), std::byte{0}), 2000 * 512);
    EXPECT_EQ(read.buffer[3 * 512 - 1], std::byte{0x11});
    EXPECT_EQ(read.buffer[2003 * 512], std::byte{0x11});
  }
}

TEST_F(MemoryDiskTest, UnmapGivesMemoryBack) {
  BlockDevice* disk = Make();
  TestIo write(IoType::kWrite, 0, 2048, 2048 * 512, 0x11), unmap(IoType::kUnmap, 0, 2048);
  struct stat info {};
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  ASSERT_EQ(fstat(regions_.regions()[0].fd, &info), 0);
  EXPECT_EQ(info.st_blocks, 2048);
  EXPECT_EQ(Do(disk, unmap), IoStatus::kSuccess);
  ASSERT_EQ(fstat(regions_.regions()[0].fd, &info), 0);
  EXPECT_EQ(info.st_blocks, 0);
}

TEST_F(MemoryDiskTest, ComparesAndSaysWhereItDiffers) {
  BlockDevice* disk = Make();
  TestIo write(IoType::kWrite, 0, 2, 1024, 0x42), compare(IoType::kCompare, 0, 2, 1024, 0x42);
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, compare), IoStatus::kSuccess);
  compare.buffer[1000] = std::byte{0};
  compare.segments = {{compare.buffer.data(), 600}, {compare.buffer.data() + 600, 424}};
  compare.data = compare.segments;
  EXPECT_EQ(Do(disk, compare), IoStatus::kMiscompare);
  EXPECT_EQ(compare.miscompare_offset, 1000u);
}

TEST_F(MemoryDiskTest, ComparesAndWrites) {
  BlockDevice* disk = Make();
  EXPECT_TRUE(disk->Supports(IoType::kCompareAndWrite));
  TestIo caw(IoType::kCompareAndWrite, 7, 1, 512, 0x33), read(IoType::kRead, 7, 1, 512);
  std::vector<std::byte> zeroes(512);
  const iovec expected{zeroes.data(), zeroes.size()};
  caw.compare_data = {&expected, 1};
  EXPECT_EQ(Do(disk, caw), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read, 1), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer[511], std::byte{0x33});
  EXPECT_EQ(Do(disk, caw, 1), IoStatus::kMiscompare);
  EXPECT_EQ(caw.miscompare_offset, 0u);
}

// The accel layer's module "error" moves the bytes, a stage later than the CPU would.
class MovedMemoryDiskTest : public MemoryDiskTest {
 protected:
  MovedMemoryDiskTest() {
    accel_.Add(error_, Accel::Use::kWhenAssigned);
    for (const AccelOpcode opcode :
         {AccelOpcode::kCopy, AccelOpcode::kFill, AccelOpcode::kCompare}) {
      EXPECT_TRUE(world_.Run(accel_.Assign(opcode, "error")).ok());
    }
  }
  void Fail(AccelOpcode opcode) {
    world_.Run(error_.Inject(opcode, {.fault = ErrorModule::Fault::kFailure, .count = 1}));
  }
  ErrorModule error_{accel_, *world_.reactors};
};

TEST_F(MovedMemoryDiskTest, BytesAndMetadataComeAndGo) {
  MemoryDiskOptions options = Options();
  options.md_size = 8;
  BlockDevice* disk = Make(std::move(options));
  std::vector<std::byte> written(3 * 8, std::byte{0x77}), found(3 * 8);
  TestIo write(IoType::kWrite, 5, 3, 1536, 0x5a), read(IoType::kRead, 5, 3, 1536),
      compare(IoType::kCompare, 5, 3, 1536, 0x5a), zero(IoType::kWriteZeroes, 6, 1);
  write.metadata = compare.metadata = written.data();
  read.metadata = found.data();
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, compare), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read, 1), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer, write.buffer);
  EXPECT_EQ(found, written);
  EXPECT_EQ(Do(disk, zero), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer[511], std::byte{0x5a});
  EXPECT_EQ(read.buffer[512], std::byte{0});
  EXPECT_EQ(found[7], std::byte{0x77});
  EXPECT_EQ(found[8], std::byte{0});
  EXPECT_EQ(Do(disk, compare), IoStatus::kMiscompare);
  EXPECT_EQ(compare.miscompare_offset, 512u);
}

TEST_F(MovedMemoryDiskTest, WhatIsNotMovedIsNotASuccess) {
  BlockDevice* disk = Make();
  TestIo write(IoType::kWrite, 5, 3, 1536, 0x5a), read(IoType::kRead, 5, 3, 1536),
      zero(IoType::kWriteZeroes, 5, 3), compare(IoType::kCompare, 5, 3, 1536, 0x5a);
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  Fail(AccelOpcode::kCopy);
  EXPECT_EQ(Do(disk, read), IoStatus::kInternalError);
  Fail(AccelOpcode::kCopy);
  EXPECT_EQ(Do(disk, write), IoStatus::kInternalError);
  Fail(AccelOpcode::kFill);
  EXPECT_EQ(Do(disk, zero), IoStatus::kInternalError);
  Fail(AccelOpcode::kCompare);
  EXPECT_EQ(Do(disk, compare), IoStatus::kInternalError);
  EXPECT_EQ(Do(disk, compare), IoStatus::kSuccess);
}

TEST_F(MemoryDiskTest, FlushHasNothingToDo) {
  BlockDevice* disk = Make();
  EXPECT_FALSE(disk->volatile_cache());
  TestIo flush(IoType::kFlush, 0, 0);
  EXPECT_EQ(Do(disk, flush), IoStatus::kSuccess);
}

TEST_F(MemoryDiskTest, LendsItsOwnPages) {
  BlockDevice* disk = Make();
  Loan loan{.write = true, .lba = 9, .blocks = 4};
  ASSERT_TRUE(disk->channel(0)->TryLend(loan));
  EXPECT_NE(regions_.Find(static_cast<std::byte*>(loan.parts[0].iov_base), 2048), nullptr);
  memset(loan.parts[0].iov_base, 0x77, 2048);
  disk->channel(0)->Return(loan);
  TestIo read(IoType::kRead, 12, 2, 1024);
  EXPECT_EQ(Do(disk, read, 1), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer[511], std::byte{0x77});
  EXPECT_EQ(read.buffer[512], std::byte{0});
}

TEST_F(MemoryDiskTest, KeepsSeparateMetadata) {
  MemoryDiskOptions options = Options();
  options.md_size = 16;
  BlockDevice* disk = Make(options);
  EXPECT_FALSE(disk->geometry().metadata_interleaved);
  std::vector<std::byte> given(32, std::byte{0x0d}), found(64, std::byte{0xff});
  TestIo write(IoType::kWrite, 1, 2, 1024, 1), read(IoType::kRead, 0, 4, 2048);
  write.metadata = given.data();
  read.metadata = found.data();
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(found[15], std::byte{0});
  EXPECT_EQ(found[16], std::byte{0x0d});
  EXPECT_EQ(found[47], std::byte{0x0d});
  EXPECT_EQ(found[48], std::byte{0});

  TestIo compare(IoType::kCompare, 1, 2, 1024, 1);
  compare.metadata = given.data();
  EXPECT_EQ(Do(disk, compare), IoStatus::kSuccess);
  given[20] = std::byte{1};
  EXPECT_EQ(Do(disk, compare), IoStatus::kMiscompare);

  TestIo unmap(IoType::kUnmap, 0, 2048);
  EXPECT_EQ(Do(disk, unmap), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(std::count(found.begin(), found.end(), std::byte{0}), 64);
}

TEST_F(MemoryDiskTest, InterleavedMetadataIsPartOfTheData) {
  MemoryDiskOptions options = Options();
  options.md_size = 8;
  options.md_interleave = true;
  BlockDevice* disk = Make(options);
  EXPECT_EQ(disk->geometry().data_block_bytes(), 520u);
  TestIo bare(IoType::kWrite, 0, 2, 1024), write(IoType::kWrite, 2046, 2, 1040, 3),
      read(IoType::kRead, 2047, 1, 520);
  EXPECT_EQ(Do(disk, bare), IoStatus::kInvalidRequest);
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer[519], std::byte{3});
}

TEST_F(MemoryDiskTest, SplitsAtItsOptimalBoundary) {
  MemoryDiskOptions options = Options();
  options.optimal_io_boundary = 8;
  BlockDevice* disk = Make(options);
  TestIo write(IoType::kWrite, 3, 100, 51200, 6), read(IoType::kRead, 3, 100, 51200);
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer, write.buffer);
}

TEST_F(MemoryDiskTest, HasTheIdentityThatItWasGivenOrANewOne) {
  MemoryDiskOptions options = Options();
  options.uuid = "2b1a5f2e-8f43-4c5b-9d5e-0123456789ab";
  EXPECT_EQ(Make(options)->uuid().ToString(), options.uuid);
  options.name = "Malloc1";
  options.uuid.clear();
  EXPECT_NE(Make(options)->uuid().ToString(), "2b1a5f2e-8f43-4c5b-9d5e-0123456789ab");
}

TEST_F(MemoryDiskTest, ReportsAPhysicalBlock) {
  MemoryDiskOptions options = Options();
  options.physical_block_size = 4096;
  EXPECT_EQ(Make(options)->geometry().physical_block_bytes, 4096u);
}

TEST_F(MemoryDiskTest, CannotBeResized) {
  EXPECT_EQ(ErrnoOf(world_.Run(world_.devices.Resize(*Make(), 4096))), ENOTSUP);
}

TEST_F(MemoryDiskTest, RefusalsNameTheParameter) {
  const auto refused = [this](auto change) {
    MemoryDiskOptions options = Options();
    change(options);
    const ErrorDetail detail = RefusalOf(options);
    return absl::StrFormat("%d %s %s", detail.error_number, detail.field, detail.value);
  };
  using O = MemoryDiskOptions;
  EXPECT_EQ(refused([](O& o) { o.name = ""; }), "22 name ");
  EXPECT_EQ(refused([](O& o) { o.block_size = 7; }), "22 block_size 7");
  EXPECT_EQ(refused([](O& o) { o.block_size = 0; }), "22 block_size 0");
  EXPECT_EQ(refused([](O& o) { o.block_size = 131072; }), "22 block_size 131072");
  EXPECT_EQ(refused([](O& o) { o.num_blocks = 0; }), "22 num_blocks 0");
  EXPECT_EQ(refused([](O& o) { o.num_blocks = UINT64_MAX; }), "22 num_blocks 18446744073709551615");
  EXPECT_EQ(refused([](O& o) { o.md_size = 9; }), "22 md_size 9");
  EXPECT_EQ(refused([](O& o) { o.md_size = 256; }), "22 md_size 256");
  EXPECT_EQ(refused([](O& o) { o.dif_type = 1; }), "22 dif_type 1");
  EXPECT_EQ(refused([](O& o) { o.md_size = 8, o.dif_type = 4; }), "22 dif_type 4");
  EXPECT_EQ(refused([](O& o) { o.md_size = 8, o.dif_type = -1; }), "22 dif_type -1");
  EXPECT_EQ(refused([](O& o) { o.md_size = 8, o.dif_is_head_of_md = true; }),
            "22 dif_is_head_of_md true");
  EXPECT_EQ(refused([](O& o) { o.md_size = 16, o.dif_type = 1, o.dif_pi_format = 1; }),
            "22 dif_pi_format 1");
  EXPECT_EQ(refused([](O& o) { o.physical_block_size = 256; }), "22 physical_block_size 256");
  EXPECT_EQ(refused([](O& o) { o.physical_block_size = 5000; }), "22 physical_block_size 5000");
  EXPECT_EQ(refused([](O& o) { o.uuid = "x"; }), "22 uuid x");
  EXPECT_EQ(refused([](O& o) { o.numa_id = -2; }), "22 numa_id -2");
}

TEST_F(MemoryDiskTest, MoreThanTheMachineHasIsRefused) {
  MemoryDiskOptions options = Options();
  options.num_blocks = uint64_t{1} << 50;
  const ErrorDetail detail = RefusalOf(options);
  EXPECT_EQ(detail.error_number, ENOMEM);
  EXPECT_NE(detail.reason.find("bdev Malloc0"), std::string::npos) << detail.reason;
}

}  // namespace
}  // namespace pollux
