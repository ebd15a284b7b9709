#include <gtest/gtest.h>
#include <json/json.h>

#include <memory>
#include <random>

#include "rpc/json_codec.h"
#include "rpc/json_reader.h"
#include "rpc/json_rpc_request.h"
#include "rpc/json_scanner.h"
#include "test.pb.h"

// Damage at random, from fixed seeds: whatever becomes of a text, nothing reads beyond it, and what
// is accepted is understood the same by everybody.

namespace pollux::rpc {
namespace {

constexpr int kMutations = 40'000;

const char* const kSeeds[] = {
    R"({"jsonrpc":"2.0","id":"a\u00e9","method":"echo","params":{"text":"é😀\ud83d\ude00","number":-1.5e3}})",
    R"([{"id":1,"method":"list","params":{"names":["a","","b\\\"c"]}},{"method":"nothing"},[],{},7])",
    R"({"flag":true,"i32":-2147483648,"u64":18446744073709551615,"real":1.25e-7,"text":"x",)"
    R"("blob":"00FF","colour":"red","point":{"x":1,"y":2},"points":[{"x":1}],"numbers":[1e3,10.0],)"
    R"("features":{"a":true,"b":false},"free":{"any":[null,true]},"supported ops":["copy"]})",
};

std::string Mutate(std::string text, std::mt19937& random) {
  static constexpr std::string_view kTokens[] = {"{",
                                                 "}",
                                                 "[",
                                                 "]",
                                                 ",",
                                                 ":",
                                                 "\"",
                                                 "\\",
                                                 "\\u",
                                                 "\\ud800",
                                                 "null",
                                                 "true",
                                                 "0",
                                                 "-",
                                                 "1e9",
                                                 ".",
                                                 "e",
                                                 "\xc3",
                                                 "\xed\xa0\x80",
                                                 "99999999999999999999",
                                                 " ",
                                                 "\n",
                                                 "\"a\"",
                                                 "[[[[",
                                                 "{\"a\":"};
  const auto pick = [&](size_t count) { return random() % count; };
  for (size_t edits = 1 + pick(4); edits > 0; --edits) {
    const size_t at = pick(text.size() + 1);
    switch (pick(5)) {
      case 0:
        text.insert(at, kTokens[pick(std::size(kTokens))]);
        break;
      case 1:
        text.erase(at, 1 + pick(4));
        break;
      case 2:
        if (at < text.size()) text[at] = static_cast<char>(random());
        break;
      case 3:
        text.insert(at, text.substr(pick(text.size() + 1), pick(20)));
        break;
      default:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << pick(8)));
        break;
    }
  }
  return text;
}

// Numbers beyond a double are numbers, too, but jsoncpp has no place for them.
bool JsoncppReads(const std::string& text, Json::Value& value) {
  Json::CharReaderBuilder builder;
  builder["allowComments"] = false;
  builder["failIfExtra"] = true;
  const std::unique_ptr<Json::CharReader> reader(builder.newCharReader());
  std::string errors;
  return reader->parse(text.data(), text.data() + text.size(), &value, &errors) ||
         errors.find("is not a number") != std::string::npos;
}

class JsonMutationTest : public testing::TestWithParam<uint32_t> {};

TEST_P(JsonMutationTest, WhatIsAcceptedIsUnderstood) {
  std::mt19937 random(GetParam());
  int accepted = 0;
  for (int i = 0; i < kMutations; ++i) {
    const std::string text = Mutate(kSeeds[random() % std::size(kSeeds)], random);
    const bool good = CheckJson(text, {}).ok();
    rpc_test::Kinds kinds;
    const Status decoded = DecodeParams(text, /*relaxed=*/random() % 2 == 0, kinds);
    if (!good) {
      EXPECT_FALSE(decoded.ok()) << text;
      continue;
    }
    ++accepted;
    Json::Value value;
    EXPECT_TRUE(JsoncppReads(text, value)) << text;
    EXPECT_TRUE(CheckJson(CompactJson(text), {}).ok()) << text;
    const JsonRpcRequest request = ParseJsonRpcRequest(text);
    if (request.status.ok()) {
      EXPECT_TRUE(value.isObject() && value["method"].asString() == request.method) << text;
    }
    if (!decoded.ok()) continue;
    // What was decoded can be written and decoded again, and is the same.
    const std::string written = EncodeMessage(kinds);
    rpc_test::Kinds again;
    const Status status = DecodeParams(written, /*relaxed=*/false, again);
    EXPECT_TRUE(status.ok()) << status << "\n" << text << "\n" << written;
    EXPECT_EQ(EncodeMessage(again), written);
  }
  EXPECT_GT(accepted, kMutations / 100) << "the mutations are too wild to test much";
}

TEST_P(JsonMutationTest, CuttingMakesNoDifference) {
  std::mt19937 random(GetParam() + 1000);
  for (int i = 0; i < kMutations / 4; ++i) {
    const std::string text = Mutate(kSeeds[random() % std::size(kSeeds)], random);
    // The outcomes and ends of all values, at once and in pieces.
    const auto scan = [&](bool cut) {
      std::string trace;
      JsonScanner scanner({.values_max = 30, .nesting_max = 5});
      size_t limit = 1;
      for (size_t at = 0; at < text.size();) {
        const size_t size = cut ? 1 + random() % 7 : text.size();
        size_t taken = 0;
        const auto outcome = scanner.Scan(std::string_view(text).substr(at, size), taken);
        at += taken;
        if (outcome == JsonScanner::Outcome::kComplete) trace += std::to_string(at) + " ";
        if (outcome == JsonScanner::Outcome::kBroken) return trace + scanner.error();
        EXPECT_LE(++limit, 2 * text.size() + 10) << "it does not get on";
      }
      return trace;
    };
    EXPECT_EQ(scan(false), scan(true)) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, JsonMutationTest, testing::Values(1u, 2u, 3u, 4u));

}  // namespace
}  // namespace pollux::rpc
