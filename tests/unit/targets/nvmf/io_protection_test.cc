#include "core/accel/crc16_t10dif.h"
#include "tests/unit/targets/nvmf/io_fixture.h"

// Protection information: what is checked where a host asks for it. NVM §5.2.

namespace pollux::nvmf::io_test {
namespace {

constexpr uint32_t kGuardBit = 1u << 28, kAppBit = 1u << 27, kRefBit = 1u << 26, kAll = 7u << 26,
                   kPractBit = 1u << 29;
constexpr uint32_t kDataBytes = 512, kBlock = 520;
constexpr uint16_t kTag = 0x1234;

void PutBig(Bytes& bytes, size_t at, uint64_t value, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    bytes[at + i] = static_cast<uint8_t>(value >> 8 * (count - 1 - i));
  }
}

class IoProtectionTest : public IoTest {
 protected:
  OddDisk& AddProtected(uint8_t type) {
    return AddOddDisk(1, {.metadata_bytes = 8, .protection_type = type});
  }
  // Blocks from `lba` on as a host makes them.
  static Bytes Protected(uint32_t first_tag, uint32_t blocks, uint8_t seed, bool counts = true) {
    Bytes all;
    for (uint32_t i = 0; i < blocks; ++i) {
      Bytes block = Pattern(kDataBytes, static_cast<uint8_t>(seed + i));
      block.resize(kBlock);
      const auto data = std::as_bytes(std::span(block)).first(kDataBytes);
      PutBig(block, 512, Crc16T10Dif(data), 2);
      PutBig(block, 514, kTag, 2);
      PutBig(block, 516, counts ? first_tag + i : first_tag, 4);
      all.insert(all.end(), block.begin(), block.end());
    }
    return all;
  }
  static nvme::SubmissionEntry Checked(uint8_t opcode, uint64_t lba, uint32_t blocks, uint32_t what,
                                       uint32_t first_tag, uint16_t tag = kTag,
                                       uint16_t mask = 0xffff) {
    nvme::SubmissionEntry entry = Entry(opcode, 1, lba, blocks);
    entry.cdw12 = entry.cdw12 | what;
    entry.cdw14 = first_tag;
    entry.cdw15 = uint32_t{mask} << 16 | tag;
    return entry;
  }
  uint64_t LoggedLba() {
    const std::string page = queue_->controller()->errors->LogPage();
    nvme::ErrorLogEntry newest;
    std::memcpy(&newest, page.data(), sizeof(newest));
    return newest.lba;
  }
};

TEST_F(IoProtectionTest, WhatIsRightPassesThrough) {
  AddProtected(1);
  const Bytes blocks = Protected(40, 4, 7);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kWrite, 40, 4, kAll, 40), 4 * kBlock, blocks), kSuccess);
  HostCommand& read = Run(Checked(nvme::io::kRead, 40, 4, kAll, 40), 4 * kBlock);
  EXPECT_ENDED_WITH(read, kSuccess);
  EXPECT_EQ(read.in, blocks);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kVerify, 40, 4, kAll, 40)), kSuccess);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kCompare, 40, 4, kAll, 40), 4 * kBlock, blocks),
                    kSuccess);
}

TEST_F(IoProtectionTest, ADamagedWriteDoesNotReachTheDisk) {
  OddDisk& disk = AddProtected(1);
  struct Case {
    size_t at;
    uint32_t checks;
    uint16_t status;
  };
  const Case cases[] = {{2 * kBlock + 100, kGuardBit, kGuardCheckError},
                        {2 * kBlock + 513, kGuardBit, kGuardCheckError},
                        {2 * kBlock + 515, kAppBit, kApplicationTagCheckError},
                        {2 * kBlock + 519, kRefBit, kReferenceTagCheckError},
                        {2 * kBlock + 100, kAppBit | kRefBit, kSuccess},
                        {2 * kBlock + 515, kGuardBit | kRefBit, kSuccess}};
  for (const Case& one : cases) {
    Bytes blocks = Protected(40, 4, 7);
    blocks[one.at] ^= 1;
    const int before = disk.writes;
    HostCommand& write = Run(Checked(nvme::io::kWrite, 40, 4, one.checks, 40), 4 * kBlock, blocks);
    EXPECT_ENDED_WITH(write, one.status);
    EXPECT_EQ(disk.writes - before, one.status == kSuccess ? 1 : 0);
    if (one.status != kSuccess) {
      EXPECT_EQ(LoggedLba(), 42u);
    }
  }
}

