#include <cstring>

#include "io_fixture.h"

namespace pollux::nvmf::io_test {
namespace {

class IoCommandsTest : public IoTest {
 protected:
  IoCommandsTest() : IoTest(Buffers{.small = 1, .large = 1}) {}

  static nvme::SubmissionEntry Dsm(uint32_t ranges, bool deallocate = true) {
    nvme::SubmissionEntry entry = Entry(nvme::io::kDatasetManagement, 1);
    entry.cdw10 = ranges - 1;
    entry.cdw11 = deallocate ? 4 : 3;
    entry.cdw12 = 0;
    return entry;
  }
  struct Range {
    uint64_t lba;
    uint32_t blocks;
  };
  static Bytes DsmRanges(const std::vector<Range>& ranges) {
    Bytes bytes(ranges.size() * sizeof(nvme::DsmRange));
    for (size_t i = 0; i < ranges.size(); ++i) {
      nvme::DsmRange range{};
      range.slba = ranges[i].lba;
      range.nlb = ranges[i].blocks;
      std::memcpy(&bytes[i * sizeof(range)], &range, sizeof(range));
    }
    return bytes;
  }
  HostCommand& Deallocate(const std::vector<Range>& ranges) {
    const Bytes bytes = DsmRanges(ranges);
    return Run(Dsm(static_cast<uint32_t>(ranges.size())), static_cast<uint32_t>(bytes.size()),
               bytes);
  }

  static nvme::SubmissionEntry CopyTo(uint64_t lba, size_t ranges) {
    nvme::SubmissionEntry entry = Entry(nvme::io::kCopy, 1, lba);
    entry.cdw12 = static_cast<uint32_t>(ranges - 1);
    return entry;
  }
  static Bytes CopyRanges(const std::vector<Range>& ranges) {
    Bytes bytes(ranges.size() * sizeof(nvme::CopyRange));
    for (size_t i = 0; i < ranges.size(); ++i) {
      nvme::CopyRange range{};
      range.slba = ranges[i].lba;
      range.nlb = static_cast<uint16_t>(ranges[i].blocks - 1);
      std::memcpy(&bytes[i * sizeof(range)], &range, sizeof(range));
    }
    return bytes;
  }
  HostCommand& Copy(uint64_t to, const std::vector<Range>& ranges) {
    const Bytes bytes = CopyRanges(ranges);
    return Run(CopyTo(to, ranges.size()), static_cast<uint32_t>(bytes.size()), bytes);
  }
};

// --- Flush

TEST_F(IoCommandsTest, FlushReachesTheDisk) {
  OddDisk& disk = AddOddDisk();
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kFlush, 1)), kSuccess);
  EXPECT_EQ(disk.flushes, 1);
  disk.fails = IoStatus::kMediumError;
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kFlush, 1)), kWriteFault);
}

TEST_F(IoCommandsTest, FlushOfAllReachesThoseThatTheHostSees) {
  OddDisk& one = AddOddDisk(1);
  OddDisk& two = AddOddDisk(2);
  AddMemoryDisk(3);  // Has no cache.
  OddDisk& ten = AddOddDisk(10);
  Change(2,
         [](NamespaceFacts& facts) { facts.hosts = std::make_shared<std::vector<std::string>>(); });
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kFlush, nvme::kAllNamespaces)), kSuccess);
  EXPECT_EQ(one.flushes, 1);
  EXPECT_EQ(two.flushes, 0);
  EXPECT_EQ(ten.flushes, 1);
  one.fails = IoStatus::kMediumError;
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kFlush, nvme::kAllNamespaces)), kWriteFault);
}

TEST_F(IoCommandsTest, FlushOfNothingSucceeds) {
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kFlush, nvme::kAllNamespaces)), kSuccess);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kFlush, 1)), kInvalidNamespace | kDnr);
}

// --- Write Zeroes

TEST_F(IoCommandsTest, WriteZeroesZeroes) {
  AddMemoryDisk();
  Write(0, 8, 1);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kWriteZeroes, 1, 2, 3)), kSuccess);
  Bytes expected = Pattern(4096, 1);
  std::fill(expected.begin() + 1024, expected.begin() + 2560, uint8_t{0});
  EXPECT_EQ(OnDisk(0, 8), expected);
}

