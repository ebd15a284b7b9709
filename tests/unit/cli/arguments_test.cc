#include "cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pollux::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ArgumentsTest : public testing::Test {
 protected:
  // The params of a command line, or what is wrong with it.
  std::string Params(const std::string& line) {
    const Words words = *SplitWords(line);
    const Command* command = catalog_.Find(words[0]);
    EXPECT_NE(command, nullptr) << words[0];
    const Result<std::string> params =
        ParseArguments(*command, Words(words.begin() + 1, words.end()), options_);
    return params.ok() ? *params : "error: " + std::string(params.status().message());
  }

  const Catalog catalog_;
  Options options_;
};

TEST_F(ArgumentsTest, NoArgumentsAreNoParams) { EXPECT_EQ(Params("spdk_get_version"), ""); }

TEST_F(ArgumentsTest, WordsFillThePositionalFields) {
  EXPECT_EQ(Params("bdev_null_create Null0 2048 512"),
            R"({"name":"Null0","num_blocks":2048,"block_size":512})");
}

TEST_F(ArgumentsTest, APositionalFieldMayBeGivenAsAFlag) {
  EXPECT_EQ(Params("bdev_null_create --num-blocks 2048 Null0 512"),
            R"({"name":"Null0","num_blocks":2048,"block_size":512})");
}

TEST_F(ArgumentsTest, FlagsTakeAWordOrWhatFollowsTheEqualsSign) {
  EXPECT_EQ(Params("bdev_malloc_create --name=a=b 1 512 --md_size 8"),
            R"({"num_blocks":1,"block_size":512,"name":"a=b","md_size":8})");
}

TEST_F(ArgumentsTest, ABoolMayStandAlone) {
  EXPECT_EQ(Params("bdev_aio_create /f a --readonly --no-fallocate"),
            R"({"filename":"/f","name":"a","readonly":true,"fallocate":false})");
  EXPECT_EQ(Params("bdev_aio_create --readonly false /f a --nowait=on"),
            R"({"filename":"/f","name":"a","readonly":false,"nowait":true})");
}

TEST_F(ArgumentsTest, ABoolDoesNotTakeANumberThatFollows) {
  EXPECT_EQ(Params("iscsi_create_portal_group --private 1 ::1:3260"),
            R"({"tag":1,"portals":[{"host":"::1","port":"3260"}],"private":true})");
}

TEST_F(ArgumentsTest, NegativeNumbersAreNoFlags) {
  EXPECT_EQ(Params("iscsi_delete_portal_group -1"), R"({"tag":-1})");
  EXPECT_EQ(Params("iscsi_target_node_add_lun a b --lun-id -1"),
            R"({"name":"a","bdev_name":"b","lun_id":-1})");
}

TEST_F(ArgumentsTest, TwoDashesEndTheFlags) {
  EXPECT_EQ(Params("log_set_flag -- --json"), R"({"flag":"--json"})");
}

TEST_F(ArgumentsTest, OptionsOfTheCommandLineMayFollow) {
  EXPECT_EQ(Params("log_set_flag rpc --json -s /x -t 0.5"), R"({"flag":"rpc"})");
  EXPECT_TRUE(options_.json);
  EXPECT_EQ(options_.socket, "/x");
  EXPECT_EQ(options_.timeout_ns, 500'000'000u);
}

TEST_F(ArgumentsTest, HelpAsksForNothingElse) {
  EXPECT_EQ(Params("bdev_null_create --help"), "");
  EXPECT_TRUE(options_.help);
}

// Values.

TEST_F(ArgumentsTest, ListsAreSeparatedByCommasOrBlanksOrRepeated) {
  const char* expected = R"({"names":["a","b","c"]})";
  EXPECT_EQ(Params("bdev_get_iostat --names a,b,c"), expected);
  EXPECT_EQ(Params("bdev_get_iostat --names 'a b' --names c"), expected);
  EXPECT_EQ(Params(R"(bdev_get_iostat --names '["a","b","c"]')"), expected);
}

TEST_F(ArgumentsTest, AnObjectOfTwoScalarsIsAPair) {
  EXPECT_EQ(Params("iscsi_create_portal_group 1 127.0.0.1:3260,[::1]:3261"),
            R"({"tag":1,"portals":[{"host":"127.0.0.1","port":"3260"},)"
            R"({"host":"[::1]","port":"3261"}]})");
  EXPECT_EQ(Params("iscsi_target_node_add_pg_ig_maps d '1:2 3:4'"),
            R"({"name":"d","pg_ig_maps":[{"pg_tag":1,"ig_tag":2},{"pg_tag":3,"ig_tag":4}]})");
}

TEST_F(ArgumentsTest, TheSecondOfAPairMayBeAbsentUnlessItIsRequired) {
  EXPECT_EQ(Params("iscsi_create_target_node d a Malloc0,a:b:7 1:2 64"),
            R"({"name":"d","alias_name":"a",)"
            R"("luns":[{"bdev_name":"Malloc0"},{"bdev_name":"a:b","lun_id":7}],)"
            R"("pg_ig_maps":[{"pg_tag":1,"ig_tag":2}],"queue_depth":64})");
  EXPECT_THAT(Params("iscsi_create_portal_group 1 localhost"), HasSubstr("must be host:port"));
}

TEST_F(ArgumentsTest, AnObjectMayBeJson) {
  EXPECT_EQ(Params(R"(iscsi_create_portal_group 1 '{"host":"a", "port":"1"}')"),
            R"({"tag":1,"portals":[{"host":"a", "port":"1"}]})");
}

