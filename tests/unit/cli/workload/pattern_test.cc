#include "cli/workload/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <set>

namespace pollux::cli {
namespace {

using testing::HasSubstr;

constexpr size_t kBytes = 512;

class PatternTest : public testing::Test {
 protected:
  PatternTest() { FillBlock(block_.data(), kBytes, kStamp); }
  std::string Check(const BlockStamp& stamp = kStamp) {
    const auto difference = CheckBlock(block_.data(), kBytes, stamp);
    return difference ? difference->text : "";
  }

  static constexpr BlockStamp kStamp{.lba = 7, .generation = 3, .seed = 1};
  alignas(8) std::array<unsigned char, kBytes> block_;
};

TEST_F(PatternTest, WhatWasWrittenIsFound) { EXPECT_EQ(Check(), ""); }

TEST_F(PatternTest, EveryBitThatChangesIsFoundAtItsByte) {
  for (size_t offset = 0; offset < kBytes; ++offset) {
    for (int bit = 0; bit < 8; ++bit) {
      block_[offset] ^= static_cast<unsigned char>(1 << bit);
      const auto difference = CheckBlock(block_.data(), kBytes, kStamp);
      ASSERT_TRUE(difference.has_value()) << offset;
      EXPECT_EQ(difference->offset, offset);
      block_[offset] ^= static_cast<unsigned char>(1 << bit);
    }
  }
}

TEST_F(PatternTest, AnotherBlockIsNamed) {
  EXPECT_THAT(
      Check({8, 3, 1}),
      HasSubstr("byte 8 of LBA 8 differs from generation 3: it holds generation 3 of LBA 7"));
  EXPECT_THAT(Check({7, 4, 1}), HasSubstr("it holds generation 3 of LBA 7"));
  EXPECT_THAT(Check({7, 3, 2}), HasSubstr("another run"));
  block_.fill(0);
  EXPECT_THAT(Check(), HasSubstr("it holds zeroes"));
}

TEST_F(PatternTest, ATornBlockIsFound) {
  std::array<unsigned char, kBytes> newer;
  FillBlock(newer.data(), kBytes, {7, 4, 1});
  std::copy(newer.begin() + 256, newer.end(), block_.begin() + 256);
  EXPECT_THAT(Check(), HasSubstr("byte 256"));
}

TEST_F(PatternTest, NoTwoWordsAreAlike) {
  std::set<std::array<unsigned char, 8>> words;
  for (uint64_t lba = 0; lba < 16; ++lba) {
    FillBlock(block_.data(), kBytes, {lba, 1, 1});
    for (size_t at = 32; at < kBytes; at += 8) {
      std::array<unsigned char, 8> word;
      std::copy_n(block_.begin() + static_cast<ptrdiff_t>(at), 8, word.begin());
      EXPECT_TRUE(words.insert(word).second);
    }
  }
}

}  // namespace
}  // namespace pollux::cli
