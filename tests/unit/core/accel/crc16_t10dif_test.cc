#include "core/accel/crc16_t10dif.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace pollux {
namespace {

// Bit by bit, from the polynomial: slow, and nobody else's.
uint16_t BitByBit(std::span<const std::byte> bytes) {
  unsigned crc = 0;
  for (const std::byte byte : bytes) {
    crc ^= std::to_integer<unsigned>(byte) << 8;
    for (int i = 0; i < 8; ++i) crc = (crc << 1) ^ ((crc & 0x8000) != 0 ? 0x18bb7u : 0);
  }
  return static_cast<uint16_t>(crc);
}

TEST(Crc16T10DifTest, GivesTheKnownAnswers) {
  const std::string_view digits = "123456789";
  EXPECT_EQ(Crc16T10Dif(std::as_bytes(std::span(digits))), 0xd0db);
  EXPECT_EQ(Crc16T10Dif({}), 0);
  EXPECT_EQ(Crc16T10Dif(std::vector<std::byte>(512)), 0) << "zeroes";
}

TEST(Crc16T10DifTest, EveryLengthAndAlignmentIsRight) {
  std::vector<std::byte> bytes(1100);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31 + i / 256);
  for (size_t from = 0; from < 17; ++from) {
    for (size_t length = 0; length <= 1040; length += length < 300 ? 1 : 37) {
      const auto piece = std::span<const std::byte>(bytes).subspan(from, length);
      ASSERT_EQ(Crc16T10Dif(piece), BitByBit(piece)) << from << " + " << length;
    }
  }
}

TEST(Crc16T10DifTest, PiecesGiveTheSameAsTheWhole) {
  std::vector<std::byte> bytes(520, std::byte{0x5a});
  bytes[0] = std::byte{1};
  const std::span<const std::byte> whole = bytes;
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    ASSERT_EQ(Crc16T10Dif(whole.subspan(cut), Crc16T10Dif(whole.first(cut))), Crc16T10Dif(whole))
        << cut;
  }
}

}  // namespace
}  // namespace pollux
