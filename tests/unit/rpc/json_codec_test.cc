#include "rpc/json_codec.h"

#include <gtest/gtest.h>
#include <json/json.h>

#include <cmath>
#include <limits>

#include "rpc/json_reader.h"
#include "test.pb.h"

namespace pollux::rpc {
namespace {

using rpc_test::Kinds;

class JsonCodecTest : public testing::Test {
 protected:
  // What decoding makes of `json`, encoded again.
  static std::string RoundTrip(const std::string& json) {
    Kinds kinds;
    const Status status = DecodeParams(json, /*relaxed=*/false, kinds);
    return status.ok() ? EncodeMessage(kinds) : std::string(status.message());
  }
  // "field|value|reason" of the error, or "ok".
  static std::string Error(const std::string& json, bool relaxed = false) {
    Kinds kinds;
    const Status status = DecodeParams(json, relaxed, kinds);
    if (status.ok()) return "ok";
    EXPECT_EQ(ErrnoOf(status), EINVAL);
    const ErrorDetail detail = DetailOf(status);
    return detail.field + "|" + detail.value + "|" + detail.reason;
  }
  static Kinds Decoded(const std::string& json) {
    Kinds kinds;
    const Status status = DecodeParams(json, /*relaxed=*/false, kinds);
    EXPECT_TRUE(status.ok()) << json << ": " << status;
    return kinds;
  }
};

Kinds FullMessage() {
  Kinds k;
  k.set_flag(true);
  k.set_i32(std::numeric_limits<int32_t>::min());
  k.set_i64(std::numeric_limits<int64_t>::min());
  k.set_u32(std::numeric_limits<uint32_t>::max());
  k.set_u64(std::numeric_limits<uint64_t>::max());
  k.set_s64(std::numeric_limits<int64_t>::max());
  k.set_f32(12);
  k.set_single(0.1f);
  k.set_real(0.1);
  k.set_text("a \"quoted\" \\ line\n\t\x01 \x7f é 😀");
  k.set_blob(std::string("\x00\x01\xfe\xff", 4));
  k.set_colour(rpc_test::COLOUR_GREEN);
  k.set_mode(rpc_test::MODE_ALL);
  k.mutable_point()->set_x(-1);
  for (const char* name : {"", "b"}) k.add_names(name);
  k.add_points()->set_x(1);
  k.add_points()->set_y(2);
  k.add_numbers(uint64_t{1} << 63);
  k.add_modes(rpc_test::MODE_NONE);
  k.add_flags(false);
  k.add_reals(-1.5e300);
  (*k.mutable_features())["read"] = true;
  (*k.mutable_features())["a \"b\""] = false;
  (*k.mutable_places())["home"].set_x(5);
  k.set_maybe_flag(false);
  k.set_maybe_number(0);
  k.set_maybe_text("");
  k.set_maybe_mode(rpc_test::MODE_NONE);
  k.set_free(R"({"any":[1,2.50,null]})");
  k.add_frees("true");
  k.add_frees(R"("text")");
  k.add_supported_ops("copy");
  k.set_by_number(0);
  k.add_blobs("\x10");
  k.add_i32s(-1);
  k.add_i64s(std::numeric_limits<int64_t>::max());
  k.add_u32s(7);
  k.add_singles(1.0f / 3);
  return k;
}

TEST_F(JsonCodecTest, EveryKindOfFieldSurvivesTheRoundTrip) {
  const Kinds full = FullMessage();
  const std::string json = EncodeMessage(full);
  const Kinds again = Decoded(json);
  EXPECT_EQ(EncodeMessage(again), json);
  EXPECT_EQ(again.u64(), full.u64());
  EXPECT_EQ(again.i64(), full.i64());
  EXPECT_EQ(again.text(), full.text());
  EXPECT_EQ(again.blob(), full.blob());
  EXPECT_EQ(again.single(), full.single());
  EXPECT_EQ(again.singles(0), full.singles(0));
  EXPECT_EQ(again.places().at("home").x(), 5);
  EXPECT_EQ(again.choice_case(), Kinds::kByNumber);
  EXPECT_EQ(again.SerializeAsString().size(), full.SerializeAsString().size());
}

TEST_F(JsonCodecTest, AnotherParserReadsWhatIsWritten) {
  Json::Value value;
  std::istringstream text(EncodeMessage(FullMessage()));
  ASSERT_NO_THROW(text >> value);
  EXPECT_EQ(value["u64"].asUInt64(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(value["i64"].asInt64(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(value["text"].asString(), FullMessage().text());
  EXPECT_EQ(value["blob"].asString(), "0001FEFF");
  EXPECT_EQ(value["colour"].asString(), "green");
  EXPECT_EQ(value["supported ops"][0].asString(), "copy");
  EXPECT_EQ(value["features"]["read"].asBool(), true);
  EXPECT_EQ(value["free"]["any"].size(), 3u);
  EXPECT_EQ(value["maybe_mode"].asString(), "none");
}

TEST_F(JsonCodecTest, AnEmptyMessageShowsWhatHasNoPresence) {
  EXPECT_EQ(EncodeMessage(Kinds()),
            R"({"flag":false,"i32":0,"i64":0,"u32":0,"u64":0,"s64":0,"f32":0,"single":0,"real":0,)"
            R"("text":"","blob":"","mode":"none","names":[],"points":[],"numbers":[],"modes":[],)"
            R"("flags":[],"reals":[],"features":{},"places":{},"frees":[],"supported ops":[],)"
            R"("blobs":[],"i32s":[],"i64s":[],"u32s":[],"singles":[]})");
}

TEST_F(JsonCodecTest, AListMayBeLeftOutWhileItIsEmpty) {
  Kinds kinds;
  EXPECT_EQ(EncodeMessage(kinds).find("rarely"), std::string::npos);
  kinds.add_rarely("now");
  EXPECT_NE(EncodeMessage(kinds).find(R"("rarely":["now"])"), std::string::npos);
}

TEST_F(JsonCodecTest, ASecretIsReadAndWrittenOnlyOnDemand) {
  const Kinds kinds = Decoded(R"({"password":"swordfish"})");
  EXPECT_EQ(kinds.password(), "swordfish");
  EXPECT_EQ(EncodeMessage(kinds).find("swordfish"), std::string::npos);
  EXPECT_NE(EncodeMessage(kinds, Secrets::kWritten).find(R"("password":"swordfish")"),
            std::string::npos);
  EXPECT_EQ(Error(R"({"password":123456})"), "password|(secret)|must be a string, not a number");
  EXPECT_EQ(Error(R"({"password":"a","password":"swordfish"})"),
            "password|(secret)|is given twice");
}

TEST_F(JsonCodecTest, TextThatIsNotUtf8IsMended) {
  Kinds kinds;
  for (const char* bad : {"\xff", "\xc0\xaf", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    std::string out = QuoteJson(bad);
    EXPECT_TRUE(DecodeParams("{\"text\":" + out + "}", false, kinds).ok()) << out;
    EXPECT_NE(out.find("\xef\xbf\xbd"), std::string::npos);
  }
}

TEST_F(JsonCodecTest, WholeNumbersAreExact) {
  EXPECT_EQ(Decoded(R"({"u64":1e3})").u64(), 1000u);
  EXPECT_EQ(Decoded(R"({"u64":10.0})").u64(), 10u);
  EXPECT_EQ(Decoded(R"({"u64":1.5E+1})").u64(), 15u);
  EXPECT_EQ(Decoded(R"({"u64":1200e-2})").u64(), 12u);
  EXPECT_EQ(Decoded(R"({"u64":0e999999999999999999999})").u64(), 0u);
  EXPECT_EQ(Decoded(R"({"u64":-0})").u64(), 0u);
  EXPECT_EQ(Decoded(R"({"u64":18446744073709551615})").u64(), UINT64_MAX);
  EXPECT_EQ(Decoded(R"({"u64":18446744073709551615.000})").u64(), UINT64_MAX);
  EXPECT_EQ(Decoded(R"({"u64":1.8446744073709551615e19})").u64(), UINT64_MAX);
  EXPECT_EQ(Decoded(R"({"u64":9007199254740993})").u64(), 9007199254740993u);
  EXPECT_EQ(Decoded(R"({"i64":-9223372036854775808})").i64(), INT64_MIN);
  EXPECT_EQ(Decoded(R"({"i64":-9.223372036854775808e18})").i64(), INT64_MIN);
  EXPECT_EQ(Decoded(R"({"i32":-2147483648})").i32(), INT32_MIN);
}

TEST_F(JsonCodecTest, NumbersOutOfRangeAreRefused) {
  EXPECT_EQ(Error(R"({"u64":18446744073709551616})"),
            "u64|18446744073709551616|must be from 0 to 18446744073709551615");
  EXPECT_EQ(Error(R"({"u32":4294967296})"), "u32|4294967296|must be from 0 to 4294967295");
  EXPECT_EQ(Error(R"({"u32":-1})"), "u32|-1|must be from 0 to 4294967295");
  EXPECT_EQ(Error(R"({"i32":2147483648})"),
            "i32|2147483648|must be from -2147483648 to 2147483647");
  EXPECT_EQ(Error(R"({"i64":-9223372036854775809})"),
            "i64|-9223372036854775809|must be from -9223372036854775808 to 9223372036854775807");
  EXPECT_EQ(Error(R"({"u64":1e400})"), "u64|1e400|must be from 0 to 18446744073709551615");
  EXPECT_EQ(Error(R"({"u64":1e99999999999999999999})"),
            "u64|1e99999999999999999999|must be from 0 to 18446744073709551615");
  EXPECT_EQ(Error(R"({"u64":1.5})"), "u64|1.5|must be a whole number");
  EXPECT_EQ(Error(R"({"u64":1e-1})"), "u64|1e-1|must be a whole number");
  EXPECT_EQ(Error(R"({"real":1e400})"),
            "real|1e400|is beyond what a floating-point number can hold");
  EXPECT_EQ(Error(R"({"single":1e39})"),
            "single|1e39|is beyond what a floating-point number can hold");
}

TEST_F(JsonCodecTest, AWrongTypeIsNamed) {
  EXPECT_EQ(Error(R"({"flag":1})"), "flag|1|must be a boolean, not a number");
  EXPECT_EQ(Error(R"({"flag":"true"})"), "flag|true|must be a boolean, not a string");
  EXPECT_EQ(Error(R"({"i32":"5"})"), "i32|5|must be a number, not a string");
  EXPECT_EQ(Error(R"({"text":null})"), "text|null|must be a string, not null");
  EXPECT_EQ(Error(R"({"names":"a"})"), "names|a|must be an array, not a string");
  EXPECT_EQ(Error(R"({"names":["a",{"b":[1]}]})"),
            R"(names[1]|{"b":[1]}|must be a string, not an object)");
  EXPECT_EQ(Error(R"({"point":[]})"), "point|[]|must be an object, not an array");
  EXPECT_EQ(Error(R"({"points":[{"x":1},{"x":true}]})"),
            "points[1].x|true|must be a number, not a boolean");
  EXPECT_EQ(Error(R"({"places":{"home":{"x":"1"}}})"),
            "places.home.x|1|must be a number, not a string");
  EXPECT_EQ(Error(R"({"features":{"read":0}})"), "features.read|0|must be a boolean, not a number");
  EXPECT_EQ(Error(R"({"colour":"blue"})"), "colour|blue|must be one of red, green");
  EXPECT_EQ(Error(R"({"colour":""})"), "colour||must be one of red, green");
  EXPECT_EQ(Error(R"({"blob":"0"})"), "blob|0|must be pairs of hexadecimal digits");
  EXPECT_EQ(Error(R"({"text":"a\u0000b"})"), "text|a?b|must not contain NUL");
}

TEST_F(JsonCodecTest, UnknownAndRepeatedMembersAreNamed) {
  rpc_test::EchoRequest request;
  const Status status = DecodeParams(R"({"txt":"a"})", false, request);
  EXPECT_EQ(status.message(), "txt 'a': is unknown; known are text, number");
  EXPECT_EQ(Error(R"({"point":{"z":1}})"), "point.z|1|is unknown; known are x, y");
  EXPECT_EQ(Error(R"({"flag":true,"flag":true})"), "flag|true|is given twice");
  EXPECT_EQ(Error(R"({"features":{"a":true,"a":true}})"), "features.a|true|is given twice");
  EXPECT_EQ(Error(R"({"by_name":"a","by_number":1})"),
            "by_number|1|excludes by_name, which is also given");
  EXPECT_EQ(Error(R"({"supported_ops":[]})").substr(0, 30), "supported_ops|[]|is unknown; k");
  EXPECT_EQ(Error(R"({"nonsense":{"a":[1,"]}"]},"flag":true})", /*relaxed=*/true), "ok");
  EXPECT_EQ(Error(R"({"point":{"z":1}})", /*relaxed=*/true),
            "point.z|1|is unknown; known are x, y");
}

TEST_F(JsonCodecTest, AnErrorRepeatsLittleOfWhatTheCallerWrote) {
  const std::string many(100'000, 'x');
  Kinds kinds;
  const Status status = DecodeParams("{\"" + many + "\":\"" + many + "\"}", false, kinds);
  EXPECT_LT(status.message().size(), 2000u);
}

TEST_F(JsonCodecTest, NoParametersAreAnEmptyMessage) {
  const std::string empty = EncodeMessage(Kinds());
  for (const char* json : {"", "null", " null ", "{}", " { } "}) {
    EXPECT_EQ(RoundTrip(json), empty) << "'" << json << "'";
  }
  EXPECT_EQ(Error("[]"), "params|[]|must be an object, not an array");
  EXPECT_EQ(Error("7"), "params|7|must be an object, not a number");
}

TEST_F(JsonCodecTest, ARequiredListMustBeThereButMayBeEmpty) {
  rpc_test::ListRequest request;
  EXPECT_EQ(DetailOf(DecodeParams("{}", false, request)).field, "names");
  EXPECT_TRUE(DecodeParams(R"({"names":[]})", false, request).ok());
}

TEST_F(JsonCodecTest, BadTextIsRefusedBeforeItIsRead) {
  for (const char* json : {"{", "{\"flag\":}", "{} {}", "{\"u64\":01}", "{\"text\":\"\x01\"}",
                           "\xff", "   ", "{\"flag\":true,}"}) {
    Kinds kinds;
    EXPECT_EQ(ErrnoOf(DecodeParams(json, false, kinds)), EINVAL) << json;
  }
}

TEST_F(JsonCodecTest, TheBareFieldIsTheResult) {
  Method method;
  method.bare = rpc_test::MaybeResponse::descriptor()->FindFieldByName("text");
  rpc_test::MaybeResponse response;
  EXPECT_EQ(EncodeResult(method, response), "null");
  response.set_text("x");
  EXPECT_EQ(EncodeResult(method, response), "\"x\"");
  method.bare = nullptr;
  EXPECT_EQ(EncodeResult(method, response), R"({"text":"x"})");
}

TEST_F(JsonCodecTest, NumbersThatJsonCannotWriteAreNull) {
  Kinds kinds;
  kinds.set_real(std::numeric_limits<double>::infinity());
  kinds.set_single(std::nanf(""));
  const std::string json = EncodeMessage(kinds);
  EXPECT_NE(json.find("\"real\":null"), std::string::npos);
  EXPECT_NE(json.find("\"single\":null"), std::string::npos);
}

TEST_F(JsonCodecTest, CompactingKeepsStringsAndDropsComments) {
  EXPECT_EQ(CompactJson("{ \"a b\" : [ 1 , \"// no \\\" comment\" ] /* x */ , // y\n \"c\":null }"),
            R"({"a b":[1,"// no \" comment"],"c":null})");
}

}  // namespace
}  // namespace pollux::rpc