TEST_F(IoCommandsTest, WriteZeroesDeallocatesWhereThatReadsZero) {
  OddDisk& disk = AddOddDisk();
  nvme::SubmissionEntry entry = Entry(nvme::io::kWriteZeroes, 1, 2, 3);
  entry.cdw12 = entry.cdw12 | 1u << 25;
  EXPECT_ENDED_WITH(Run(entry), kSuccess);
  EXPECT_EQ(disk.unmaps, 1);
  EXPECT_EQ(disk.zeroes, 0);
  Change(1, [](NamespaceFacts& facts) { facts.limits.unmapped_reads_zero = false; });
  EXPECT_ENDED_WITH(Run(entry), kSuccess);
  EXPECT_EQ(disk.unmaps, 1);
  EXPECT_EQ(disk.zeroes, 1);
}

TEST_F(IoCommandsTest, WriteZeroesIsChecked) {
  AddMemoryDisk();
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kWriteZeroes, 1, 0, 4097)), kLbaOutOfRange | kDnr);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kWriteZeroes, 1, UINT64_MAX, 1)), kLbaOutOfRange | kDnr);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kWriteZeroes, 1, 0, 2049)), kInvalidField | kDnr);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kWriteZeroes, 1, 0, 2048)), kSuccess);
}

// --- Dataset Management

TEST_F(IoCommandsTest, RangesAreDeallocated) {
  OddDisk& disk = AddOddDisk();
  Write(0, 16, 1);
  EXPECT_ENDED_WITH(Deallocate({{0, 2}, {4, 0}, {8, 8}}), kSuccess);
  EXPECT_EQ(disk.unmaps, 2);  // One is empty.
  EXPECT_EQ(OnDisk(0, 2), Bytes(1024));
  EXPECT_NE(OnDisk(2, 6), Bytes(3072));
  EXPECT_EQ(OnDisk(8, 8), Bytes(4096));
}

TEST_F(IoCommandsTest, AllRangesAreCheckedFirst) {
  OddDisk& disk = AddOddDisk();
  EXPECT_ENDED_WITH(Deallocate({{0, 2}, {4090, 7}}), kLbaOutOfRange | kDnr);
  EXPECT_ENDED_WITH(Deallocate({{0, 2}, {UINT64_MAX, 2}}), kLbaOutOfRange | kDnr);
  EXPECT_ENDED_WITH(Deallocate({{0, 2}, {0, 2049}}), kCommandSizeLimitExceeded | kDnr);
  EXPECT_ENDED_WITH(Deallocate({{0, 2}, {0, UINT32_MAX}}), kCommandSizeLimitExceeded | kDnr);
  EXPECT_EQ(disk.unmaps, 0);
}

TEST_F(IoCommandsTest, HostMayOfferMoreThanTheRanges) {
  OddDisk& disk = AddOddDisk();
  Bytes bytes = DsmRanges({{0, 2}});
  bytes.resize(4096, 0xff);  // As Linux does.
  EXPECT_ENDED_WITH(Run(Dsm(1), 4096, bytes), kSuccess);
  EXPECT_EQ(disk.unmaps, 1);
}

TEST_F(IoCommandsTest, HostThatOffersLessThanTheRangesIsRefused) {
  OddDisk& disk = AddOddDisk();
  EXPECT_ENDED_WITH(Run(Dsm(2), 31, DsmRanges({{0, 2}, {3, 2}})), kSglDataLengthInvalid | kDnr);
  EXPECT_ENDED_WITH(Run(Dsm(1), 0), kSglDataLengthInvalid | kDnr);
  EXPECT_EQ(disk.unmaps, 0);
}

TEST_F(IoCommandsTest, HintsAreHeardAndNothingIsDone) {
  OddDisk& disk = AddOddDisk();
  EXPECT_ENDED_WITH(Run(Dsm(1, /*deallocate=*/false), 16, DsmRanges({{0, 2}})), kSuccess);
  EXPECT_EQ(disk.unmaps, 0);
  Change(1, [](NamespaceFacts& facts) { facts.unmap = false; });
  EXPECT_ENDED_WITH(Deallocate({{0, 2}}), kSuccess);
  EXPECT_EQ(disk.unmaps, 0);
}