TEST_F(IoProtectionTest, DamageOnTheDiskIsFoundByReadAndVerify) {
  OddDisk& disk = AddProtected(1);
  EXPECT_ENDED_WITH(Run(Entry(nvme::io::kWrite, 1, 40, 4), 4 * kBlock, Protected(40, 4, 7)),
                    kSuccess);
  disk.data[43 * kBlock + 5] ^= std::byte{1};
  for (const uint8_t opcode : {nvme::io::kRead, nvme::io::kVerify}) {
    const uint32_t bytes = opcode == nvme::io::kRead ? 4 * kBlock : 0;
    EXPECT_ENDED_WITH(Run(Checked(opcode, 40, 4, kGuardBit, 40), bytes), kGuardCheckError);
    EXPECT_EQ(LoggedLba(), 43u);
    EXPECT_ENDED_WITH(Run(Checked(opcode, 40, 4, kRefBit | kAppBit, 40), bytes), kSuccess);
    EXPECT_ENDED_WITH(Run(Checked(opcode, 40, 4, 0, 40), bytes), kSuccess);
  }
}

TEST_F(IoProtectionTest, TheApplicationTagIsCheckedUnderItsMask) {
  AddProtected(1);
  Run(Entry(nvme::io::kWrite, 1, 0, 1), kBlock, Protected(0, 1, 7));
  const auto read = [this](uint16_t tag, uint16_t mask) {
    return Run(Checked(nvme::io::kRead, 0, 1, kAppBit, 0, tag, mask), kBlock).status();
  };
  EXPECT_EQ(read(0x1234, 0xffff), kSuccess);
  EXPECT_EQ(read(0x1235, 0xffff), kApplicationTagCheckError);
  EXPECT_EQ(read(0x1235, 0xfffe), kSuccess);
  EXPECT_EQ(read(0xffff, 0), kSuccess);
}

TEST_F(IoProtectionTest, AnApplicationTagOfAllOnesEscapes) {
  for (const uint8_t type : {uint8_t{1}, uint8_t{3}}) {
    const uint32_t nsid = type;
    OddDisk& disk = AddOddDisk(nsid, {.metadata_bytes = 8, .protection_type = type});
    disk.data[514] = disk.data[515] = std::byte{0xff};
    disk.data[0] = std::byte{1};  // The guard is not that of the data.
    nvme::SubmissionEntry entry = Checked(nvme::io::kRead, 0, 1, kGuardBit, 0);
    entry.nsid = nsid;
    // Of type 3 only with a reference tag of all ones.
    EXPECT_ENDED_WITH(Run(entry, kBlock), type == 1 ? kSuccess : kGuardCheckError);
    for (size_t i = 516; i < 520; ++i) disk.data[i] = std::byte{0xff};
    EXPECT_ENDED_WITH(Run(entry, kBlock), kSuccess);
  }
}

TEST_F(IoProtectionTest, TheFirstReferenceTagOfType1IsTheAddress) {
  AddProtected(1);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kRead, 40, 1, kRefBit, 41), kBlock),
                    kInvalidProtectionInformation | kDnr);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kRead, 0, 1, kGuardBit, 41), kBlock), kSuccess);
}

TEST_F(IoProtectionTest, TheFirstReferenceTagOfType2IsAnything) {
  AddProtected(2);
  const Bytes blocks = Protected(1000, 3, 7);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kWrite, 40, 3, kAll, 1000), 3 * kBlock, blocks),
                    kSuccess);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kRead, 41, 2, kAll, 1001), 2 * kBlock), kSuccess);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kRead, 41, 2, kAll, 1000), 2 * kBlock),
                    kReferenceTagCheckError);
}

