#include "rpc/json_scanner.h"

#include <gtest/gtest.h>

#include "rpc/json_reader.h"

namespace pollux::rpc {
namespace {

using Outcome = JsonScanner::Outcome;
using namespace std::string_literals;

// What RFC 8259 says must be accepted, by class.
const std::string kGood[] = {
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "12345678901234567890123456789",
    "0.0",
    "-0.1",
    "1.5",
    "1e1",
    "1E1",
    "1e+1",
    "1e-1",
    "1.5E+10",
    "0e0",
    "0E-0",
    "1e999999999",
    "\"\"",
    "\"a\"",
    "[]",
    "{}",
    "[ ]",
    "{ }",
    "[1]",
    "[1,2]",
    "[[]]",
    "[{}]",
    "{\"a\":1}",
    "{\"\":0}",
    "{\"a\":{\"b\":[]}}",
    "{\"a\":1,\"a\":2}",
    " [ 1 , 2 ] ",
    "\t\r\n[\n]\n",
    "[null,true,false]",
    R"("\"\\\/\b\f\n\r\t")",
    R"("\u0000")",
    R"("\u12aB")",
    R"("\ud83d\ude00")",
    R"("\uDBFF\uDFFF")",
    R"("\uFFFF")",
    R"("a\u0041b")",
    "\"\x7f\"",
    "\"\xc2\x80\"",
    "\"\xdf\xbf\"",
    "\"\xe0\xa0\x80\"",
    "\"\xed\x9f\xbf\"",
    "\"\xee\x80\x80\"",
    "\"\xef\xbf\xbf\"",
    "\"\xf0\x90\x80\x80\"",
    "\"\xf4\x8f\xbf\xbf\"",
    "\"/* no comment */ // none\"",
    "\"{[,:]}\"",
};

// What it says must not.
const std::string kBad[] = {
    // Numbers.
    "01",
    "-01",
    "00",
    "+1",
    "-",
    "--1",
    "-a",
    ".5",
    "-.5",
    "1.",
    "1.e1",
    "1.a",
    "1e",
    "1e+",
    "1ea",
    "0x10",
    "1_000",
    "NaN",
    "Infinity",
    "-Infinity",
    "1.2.3",
    "1e1.5",
    "[1 2]",
    "0e",
    "[-]",
    "[1.]",
    // Words.
    "nul",
    "nulL",
    "True",
    "truE",
    "fals",
    "undefined",
    "a",
    // Structure.
    "[",
    "]",
    "{",
    "}",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[,]",
    "[1,,2]",
    "[}",
    "{]",
    "[1}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\" 1}",
    "{\"a\":1,}",
    "{,}",
    "{,\"a\":1}",
    "{\"a\":1 \"b\":2}",
    "{1:2}",
    "{a:1}",
    "{'a':1}",
    "{null:1}",
    "{\"a\"::1}",
    "[:]",
    ":",
    ",",
    "{\"a\":1]",
    "[\"a\":1]",
    "[[]",
    "{\"a\":1}}",
    "[]]",
    "1 2",
    "{} {}",
    "[] x",
    "(1)",
    "[1;2]",
    "",
    " ",
    "\n",
    // Strings.
    "\"",
    "\"a",
    "'a'",
    "\"\n\"",
    "\"\t\"",
    "\"\x1f\"",
    "\"\0\""s,
    "\"\\\"",
    "\"\\a\"",
    "\"\\x41\"",
    "\"\\'\"",
    "\"\\0\"",
    "\"\\u\"",
    "\"\\u1\"",
    "\"\\u12\"",
    "\"\\u123\"",
    "\"\\u123g\"",
    "\"\\U0041\"",
    "\"\\u+123\"",
    "\"\\\n\"",
    "[\"a\0b\"]"s,
    // Halves of surrogate pairs.
    R"("\ud800")",
    R"("\udc00")",
    R"("\ud800\ud800")",
    R"("\ud800x")",
    R"("\ud800\n")",
    R"("\ud800\u0041")",
    R"("\udfff\ud800")",
    "\"\\ud800",
    R"("\ud800\)",
    // UTF-8: lone and missing continuations, overlong forms, surrogates, beyond U+10FFFF, a BOM.
    "\"\x80\"",
    "\"\xbf\"",
    "\"\xc2\"",
    "\"\xc2\x41\"",
    "\"\xc0\x80\"",
    "\"\xc1\xbf\"",
    "\"\xe0\x80\x80\"",
    "\"\xe0\x9f\xbf\"",
    "\"\xe2\x82\"",
    "\"\xed\xa0\x80\"",
    "\"\xed\xbf\xbf\"",
    "\"\xf0\x80\x80\x80\"",
    "\"\xf0\x8f\xbf\xbf\"",
    "\"\xf0\x90\x80\"",
    "\"\xf4\x90\x80\x80\"",
    "\"\xf5\x80\x80\x80\"",
    "\"\xff\"",
    "\"\xfe\"",
    "\xef\xbb\xbf[]",
    "\xc2\xa0[]",
    "[\xc2\xa0]",
    // White space that is none, and comments.
    "[\f1]",
    "[\v1]",
    "\0[]"s,
    "[1]\0"s,
    "// a\n[]",
    "/* a */ []",
    "[/**/]",
    "[1]//",
    "#\n[]",
};

