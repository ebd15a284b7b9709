#include "cli/tool/flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pollux::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FlagsTest : public testing::Test {
 protected:
  FlagsTest() : flags_("tool", "[FLAG]... WORD", "Does it.\n\nFlags:\n") {
    flags_.Add("-q, --depth", "N", "how deep", [this](const std::string& value) -> Status {
      ASSIGN_OR_RETURN(depth_, ParseNumber("-q", value, 1, 1024));
      return OkStatus();
    });
    flags_.AddSwitch("--json", "as JSON", json_);
  }
  // "" when it parses, else the message.
  std::string Parse(const std::vector<std::string>& words) {
    return std::string(flags_.Parse(words, words_).message());
  }

  Flags flags_;
  uint64_t depth_ = 0;
  bool json_ = false;
  std::vector<std::string> words_;
};

TEST_F(FlagsTest, EveryFormOfAFlagIsTaken) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"-q", "7"}, {"-q7"}, {"--depth", "7"}, {"--depth=7"}}) {
    depth_ = 0;
    EXPECT_EQ(Parse(words), "");
    EXPECT_EQ(depth_, 7u);
  }
  EXPECT_EQ(Parse({"a", "--json", "-", "--", "-q"}), "");
  EXPECT_TRUE(json_);
  EXPECT_THAT(words_, ElementsAre("a", "-", "-q"));
}

TEST_F(FlagsTest, WhatDoesNotFitIsNamed) {
  EXPECT_EQ(Parse({"--none"}), "there is no flag --none");
  EXPECT_EQ(Parse({"-x"}), "there is no flag -x");
  EXPECT_EQ(Parse({"--json=1"}), "--json takes no value");
  EXPECT_EQ(Parse({"-q"}), "-q needs a value: N");
  EXPECT_EQ(Parse({"-q", "0"}), "-q '0': must be a number from 1 to 1024");
}

TEST_F(FlagsTest, TheHelpHasAllFlags) {
  const std::string help = flags_.Help();
  EXPECT_THAT(help, HasSubstr("Usage: tool [FLAG]... WORD\n\nDoes it.\n"));
  EXPECT_THAT(help, HasSubstr("  -q, --depth N           how deep\n"));
  EXPECT_THAT(help, HasSubstr("  --json                  as JSON\n"));
}

TEST(ParseNumber, TakesWholeNumbersAndNothingElse) {
  EXPECT_EQ(*ParseNumber("n", "18446744073709551615", 0, UINT64_MAX), UINT64_MAX);
  EXPECT_EQ(*ParseNumber("n", "0x1F", 0, 99), 31u);
  for (const char* text : {"", "-1", "+1", " 1", "1 ", "1.5", "0x", "0xg", "ten", "1_0",
                           "18446744073709551616", "0x10000000000000000"}) {
    EXPECT_FALSE(ParseNumber("n", text, 0, UINT64_MAX).ok()) << text;
  }
}

TEST(ParseSize, TakesPowersOf1024) {
  EXPECT_EQ(*ParseSize("o", "4k", 0, UINT64_MAX), 4096u);
  EXPECT_EQ(*ParseSize("o", "1M", 0, UINT64_MAX), 1u << 20);
  EXPECT_EQ(*ParseSize("o", "16777215t", 0, UINT64_MAX), uint64_t{16777215} << 40);
  for (const char* text : {"k", "4kk", "4x", "16777216t", "-4k", "4 k"}) {
    EXPECT_FALSE(ParseSize("o", text, 0, UINT64_MAX).ok()) << text;
  }
  EXPECT_FALSE(ParseSize("o", "1k", 1, 1023).ok());
}

TEST(ParseSeconds, TakesFractions) {
  EXPECT_EQ(*ParseSeconds("t", "0.25", 10), 250'000'000u);
  for (const char* text : {"", "-1", "nan", "inf", "11", "1s"}) {
    EXPECT_FALSE(ParseSeconds("t", text, 10).ok()) << text;
  }
}

TEST(ParseSet, TakesRangesOnceInOrder) {
  EXPECT_THAT(*ParseSet("c", "8,0-2,1", 63, 16), ElementsAre(0u, 1u, 2u, 8u));
  for (const char* text : {"", ",", "1,", "2-1", "64", "a", "1-", "-1", "1-2-3", "0-63"}) {
    EXPECT_FALSE(ParseSet("c", text, 63, 16).ok()) << text;
  }
  EXPECT_FALSE(ParseSet("c", "0-4294967295", UINT32_MAX, 16).ok());
}

}  // namespace
}  // namespace pollux::cli