TEST_F(IoCommandsTest, ProtectedNamespacesAreNotDeallocated) {
  OddDisk& disk = AddOddDisk();
  Change(1, [](NamespaceFacts& facts) { facts.write_protection = nvme::WriteProtection::kOn; });
  EXPECT_ENDED_WITH(Deallocate({{0, 2}}), kNamespaceWriteProtected | kDnr);
  EXPECT_EQ(disk.unmaps, 0);
}

TEST_F(IoCommandsTest, TwoHundredAndFiftySixRangesFit) {
  OddDisk& disk = AddOddDisk();
  std::vector<Range> ranges;
  for (uint64_t i = 0; i < 256; ++i) ranges.push_back({i * 8, 4});
  EXPECT_ENDED_WITH(Deallocate(ranges), kSuccess);
  EXPECT_EQ(disk.unmaps, 256);
}

// --- Compare and Verify

TEST_F(IoCommandsTest, CompareTellsADifference) {
  AddMemoryDisk();
  Write(3, 256, 1);
  Bytes data = Pattern(256 * 512, 1);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kCompare, 1, 3, 256), 256 * 512, data), kSuccess);
  data.back() ^= 1;
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kCompare, 1, 3, 256), 256 * 512, data),
                    kCompareFailure | kDnr);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kCompare, 1, 4096, 1), 512, data), kLbaOutOfRange | kDnr);
}

TEST_F(IoCommandsTest, VerifyReadsAndSendsNothing) {
  OddDisk& disk = AddOddDisk();
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kVerify, 1, 0, 1000)), kSuccess);
  EXPECT_EQ(disk.reads, 4);
  disk.bad_lba = 999;
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kVerify, 1, 0, 1000)), kUnrecoveredReadError);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kVerify, 1, 0, 4097)), kLbaOutOfRange | kDnr);
}

// --- Copy

TEST_F(IoCommandsTest, CopyPutsRangesTogether) {
  AddMemoryDisk();
  Write(0, 256, 1);
  EXPECT_ENDED_WITH(Copy(2000, {{10, 4}, {100, 1}, {0, 3}}), kSuccess);
  const Bytes source = Pattern(256 * 512, 1);
  Bytes expected;
  const auto append = [&](size_t lba, size_t blocks) {
    const auto at = source.begin() + static_cast<ptrdiff_t>(lba * 512);
    expected.insert(expected.end(), at, at + static_cast<ptrdiff_t>(blocks * 512));
  };
  append(10, 4);
  append(100, 1);
  append(0, 3);
  EXPECT_EQ(OnDisk(2000, 8), expected);
}

TEST_F(IoCommandsTest, CopyOfMoreThanABufferGoesBurstByBurst) {
  OddDisk& disk = AddOddDisk();
  for (uint32_t i = 0; i < 4; ++i) Write(i * 256, 256, static_cast<uint8_t>(i));
  disk.reads = 0;
  EXPECT_ENDED_WITH(Copy(2000, {{1, 1000}}), kSuccess);
  EXPECT_EQ(disk.reads, 5);  // 248 blocks of 512 bytes lie behind the list.
  EXPECT_EQ(std::memcmp(&disk.data[512], &disk.data[2000 * 512], 1000 * 512), 0);
}

TEST_F(IoCommandsTest, CopyRefusesWhatOverlaps) {
  OddDisk& disk = AddOddDisk();
  disk.writes = 0;
  EXPECT_ENDED_WITH(Copy(100, {{0, 50}, {149, 10}}), kOverlappingIoRange | kDnr);
  EXPECT_ENDED_WITH(Copy(100, {{100, 1}}), kOverlappingIoRange | kDnr);
  EXPECT_ENDED_WITH(Copy(100, {{91, 10}}), kOverlappingIoRange | kDnr);
  EXPECT_EQ(disk.writes, 0);
  EXPECT_ENDED_WITH(Copy(100, {{90, 10}, {120, 10}}), kSuccess);
  EXPECT_ENDED_WITH(Copy(100, {{5, 1}, {5, 1}}), kSuccess);  // Sources may be the same.
}