class JsonScannerTest : public testing::Test {
 protected:
  static bool IsGood(const std::string& text, bool comments = false) {
    return CheckJson(text, {.comments = comments}).ok();
  }
  // The same text, `chunk` bytes at a time. How many bytes the value took; 0 when it is not whole.
  static size_t TakenInChunks(const std::string& text, size_t chunk) {
    JsonScanner scanner({});
    size_t at = 0;
    while (at < text.size()) {
      size_t taken = 0;
      const Outcome outcome = scanner.Scan(std::string_view(text).substr(at, chunk), taken);
      at += taken;
      if (outcome == Outcome::kComplete) return at;
      if (outcome == Outcome::kBroken) return 0;
    }
    return scanner.Finish() == Outcome::kComplete ? at : 0;
  }
};

TEST_F(JsonScannerTest, AcceptsWhatTheStandardAccepts) {
  for (const std::string& text : kGood) EXPECT_TRUE(IsGood(text)) << text;
}

TEST_F(JsonScannerTest, RefusesWhatTheStandardRefuses) {
  for (const std::string& text : kBad) EXPECT_FALSE(IsGood(text)) << text;
}

TEST_F(JsonScannerTest, CuttingTheTextMakesNoDifference) {
  for (const std::string& text : kGood) {
    for (const size_t chunk : {1u, 2u, 3u}) {
      EXPECT_EQ(TakenInChunks(text, chunk), TakenInChunks(text, text.size()))
          << text << " by " << chunk;
      EXPECT_GT(TakenInChunks(text, chunk), 0u) << text;
    }
  }
  for (const std::string& text : kBad) {
    EXPECT_EQ(TakenInChunks(text, 1), TakenInChunks(text, text.size() + 1)) << text;
  }
}

TEST_F(JsonScannerTest, NoPrefixOfAnObjectIsWhole) {
  const std::string text = R"({"a":[1.5e3,true,null,"x\u00e9\ud83d\ude00é"],"b":{}})";
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_EQ(TakenInChunks(text.substr(0, length), 100), 0u) << length;
  }
  EXPECT_EQ(TakenInChunks(text, 100), text.size());
}

TEST_F(JsonScannerTest, TellsWhereAValueEndsAndTheNextBegins) {
  const std::string stream = "{\"a\":1}[2]\"x\"true 12 -3[]";
  std::vector<std::string> values;
  JsonScanner scanner({});
  for (size_t at = 0; at < stream.size();) {
    size_t taken = 0;
    ASSERT_EQ(scanner.Scan(std::string_view(stream).substr(at), taken), Outcome::kComplete);
    values.push_back(stream.substr(at, taken));
    at += taken;
  }
  EXPECT_EQ(values,
            (std::vector<std::string>{"{\"a\":1}", "[2]", "\"x\"", "true", " 12", " -3", "[]"}));
}

TEST_F(JsonScannerTest, ANumberEndsWithWhatFollowsOrWithTheStream) {
  JsonScanner scanner({});
  size_t taken = 0;
  EXPECT_EQ(scanner.Scan("12", taken), Outcome::kNeedMore);
  EXPECT_EQ(scanner.Scan("3", taken), Outcome::kNeedMore);
  EXPECT_EQ(scanner.Finish(), Outcome::kComplete);
  EXPECT_EQ(scanner.Scan("1.", taken), Outcome::kNeedMore);
  EXPECT_EQ(scanner.Finish(), Outcome::kNeedMore);
}

