#include "core/accel/crc32c.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string_view>
#include <vector>

namespace pollux {
namespace {

std::span<const std::byte> Bytes(const std::vector<uint8_t>& bytes) {
  return std::as_bytes(std::span(bytes));
}

// Bit by bit, from the polynomial: slow, and nobody else's.
uint32_t BitByBit(const std::vector<uint8_t>& bytes) {
  uint32_t crc = ~0u;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

std::vector<uint8_t> Pattern(size_t bytes) {
  std::vector<uint8_t> pattern(bytes);
  for (size_t i = 0; i < bytes; ++i) pattern[i] = static_cast<uint8_t>(i * 31 + i / 256);
  return pattern;
}

// RFC 3720, appendix B.4.
TEST(Crc32cTest, GivesTheExamplesOfTheIscsiStandard) {
  EXPECT_EQ(Crc32c(Bytes(std::vector<uint8_t>(32, 0))), 0x8a9136aau);
  EXPECT_EQ(Crc32c(Bytes(std::vector<uint8_t>(32, 0xff))), 0x62a8ab43u);
  std::vector<uint8_t> rising(32), falling(32);
  for (uint8_t i = 0; i < 32; ++i) {
    rising[i] = i;
    falling[i] = static_cast<uint8_t>(31 - i);
  }
  EXPECT_EQ(Crc32c(Bytes(rising)), 0x46dd794eu);
  EXPECT_EQ(Crc32c(Bytes(falling)), 0x113fdb5cu);
  constexpr std::string_view kDigits = "123456789";
  EXPECT_EQ(Crc32c(std::as_bytes(std::span(kDigits))), 0xe3069283u);
}

TEST(Crc32cTest, OfNothingIsZeroAndChangesNothing) {
  EXPECT_EQ(Crc32c({}), 0u);
  EXPECT_EQ(Crc32c({}, 0x12345678), 0x12345678u);
}

TEST(Crc32cTest, AgreesWithThePolynomialAtEveryLength) {
  for (size_t bytes = 0; bytes <= 600; ++bytes) {
    const std::vector<uint8_t> data = Pattern(bytes);
    ASSERT_EQ(Crc32c(Bytes(data)), BitByBit(data)) << bytes;
  }
}

TEST(Crc32cTest, DoesNotMindWhereAPieceIsCut) {
  const std::vector<uint8_t> data = Pattern(300);
  const uint32_t whole = Crc32c(Bytes(data));
  for (size_t cut = 0; cut <= data.size(); ++cut) {
    ASSERT_EQ(Crc32c(Bytes(data).subspan(cut), Crc32c(Bytes(data).first(cut))), whole) << cut;
  }
}

TEST(Crc32cTest, DoesNotMindTheAlignment) {
  const std::vector<uint8_t> data = Pattern(4096 + 64);
  for (size_t at = 0; at < 64; ++at) {
    const std::vector<uint8_t> there(data.begin() + static_cast<ptrdiff_t>(at), data.end());
    ASSERT_EQ(Crc32c(Bytes(data).subspan(at)), BitByBit(there)) << at;
  }
}

TEST(Crc32cTest, SeesEveryFlippedBit) {
  std::vector<uint8_t> data = Pattern(128);
  const uint32_t right = Crc32c(Bytes(data));
  for (size_t bit = 0; bit < data.size() * 8; ++bit) {
    data[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    ASSERT_NE(Crc32c(Bytes(data)), right) << bit;
    data[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
  }
}

}  // namespace
}  // namespace pollux
