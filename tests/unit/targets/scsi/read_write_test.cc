#include "scsi_fixture.h"

namespace pollux::scsi {
namespace {

class ReadWriteTest : public ScsiTest {
 protected:
  Bytes OnDisk(TestDisk& disk, uint64_t lba, uint64_t blocks) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(disk.data.data());
    return Bytes(bytes + lba * 512, bytes + (lba + blocks) * 512);
  }
  void Fill(TestDisk& disk) {
    const Bytes pattern = Pattern(disk.data.size(), 3);
    std::memcpy(disk.data.data(), pattern.data(), pattern.size());
  }
};

TEST_F(ReadWriteTest, WhatWasWrittenIsReadByEveryForm) {
  for (const bool lends : {false, true}) {
    TestDisk& disk = SetUp0({.lends = lends});
    const Bytes data = Pattern(4096, 1);
    EXPECT_GOOD(Run(Cdb10(0x2a, 8, 8), 0, data));
    EXPECT_EQ(OnDisk(disk, 8, 8), data);
    EXPECT_EQ(Run(Cdb10(0x28, 8, 8)).in, data);
    EXPECT_EQ(Run(Cdb16(0x88, 8, 8)).in, data);
    EXPECT_EQ(Run({0xa8, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0}).in, data);
    EXPECT_EQ(Run({0x08, 0, 0, 8, 8, 0}).in, data);

    const Bytes other = Pattern(512, 9);
    EXPECT_GOOD(Run({0x0a, 0, 0, 20, 1, 0}, 0, other));
    EXPECT_EQ(OnDisk(disk, 20, 1), other);
    EXPECT_GOOD(Run({0xaa, 0, 0, 0, 0, 21, 0, 0, 0, 1, 0, 0}, 0, other));
    EXPECT_EQ(OnDisk(disk, 21, 1), other);
    EXPECT_GOOD(Run(Cdb16(0x8a, 22, 1), 0, other));
    EXPECT_EQ(OnDisk(disk, 22, 1), other);
    EXPECT_EQ(disk.loans > 0, lends);
    Destroy(nexus_);
    EXPECT_TRUE(Await(target_->RemoveLun(0)).ok());
    RemoveDisk();
  }
}

TEST_F(ReadWriteTest, LargeTransfersMoveInBurstsOfOneBuffer) {
  TestDisk& disk = SetUp0();
  Fill(disk);
  TestCommand& read = Run(Cdb10(0x28, 1, 100));
  EXPECT_EQ(read.in, OnDisk(disk, 1, 100));
  EXPECT_EQ(read.bursts_in, 7);  // 51,200 bytes in buffers of 8,192.
  EXPECT_EQ(read.statuses, 0);   // The last burst brings the status.
  const Bytes data = Pattern(100 * 512, 77);
  TestCommand& write = Run(Cdb10(0x2a, 3, 100), 0, data);
  EXPECT_EQ(write.wanted, 7);
  EXPECT_EQ(OnDisk(disk, 3, 100), data);
}

}  // namespace
}  // namespace pollux::scsi
