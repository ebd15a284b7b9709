#include "cli/tool/json_writer.h"

#include <gtest/gtest.h>
#include <json/reader.h>
#include <json/value.h>

#include <cmath>
#include <limits>
#include <memory>
#include <random>

namespace pollux::cli {
namespace {

Json::Value Parse(const std::string& text) {
  Json::CharReaderBuilder builder;
  builder["strictRoot"] = false;
  const std::unique_ptr<Json::CharReader> reader(builder.newCharReader());
  Json::Value value;
  std::string errors;
  EXPECT_TRUE(reader->parse(text.data(), text.data() + text.size(), &value, &errors))
      << errors << text;
  return value;
}

TEST(JsonWriter, WritesWhatAnotherReaderReads) {
  JsonWriter writer;
  writer.BeginObject();
  writer.Key("list");
  writer.BeginArray();
  writer.Number(UINT64_MAX);
  writer.BeginObject();
  writer.EndObject();
  writer.Bool(false);
  writer.EndArray();
  writer.Key("empty");
  writer.BeginArray();
  writer.EndArray();
  writer.Key("x");
  writer.Number(1.5);
  writer.EndObject();
  const std::string text = writer.Take();
  EXPECT_EQ(text, R"({
  "list": [
    18446744073709551615,
    {},
    false
  ],
  "empty": [],
  "x": 1.500
}
)");
  EXPECT_EQ(Parse(text)["list"][0].asUInt64(), UINT64_MAX);
}

TEST(JsonWriter, NumbersThatAreNoneAreNull) {
  JsonWriter writer;
  writer.Number(std::numeric_limits<double>::infinity());
  EXPECT_EQ(writer.Take(), "null\n");
}

TEST(JsonWriter, TextIsEscapedAndUtf8Stays) {
  JsonWriter writer;
  writer.Text("a\"\\\n\x7f\xc3\xa9");
  EXPECT_EQ(writer.Take(), "\"a\\\"\\\\\\u000a\\u007f\xc3\xa9\"\n");
}

TEST(JsonWriter, BytesThatAreNoUtf8AreLatin1) {
  // Cut, overlong, a surrogate, beyond U+10FFFF, a lone continuation.
  for (const char* text : {"\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80",
                           "\xff", "\xf0\x9f\x98"}) {
    JsonWriter writer;
    writer.Text(text);
    const std::string json = writer.Take();
    for (const char c : json) EXPECT_EQ(c & 0x80, 0) << json;
    EXPECT_TRUE(Parse(json).isString());
  }
}

TEST(JsonWriter, AnyBytesMakeGoodJson) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    JsonWriter writer;
    writer.Text(bytes);
    EXPECT_TRUE(Parse(writer.Take()).isString());
  }
}

}  // namespace
}  // namespace pollux::cli
