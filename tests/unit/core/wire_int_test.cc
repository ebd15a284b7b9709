#include "core/wire_int.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

namespace pollux {
namespace {

struct Header {
  uint8_t opcode = 0;
  Be24 length;
  Le16 fes;
  Le32 fei;
  Be64 lun;
  Be16 tag;
};
static_assert(sizeof(Header) == 20 && alignof(Header) == 1);

template <typename T>
std::vector<int> Bytes(const T& value) {
  std::array<uint8_t, sizeof(T)> raw;
  std::memcpy(raw.data(), &value, sizeof(T));
  return {raw.begin(), raw.end()};
}

TEST(WireIntTest, LieAsTheirOrderSays) {
  EXPECT_EQ(Bytes(Le16(0x1234)), (std::vector{0x34, 0x12}));
  EXPECT_EQ(Bytes(Be16(0x1234)), (std::vector{0x12, 0x34}));
  EXPECT_EQ(Bytes(Le32(0x12345678)), (std::vector{0x78, 0x56, 0x34, 0x12}));
  EXPECT_EQ(Bytes(Be32(0x12345678)), (std::vector{0x12, 0x34, 0x56, 0x78}));
  EXPECT_EQ(Bytes(Be64(0x0102030405060708)), (std::vector{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(Bytes(Le64(0x0102030405060708)), (std::vector{8, 7, 6, 5, 4, 3, 2, 1}));
  EXPECT_EQ(Bytes(Be24(0x123456)), (std::vector{0x12, 0x34, 0x56}));
}

TEST(WireIntTest, KeepTheirValue) {
  EXPECT_EQ(Le16(0xfffe), 0xfffe);
  EXPECT_EQ(Be32(0xdeadbeef), 0xdeadbeef);
  EXPECT_EQ(Be64(UINT64_MAX - 1), UINT64_MAX - 1);
  EXPECT_EQ(Be24(0xffffff), 0xffffffu);
  EXPECT_EQ(Le32(), 0u);
}

TEST(WireIntTest, ThreeBytesKeepTheLowOnes) { EXPECT_EQ(Be24(0xab123456), 0x123456u); }

TEST(WireIntTest, AStructOfThemHasNoPaddingAtAnyAddress) {
  std::array<std::byte, sizeof(Header) + 1> raw{};
  Header header;
  header.length = 0x010203;
  header.fei = 7;
  header.lun = 0x8000000000000000;
  header.tag = 0xffff;
  std::memcpy(raw.data() + 1, &header, sizeof(header));
  const auto* there = reinterpret_cast<const Header*>(raw.data() + 1);
  EXPECT_EQ(there->length, 0x010203u);
  EXPECT_EQ(there->fei, 7u);
  EXPECT_EQ(there->lun, 0x8000000000000000u);
  EXPECT_EQ(there->tag, 0xffff);
  EXPECT_EQ(raw[1 + 3], std::byte{3});
}

}  // namespace
}  // namespace pollux
