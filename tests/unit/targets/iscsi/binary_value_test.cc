#include "targets/iscsi/binary_value.h"

#include <gtest/gtest.h>

namespace pollux::iscsi {
namespace {

using namespace std::string_literals;

std::string Decoded(std::string_view value) { return DecodeBinary(value).value_or("(none)"); }

TEST(BinaryValueTest, HexadecimalIsReadInEitherCase) {
  EXPECT_EQ(Decoded("0x00ff10"), "\x00\xff\x10"s);
  EXPECT_EQ(Decoded("0X616A"), "aj");
  EXPECT_EQ(Decoded("0xAbCd"), "\xab\xcd"s);
}

// RFC 4648 §10.
TEST(BinaryValueTest, Base64IsReadWithItsPadding) {
  EXPECT_EQ(Decoded("0bZg=="), "f");
  EXPECT_EQ(Decoded("0bZm8="), "fo");
  EXPECT_EQ(Decoded("0BZm9v"), "foo");
  EXPECT_EQ(Decoded("0bZm9vYg=="), "foob");
  EXPECT_EQ(Decoded("0bZm9vYmFy"), "foobar");
  EXPECT_EQ(Decoded("0b+/+/"), "\xfb\xff\xbf"s);
}

TEST(BinaryValueTest, WhatIsNeitherIsRefused) {
  for (const char* value :
       {"",       "0",       "0x",     "0b",       "0y00",   "00",     "x00",        "12",
        "0x0",    "0x123",   "0xg0",   "0x0g",     "0x 0",   "0x0x00", "0bZ",        "0bZg",
        "0bZg=",  "0bZg===", "0bZ===", "0b====",   "0bZ=g=", "0b=Zg=", "0bZg==Zg==", "0bZh==",
        "0bZm9=", "0bZm9-",  "0bZm9 ", "0bZm8=\n", "-0x00"}) {
    EXPECT_EQ(DecodeBinary(value), std::nullopt) << value;
  }
  EXPECT_EQ(DecodeBinary("0x00\0"s), std::nullopt);
}

TEST(BinaryValueTest, ThereIsABoundThatIsReachedAndNotPassed) {
  for (size_t bytes = 0; bytes <= 4096; ++bytes) {
    const auto value = DecodeBinary("0x" + std::string(2 * bytes, 'a'));
    EXPECT_EQ(value.has_value(), bytes >= 1 && bytes <= kBinaryBytesMax) << bytes;
    EXPECT_EQ(value.value_or("").size(), value ? bytes : 0);
    EXPECT_EQ(DecodeBinary("0x" + std::string(2 * bytes + 1, 'a')), std::nullopt) << bytes;
  }
  EXPECT_EQ(Decoded("0b" + std::string(1364, 'A') + "AA==").size(), 1024u);
  EXPECT_EQ(DecodeBinary("0b" + std::string(1364, 'A') + "AAA="), std::nullopt);  // 1,025
  EXPECT_EQ(DecodeBinary("0b" + std::string(1368, 'A')), std::nullopt);           // 1,026
  EXPECT_EQ(DecodeBinary("0b" + std::string(1372, 'A')), std::nullopt);
}

TEST(BinaryValueTest, WhatIsWrittenIsReadAgain) {
  EXPECT_EQ(EncodeBinary("\x00\x9f\xff"s), "0x009fff");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(Decoded(EncodeBinary(all)), all);
}

}  // namespace
}  // namespace pollux::iscsi
