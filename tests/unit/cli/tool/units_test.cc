#include "cli/tool/units.h"

#include <gtest/gtest.h>

#include <cstring>

namespace pollux::cli {
namespace {

TEST(Units, CommasStandEveryThreeDigits) {
  EXPECT_EQ(WithCommas(0), "0");
  EXPECT_EQ(WithCommas(999), "999");
  EXPECT_EQ(WithCommas(1000), "1,000");
  EXPECT_EQ(WithCommas(1234567), "1,234,567");
  EXPECT_EQ(WithCommas(UINT64_MAX), "18,446,744,073,709,551,615");
}

TEST(Units, BytesHaveTheLargestUnitBelow) {
  EXPECT_EQ(BytesText(0), "0 bytes");
  EXPECT_EQ(BytesText(1023), "1023 bytes");
  EXPECT_EQ(BytesText(4096), "4 KiB");
  EXPECT_EQ(BytesText(1536), "1.5 KiB");
  EXPECT_EQ(BytesText(UINT64_MAX), "16.0 EiB");
}

TEST(Units, TimesHaveThreeDigits) {
  EXPECT_EQ(TimeText(0), "0 ns");
  EXPECT_EQ(TimeText(999), "999 ns");
  EXPECT_EQ(TimeText(1000), "1.00 us");
  EXPECT_EQ(TimeText(12'345), "12.3 us");
  EXPECT_EQ(TimeText(123'456), "123 us");
  EXPECT_EQ(TimeText(4'567'000'000), "4.57 s");
}

TEST(Units, NumbersOf16BytesAreDecimal) {
  uint8_t bytes[16] = {};
  EXPECT_EQ(Decimal128(bytes), "0");
  bytes[8] = 1;
  EXPECT_EQ(Decimal128(bytes), "18446744073709551616");
  EXPECT_DOUBLE_EQ(ToDouble128(bytes), 18446744073709551616.0);
  std::memset(bytes, 0xff, sizeof(bytes));
  EXPECT_EQ(Decimal128(bytes), "340282366920938463463374607431768211455");
}

}  // namespace
}  // namespace pollux::cli
