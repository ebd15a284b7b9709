#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/accel/error_module.h"
#include "core/accel/protection.h"
#include "drivers/memory/memory_disk.h"
#include "tests/unit/block_world.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::TestIo;

struct Format {
  int type;
  bool interleaved, first;
  uint32_t metadata_bytes;
};

// Every kind of protection information, on each of which the same must be true.
class ProtectedMemoryDiskTest : public testing::TestWithParam<Format> {
 protected:
  static constexpr uint32_t kBlock = 512, kBlocks = 64;

  ProtectedMemoryDiskTest() : ProtectedMemoryDiskTest(GetParam()) {}
  explicit ProtectedMemoryDiskTest(const Format& format) : format_(format) {
    MemoryDiskOptions options{.name = "Malloc0", .block_size = kBlock, .num_blocks = kBlocks};
    options.md_size = format.metadata_bytes;
    options.md_interleave = format.interleaved;
    options.dif_type = format.type;
    options.dif_is_head_of_md = format.first;
    auto disk = MakeMemoryDisk(options, regions_, accel_);
    CHECK(disk.ok());
    disk_ = *world_.Run(world_.devices.Register(*std::move(disk)));
  }
  ~ProtectedMemoryDiskTest() override {
    EXPECT_TRUE(world_.Run(world_.devices.Unregister("Malloc0")).ok());
  }

  // An I/O with room for its metadata, wherever that is, in pieces that meet no block's borders.
  class Io {
   public:
    Io(const Format& format, IoType type, uint64_t lba, uint64_t blocks, int fill = 0)
        : io(type, lba, blocks,
             blocks * (kBlock + (format.interleaved ? format.metadata_bytes : 0)), fill),
          metadata(format.interleaved ? 0 : blocks * format.metadata_bytes, std::byte(fill)) {
      const size_t bytes = io.buffer.size();
      io.segments = {{io.buffer.data(), 515}, {nullptr, 0}, {io.buffer.data() + 515, bytes - 515}};
      if (bytes <= 515) io.UseWholeBuffer();
      io.data = io.segments;
      if (!format.interleaved) io.metadata = metadata.data();
    }
    TestIo io;
    std::vector<std::byte> metadata;
  };

  Protection Of(uint64_t lba) const {
    return {.format = {.block_bytes = kBlock,
                       .metadata_bytes = format_.metadata_bytes,
                       .type = static_cast<uint8_t>(format_.type),
                       .first = format_.first},
            .tags = {.application = 0x1234, .reference = static_cast<uint32_t>(lba)},
            .checks = {}};
  }
  void Protect(Io& io) const { Protect(io, io.io.lba); }
  void Protect(Io& io, uint64_t lba) const {
    if (format_.interleaved) return GenerateProtection(Of(lba), io.io.blocks, io.io.data);
    GenerateProtection(Of(lba), io.io.blocks, io.io.data, io.metadata);
  }
  // Byte `at` of the protection information of a block.
  std::byte& PiByte(Io& io, uint64_t block, uint32_t at) const {
    const uint32_t before = format_.first ? 0 : format_.metadata_bytes - kProtectionBytes;
    if (!format_.interleaved) return io.metadata[block * format_.metadata_bytes + before + at];
    return io.io.buffer[block * (kBlock + format_.metadata_bytes) + kBlock + before + at];
  }
  bool SaysEscape(Io& io, uint64_t block) const {
    for (uint32_t i = 0; i < kProtectionBytes; ++i) {
      if (PiByte(io, block, i) != std::byte{0xff}) return false;
    }
    return true;
  }
  std::byte& DataByte(Io& io, uint64_t block) const {
    return io.io.buffer[block * (kBlock + (format_.interleaved ? format_.metadata_bytes : 0))];
  }

  IoStatus Do(TestIo& io, size_t reactor = 0) {
    const int before = io.calls;
    world_.On(reactor, [&] { disk_->channel(reactor)->Submit(io); });
    world_.Until([&] { return io.calls > before; });
    return io.status;
  }
  IoStatus Do(Io& io, size_t reactor = 0) { return Do(io.io, reactor); }

  const Format format_;
  BlockWorld world_;
  RegionRegistry regions_;
  Accel accel_{*world_.reactors};
  BlockDevice* disk_ = nullptr;
};

TEST_P(ProtectedMemoryDiskTest, SaysWhatItKeepsAndChecks) {
  const Geometry& geometry = disk_->geometry();
  EXPECT_EQ(geometry.protection_type, format_.type);
  EXPECT_EQ(geometry.protection_first, format_.first);
  EXPECT_TRUE(geometry.checks_guard);
  EXPECT_EQ(geometry.checks_reference_tag, format_.type != 3);
}

