#include "core/accel/protection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace pollux {
namespace {

using Bytes = std::vector<uint8_t>;
using Field = ProtectionFault::Field;

// Bit by bit, from the polynomial.
uint16_t Guard(std::span<const uint8_t> bytes) {
  unsigned crc = 0;
  for (const uint8_t byte : bytes) {
    crc ^= unsigned{byte} << 8;
    for (int i = 0; i < 8; ++i) crc = (crc << 1) ^ ((crc & 0x8000) != 0 ? 0x18bb7u : 0);
  }
  return static_cast<uint16_t>(crc);
}

Bytes RandomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

void PutBig(uint8_t* at, uint64_t value, size_t count) {
  for (size_t i = 0; i < count; ++i) at[i] = static_cast<uint8_t>(value >> 8 * (count - 1 - i));
}

std::vector<iovec> Whole(Bytes& bytes) { return {{bytes.data(), bytes.size()}}; }

// Cut anywhere, with empty parts between.
std::vector<iovec> Cut(Bytes& bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<iovec> parts;
  for (size_t at = 0; at < bytes.size();) {
    const size_t most = random() % 4 == 0 ? 3 : 700;
    const size_t part = std::min<size_t>(random() % most, bytes.size() - at);
    parts.push_back({part == 0 ? nullptr : bytes.data() + at, part});
    at += part;
  }
  return parts;
}

constexpr uint64_t kBlocks = 5;

// Blocks of each format, with what the protection information must be found by hand.
class ProtectionTest : public testing::TestWithParam<ProtectionFormat> {
 protected:
  const ProtectionFormat format_ = GetParam();
  const Protection protection_{.format = format_,
                               .tags = {.application = 0x1234, .reference = 0xfffffffe}};
  const size_t data_ = format_.block_bytes, metadata_ = format_.metadata_bytes,
               block_ = data_ + metadata_,
               before_ = format_.first ? 0 : metadata_ - kProtectionBytes;

  // From data and metadata, apart from each other; the metadata gets its protection information.
  void ProtectByHand(const Bytes& data, Bytes& metadata) const {
    for (size_t i = 0; i < kBlocks; ++i) {
      Bytes guarded(data.begin() + static_cast<std::ptrdiff_t>(i * data_),
                    data.begin() + static_cast<std::ptrdiff_t>((i + 1) * data_));
      uint8_t* const own = metadata.data() + i * metadata_;
      guarded.insert(guarded.end(), own, own + before_);
      PutBig(own + before_, Guard(guarded), 2);
      PutBig(own + before_ + 2, 0x1234, 2);
      PutBig(own + before_ + 4, 0xfffffffe + (format_.type == 3 ? 0 : i), 4);
    }
  }
  Bytes Interleave(const Bytes& data, const Bytes& metadata) const {
    Bytes all;
    for (size_t i = 0; i < kBlocks; ++i) {
      all.insert(all.end(), &data[i * data_], &data[i * data_] + data_);
      all.insert(all.end(), &metadata[i * metadata_], &metadata[i * metadata_] + metadata_);
    }
    return all;
  }
  Bytes Data() const { return RandomBytes(kBlocks * data_, 1); }
  Bytes Metadata() const { return RandomBytes(kBlocks * metadata_, 2); }
  Bytes Interleaved() const {
    Bytes metadata = Metadata();
    ProtectByHand(Data(), metadata);
    return Interleave(Data(), metadata);
  }
  // Where block `block` has its protection information.
  size_t At(size_t block) const { return block * block_ + data_ + before_; }