TEST_F(JsonScannerTest, WhiteSpaceBeforeAValueIsBlank) {
  JsonScanner scanner({.bytes_max = 4});
  size_t taken = 0;
  EXPECT_EQ(scanner.Scan("          \n\t\r  ", taken), Outcome::kNeedMore);
  EXPECT_TRUE(scanner.blank());
  EXPECT_EQ(scanner.Scan("  [1", taken), Outcome::kNeedMore);
  EXPECT_FALSE(scanner.blank());
  EXPECT_EQ(scanner.Scan("2]", taken), Outcome::kComplete);
}

TEST_F(JsonScannerTest, LimitsAreExact) {
  EXPECT_TRUE(CheckJson("  [12]  ", {.bytes_max = 4}).ok());
  EXPECT_FALSE(CheckJson("[123]", {.bytes_max = 4}).ok());
  EXPECT_TRUE(CheckJson("\"123456\"", {.bytes_max = 8}).ok());
  EXPECT_FALSE(CheckJson("\"1234567\"", {.bytes_max = 8}).ok());
  EXPECT_TRUE(CheckJson("[1,{\"a\":2}]", {.values_max = 4}).ok());
  EXPECT_FALSE(CheckJson("[1,{\"a\":2}]", {.values_max = 3}).ok());
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(CheckJson(nested(64), {}).ok());
  EXPECT_FALSE(CheckJson(nested(65), {}).ok());
  EXPECT_TRUE(CheckJson(nested(3), {.nesting_max = 3}).ok());
  EXPECT_FALSE(CheckJson(nested(4), {.nesting_max = 3}).ok());
  EXPECT_TRUE(CheckJson("[[],[],{},[{}]]", {.nesting_max = 3}).ok()) << "depth, not count";
}

TEST_F(JsonScannerTest, CommentsAreWhiteSpaceWhereTheyAreAllowed) {
  for (const char* text : {"// a\n[]", "/* a */ []", "[/**/]", "[1]//", "[1]/* x */ // y",
                           "/***/[]", "{/*a*/\"a\"/*b*/:/*c*/1/*d*/,//e\n\"b\":2}", "[1/*a*/]",
                           "[1//\n,2]", "/* ** / */1 // x"}) {
    EXPECT_TRUE(IsGood(text, /*comments=*/true)) << text;
    EXPECT_FALSE(IsGood(text)) << text;
  }
  for (const char* text : {"/", "/*", "/* *", "[]/", "[]/*", "// only", "/* only */", "[1/]",
                           "/ /\n[]", "[//]", "tr/**/ue", "1/**/2"}) {
    EXPECT_FALSE(IsGood(text, /*comments=*/true)) << text;
  }
}

TEST_F(JsonScannerTest, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(CheckJson("{\"a\":01}", {}).message(),
            "the JSON text has a number with a leading zero (at byte 6)");
  EXPECT_EQ(CheckJson("{\"a\":", {}).message(), "the JSON text ends too early");
  EXPECT_EQ(CheckJson("  ", {}).message(), "there is no JSON text");
  EXPECT_EQ(CheckJson("{} {}", {}).message(), "something follows the JSON value (at byte 2)");
}

// --- The reader, on what the scanner found good.

TEST_F(JsonScannerTest, TheReaderTakesEachValueWhole) {
  for (const std::string& text : kGood) {
    JsonReader reader(text);
    const std::string value(reader.TakeText());
    EXPECT_TRUE(IsGood(value)) << text;
    EXPECT_NE(text.find(value), std::string::npos);
  }
}

TEST_F(JsonScannerTest, TheReaderDecodesStrings) {
  EXPECT_EQ(UnquoteJson(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\ude00é")"),
            "\"\\/\b\f\n\r\tAé€😀é");
  EXPECT_EQ(UnquoteJson(R"("a\u0000b")"), "a\0b"s);
  EXPECT_EQ(UnquoteJson("\"\""), "");
}

TEST_F(JsonScannerTest, TheReaderWalksObjects) {
  JsonReader reader(R"( { "a" : 1 , "b\n" : [ "x" , { } , [ ] , true ] , "c" : { "d" : "}" } } )");
  reader.EnterObject();
  std::string seen;
  for (std::string name; reader.NextMember(name);) {
    seen += name + "=" + std::string(reader.TakeText()) + ";";
  }
  EXPECT_EQ(seen, "a=1;b\n=[ \"x\" , { } , [ ] , true ];c={ \"d\" : \"}\" };");
}

}  // namespace
}  // namespace pollux::rpc