TEST_F(IoCommandsTest, CopyChecksAllRangesFirst) {
  OddDisk& disk = AddOddDisk();
  EXPECT_ENDED_WITH(Copy(100, {{0, 1}, {4095, 2}}), kLbaOutOfRange | kDnr);
  EXPECT_ENDED_WITH(Copy(100, {{0, 1}, {UINT64_MAX, 1}}), kLbaOutOfRange | kDnr);
  EXPECT_ENDED_WITH(Copy(4095, {{0, 1}, {3, 1}}), kLbaOutOfRange | kDnr);
  EXPECT_ENDED_WITH(Copy(UINT64_MAX, {{0, 1}}), kLbaOutOfRange | kDnr);
  EXPECT_EQ(disk.writes, 0);
}

TEST_F(IoCommandsTest, CopyBeyondItsLimitsIsRefused) {
  AddOddDisk(1, {.blocks = 200000});
  std::vector<Range> ranges(129, {0, 1});
  EXPECT_ENDED_WITH(Copy(1000, ranges), kCommandSizeLimitExceeded | kDnr);
  ranges.resize(128);
  EXPECT_ENDED_WITH(Copy(1000, ranges), kSuccess);
  // 16 MiB are 32768 blocks.
  EXPECT_ENDED_WITH(Copy(100000, {{0, 32769}}), kCommandSizeLimitExceeded | kDnr);
  EXPECT_ENDED_WITH(Copy(100000, {{0, 16384}, {0, 16385}}), kCommandSizeLimitExceeded | kDnr);
  EXPECT_ENDED_WITH(Copy(100000, {{0, 16384}, {0, 16384}}), kSuccess);
}

TEST_F(IoCommandsTest, CopyOfOtherFormatsAndOfTooLittleDataIsRefused) {
  AddOddDisk();
  nvme::SubmissionEntry entry = CopyTo(100, 1);
  entry.cdw12 = entry.cdw12 | 1u << 8;
  EXPECT_ENDED_WITH(Run(entry, 32, CopyRanges({{0, 1}})), kInvalidField | kDnr);
  EXPECT_ENDED_WITH(Run(CopyTo(100, 2), 63, Bytes(64)), kSglDataLengthInvalid | kDnr);
}

TEST_F(IoCommandsTest, CopyThatFailsTellsHowFarItGot) {
  OddDisk& disk = AddOddDisk();
  disk.bad_lba = 50;
  HostCommand& copy = Copy(1000, {{0, 10}, {20, 10}, {45, 10}, {70, 1}});
  EXPECT_ENDED_WITH(copy, kUnrecoveredReadError);
  EXPECT_EQ(copy.completion.dw0, 2u);
  EXPECT_EQ(disk.writes, 2);
}

TEST_F(IoCommandsTest, CopyWithForcedUnitAccess) {
  OddDisk& disk = AddOddDisk();
  nvme::SubmissionEntry entry = CopyTo(100, 2);
  entry.cdw12 = entry.cdw12 | 1u << 30;
  EXPECT_ENDED_WITH(Run(entry, 64, CopyRanges({{0, 1}, {7, 1}})), kSuccess);
  EXPECT_EQ(disk.fua_writes, 2);
}

// --- What is not there

TEST_F(IoCommandsTest, OtherOpcodesAreRefused) {
  AddOddDisk();
  for (int opcode = 0; opcode < 256; ++opcode) {
    switch (opcode) {
      case nvme::io::kFlush:
      case nvme::io::kWrite:
      case nvme::io::kRead:
      case nvme::io::kCompare:
      case nvme::io::kWriteZeroes:
      case nvme::io::kDatasetManagement:
      case nvme::io::kVerify:
      case nvme::io::kCopy:
      case nvme::admin::kFabrics:
        continue;
      default:
        EXPECT_ENDED_WITH(Run(Entry(static_cast<uint8_t>(opcode), 1), 512, Bytes(512)),
                          kInvalidOpcode | kDnr);
    }
  }
}

TEST_F(IoCommandsTest, CommandsThatTheDiskCannotDoAreRefused) {
  AddOddDisk();
  Change(1, [](NamespaceFacts& facts) { facts.write_zeroes = facts.compare = false; });
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kWriteZeroes, 1)), kInvalidOpcode | kDnr);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kCompare, 1), 512, Bytes(512)), kInvalidOpcode | kDnr);
}

}  // namespace
}  // namespace pollux::nvmf::io_test