TEST_P(ProtectedMemoryDiskTest, ReadsBackWhatWasWritten) {
  Io write(format_, IoType::kWrite, 5, 3, 0x5a), read(format_, IoType::kRead, 5, 3);
  Protect(write);
  ASSERT_EQ(Do(write), IoStatus::kSuccess);
  ASSERT_EQ(Do(read, 1), IoStatus::kSuccess);
  EXPECT_EQ(read.io.buffer, write.io.buffer);
  EXPECT_EQ(read.metadata, write.metadata);
}

TEST_P(ProtectedMemoryDiskTest, StoresNothingOfAWriteWithAWrongGuard) {
  for (uint64_t block = 0; block < 3; ++block) {
    Io write(format_, IoType::kWrite, 5, 3, 0x5a), read(format_, IoType::kRead, 5, 3, 0x11);
    Protect(write);
    PiByte(write, block, 1) ^= std::byte{1};
    EXPECT_EQ(Do(write), IoStatus::kMediumError);
    EXPECT_EQ(Do(read), IoStatus::kSuccess);
    EXPECT_EQ(DataByte(read, 0), std::byte{0});
    EXPECT_TRUE(SaysEscape(read, 0));
  }
}

TEST_P(ProtectedMemoryDiskTest, ChecksTheReferenceTagUnlessItIsTheApplications) {
  Io write(format_, IoType::kWrite, 5, 3, 0x5a);
  Protect(write, 6);
  EXPECT_EQ(Do(write), format_.type == 3 ? IoStatus::kSuccess : IoStatus::kMediumError);
}

TEST_P(ProtectedMemoryDiskTest, LeavesTheApplicationTagAlone) {
  Io write(format_, IoType::kWrite, 5, 1, 0x5a), read(format_, IoType::kRead, 5, 1);
  Protect(write);
  PiByte(write, 0, 2) = std::byte{0xab};
  EXPECT_EQ(Do(write), IoStatus::kSuccess);
  EXPECT_EQ(Do(read), IoStatus::kSuccess);
  EXPECT_EQ(PiByte(read, 0, 2), std::byte{0xab});
}

TEST_P(ProtectedMemoryDiskTest, WhatWasNeverWrittenSaysTheEscape) {
  Io read(format_, IoType::kRead, 0, kBlocks, 0x11);
  ASSERT_EQ(Do(read), IoStatus::kSuccess);
  for (uint64_t block = 0; block < kBlocks; ++block) {
    EXPECT_EQ(DataByte(read, block), std::byte{0});
    EXPECT_TRUE(SaysEscape(read, block));
  }
}

TEST_P(ProtectedMemoryDiskTest, WhatWasZeroedSaysTheEscape) {
  for (const IoType type : {IoType::kUnmap, IoType::kWriteZeroes}) {
    Io write(format_, IoType::kWrite, 0, kBlocks, 0x5a), read(format_, IoType::kRead, 0, kBlocks);
    Protect(write);
    TestIo zero(type, 3, 50);
    ASSERT_EQ(Do(write), IoStatus::kSuccess);
    ASSERT_EQ(Do(zero), IoStatus::kSuccess);
    ASSERT_EQ(Do(read), IoStatus::kSuccess);
    for (uint64_t block = 0; block < kBlocks; ++block) {
      const bool zeroed = block >= 3 && block < 53;
      EXPECT_EQ(DataByte(read, block), std::byte(zeroed ? 0 : 0x5a)) << block;
      EXPECT_EQ(SaysEscape(read, block), zeroed) << block;
    }
  }
}

TEST_P(ProtectedMemoryDiskTest, ABlockOfZeroesMayBeWrittenWithItsGuard) {
  Io write(format_, IoType::kWrite, 0, 2), read(format_, IoType::kRead, 0, 2, 0x11);
  Protect(write);
  EXPECT_EQ(Do(write), IoStatus::kSuccess);
  EXPECT_EQ(Do(read), IoStatus::kSuccess);
  EXPECT_EQ(read.io.buffer, write.io.buffer);
  EXPECT_EQ(read.metadata, write.metadata);
}

TEST_P(ProtectedMemoryDiskTest, DamageInMemoryIsNotHandedOut) {
  Io write(format_, IoType::kWrite, 0, 4, 0x5a), read(format_, IoType::kRead, 0, 4),
      before(format_, IoType::kRead, 0, 2);
  Protect(write);
  ASSERT_EQ(Do(write), IoStatus::kSuccess);
  const uint32_t unit = kBlock + (format_.interleaved ? format_.metadata_bytes : 0);
  *static_cast<std::byte*>(static_cast<void*>(regions_.regions()[0].address + 2 * unit)) ^=
      std::byte{1};
  EXPECT_EQ(Do(read), IoStatus::kMediumError);
  EXPECT_EQ(Do(before), IoStatus::kSuccess);
}