  ProtectionResult Verify(Bytes& interleaved) const {
    return VerifyProtection(protection_, kBlocks, Whole(interleaved));
  }
};

TEST_P(ProtectionTest, IsGeneratedInPlaceHoweverItIsCut) {
  const Bytes want = Interleaved();
  for (uint32_t seed = 0; seed < 20; ++seed) {
    Bytes blocks = Interleave(Data(), Metadata());
    GenerateProtection(protection_, kBlocks, seed == 0 ? Whole(blocks) : Cut(blocks, seed));
    ASSERT_EQ(blocks, want) << seed;
  }
}

TEST_P(ProtectionTest, IsGeneratedApart) {
  Bytes want = Metadata();
  ProtectByHand(Data(), want);
  for (uint32_t seed = 0; seed < 20; ++seed) {
    Bytes data = Data(), metadata = Metadata();
    GenerateProtection(protection_, kBlocks, seed == 0 ? Whole(data) : Cut(data, seed),
                       std::as_writable_bytes(std::span(metadata)));
    ASSERT_EQ(metadata, want) << seed;
    ASSERT_EQ(data, Data());
  }
}

TEST_P(ProtectionTest, IsInsertedAndStripped) {
  Bytes zeroes(kBlocks * metadata_);
  ProtectByHand(Data(), zeroes);
  const Bytes want = Interleave(Data(), zeroes);
  for (uint32_t seed = 0; seed < 20; ++seed) {
    Bytes data = Data(), blocks = RandomBytes(kBlocks * block_ + 9, 3), back(data.size() + 9, 0xa5);
    const Bytes tail(blocks.end() - 9, blocks.end());
    InsertProtection(protection_, kBlocks, Cut(data, seed), Cut(blocks, seed + 100));
    ASSERT_TRUE(std::equal(want.begin(), want.end(), blocks.begin())) << seed;
    ASSERT_TRUE(std::equal(tail.begin(), tail.end(), blocks.end() - 9)) << "what is behind";
    ASSERT_EQ(data, Data());

    ASSERT_EQ(StripProtection(protection_, kBlocks, Cut(blocks, seed + 200), Cut(back, seed)),
              std::nullopt);
    ASSERT_TRUE(std::equal(data.begin(), data.end(), back.begin())) << seed;
    ASSERT_TRUE(std::all_of(back.end() - 9, back.end(), [](uint8_t b) { return b == 0xa5; }));
  }
}

TEST_P(ProtectionTest, WhatIsRightIsVerified) {
  Bytes blocks = Interleaved(), data = Data(), metadata = Metadata();
  ProtectByHand(data, metadata);
  for (uint32_t seed = 0; seed < 20; ++seed) {
    ASSERT_EQ(VerifyProtection(protection_, kBlocks, Cut(blocks, seed)), std::nullopt) << seed;
    ASSERT_EQ(
        VerifyProtection(protection_, kBlocks, Cut(data, seed), std::as_bytes(std::span(metadata))),
        std::nullopt);
  }
}

// Interleaved, apart and while it is stripped, and with the field at fault named.
TEST_P(ProtectionTest, EachBitOfTheProtectionInformationCounts) {
  const Bytes good = Interleaved();
  for (size_t bit = 0; bit < 64; ++bit) {
    const Field field = bit < 16   ? Field::kGuard
                        : bit < 32 ? Field::kApplicationTag
                                   : Field::kReferenceTag;
    Bytes blocks = good;
    const auto mask = static_cast<uint8_t>(0x80 >> bit % 8);
    blocks[At(3) + bit / 8] ^= mask;
    const ProtectionResult fault = Verify(blocks);
    Bytes data(kBlocks * data_);
    EXPECT_EQ(StripProtection(protection_, kBlocks, Whole(blocks), Whole(data)), fault);
    Bytes apart = Data(), metadata = Metadata();
    ProtectByHand(apart, metadata);
    metadata[3 * metadata_ + before_ + bit / 8] ^= mask;
    EXPECT_EQ(
        VerifyProtection(protection_, kBlocks, Whole(apart), std::as_bytes(std::span(metadata))),
        fault);
    if (format_.type == 3 && field == Field::kReferenceTag) {
      EXPECT_EQ(fault, std::nullopt) << "it is the application's";
      continue;
    }
    ASSERT_TRUE(fault.has_value()) << bit;
    EXPECT_EQ(fault->field, field) << bit;
    EXPECT_EQ(fault->block, 3u);
    // The most significant bit of a field comes first.
    const size_t last_bit = bit < 16 ? 15 : bit < 32 ? 31 : 63;
    EXPECT_EQ(fault->expected ^ fault->found, 1u << (last_bit - bit)) << bit;
  }
}

TEST_P(ProtectionTest, EachBitOfWhatIsGuardedCounts) {
  Bytes blocks = Interleaved();
  for (size_t bit = 0; bit < 8 * (data_ + before_); bit += 5) {
    uint8_t& byte = blocks[2 * block_ + bit / 8];
    byte ^= static_cast<uint8_t>(1 << bit % 8);
    const ProtectionResult fault = Verify(blocks);
    ASSERT_TRUE(fault && fault->field == Field::kGuard && fault->block == 2) << bit;
    byte ^= static_cast<uint8_t>(1 << bit % 8);
  }
}

TEST_P(ProtectionTest, MetadataBehindItIsNotGuarded) {
  if (!format_.first || metadata_ == kProtectionBytes) GTEST_SKIP() << "nothing is behind it";
  Bytes blocks = Interleaved();
  blocks[At(1) + kProtectionBytes] ^= 1;
  EXPECT_EQ(Verify(blocks), std::nullopt);
}

TEST_P(ProtectionTest, OnlyWhatIsOnIsChecked) {
  for (int on = 0; on < 8; ++on) {
    Protection some = protection_;
    some.checks = {
        .guard = (on & 1) != 0, .application_tag = (on & 2) != 0, .reference_tag = (on & 4) != 0};
    for (const size_t byte : {0u, 2u, 4u}) {
      Bytes blocks = Interleaved();
      blocks[At(4) + byte] ^= 1;
      const bool found = VerifyProtection(some, kBlocks, Whole(blocks)).has_value();
      const bool checked = byte == 0   ? some.checks.guard
                           : byte == 2 ? some.checks.application_tag
                                       : some.checks.reference_tag && format_.type != 3;
      EXPECT_EQ(found, checked) << on << " " << byte;
    }
  }
}

TEST_P(ProtectionTest, TheMaskSaysWhichBitsOfTheApplicationTagCount) {
  Protection masked = protection_;
  masked.checks.application_mask = 0x00f0;
  Bytes blocks = Interleaved();
  PutBig(&blocks[At(0) + 2], 0xab3d, 2);
  EXPECT_EQ(VerifyProtection(masked, kBlocks, Whole(blocks)), std::nullopt);
  PutBig(&blocks[At(0) + 2], 0x1244, 2);
  EXPECT_EQ(VerifyProtection(masked, kBlocks, Whole(blocks)),
            (ProtectionFault{Field::kApplicationTag, 0, 0x1234, 0x1244}));
}

TEST_P(ProtectionTest, ABlockWithTheEscapeValueIsNotChecked) {
  Bytes blocks = Interleaved();
  blocks[block_ + 7] ^= 0x55;  // Data of block 1.
  PutBig(&blocks[At(1) + 2], 0xffff, 2);
  if (format_.type == 3) {
    EXPECT_TRUE(Verify(blocks).has_value()) << "the application tag alone";
    PutBig(&blocks[At(1) + 4], 0xffffffff, 4);
  }
  EXPECT_EQ(Verify(blocks), std::nullopt);
  blocks[2 * block_ + 7] ^= 0x55;
  const ProtectionResult fault = Verify(blocks);
  ASSERT_TRUE(fault.has_value()) << "the next one is";
  EXPECT_EQ(fault->block, 2u);
}

TEST_P(ProtectionTest, OfNoBlocksNothingIsTouched) {
  GenerateProtection(protection_, 0, std::span<const iovec>{});
  EXPECT_EQ(VerifyProtection(protection_, 0, std::span<const iovec>{}), std::nullopt);
  EXPECT_EQ(StripProtection(protection_, 0, {}, {}), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(
    Formats, ProtectionTest,
    testing::Values(ProtectionFormat{512, 8, 1, false}, ProtectionFormat{512, 8, 2, true},
                    ProtectionFormat{512, 8, 3, false}, ProtectionFormat{512, 16, 1, false},
                    ProtectionFormat{512, 64, 1, true}, ProtectionFormat{4096, 64, 2, false},
                    ProtectionFormat{4096, 128, 3, true}),
    [](const auto& format) {
      const ProtectionFormat& f = format.param;
      return "Type" + std::to_string(f.type) + "_" + std::to_string(f.block_bytes) + "_" +
             std::to_string(f.metadata_bytes) + (f.first ? "_first" : "_last");
    });

TEST(ProtectionDeathTest, AListThatIsTooShortIsNotRunPast) {
  Bytes blocks(519);
  const Protection protection;
  EXPECT_DEATH(GenerateProtection(protection, 1, Whole(blocks)), "too short");
}

}  // namespace
}  // namespace pollux
