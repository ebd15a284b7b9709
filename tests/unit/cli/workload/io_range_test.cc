#include "cli/workload/io_range.h"

#include <gtest/gtest.h>

namespace pollux::cli {
namespace {

class IoRangeTest : public testing::Test {
 protected:
  Result<IoRange> Find(unsigned workers) { return FindRange(options_, "disk", 1000, 8, workers); }
  std::string Refusal() { return std::string(Find(1).status().message()); }

  IoOptions options_;
};

TEST_F(IoRangeTest, AtRandomAllWorkersShareTheDisk) {
  const IoRange range = *Find(4);
  EXPECT_EQ(range.units, 125u);
  EXPECT_EQ(range.FirstBlockOf(3), 0u);
}

TEST_F(IoRangeTest, InOrderAndVerifiedEachHasAPartOfItsOwn) {
  options_.pattern = Pattern::kWrite;
  options_.first_block = 100;
  options_.range_blocks = 320;
  const IoRange range = *Find(4);
  EXPECT_EQ(range.units, 10u);
  EXPECT_EQ(range.FirstBlockOf(0), 100u);
  EXPECT_EQ(range.FirstBlockOf(3), 100u + 3 * 80);
  options_.pattern = Pattern::kRandRw;
  options_.verify = true;
  EXPECT_EQ(Find(4)->units, 10u);
}

TEST_F(IoRangeTest, WhatIsNotThereIsRefused) {
  options_.first_block = 1000;
  EXPECT_NE(Refusal().find("disk has 1000 blocks"), std::string::npos);
  options_.first_block = 999;
  EXPECT_NE(Refusal().find("less than one I/O"), std::string::npos);
  options_.range_blocks = UINT64_MAX;
  EXPECT_NE(Refusal().find("has 1000 blocks"), std::string::npos);
}

TEST_F(IoRangeTest, VerifyingRemembersOnlySoMuch) {
  options_.verify = true;
  const auto range = FindRange(options_, "disk", (uint64_t{1} << 29) * 8, 8, 1);
  EXPECT_NE(range.status().message().find("--range"), std::string::npos);
}

}  // namespace
}  // namespace pollux::cli