TEST_P(ProtectedMemoryDiskTest, ComparesProtectionInformationToo) {
  Io write(format_, IoType::kWrite, 5, 3, 0x5a), same(format_, IoType::kCompare, 5, 3, 0x5a),
      never(format_, IoType::kCompare, 20, 3);
  Protect(write);
  Protect(same);
  ASSERT_EQ(Do(write), IoStatus::kSuccess);
  EXPECT_EQ(Do(same), IoStatus::kSuccess);
  PiByte(same, 1, 7) ^= std::byte{1};
  EXPECT_EQ(Do(same), IoStatus::kMiscompare);
  PiByte(same, 1, 7) ^= std::byte{1};
  DataByte(same, 2) ^= std::byte{1};
  EXPECT_EQ(Do(same), IoStatus::kMiscompare);
  EXPECT_EQ(same.io.miscompare_offset,
            static_cast<uint64_t>(&DataByte(same, 2) - same.io.buffer.data()));
  for (uint64_t block = 0; block < 3; ++block) {
    for (uint32_t i = 0; i < kProtectionBytes; ++i) PiByte(never, block, i) = std::byte{0xff};
  }
  EXPECT_EQ(Do(never), IoStatus::kSuccess);
}

TEST_P(ProtectedMemoryDiskTest, LendsNothing) {
  Loan read{.write = false, .lba = 0, .blocks = 1}, write{.write = true, .lba = 0, .blocks = 1};
  EXPECT_FALSE(disk_->channel(0)->TryLend(read));
  EXPECT_FALSE(disk_->channel(0)->TryLend(write));
}

TEST_P(ProtectedMemoryDiskTest, AnEmptyOneTakesNoMemory) {
  struct stat info {};
  ASSERT_EQ(fstat(regions_.regions()[0].fd, &info), 0);
  EXPECT_EQ(info.st_blocks, 0);
}

TEST_P(ProtectedMemoryDiskTest, WhatIsMovedLaterIsTheSame) {
  ErrorModule error(accel_, *world_.reactors);
  accel_.Add(error, Accel::Use::kWhenAssigned);
  ASSERT_TRUE(world_.Run(accel_.Assign(AccelOpcode::kCopy, "error")).ok());
  Io write(format_, IoType::kWrite, 5, 3, 0x5a), read(format_, IoType::kRead, 5, 3);
  Protect(write);
  EXPECT_EQ(Do(write), IoStatus::kSuccess);
  EXPECT_EQ(Do(read), IoStatus::kSuccess);
  EXPECT_EQ(read.io.buffer, write.io.buffer);
  EXPECT_EQ(read.metadata, write.metadata);
  ASSERT_TRUE(world_.Run(accel_.Assign(AccelOpcode::kCopy, "software")).ok());
}

std::string NameOf(const testing::TestParamInfo<Format>& info) {
  const Format& format = info.param;
  return absl::StrFormat("Type%d%s%s%d", format.type, format.interleaved ? "Among" : "Apart",
                         format.first ? "First" : "Last", format.metadata_bytes);
}

INSTANTIATE_TEST_SUITE_P(Formats, ProtectedMemoryDiskTest,
                         testing::Values(Format{1, true, false, 8}, Format{1, true, true, 64},
                                         Format{1, true, false, 64}, Format{1, false, false, 8},
                                         Format{1, false, false, 16}, Format{2, true, false, 8},
                                         Format{2, false, true, 16}, Format{3, true, true, 8},
                                         Format{3, true, false, 128}, Format{3, false, false, 8}),
                         NameOf);

// Users that know nothing of metadata, where it is separate.
class BareProtectedMemoryDiskTest : public ProtectedMemoryDiskTest {};

TEST_P(BareProtectedMemoryDiskTest, ProtectionIsMadeForAWriterThatHasNone) {
  TestIo bare(IoType::kWrite, 5, 3, 3 * kBlock, 0x5a), back(IoType::kRead, 5, 3, 3 * kBlock);
  Io read(format_, IoType::kRead, 5, 3), again(format_, IoType::kWrite, 5, 3, 0x11);
  EXPECT_EQ(Do(bare), IoStatus::kSuccess);
  EXPECT_EQ(Do(back), IoStatus::kSuccess);
  EXPECT_EQ(back.buffer, bare.buffer);
  EXPECT_EQ(Do(read), IoStatus::kSuccess);
  EXPECT_FALSE(SaysEscape(read, 0));
  // Over what somebody else has protected.
  Protect(again);
  EXPECT_EQ(Do(again), IoStatus::kSuccess);
  EXPECT_EQ(Do(bare), IoStatus::kSuccess);
  EXPECT_EQ(Do(read), IoStatus::kSuccess);
  EXPECT_EQ(read.io.buffer, bare.buffer);
}

INSTANTIATE_TEST_SUITE_P(Formats, BareProtectedMemoryDiskTest,
                         testing::Values(Format{1, false, false, 8}, Format{1, false, false, 16},
                                         Format{3, false, true, 16}),
                         NameOf);

}  // namespace
}  // namespace pollux
