#include "scsi_fixture.h"

// UNMAP, WRITE SAME, VERIFY, COMPARE AND WRITE.

namespace pollux::scsi {
namespace {

class ProvisioningTest : public ScsiTest {
 protected:
  ProvisioningTest() {
    disk_ = &SetUp0();
    std::fill(disk_->data.begin(), disk_->data.end(), std::byte{0x11});
  }
  // Every block in [first, end) starts with `value`; those around it do not.
  void ExpectBlocks(uint64_t first, uint64_t end, uint8_t value) {
    for (uint64_t lba = 0; lba < 1024; ++lba) {
      const auto byte = static_cast<uint8_t>(disk_->data[lba * 512]);
      EXPECT_EQ(byte, lba >= first && lba < end ? value : 0x11) << "block " << lba;
    }
  }
  static Bytes UnmapList(std::vector<std::pair<uint64_t, uint32_t>> ranges) {
    Bytes list(8 + ranges.size() * 16);
    list[1] = static_cast<uint8_t>(list.size() - 2);
    list[2] = static_cast<uint8_t>(ranges.size() * 16 >> 8);
    list[3] = static_cast<uint8_t>(ranges.size() * 16);
    for (size_t i = 0; i < ranges.size(); ++i) {
      for (size_t b = 0; b < 8; ++b) {
        list[8 + i * 16 + b] = static_cast<uint8_t>(ranges[i].first >> (56 - 8 * b));
      }
      for (size_t b = 0; b < 4; ++b) {
        list[16 + i * 16 + b] = static_cast<uint8_t>(ranges[i].second >> (24 - 8 * b));
      }
    }
    return list;
  }
  TestCommand& RunUnmap(const Bytes& list) {
    return Run({0x42, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(list.size() >> 8),
                static_cast<uint8_t>(list.size()), 0},
               0, list);
  }
  TestDisk* disk_;
};

TEST_F(ProvisioningTest, UnmapsEveryRange) {
  EXPECT_GOOD(RunUnmap(UnmapList({{10, 5}, {100, 0}, {15, 5}})));
  ExpectBlocks(10, 20, 0);
  EXPECT_EQ(disk_->unmaps, 2);
}

TEST_F(ProvisioningTest, UnmapOfNothingIsGood) {
  EXPECT_GOOD(Run({0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_GOOD(RunUnmap(UnmapList({})));
  EXPECT_GOOD(RunUnmap(UnmapList({{1024, 0}})));
  EXPECT_GOOD(RunUnmap(UnmapList(std::vector<std::pair<uint64_t, uint32_t>>(256, {3, 0}))));
  EXPECT_EQ(disk_->unmaps, 0);
}

TEST_F(ProvisioningTest, ReportsEveryBlockAsMapped) {
  const Bytes expected = {0, 0, 0, 20,   0, 0, 0, 0,  0, 0, 0, 0,
                          0, 0, 3, 0xf0, 0, 0, 0, 16, 0, 0, 0, 0};
  EXPECT_EQ(Run({0x9e, 0x12, 0, 0, 0, 0, 0, 0, 3, 0xf0, 0, 0, 0, 255, 0, 0}).in, expected);
  EXPECT_EQ(Run({0x9e, 0x12, 0, 0, 0, 0, 0, 0, 3, 0xf0, 0, 0, 0, 7, 0, 0}).in.size(), 7u);
}

TEST_F(ProvisioningTest, ReportsNoStatusBeyondTheEnd) {
  EXPECT_EQ(SenseOf(Run({0x9e, 0x12, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 255, 0, 0})), kOutOfRange);
}

TEST_F(ProvisioningTest, UnmapWithOneBadRangeUnmapsNothing) {
  EXPECT_EQ(SenseOf(RunUnmap(UnmapList({{0, 8}, {1020, 5}}))), kOutOfRange);
  EXPECT_EQ(SenseOf(RunUnmap(UnmapList({{0, 8}, {UINT64_MAX, 1}}))), kOutOfRange);
  TestCommand& many = RunUnmap(UnmapList(std::vector<std::pair<uint64_t, uint32_t>>(257, {3, 1})));
  EXPECT_EQ(SenseOf(many), kInvalidParameter);
  EXPECT_EQ(PointerOf(many), (Pointer{2, -1, false}));
  EXPECT_EQ(PointerOf(Run({0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0}, 0, Bytes(24))), (Pointer{1, 0}));
  EXPECT_EQ(disk_->unmaps, 0);
}

TEST_F(ProvisioningTest, UnmapListCutAnywhereIsDefined) {
  const Bytes list = UnmapList({{10, 1}, {11, 1}});
  for (size_t cut = 1; cut < list.size(); ++cut) {
    disk_->unmaps = 0;
    TestCommand& command = RunUnmap(Bytes(list.begin(), list.begin() + static_cast<long>(cut)));
    if (cut < 8) {
      EXPECT_EQ(SenseOf(command), kListLength);
    } else {  // Whole descriptors count.
      EXPECT_GOOD(command);
      EXPECT_EQ(disk_->unmaps, static_cast<int>(cut - 8) / 16);
    }
  }
}

TEST_F(ProvisioningTest, WriteSameRepeatsTheBlock) {
  EXPECT_GOOD(Run(Cdb10(0x41, 100, 50), 0, Bytes(512, 0x77)));
  ExpectBlocks(100, 150, 0x77);
  EXPECT_EQ(disk_->writes, 4);  // Bursts of a buffer.
}

TEST_F(ProvisioningTest, WriteSameOfZeroesTakesTheShortWay) {
  EXPECT_GOOD(Run(Cdb16(0x93, 5, 10), 0, Bytes(512)));
  ExpectBlocks(5, 15, 0);
  EXPECT_EQ(disk_->zeroes, 1);
  EXPECT_GOOD(Run(Cdb16(0x93, 5, 10, 0x08), 0, Bytes(512)));
  EXPECT_EQ(disk_->unmaps, 1);
  TestCommand& ndob = Run(Cdb16(0x93, 5, 10, 0x09), 0, {});
  EXPECT_GOOD(ndob);
  EXPECT_EQ(ndob.data_bytes, 0u);
  EXPECT_EQ(disk_->unmaps, 2);
  EXPECT_GOOD(Run(Cdb16(0x93, 5, 10, 0x08), 0, Bytes(512, 1)));  // Not zero: written.
  ExpectBlocks(5, 15, 1);
}

TEST_F(ProvisioningTest, WriteSameChecksItsFields) {
  EXPECT_EQ(PointerOf(Run(Cdb10(0x41, 0, 0), 0, Bytes(512))), (Pointer{7, -1}));  // WSNZ
  EXPECT_EQ(PointerOf(Run(Cdb16(0x93, 0, 0), 0, Bytes(512))), (Pointer{10, -1}));
  EXPECT_EQ(PointerOf(Run(Cdb10(0x41, 0, 1, 0x10), 0, Bytes(512))), (Pointer{1, 4}));  // ANCHOR
  EXPECT_EQ(PointerOf(Run(Cdb10(0x41, 0, 1, 0x04), 0, Bytes(512))), (Pointer{1, 2}));
  EXPECT_EQ(PointerOf(Run(Cdb10(0x41, 0, 1, 0x02), 0, Bytes(512))), (Pointer{1, 1}));
  EXPECT_EQ(SenseOf(Run(Cdb10(0x41, 0, 1), 0, Bytes(511))), (SenseCode{0x5, 0x0e, 0x03}));
  ExpectBlocks(0, 0, 0);
}

TEST_F(ProvisioningTest, VerifyReadsOrCompares) {
  EXPECT_GOOD(Run(Cdb10(0x2f, 0, 100)));
  EXPECT_GT(disk_->reads, 0);
  EXPECT_GOOD(Run(Cdb10(0x2f, 0, 100, 0x02), 0, Bytes(51200, 0x11)));
  Bytes wrong(51200, 0x11);
  wrong[30000] = 0x12;
  TestCommand& command = Run(Cdb16(0x8f, 0, 100, 0x02), 0, wrong);
  EXPECT_EQ(SenseOf(command), (SenseCode{0xe, 0x1d, 0x00}));
  EXPECT_EQ(command.sense[0], 0xf0);
  EXPECT_EQ(BigEndian(Bytes(command.sense.begin(), command.sense.end()), 3, 4), 30000u);
  EXPECT_EQ(PointerOf(Run(Cdb10(0x2f, 0, 1, 0x06), 0, Bytes(512))), (Pointer{1, 2}));
  EXPECT_EQ(SenseOf(Run(Cdb10(0x2f, 0, 2, 0x02), 0, Bytes(512, 0x11))),
            (SenseCode{0x5, 0x0e, 0x03}));
  disk_->bad_lba = 50;
  TestCommand& bad = Run({0xaf, 0, 0, 0, 0, 40, 0, 0, 0, 20, 0, 0});
  EXPECT_EQ(SenseOf(bad), (SenseCode{0x3, 0x11, 0x00}));
  EXPECT_EQ(bad.sense[6], 50);
}

TEST_F(ProvisioningTest, CompareAndWriteWritesOnlyWhenEqual) {
  Bytes data(1024, 0x11);
  std::fill(data.begin() + 512, data.end(), uint8_t{0x99});
  Bytes cdb = Cdb16(0x89, 30, 0);
  cdb[13] = 1;
  EXPECT_GOOD(Run(cdb, 0, data));
  ExpectBlocks(30, 31, 0x99);
  data[7] = 0x12;
  std::fill(data.begin(), data.begin() + 7, uint8_t{0x99});
  TestCommand& command = Run(cdb, 0, data);
  EXPECT_EQ(SenseOf(command), (SenseCode{0xe, 0x1d, 0x00}));
  EXPECT_EQ(command.sense[6], 7);
  EXPECT_EQ(SenseOf(Run(cdb, 0, Bytes(1023))), (SenseCode{0x5, 0x0e, 0x03}));
  cdb[13] = 9;  // More than half a buffer.
  EXPECT_EQ(PointerOf(Run(cdb, 0, Bytes(9216))), (Pointer{13, -1}));
  cdb[13] = 0;
  EXPECT_GOOD(Run(cdb, 0, {}));
}

class UnmapLimitTest : public ScsiTest {};

TEST_F(UnmapLimitTest, MoreBlocksThanTheLimitAreRefused) {
  TestDisk& disk = SetUp0({.blocks = 8192});
  Bytes list(8 + 129 * 16);  // 129 times the whole disk: just over 2^20 blocks.
  list[2] = static_cast<uint8_t>(129 * 16 >> 8);
  list[3] = static_cast<uint8_t>(129 * 16 & 0xff);
  for (size_t at = 8; at < list.size(); at += 16) list[at + 10] = 0x20;
  TestCommand& command = Run({0x42, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(list.size() >> 8),
                              static_cast<uint8_t>(list.size() & 0xff), 0},
                             0, list);
  EXPECT_EQ(SenseOf(command), kInvalidParameter);
  EXPECT_EQ(PointerOf(command), (Pointer{8 + 128 * 16 + 8, -1, false}));
  EXPECT_EQ(disk.unmaps, 0);
  // One range less is just at the limit.
  list[2] = static_cast<uint8_t>(128 * 16 >> 8);
  list[3] = static_cast<uint8_t>(128 * 16 & 0xff);
  EXPECT_GOOD(Run({0x42, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(list.size() >> 8),
                   static_cast<uint8_t>(list.size() & 0xff), 0},
                  0, list));
  EXPECT_EQ(disk.unmaps, 128);
}

}  // namespace
}  // namespace pollux::scsi