TEST_F(IoProtectionTest, TheReferenceTagOfType3IsTheApplications) {
  AddProtected(3);
  const Bytes blocks = Protected(77, 2, 7, /*counts=*/false);
  EXPECT_ENDED_WITH(
      Run(Checked(nvme::io::kWrite, 40, 2, kGuardBit | kAppBit, 0), 2 * kBlock, blocks), kSuccess);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kRead, 40, 2, kRefBit, 40), 2 * kBlock),
                    kInvalidProtectionInformation | kDnr);
}

TEST_F(IoProtectionTest, MakingAndStrippingIsRefused) {
  OddDisk& disk = AddProtected(1);
  for (const uint8_t opcode : {nvme::io::kRead, nvme::io::kWrite, nvme::io::kCompare,
                               nvme::io::kVerify, nvme::io::kWriteZeroes}) {
    nvme::SubmissionEntry entry = Checked(opcode, 0, 1, kPractBit, 0);
    EXPECT_ENDED_WITH(Run(entry, 512, Bytes(512)), kInvalidField | kDnr);
  }
  EXPECT_EQ(disk.writes + disk.zeroes, 0);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kWriteZeroes, 0, 1, kGuardBit, 0)), kInvalidField | kDnr);
}

TEST_F(IoProtectionTest, WithoutProtectionInformationNothingIsAsked) {
  AddOddDisk(1);
  EXPECT_ENDED_WITH(Run(Checked(nvme::io::kRead, 0, 1, kAll | kPractBit, 9), 512), kSuccess);
}

TEST_F(IoProtectionTest, CopyChecksWhatItReadsAndWhatItWrites) {
  OddDisk& disk = AddProtected(2);
  Run(Entry(nvme::io::kWrite, 1, 10, 2), 2 * kBlock, Protected(500, 2, 7));
  const auto copy = [this](uint32_t read_checks, uint32_t eilbrt, uint32_t write_checks,
                           uint32_t ilbrt) {
    Bytes range(32);
    range[8] = 10;  // SLBA
    range[16] = 1;  // NLB
    std::memcpy(&range[24], &eilbrt, 4);
    const uint16_t tag = kTag, mask = 0xffff;
    std::memcpy(&range[28], &tag, 2);
    std::memcpy(&range[30], &mask, 2);
    nvme::SubmissionEntry entry = Entry(nvme::io::kCopy, 1, 100);
    entry.cdw12 = read_checks << 12 | write_checks << 26;
    entry.cdw14 = ilbrt;
    entry.cdw15 = 0xffff0000u | kTag;
    return Run(entry, 32, range).status();
  };
  EXPECT_EQ(copy(7, 500, 7, 500), kSuccess);
  EXPECT_EQ(copy(1, 501, 0, 0), kReferenceTagCheckError);
  EXPECT_EQ(copy(0, 0, 1, 100), kReferenceTagCheckError) << "they do not fit where they go";
  EXPECT_EQ(copy(8, 0, 0, 0), kInvalidField | kDnr);
  EXPECT_EQ(copy(0, 0, 8, 0), kInvalidField | kDnr);
  const int before = disk.writes;
  disk.data[11 * kBlock] ^= std::byte{1};
  EXPECT_EQ(copy(4, 0, 0, 0), kGuardCheckError);
  EXPECT_EQ(disk.writes, before);
}

TEST_F(IoProtectionTest, AFusedPairIsNotChecked) {
  AddProtected(1);
  for (const bool second : {false, true}) {
    nvme::SubmissionEntry compare = Checked(nvme::io::kCompare, 0, 1, second ? 0 : kGuardBit, 0);
    compare.flags = 1;
    nvme::SubmissionEntry write = Checked(nvme::io::kWrite, 0, 1, second ? kGuardBit : 0, 0);
    write.flags = 2;
    HostCommand& first = Start(compare, kBlock, Bytes(kBlock));
    HostCommand& other = Start(write, kBlock, Bytes(kBlock));
    Spin();
    EXPECT_ENDED_WITH(first, kInvalidField | kDnr);
    EXPECT_ENDED_WITH(other, kInvalidField | kDnr);
  }
}

}  // namespace
}  // namespace pollux::nvmf::io_test
