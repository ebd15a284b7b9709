#include "cli/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pollux::cli {
namespace {

using testing::HasSubstr;

std::string Show(std::string_view json, size_t width = 80) {
  return ForPeople(ParseJson(json), width);
}

TEST(Table, AScalarIsALine) {
  EXPECT_EQ(Show("\"Malloc0\""), "Malloc0\n");
  EXPECT_EQ(Show("true"), "true\n");
  EXPECT_EQ(Show("18446744073709551615"), "18446744073709551615\n");
  EXPECT_EQ(Show("null"), "null\n");
}

TEST(Table, NothingIsSaid) {
  EXPECT_EQ(Show("[]"), "(none)\n");
  EXPECT_EQ(Show("{}"), "(none)\n");
}

TEST(Table, AnArrayOfScalarsIsALineEach) { EXPECT_EQ(Show(R"(["a","b"])"), "a\nb\n"); }

TEST(Table, AnObjectIsItsNamesAndValues) {
  EXPECT_EQ(Show(R"({"name":"a","num_blocks":12,"list":[1,2],"none":[]})"),
            "name        a\n"
            "num_blocks  12\n"
            "list        1, 2\n"
            "none        -\n");
}

TEST(Table, AnArrayOfObjectsIsATableWithNumbersToTheRight) {
  EXPECT_EQ(Show(R"([{"name":"a","n":1},{"name":"long","n":1000}])"),
            "name     n\n"
            "a        1\n"
            "long  1000\n");
}

TEST(Table, AMemberThatSomeLackHasAColumn) {
  EXPECT_EQ(Show(R"([{"a":"1"},{"a":"2","b":"x"}])"),
            "a  b\n"
            "1\n"
            "2  x\n");
}

TEST(Table, PairsAreWrittenAsOnTheCommandLine) {
  EXPECT_EQ(
      Show(R"([{"name":"d","luns":[{"bdev_name":"m","lun_id":0},{"bdev_name":"n","lun_id":1}]}])"),
      "name  luns\n"
      "d     m:0, n:1\n");
}

TEST(Table, ASetIsTheNamesThatHold) {
  EXPECT_EQ(Show(R"({"types":{"read":true,"write":false,"flush":true},"none":{"a":false}})"),
            "types  read, flush\n"
            "none   -\n");
}

TEST(Table, ObjectsTooWideForATableStandBelowEachOther) {
  EXPECT_EQ(Show(R"([{"name":"a","text":"0123456789"},{"name":"b","text":"x"}])", 12),
            "name  a\n"
            "text  0123456789\n"
            "\n"
            "name  b\n"
            "text  x\n");
}

TEST(Table, ObjectsInAnObjectAreIndented) {
  EXPECT_EQ(Show(R"({"state":"ok","memory":{"page":4096,"list":[{"n":"x","b":1,"c":2}]}})"),
            "state   ok\n"
            "memory\n"
            "  page  4096\n"
            "  list\n"
            "    n  b  c\n"
            "    x  1  2\n");
}

TEST(Table, CharactersThatATerminalWouldObeyAreShown) {
  EXPECT_EQ(Show(R"("a\u001b[2J\n\u007fb")"), "a\\x1b[2J\\x0a\\x7fb\n");
  EXPECT_EQ(Show(R"({"\u0007":"x"})"), "\\x07  x\n");
}

TEST(Table, WidthIsCountedInCharacters) {
  EXPECT_EQ(Show(R"([{"a":"äö","b":"x"},{"a":"abc","b":"y"}])"),
            "a    b\n"
            "äö   x\n"
            "abc  y\n");
}

TEST(Table, MixedAndNestedArraysLoseNothing) {
  const std::string shown = Show(R"([1,{"a":2},["b",["c"]],null])");
  for (const char* part : {"1\n", "a  2\n", "b\n", "c\n", "null\n"}) {
    EXPECT_THAT(shown, HasSubstr(part));
  }
}

}  // namespace
}  // namespace pollux::cli
