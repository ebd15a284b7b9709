#include "cli/perf/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_split.h"

namespace pollux::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class PerfOptionsTest : public testing::Test {
 protected:
  // "" when the words are good, else the message.
  std::string Parse(const std::string& words) {
    options_ = PerfOptions();
    const Flags flags = MakePerfFlags(options_);
    return std::string(
        ParsePerfOptions(flags, absl::StrSplit(words, ' ', absl::SkipEmpty()), options_).message());
  }

  PerfOptions options_;
};

TEST_F(PerfOptionsTest, EverythingHasADefault) {
  EXPECT_EQ(Parse("0000:01:00.0"), "");
  ASSERT_EQ(options_.controllers.size(), 1u);
  EXPECT_STREQ(options_.controllers[0].traddr, "0000:01:00.0");
  EXPECT_EQ(options_.pattern, Pattern::kRandRead);
  EXPECT_EQ(options_.duration_ns, 10'000'000'000u);
}

TEST_F(PerfOptionsTest, FlagsAreTaken) {
  EXPECT_EQ(Parse("/tmp/a /tmp/b -w randrw -o 64k -q 32 -M 70 -t 2.5 -c 1,0 --queues 3 -n 1,5 "
                  "--range 100:200 --verify --json"),
            "");
  EXPECT_EQ(options_.controllers.size(), 2u);
  EXPECT_EQ(options_.io_bytes, 65536u);
  EXPECT_EQ(options_.mix, 70u);
  EXPECT_THAT(options_.cores, ElementsAre(0u, 1u));
  EXPECT_THAT(options_.nsids, ElementsAre(1u, 5u));
  EXPECT_EQ(options_.first_block, 100u);
  EXPECT_EQ(options_.range_blocks, 200u);
  EXPECT_TRUE(options_.verify && options_.json);
}

TEST_F(PerfOptionsTest, VerifyIsOnePassUnlessATimeIsGiven) {
  EXPECT_EQ(Parse("/tmp/a -w verify"), "");
  EXPECT_TRUE(options_.verify);
  EXPECT_EQ(options_.duration_ns, 0u);
}

TEST_F(PerfOptionsTest, WhatDoesNotFitIsSaid) {
  EXPECT_EQ(Parse(""), "which controller?");
  EXPECT_THAT(Parse("/tmp/a -w sideways"), HasSubstr("randwrite, rw, randrw or verify"));
  EXPECT_THAT(Parse("/tmp/a --verify"), HasSubstr("writes nothing"));
  EXPECT_THAT(Parse("/tmp/a -w verify --warmup 1"), HasSubstr("--warmup needs -t"));
  for (const char* words :
       {"-q 0", "-q 4097", "-o 511", "-o 1g", "-M 101", "-t -1", "-c 3-1", "--queues 0", "-n 0",
        "-n 4294967295", "-n 1,", "--range 5:0", "--range :5", "--range 5:"}) {
    EXPECT_NE(Parse(std::string("/tmp/a ") + words), "") << words;
  }
}

TEST_F(PerfOptionsTest, TheHelpHasNoLineTooLong) {
  const std::string help = MakePerfFlags(options_).Help();
  for (const absl::string_view line : absl::StrSplit(help, '\n')) EXPECT_LE(line.size(), 100u);
}

}  // namespace
}  // namespace pollux::cli
