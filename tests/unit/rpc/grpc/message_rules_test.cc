#include "rpc/grpc/message_rules.h"

#include <gtest/gtest.h>

#include <limits>

#include "pollux/v1/error.pb.h"
#include "rpc/grpc/status.h"
#include "test.pb.h"

namespace pollux::rpc {
namespace {

using namespace rpc_test;

std::string FieldAtFault(Kinds request) { return DetailOf(HoldToJson(request)).field; }

TEST(HoldToJson, LeavesWhatJsonCanSay) {
  Kinds request;
  request.set_text("ä\n");
  request.set_blob(std::string("\0\xff", 2));
  request.set_free("{\"a\": [1, null]}");
  request.add_frees("7");
  request.add_modes(MODE_NONE);  // Has a word.
  request.set_real(-1e300);
  (*request.mutable_places())["x"].set_x(1);
  const std::string before = request.SerializeAsString();
  EXPECT_TRUE(HoldToJson(request).ok());
  EXPECT_EQ(request.SerializeAsString(), before);
}

TEST(HoldToJson, RefusesTextWithNulWhereverItStands) {
  const std::string nul("a\0", 2);
  Kinds request;
  request.set_text(nul);
  EXPECT_EQ(FieldAtFault(request), "text");
  request.Clear();
  request.add_names("good");
  request.add_names(nul);
  EXPECT_EQ(FieldAtFault(request), "names[1]");
  request.Clear();
  (*request.mutable_features())[nul] = true;
  EXPECT_EQ(FieldAtFault(request), "features[0].key");
  request.Clear();
  request.set_password("hidden" + nul);
  EXPECT_EQ(DetailOf(HoldToJson(request)).value, "(secret)");
}

TEST(HoldToJson, RefusesRawJsonThatIsNone) {
  for (const char* text : {"{", "01", "a", "[1,]", "{} {}", "\"\n\"", "\xff"}) {
    Kinds request;
    request.add_frees("{}");
    request.add_frees(text);
    EXPECT_EQ(FieldAtFault(request), "frees[1]") << text;
  }
}

TEST(HoldToJson, RefusesNumbersThatJsonHasNot) {
  Kinds request;
  request.set_real(std::numeric_limits<double>::infinity());
  EXPECT_EQ(FieldAtFault(request), "real");
  request.set_real(0);
  request.add_singles(std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(FieldAtFault(request), "singles[0]");
}

TEST(HoldToJson, AnEnumsZeroWithoutAWordIsAbsent) {
  CreateRequest request;
  request.set_mode(MODE_NONE);
  EXPECT_TRUE(HoldToJson(request).ok());
  EXPECT_TRUE(request.has_mode());

  Kinds kinds;
  kinds.set_colour(COLOUR_ABSENT);
  EXPECT_TRUE(HoldToJson(kinds).ok());
}

TEST(RemoveSecrets, AtAnyDepth) {
  Kinds response;
  response.set_password("p");
  response.set_text("t");
  response.add_points()->set_x(1);
  RemoveSecrets(response);
  EXPECT_EQ(response.password(), "");
  EXPECT_EQ(response.text(), "t");
  EXPECT_EQ(response.points(0).x(), 1);
}

v1::ErrorStatus StatusOf(const Status& error) {
  v1::ErrorStatus status;
  EXPECT_TRUE(status.ParseFromString(ToGrpcStatus(error, -22).details));
  return status;
}

TEST(ToGrpcStatus, TextIsUtf8AndShort) {
  EXPECT_EQ(StatusOf(InvalidArgument("a\xffz\xc3(\xed\xa0\x80 é")).message(), "a?z?(??? é");
  const std::string many = [] {
    std::string text = "x";
    while (text.size() < 100'000) text += "é";
    return text;
  }();
  const GrpcStatus status = ToGrpcStatus(InvalidArgument("%s", many), -22);
  EXPECT_EQ(status.message.size(), kGrpcTextBytesMax - 1);  // No half a character.
  EXPECT_LT(status.details.size(), 3 * kGrpcTextBytesMax);
}

}  // namespace
}  // namespace pollux::rpc