TEST_F(ArgumentsTest, NumbersMayBeHexadecimalOrHaveASuffix) {
  EXPECT_EQ(Params("bdev_malloc_create 128K 0x200"), R"({"num_blocks":131072,"block_size":512})");
  EXPECT_EQ(Params("notify_get_notifications --max 18446744073709551615"),
            R"({"max":18446744073709551615})");
  EXPECT_EQ(Params("bdev_malloc_create 1g 1k --numa-id -0"),
            R"({"num_blocks":1073741824,"block_size":1024,"numa_id":0})");
}

TEST_F(ArgumentsTest, AnEnumerationIsWrittenInAnyCase) {
  EXPECT_EQ(Params("log_set_level info"), R"({"level":"INFO"})");
}

TEST_F(ArgumentsTest, TextIsQuotedForJson) {
  EXPECT_EQ(Params(R"(log_set_flag 'a"b\c')"), R"({"flag":"a\"b\\c"})");
}

// What does not fit.

TEST_F(ArgumentsTest, WhatDoesNotFitIsNamed) {
  EXPECT_EQ(Params("bdev_null_create Null0 2048"), "error: block_size is missing");
  EXPECT_EQ(Params("bdev_null_create Null0 1 512 7"), "error: there is no argument for '7'");
  EXPECT_THAT(Params("bdev_null_create Null0 1 512 --sice 7"), HasSubstr("no flag --sice"));
  EXPECT_THAT(Params("bdev_null_create Null0 1 512 --sice 7"), HasSubstr("--md-size"));
  EXPECT_THAT(Params("bdev_null_create Null0 1 512 --no-uuid"), HasSubstr("no flag --no-uuid"));
  EXPECT_THAT(Params("bdev_null_create Null0 1 512 -q"), HasSubstr("no flag -q"));
  EXPECT_EQ(Params("bdev_null_create Null0 1 512 --uuid"), "error: --uuid needs a value");
  EXPECT_EQ(Params("bdev_null_create Null0 1 512 -s"), "error: -s needs a value");
  EXPECT_EQ(Params("spdk_get_version 1"), "error: there is no argument for '1'");
  EXPECT_EQ(Params("spdk_get_version --a"), "error: there is no flag --a; there is none");
}

TEST_F(ArgumentsTest, AScalarIsGivenOnce) {
  EXPECT_EQ(Params("bdev_get_bdevs --timeout 1 --timeout 2"), "error: timeout '2': is given twice");
}

TEST_F(ArgumentsTest, BadNumbersAreRefused) {
  for (const char* word : {"x", "1.5", "1KB", "-", "0x", "''", "1e3", "16777216T", "+1", "1-"}) {
    EXPECT_THAT(Params(std::string("notify_get_notifications --id ") + word),
                HasSubstr("error: id '"))
        << word;
  }
  EXPECT_THAT(Params("bdev_malloc_create 1 4G"), HasSubstr("must be from 0 to 4294967295"));
  EXPECT_THAT(Params("bdev_malloc_create -1 512"), HasSubstr("must be from 0"));
  EXPECT_THAT(Params("iscsi_delete_portal_group 2147483648"),
              HasSubstr("must be from -2147483648 to 2147483647"));
  EXPECT_EQ(Params("iscsi_delete_portal_group -2147483648"), R"({"tag":-2147483648})");
}

TEST_F(ArgumentsTest, BadBoolsEnumerationsPairsAndJsonAreRefused) {
  EXPECT_THAT(Params("log_enable_timestamps maybe"), HasSubstr("must be true or false"));
  EXPECT_THAT(Params("log_set_level LOUD"), HasSubstr("must be ERROR|WARNING|NOTICE|INFO|DEBUG"));
  EXPECT_THAT(Params("log_set_level ''"), HasSubstr("must be"));
  EXPECT_THAT(Params("iscsi_target_node_add_pg_ig_maps d 1:x"), HasSubstr("pg_ig_maps.ig_tag 'x'"));
  EXPECT_THAT(Params("iscsi_create_portal_group 1 '{\"host\":'"), HasSubstr("must be JSON"));
}

TEST_F(ArgumentsTest, BadTimeoutsAreRefused) {
  for (const char* word : {"0", "-1", "x", "''", "nan", "1e99"}) {
    EXPECT_THAT(Params(std::string("spdk_get_version -t ") + word), HasSubstr("error: -t")) << word;
  }
}

// Lines.

TEST(SplitWords, QuotesAndBackslashesProtect) {
  EXPECT_THAT(*SplitWords(R"(a  "b \" c"	'd "e' f\ g "" h'i'j)"),
              ElementsAre("a", "b \" c", "d \"e", "f g", "", "hij"));
}

TEST(SplitWords, BlankLinesAndCommentsAreNothing) {
  EXPECT_THAT(*SplitWords(" \t\r"), IsEmpty());
  EXPECT_THAT(*SplitWords("# a comment"), IsEmpty());
  EXPECT_THAT(*SplitWords("a # a comment"), ElementsAre("a"));
  EXPECT_THAT(*SplitWords("a#b"), ElementsAre("a#b"));
}

TEST(SplitWords, AnOpenQuoteIsRefused) {
  EXPECT_FALSE(SplitWords("a 'b").ok());
  EXPECT_FALSE(SplitWords("a \"b\\").ok());
}

}  // namespace
}  // namespace pollux::cli
