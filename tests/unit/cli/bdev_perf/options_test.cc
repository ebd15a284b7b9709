#include "cli/bdev_perf/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_split.h"

namespace pollux::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class BdevPerfOptionsTest : public testing::Test {
 protected:
  // "" when the words are good, else the message.
  std::string Parse(const std::string& words) {
    options_ = BdevPerfOptions();
    const Flags flags = MakeBdevPerfFlags(options_);
    return std::string(
        ParseBdevPerfOptions(flags, absl::StrSplit(words, ' ', absl::SkipEmpty()), options_)
            .message());
  }

  BdevPerfOptions options_;
};

TEST_F(BdevPerfOptionsTest, EverythingHasADefault) {
  EXPECT_EQ(Parse("null"), "");
  ASSERT_EQ(options_.disks.size(), 1u);
  EXPECT_EQ(options_.disks[0].kind, DiskSpec::Kind::kNull);
  EXPECT_THAT(options_.cores, ElementsAre(0u));
  EXPECT_EQ(options_.duration_ns, 10'000'000'000u);
  EXPECT_FALSE(options_.limits.any() || options_.lend);
}

TEST_F(BdevPerfOptionsTest, DisksAreOfManyKinds) {
  EXPECT_EQ(Parse("memory:1g file:/tmp/a:b nvme:0000:01:00.0 null:1t"), "");
  ASSERT_EQ(options_.disks.size(), 4u);
  EXPECT_EQ(options_.disks[0].bytes, uint64_t{1} << 30);
  EXPECT_EQ(options_.disks[1].place, "/tmp/a:b");
  EXPECT_EQ(options_.disks[2].place, "0000:01:00.0");
  EXPECT_EQ(options_.disks[3].bytes, uint64_t{1} << 40);
}

TEST_F(BdevPerfOptionsTest, FlagsAreTaken) {
  EXPECT_EQ(Parse("memory --flush 5 --unmap 10 --block-size 512 --limit-ios 1000 --limit-mib 2 "
                  "--limit-read-mib 3 --limit-write-mib 4 -w randrw"),
            "");
  EXPECT_EQ(options_.flush, 5u);
  EXPECT_EQ(options_.unmap, 10u);
  EXPECT_EQ(options_.block_bytes, 512u);
  const RateLimits limits{
      .rw_ios = 1000, .rw_bytes = 2 << 20, .r_bytes = 3 << 20, .w_bytes = 4 << 20};
  EXPECT_EQ(options_.limits, limits);
}

TEST_F(BdevPerfOptionsTest, WhatDoesNotFitIsSaid) {
  EXPECT_EQ(Parse(""), "which disk?");
  EXPECT_THAT(Parse("floppy"), HasSubstr("floppy is no disk"));
  EXPECT_THAT(Parse("file:"), HasSubstr("where is it?"));
  EXPECT_THAT(Parse("nvme"), HasSubstr("where is it?"));
  EXPECT_THAT(Parse("memory --lend --flush 1"), HasSubstr("--lend is of reads and writes"));
  EXPECT_THAT(Parse("memory --verify"), HasSubstr("writes nothing"));
  for (const char* words : {"memory:0", "memory:", "null:x", "null --flush 101", "null --unmap -1",
                            "null --limit-ios 0", "null --block-size 100", "null -c 0-200"}) {
    EXPECT_NE(Parse(words), "") << words;
  }
}

TEST_F(BdevPerfOptionsTest, TheHelpHasNoLineTooLong) {
  for (const absl::string_view line : absl::StrSplit(MakeBdevPerfFlags(options_).Help(), '\n')) {
    EXPECT_LE(line.size(), 100u) << line;
  }
}

}  // namespace
}  // namespace pollux::cli
