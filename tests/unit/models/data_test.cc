// Data pointers, metadata and protection information, as strictly as the specification allows.
#include <gmock/gmock.h>

#include "tests/unit/models/raw_host.h"

namespace pollux::models {
namespace {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.

class ModelDataTest : public RawHost {
 protected:
  // Blocks of the namespace, numbered in their bytes, put there behind the controller's back.
  void Fill(uint64_t blocks) {
    ModelNamespace& ns = *model().FindNamespace(1);
    for (uint64_t i = 0; i < blocks; ++i) {
      std::memset(ns.Data(i, 1).data(), static_cast<int>(i + 1), ns.block_bytes());
    }
  }
  Sqe Read(uint32_t blocks) { return IoOn(io::kRead, 0, blocks, data_); }
  void SetList(std::byte* at, size_t index, uint64_t entry) {
    const Le64 value = entry;
    std::memcpy(at + index * 8, &value, 8);
  }
  SglDescriptor Block(const std::byte* at, uint32_t bytes, uint8_t type = kSglDataBlock) {
    return {.address = at == nullptr ? 0 : Iova(at), .length = bytes, .reserved = {}, .type = type};
  }
  void SetSgl(Sqe& sqe, const SglDescriptor& descriptor) {
    sqe.flags = kPsdtSgl;
    std::memcpy(reinterpret_cast<std::byte*>(&sqe) + 24, &descriptor, sizeof descriptor);
  }
  std::byte* const data_ = Pages(24);
  std::byte* const list_ = Pages(2);
};

TEST_F(ModelDataTest, ReadsAtEveryDwordOffsetOfAPage) {
  Start();
  Fill(16);
  for (size_t offset = 0; offset < kPage; offset += 4) {
    Sqe sqe = Read(8);
    sqe.prp1 = Iova(data_) + offset;
    std::memset(data_, 0, 2 * kPage + 1);
    ASSERT_EQ(Status(Io(sqe)), 0) << offset;
    ASSERT_EQ(data_[offset], std::byte{1});
    ASSERT_EQ(data_[offset + kPage - 1], std::byte{8});
    ASSERT_EQ(data_[offset + kPage], std::byte{0});
  }
}

TEST_F(ModelDataTest, RefusesPrpsThatAreNotAligned) {
  Start();
  Sqe sqe = Read(8);
  sqe.prp1 = Iova(data_) + 2;
  EXPECT_EQ(Status(Io(sqe)), status::kInvalidPrpOffset);
  sqe = Read(16);
  sqe.prp2 = Iova(data_ + kPage) + 4;
  EXPECT_EQ(Status(Io(sqe)), status::kInvalidPrpOffset);
  sqe = Read(24);
  sqe.prp2 = Iova(list_) + 4;
  EXPECT_EQ(Status(Io(sqe)), status::kInvalidPrpOffset);
  SetList(list_, 0, Iova(data_ + kPage) + 512);
  sqe.prp2 = Iova(list_);
  EXPECT_EQ(Status(Io(sqe)), status::kInvalidPrpOffset);
  EXPECT_EQ(model().complaints().size(), 4u);
}

TEST_F(ModelDataTest, RefusesMemoryThatTheHostDoesNotHave) {
  Start();
  Sqe sqe = Read(1);
  sqe.prp1 = 0x1000;
  EXPECT_EQ(Status(Io(sqe)), status::kDataTransferError);
  sqe.prp1 = reinterpret_cast<uintptr_t>(data_);
  EXPECT_EQ(Status(Io(sqe)), status::kDataTransferError);
}

TEST_F(ModelDataTest, FollowsAListAcrossItsLastEntry) {
  Start();
  Fill(64);
  // Room for two entries at the end of the first page: one for data, one for the next list.
  SetList(list_, 510, Iova(data_ + kPage));
  SetList(list_, 511, Iova(list_ + kPage));
  for (size_t i = 0; i < 6; ++i) SetList(list_ + kPage, i, Iova(data_ + (2 + i) * kPage));
  Sqe sqe = Read(64);
  sqe.prp2 = Iova(list_) + 510 * 8;
  ASSERT_EQ(Status(Io(sqe)), 0);
  for (size_t i = 0; i < 64; ++i) ASSERT_EQ(data_[i * 512], std::byte(i + 1)) << i;
  // Three pages in all end in the first list's last entry, which is then data.
  SetList(list_, 511, Iova(data_ + 2 * kPage));
  sqe = Read(24);
  sqe.prp2 = Iova(list_) + 510 * 8;
  EXPECT_EQ(Status(Io(sqe)), 0);
  EXPECT_EQ(data_[23 * 512], std::byte{24});
}

TEST_F(ModelDataTest, RefusesMoreThanMdts) {
  options_.controller.mdts = 1;
  Start();
  EXPECT_EQ(Status(Io(Read(17))), status::kInvalidField);
  EXPECT_EQ(Status(Io(Read(16))), 0);
}

TEST_F(ModelDataTest, ReadsThroughAnSgl) {
  Start();
  Fill(4);
  Sqe sqe = Read(2);
  SetSgl(sqe, Block(data_ + 1, 1024));
  ASSERT_EQ(Status(Io(sqe)), 0);
  EXPECT_EQ(data_[1], std::byte{1});
  EXPECT_EQ(data_[1024], std::byte{2});

  const SglDescriptor segment[] = {Block(data_ + 7, 100), Block(nullptr, 412, kSglBitBucket),
                                   Block(data_ + kPage, 512)};
  std::memcpy(list_, segment, sizeof segment);
  SetSgl(sqe, Block(list_, sizeof segment, kSglLastSegment));
  ASSERT_EQ(Status(Io(sqe)), 0);
  EXPECT_EQ(data_[7 + 99], std::byte{1});
  EXPECT_EQ(data_[kPage], std::byte{2});
}

TEST_F(ModelDataTest, FollowsSegmentsOfAnSgl) {
  Start();
  Fill(2);
  const SglDescriptor last[] = {Block(data_ + kPage, 512)};
  std::memcpy(list_ + kPage, last, sizeof last);
  const SglDescriptor first[] = {Block(data_, 512),
                                 Block(list_ + kPage, sizeof last, kSglLastSegment)};
  std::memcpy(list_, first, sizeof first);
  Sqe sqe = Read(2);
  SetSgl(sqe, Block(list_, sizeof first, kSglSegment));
  ASSERT_EQ(Status(Io(sqe)), 0);
  EXPECT_EQ(data_[kPage], std::byte{2});
  // The same, called the last segment, has a segment where none may be.
  SetSgl(sqe, Block(list_, sizeof first, kSglLastSegment));
  EXPECT_EQ(Status(Io(sqe)), status::kInvalidSglSegment);
}

TEST_F(ModelDataTest, RefusesSglsThatAreWrong) {
  options_.controller.sgls = 2;
  Start();
  Sqe sqe = Read(2);
  SetSgl(sqe, Block(data_, 512));
  EXPECT_EQ(Status(Io(sqe)), status::kSglDataLengthInvalid);
  SetSgl(sqe, Block(data_, 2048));
  EXPECT_EQ(Status(Io(sqe)), status::kSglDataLengthInvalid);
  SetSgl(sqe, Block(data_ + 1, 1024));
  EXPECT_EQ(Status(Io(sqe)), 0x01e);  // Granularity.
  SetSgl(sqe, Block(nullptr, 1024, kSglBitBucket));
  EXPECT_EQ(Status(Io(sqe)), status::kSglTypeInvalid);
  SetSgl(sqe, Block(data_, 1024, 0x50));
  EXPECT_EQ(Status(Io(sqe)), status::kSglTypeInvalid);
  SetSgl(sqe, Block(list_, 24, kSglLastSegment));
  EXPECT_EQ(Status(Io(sqe)), status::kInvalidSglSegment);
  Sqe admin = AdminOn(admin::kIdentify, data_, cns::kController);
  admin.flags = kPsdtSgl;
  EXPECT_EQ(Status(Admin(admin)), status::kInvalidField);
}

// --- Metadata and protection.

class ModelProtectionTest : public ModelDataTest,
                            public testing::WithParamInterface<std::tuple<bool, int, bool>> {
 protected:
  bool extended() const { return std::get<0>(GetParam()); }
  int type() const { return std::get<1>(GetParam()); }
  bool first() const { return std::get<2>(GetParam()); }
  void StartProtected(uint16_t metadata_bytes) {
    options_.controller.namespaces = {{.blocks = 1024,
                                       .block_bytes = 512,
                                       .metadata_bytes = metadata_bytes,
                                       .extended = extended(),
                                       .protection = static_cast<uint8_t>(type()),
                                       .protection_first = first()}};
    Start();
  }
  Sqe Protected(uint8_t opc, uint64_t lba, uint32_t blocks, uint32_t bits) {
    Sqe sqe = IoOn(opc, lba, blocks, data_);
    sqe.mptr = Iova(metadata_);
    sqe.cdw12 = sqe.cdw12 | bits;
    sqe.cdw14 = static_cast<uint32_t>(lba);
    sqe.cdw15 = 0xffff0000u | 0x1234;
    return sqe;
  }
  uint32_t Check() const {  // What this type may check.
    return 1u << 28 | 1u << 27 | (type() == 3 ? 0 : 1u << 26);
  }
  std::byte* const metadata_ = Pages(1);
};

TEST_P(ModelProtectionTest, IsInsertedAndStrippedWithPract) {
  StartProtected(8);
  std::memset(data_, 0x42, 1024);
  ASSERT_EQ(Status(Io(Protected(io::kWrite, 5, 2, 1u << 29))), 0);
  std::memset(data_, 0, 2048);
  ASSERT_EQ(Status(Io(Protected(io::kRead, 5, 2, 1u << 29 | Check()))), 0);
  EXPECT_EQ(data_[1023], std::byte{0x42});
  EXPECT_EQ(data_[1024], std::byte{0});
  EXPECT_EQ(metadata_[0], std::byte{0});
}

TEST_P(ModelProtectionTest, ComesAndGoesWithTheData) {
  StartProtected(16);
  std::memset(data_, 0x42, 2048);
  ASSERT_EQ(Status(Io(Protected(io::kWrite, 7, 1, 1u << 29))), 0);
  ASSERT_EQ(Status(Io(Protected(io::kRead, 7, 1, Check()))), 0);
  const std::byte* found = extended() ? data_ + 512 : metadata_;
  const auto info = As<ProtectionInformation>(found + (first() ? 0 : 8));
  EXPECT_EQ(info.application_tag, 0x1234);
  EXPECT_EQ(info.reference_tag, 7u);
  // Written back as it is, it passes; with one bit changed, it does not, and nothing is written.
  EXPECT_EQ(Status(Io(Protected(io::kWrite, 7, 1, Check()))), 0);
  data_[9] ^= std::byte{1};
  EXPECT_EQ(Status(Io(Protected(io::kWrite, 7, 1, Check()))), status::kGuardCheckError);
  EXPECT_EQ(Status(Io(Protected(io::kVerify, 7, 1, Check()))), 0);
}

TEST_P(ModelProtectionTest, FindsDamageOnTheMedium) {
  StartProtected(8);
  ASSERT_EQ(Status(Io(Protected(io::kWrite, 0, 2, 1u << 29))), 0);
  ModelNamespace& ns = *model().FindNamespace(1);
  ns.Metadata(1, 1)[2] ^= std::byte{1};
  EXPECT_EQ(Status(Io(Protected(io::kRead, 0, 2, Check()))), status::kApplicationTagCheckError);
  ns.Metadata(1, 1)[2] ^= std::byte{1};
  ns.Metadata(1, 1)[7] ^= std::byte{1};
  EXPECT_EQ(Status(Io(Protected(io::kRead, 0, 2, Check()))),
            type() == 3 ? 0 : status::kReferenceTagCheckError);
  ns.Data(0, 1)[0] ^= std::byte{1};
  EXPECT_EQ(Status(Io(Protected(io::kRead, 0, 2, Check()))), status::kGuardCheckError);
  EXPECT_EQ(Status(Io(Protected(io::kRead, 0, 2, 0))), 0);
}

TEST_P(ModelProtectionTest, IsNotCheckedWhereNothingWasWritten) {
  StartProtected(8);
  EXPECT_EQ(Status(Io(Protected(io::kRead, 100, 2, Check()))), 0);
}

TEST_P(ModelProtectionTest, HasARuleForTheFirstReferenceTag) {
  StartProtected(8);
  Sqe sqe = Protected(io::kRead, 9, 1, 1u << 26);
  sqe.cdw14 = 8;
  const uint16_t expected = type() == 2 ? 0 : status::kInvalidProtectionInformation;
  EXPECT_EQ(Status(Io(sqe)), expected);
}

INSTANTIATE_TEST_SUITE_P(All, ModelProtectionTest,
                         testing::Combine(testing::Bool(), testing::Values(1, 2, 3),
                                          testing::Bool()));

TEST(Crc16Test, HasTheValuesOfTheStandard) {
  // The check value of CRC-16/T10-DIF, and the 32 bytes of ffh of SBC's example.
  EXPECT_EQ(Crc16T10(0, std::as_bytes(std::span("123456789", 9))), 0xd0db);
  std::byte ones[32];
  std::memset(ones, 0xff, sizeof ones);
  EXPECT_EQ(Crc16T10(0, ones), 0xa293);
}

}  // namespace
}  // namespace pollux::models
