#include <gmock/gmock.h>

#include "scsi_fixture.h"

// Commands that write and look: WRITE AND VERIFY, ORWRITE; and those that have little to say:
// PRE-FETCH, READ DEFECT DATA.

namespace pollux::scsi {
namespace {

constexpr SenseCode kOutOfRange{0x5, 0x21, 0x00};
constexpr SenseCode kShort{0x5, 0x0e, 0x03};

class CompoundCommandsTest : public ScsiTest {
 protected:
  void SetUp() override {
    disk_ = &SetUp0({.volatile_cache = true});
    std::fill(disk_->data.begin(), disk_->data.end(), std::byte{0x11});
  }
  void ExpectBlocks(uint64_t from, uint64_t to, uint8_t value) {
    for (size_t i = from * 512; i < to * 512; ++i) {
      ASSERT_EQ(disk_->data[i], std::byte{value}) << "at byte " << i;
    }
  }
  TestDisk* disk_ = nullptr;
};

// The three lengths of CDBs, by their opcodes.
Bytes CdbOf(uint8_t opcode, uint64_t lba, uint32_t blocks, uint8_t flags = 0) {
  if (opcode >> 5 == 4) return Cdb16(opcode, lba, blocks, flags);
  if (opcode >> 5 != 5)
    return Cdb10(opcode, static_cast<uint32_t>(lba), static_cast<uint16_t>(blocks), flags);
  Bytes cdb{opcode, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  for (int i = 0; i < 4; ++i) {
    cdb[2 + static_cast<size_t>(i)] = static_cast<uint8_t>(lba >> (24 - 8 * i));
    cdb[6 + static_cast<size_t>(i)] = static_cast<uint8_t>(blocks >> (24 - 8 * i));
  }
  return cdb;
}

TEST_F(CompoundCommandsTest, WriteAndVerifyWritesToTheMediumAndReadsBack) {
  for (const uint8_t opcode : std::initializer_list<uint8_t>{0x2e, 0xae, 0x8e}) {
    for (const uint8_t flags : std::initializer_list<uint8_t>{0x00, 0x02, 0x10}) {  // BYTCHK, DPO.
      std::fill(disk_->data.begin(), disk_->data.end(), std::byte{0x11});
      disk_->reads = disk_->writes = disk_->fua_writes = 0;
      EXPECT_GOOD(Run(CdbOf(opcode, 5, 100, flags), 0, Bytes(51200, 0x77)));
      ExpectBlocks(0, 5, 0x11);
      ExpectBlocks(5, 105, 0x77);
      ExpectBlocks(105, 110, 0x11);
      EXPECT_EQ(disk_->reads, disk_->writes);
      EXPECT_EQ(disk_->fua_writes, disk_->writes);
      EXPECT_GT(disk_->writes, 1);
    }
  }
}

TEST_F(CompoundCommandsTest, WriteAndVerifyChecksItsFields) {
  for (const uint8_t opcode : std::initializer_list<uint8_t>{0x2e, 0xae, 0x8e}) {
    EXPECT_EQ(PointerOf(Run(CdbOf(opcode, 0, 1, 0x20), 0, Bytes(512))), (Pointer{1, 7}));
    EXPECT_EQ(PointerOf(Run(CdbOf(opcode, 0, 1, 0x04), 0, Bytes(512))), (Pointer{1, 2}));
    EXPECT_EQ(PointerOf(Run(CdbOf(opcode, 0, 1, 0x06), 0, Bytes(512))), (Pointer{1, 2}));
    EXPECT_EQ(SenseOf(Run(CdbOf(opcode, 1024, 1), 0, Bytes(512))), kOutOfRange);
    EXPECT_EQ(SenseOf(Run(CdbOf(opcode, 1020, 5), 0, Bytes(2560))), kOutOfRange);
    EXPECT_EQ(SenseOf(Run(CdbOf(opcode, 0xffffffff, 1), 0, Bytes(512))), kOutOfRange);
    EXPECT_EQ(SenseOf(Run(CdbOf(opcode, 0, 2), 0, Bytes(1023))), kShort);
    EXPECT_GOOD(Run(CdbOf(opcode, 1024, 0), 0, {}));
  }
  ExpectBlocks(0, 1024, 0x11);
}

// What the initiator announces less is the residual, as with WRITE.
TEST_F(CompoundCommandsTest, WriteAndVerifyTakesWholeBlocksThatAreThere) {
  TestCommand& command = Run(Cdb10(0x2e, 0, 4), 0, Bytes(1024, 0x77));
  EXPECT_GOOD(command);
  EXPECT_EQ(command.data_bytes, 2048u);
  ExpectBlocks(0, 2, 0x77);
  ExpectBlocks(2, 4, 0x11);
}

TEST_F(CompoundCommandsTest, WriteAndVerifySaysWhatTheMediumSays) {
  disk_->bad_lba = 3;
  EXPECT_EQ(SenseOf(Run(Cdb10(0x2e, 0, 8), 0, Bytes(4096, 0x77))).key, 0x3);
}

TEST_F(CompoundCommandsTest, OrWriteKeepsTheBitsOfBoth) {
  EXPECT_GOOD(Run(Cdb16(0x8b, 5, 100), 0, Bytes(51200, 0x82)));
  ExpectBlocks(0, 5, 0x11);
  ExpectBlocks(5, 105, 0x93);
  ExpectBlocks(105, 110, 0x11);
  EXPECT_GOOD(Run(Cdb16(0x8b, 5, 100), 0, Bytes(51200, 0x00)));
  ExpectBlocks(5, 105, 0x93);
}

// Two that meet: each reads before the other has written.
TEST_F(CompoundCommandsTest, NoneOfTwoOrWritesIsLost) {
  disk_->holds = true;
  TestCommand& one = Start(*nexus_, Cdb16(0x8b, 0, 1), 0, Bytes(512, 0x02));
  TestCommand& other = Start(*nexus_, Cdb16(0x8b, 0, 1), 0, Bytes(512, 0x40));
  for (int i = 0; i < 20 && !(one.ended && other.ended); ++i) {
    Spin();
    disk_->ReleaseHeld();
  }
  Spin();
  EXPECT_GOOD(one);
  EXPECT_GOOD(other);
  ExpectBlocks(0, 1, 0x53);
  ExpectBlocks(1, 2, 0x11);
}

TEST_F(CompoundCommandsTest, OrWriteChecksItsFields) {
  EXPECT_EQ(PointerOf(Run(Cdb16(0x8b, 0, 1, 0x20), 0, Bytes(512))), (Pointer{1, 7}));
  EXPECT_EQ(SenseOf(Run(Cdb16(0x8b, 1024, 1), 0, Bytes(512))), kOutOfRange);
  EXPECT_EQ(SenseOf(Run(Cdb16(0x8b, UINT64_MAX, 2), 0, Bytes(1024))), kOutOfRange);
  EXPECT_EQ(SenseOf(Run(Cdb16(0x8b, 0, 2), 0, Bytes(1000))), kShort);
  EXPECT_GOOD(Run(Cdb16(0x8b, 1024, 0), 0, {}));
  ExpectBlocks(0, 1024, 0x11);
}

TEST_F(CompoundCommandsTest, AReadOnlyDiskTakesNeither) {
  AddDisk("fixed", {.read_only = true});
  AddLun(1, "fixed");
  ReadUnitAttentions(*nexus_, 1);
  for (const uint8_t opcode : std::initializer_list<uint8_t>{0x2e, 0xae, 0x8e, 0x8b}) {
    EXPECT_EQ(SenseOf(Run(CdbOf(opcode, 0, 1), 0, Bytes(512), 1)), (SenseCode{0x7, 0x27, 0x00}));
  }
}

TEST_F(CompoundCommandsTest, PreFetchLooksAtItsRangeAlone) {
  for (const uint8_t opcode : std::initializer_list<uint8_t>{0x34, 0x90}) {
    for (const uint8_t flags : std::initializer_list<uint8_t>{0x00, 0x02}) {  // IMMED.
      EXPECT_GOOD(Run(CdbOf(opcode, 0, 1024, flags)));
      EXPECT_GOOD(Run(CdbOf(opcode, 1024, 0, flags)));
      EXPECT_EQ(SenseOf(Run(CdbOf(opcode, 1024, 1, flags))), kOutOfRange);
      EXPECT_EQ(SenseOf(Run(CdbOf(opcode, 1, 1024, flags))), kOutOfRange);
    }
  }
  EXPECT_EQ(disk_->reads, 0);
}

TEST_F(CompoundCommandsTest, DefectListsAreEmptyAndCutToTheAllocationLength) {
  TestCommand& ten = Run({0x37, 0, 0x1d, 0, 0, 0, 0, 0, 255, 0});
  EXPECT_GOOD(ten);
  EXPECT_EQ(ten.in, (Bytes{0, 0x1d, 0, 0}));
  TestCommand& twelve = Run({0xb7, 0x15, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0});
  EXPECT_GOOD(twelve);
  EXPECT_EQ(twelve.in, (Bytes{0, 0x15, 0, 0, 0, 0, 0, 0}));
  for (uint8_t length = 0; length < 4; ++length) {
    EXPECT_EQ(Run({0x37, 0, 0x1d, 0, 0, 0, 0, 0, length, 0}).in,
              Bytes(&ten.in[0], &ten.in[length]));
  }
}

}  // namespace
}  // namespace pollux::scsi
