#include "scsi_fixture.h"

// What moves when the initiator's idea of the length is not the CDB's. iSCSI makes residuals of it.

namespace pollux::scsi {
namespace {

class ResidualsTest : public ScsiTest {
 protected:
  ResidualsTest() { disk_ = &SetUp0(); }
  uint8_t At(size_t byte) { return static_cast<uint8_t>(disk_->data[byte]); }
  TestDisk* disk_;
};

TEST_F(ResidualsTest, ReadIsCutToTheInitiatorsLength) {
  for (const uint32_t max : {0u, 1u, 200u, 511u, 512u, 513u, 10000u}) {
    TestCommand& command = Run(Cdb10(0x28, 0, 1), max);
    EXPECT_GOOD(command);
    EXPECT_EQ(command.in.size(), std::min(max, 512u));
    EXPECT_EQ(command.data_bytes, 512u);
  }
  TestCommand& large = Run(Cdb10(0x28, 0, 100), 20000);
  EXPECT_EQ(large.in.size(), 20000u);
  EXPECT_EQ(large.data_bytes, 51200u);
}

TEST_F(ResidualsTest, ReadOfWhichNothingIsWantedReadsNothing) {
  EXPECT_GOOD(Run(Cdb10(0x28, 0, 1), 0));
  EXPECT_EQ(disk_->reads, 0);
}

TEST_F(ResidualsTest, WriteOfLessThanSaidWritesTheWholeBlocks) {
  const Bytes a(1024, 'a');
  EXPECT_GOOD(Run(Cdb10(0x2a, 0, 2), 0, a));
  TestCommand& command = Run(Cdb10(0x2a, 0, 2), 0, Bytes(512, 'b'));
  EXPECT_GOOD(command);
  EXPECT_EQ(command.data_bytes, 1024u);
  EXPECT_EQ(At(0), 'b');
  EXPECT_EQ(At(512), 'a');
  TestCommand& nothing = Run(Cdb10(0x2a, 0, 1), 0, {});
  EXPECT_GOOD(nothing);
  EXPECT_EQ(nothing.data_bytes, 512u);
  EXPECT_EQ(At(0), 'b');
}

TEST_F(ResidualsTest, WriteTakesNoMoreThanTheCdbSays) {
  EXPECT_GOOD(Run(Cdb10(0x2a, 0, 2), 0, Bytes(1024, 'a')));
  TestCommand& command = Run(Cdb10(0x2a, 0, 1), 0, Bytes(10000, 'b'));
  EXPECT_GOOD(command);
  EXPECT_EQ(command.data_bytes, 512u);
  EXPECT_EQ(At(511), 'b');
  EXPECT_EQ(At(512), 'a');
}

// They say how long their data is, and what they do is spread over more than that.
TEST_F(ResidualsTest, WriteSameAndCompareAndWriteTakeNoOtherLength) {
  constexpr SenseCode kWrongLength{0x5, 0x0e, 0x03};
  Bytes compare_and_write(16);
  compare_and_write[0] = 0x89;
  compare_and_write[13] = 1;
  for (const size_t bytes : {0u, 1u, 256u, 511u, 513u, 1023u, 1025u, 2048u}) {
    EXPECT_EQ(SenseOf(Run(Cdb10(0x41, 0, 4), 0, Bytes(bytes, 'x'))), kWrongLength) << bytes;
    EXPECT_EQ(SenseOf(Run(Cdb16(0x93, 0, 4), 0, Bytes(bytes, 'x'))), kWrongLength) << bytes;
    TestCommand& command = Run(compare_and_write, 0, Bytes(bytes));
    EXPECT_EQ(SenseOf(command), kWrongLength) << bytes;
    EXPECT_EQ(command.data_bytes, 1024u);
  }
  EXPECT_EQ(disk_->writes + disk_->zeroes + disk_->unmaps, 0);
  EXPECT_EQ(At(0), 0);
}

TEST_F(ResidualsTest, PartOfABlockIsNotWritten) {
  TestCommand& command = Run(Cdb10(0x2a, 0, 1), 0, Bytes(200, 'x'));
  EXPECT_EQ(SenseOf(command), (SenseCode{0x5, 0x0e, 0x03}));
  EXPECT_EQ(command.data_bytes, 512u);  // The residual is still right.
  EXPECT_EQ(command.wanted, 0);
  EXPECT_EQ(At(0), 0);
}

TEST_F(ResidualsTest, ReadThatIsCalledAWriteMovesNothing) {
  TestCommand& command = Run(Cdb10(0x28, 0, 1), 0, Bytes(512));
  EXPECT_GOOD(command);
  EXPECT_EQ(command.wanted, 0);
}

TEST_F(ResidualsTest, ParameterDataIsCutLikewise) {
  for (const uint32_t max : {0u, 1u, 35u, 96u, 400u}) {
    TestCommand& command = Run({0x12, 0, 0, 0, 255, 0}, max);
    EXPECT_GOOD(command);
    EXPECT_EQ(command.in.size(), std::min(max, 96u));
    EXPECT_EQ(command.data_bytes, 96u);
  }
}

TEST_F(ResidualsTest, ParameterListThatIsNotAllThereIsRefused) {
  TestCommand& command = Run({0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0}, 0, Bytes(23));
  EXPECT_EQ(SenseOf(command), kListLength);
  EXPECT_EQ(command.wanted, 0);
}

}  // namespace
}  // namespace pollux::scsi
