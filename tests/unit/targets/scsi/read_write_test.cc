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

TEST_F(ReadWriteTest, FlagsAndRangesAreChecked) {
  TestDisk& disk = SetUp0();
  for (const uint8_t opcode : Bytes{0x28, 0x2a, 0x2f, 0x41}) {
    TestCommand& protect = Run(Cdb10(opcode, 0, 1, 0x20), 512, Bytes(512));
    EXPECT_EQ(SenseOf(protect), kInvalidField);
    EXPECT_EQ(PointerOf(protect), (Pointer{1, 7}));
    EXPECT_EQ(SenseOf(Run(Cdb10(opcode, 1023, 2), 1024, Bytes(1024))), kOutOfRange);
    EXPECT_EQ(SenseOf(Run(Cdb10(opcode, 0xffffffff, 1), 512, Bytes(512))), kOutOfRange);
  }
  EXPECT_EQ(SenseOf(Run(Cdb16(0x88, UINT64_MAX, 2))), kOutOfRange);
  EXPECT_EQ(SenseOf(Run(Cdb16(0x8a, UINT64_MAX - 1, 2), 0, Bytes(1024))), kOutOfRange);
  EXPECT_EQ(SenseOf(Run(Cdb10(0x28, 1025, 0))), kOutOfRange);
  EXPECT_GOOD(Run(Cdb10(0x28, 1024, 0)));
  EXPECT_GOOD(Run(Cdb10(0x2a, 0, 0), 0, Bytes(512)));
  EXPECT_EQ(Run({0x08, 0, 0, 0, 0, 0}).in.size(), 256u * 512);  // 0 stands for 256.
  EXPECT_EQ(disk.writes, 0);
}

TEST_F(ReadWriteTest, FuaReachesTheDiskEvenWhenItLends) {
  TestDisk& disk = SetUp0({.lends = true, .volatile_cache = true});
  EXPECT_GOOD(Run(Cdb10(0x2a, 0, 1, 0x08), 0, Bytes(512)));
  EXPECT_EQ(disk.fua_writes, 1);
  EXPECT_EQ(disk.loans, 0);
  EXPECT_GOOD(Run(Cdb10(0x2a, 0, 1), 0, Bytes(512)));
  EXPECT_EQ(disk.loans, 1);
}

TEST_F(ReadWriteTest, ReadOnlyDiskIsWriteProtected) {
  SetUp0({.read_only = true});
  const SenseCode protected_{0x7, 0x27, 0x00};
  EXPECT_EQ(SenseOf(Run(Cdb10(0x2a, 0, 1), 0, Bytes(512))), protected_);
  EXPECT_EQ(SenseOf(Run(Cdb10(0x41, 0, 1), 0, Bytes(512))), protected_);
  EXPECT_EQ(SenseOf(Run({0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0}, 0, Bytes(24))), protected_);
  EXPECT_GOOD(Run(Cdb10(0x28, 0, 1)));
}

TEST_F(ReadWriteTest, EachFailureHasItsSense) {
  TestDisk& disk = SetUp0();
  struct {
    IoStatus status;
    SenseCode read, write;
  } const table[] = {
      {IoStatus::kMediumError, {0x3, 0x11, 0x00}, {0x3, 0x0c, 0x00}},
      {IoStatus::kNoSpace, {0x7, 0x27, 0x07}, {0x7, 0x27, 0x07}},
      {IoStatus::kWriteProtected, {0x7, 0x27, 0x00}, {0x7, 0x27, 0x00}},
      {IoStatus::kAborted, {0xb, 0x00, 0x00}, {0xb, 0x00, 0x00}},
      {IoStatus::kTimedOut, {0xb, 0x2e, 0x02}, {0xb, 0x2e, 0x02}},
      {IoStatus::kGone, kNoUnit, kNoUnit},
      {IoStatus::kInternalError, {0x4, 0x44, 0x00}, {0x4, 0x44, 0x00}},
  };
  for (const auto& row : table) {
    disk.fails = row.status;
    EXPECT_EQ(SenseOf(Run(Cdb10(0x28, 0, 1))), row.read);
    EXPECT_EQ(SenseOf(Run(Cdb10(0x2a, 0, 1), 0, Bytes(512))), row.write);
  }
  disk.fails = IoStatus::kNoResources;
  EXPECT_EQ(Run(Cdb10(0x28, 0, 1)).status, ScsiStatus::kBusy);
}

TEST_F(ReadWriteTest, AnNvmeStatusHasTheSenseOfWhatItMeans) {
  TestDisk& disk = SetUp0();
  disk.fails = IoStatus::kNvmeFailure;
  disk.nvme_status = 0x282;  // End-to-end Guard Check Error
  EXPECT_EQ(SenseOf(Run(Cdb10(0x28, 0, 1))), (SenseCode{0x3, 0x11, 0x00}));
  disk.nvme_status = 0x081;  // Capacity Exceeded
  EXPECT_EQ(SenseOf(Run(Cdb10(0x2a, 0, 1), 0, Bytes(512))), (SenseCode{0x7, 0x27, 0x07}));
  disk.nvme_status = 0x082;  // Namespace Not Ready
  EXPECT_EQ(Run(Cdb10(0x28, 0, 1)).status, ScsiStatus::kBusy);
  disk.nvme_status = 0x000;  // That would be success.
  EXPECT_EQ(SenseOf(Run(Cdb10(0x28, 0, 1))), (SenseCode{0x4, 0x44, 0x00}));
}

TEST_F(ReadWriteTest, MediumErrorNamesTheBlockAndWhatIsGoodComes) {
  TestDisk& disk = SetUp0();
  Fill(disk);
  disk.bad_lba = 37;
  TestCommand& command = Run(Cdb10(0x28, 10, 64));
  EXPECT_EQ(SenseOf(command), (SenseCode{0x3, 0x11, 0x00}));
  EXPECT_EQ(Bytes(command.sense.begin(), command.sense.begin() + 7),
            (Bytes{0xf0, 0, 0x03, 0, 0, 0, 37}));
  EXPECT_EQ(command.in, OnDisk(disk, 10, 27));
  EXPECT_EQ(command.data_bytes, 27u * 512);
}

}  // namespace
}  // namespace pollux::scsi
