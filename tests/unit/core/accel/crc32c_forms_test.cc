#include "core/accel/crc32c_forms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "core/accel/copy_crc32c.h"
#include "core/accel/crc32c.h"

// Every form that this CPU has, by itself, and what is chosen.

namespace pollux::crc32c {
namespace {

using Bytes = std::vector<std::byte>;

Bytes RandomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// One byte more, bit by bit, from the polynomial.
uint32_t AndThen(uint32_t remainder, std::byte byte) {
  remainder ^= std::to_integer<uint32_t>(byte);
  for (int i = 0; i < 8; ++i) {
    remainder = (remainder >> 1) ^ ((remainder & 1) != 0 ? 0x82f63b78u : 0);
  }
  return remainder;
}

uint32_t Chosen(const std::byte* from, size_t bytes, uint32_t remainder) {
  return ~Crc32c({from, bytes}, ~remainder);
}
uint32_t CopyChosen(std::byte* to, const std::byte* from, size_t bytes, uint32_t remainder) {
  return ~CopyCrc32c(to, {from, bytes}, ~remainder);
}

struct Way {
  const char* name;
  bool here;
  Form form;
  CopyForm copy;
};

class Crc32cFormTest : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    if (!GetParam().here) GTEST_SKIP() << "not on this CPU";
  }
  // Without copying, or with it. A copy is right, and nothing beside it is written.
  static uint32_t Of(std::span<const std::byte> from, size_t to_offset, uint32_t remainder) {
    if (GetParam().form != nullptr) {
      return GetParam().form(from.data(), from.size(), remainder);
    }
    constexpr size_t kGuard = 70;
    constexpr std::byte kUntouched{0xa5};
    Bytes to(to_offset + from.size() + kGuard, kUntouched);
    const uint32_t result =
        GetParam().copy(to.data() + to_offset, from.data(), from.size(), remainder);
    const auto is_untouched = [](std::byte byte) { return byte == kUntouched; };
    const auto begin = to.begin() + static_cast<std::ptrdiff_t>(to_offset);
    const auto end = begin + static_cast<std::ptrdiff_t>(from.size());
    EXPECT_TRUE(std::all_of(to.begin(), begin, is_untouched)) << "before " << to_offset;
    EXPECT_TRUE(std::all_of(end, to.end(), is_untouched)) << "after " << from.size();
    EXPECT_TRUE(std::equal(from.begin(), from.end(), begin)) << from.size();
    return result;
  }
};

TEST_P(Crc32cFormTest, EveryShortLengthAtEveryAlignmentIsRight) {
  const Bytes bytes = RandomBytes(1200, 1);
  for (size_t from = 0; from <= 64; ++from) {
    uint32_t want = 0xdeadbeef;
    for (size_t length = 0; length <= 1100; ++length) {
      // A vector of its own: what is read beyond its end is found out.
      const auto piece = std::span(bytes).subspan(from, length);
      ASSERT_EQ(Of(piece, (from * 7 + length) % 64, 0xdeadbeef), want) << from << " + " << length;
      want = AndThen(want, bytes[from + length]);
    }
  }
}

TEST_P(Crc32cFormTest, NothingBeforeOrAfterIsRead) {
  for (size_t length = 1; length <= 700; ++length) {
    const Bytes exact = RandomBytes(length, static_cast<uint32_t>(length));
    uint32_t want = 0;
    for (const std::byte byte : exact) want = AndThen(want, byte);
    ASSERT_EQ(Of(exact, 0, 0), want) << length;
  }
}

TEST_P(Crc32cFormTest, LongLengthsAreRight) {
  const Bytes bytes = RandomBytes(70000, 2);
  std::vector<uint32_t> remainders{~0u};  // After each byte.
  for (const std::byte byte : bytes) remainders.push_back(AndThen(remainders.back(), byte));
  std::mt19937 random(3);
  std::vector<size_t> lengths{4096, 8192, 65536, 70000};
  for (size_t near = 4096; near < 70000; near += 4096) {
    for (const size_t off : {1u, 63u, 64u, 127u, 128u, 191u, 255u, 256u}) {
      lengths.push_back(near - off);
      lengths.push_back(std::min<size_t>(near + off, bytes.size()));
    }
  }
  for (int i = 0; i < 300; ++i) lengths.push_back(random() % bytes.size());
  for (const size_t length : lengths) {
    ASSERT_EQ(Of(std::span(bytes).first(length), length % 61, ~0u), remainders[length]) << length;
  }
}

TEST_P(Crc32cFormTest, PiecesGiveTheSameAsTheWhole) {
  const Bytes bytes = RandomBytes(9000, 4);
  const std::span<const std::byte> whole = bytes;
  const uint32_t want = IsaL(bytes.data(), bytes.size(), 7);
  for (size_t cut = 0; cut <= bytes.size(); cut += cut < 300 ? 1 : 97) {
    ASSERT_EQ(Of(whole.subspan(cut), 1, Of(whole.first(cut), 0, 7)), want) << cut;
  }
}

TEST_P(Crc32cFormTest, EveryBitCounts) {
  Bytes bytes = RandomBytes(5000, 5);
  const uint32_t right = Of(bytes, 0, 0);
  for (size_t bit = 0; bit < 8 * bytes.size(); bit += 37) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_NE(Of(bytes, 0, 0), right) << bit;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, Crc32cFormTest,
                         testing::Values(Way{"OneWay", true, OneWay, nullptr},
                                         Way{"ThreeWay", HasThreeWay(), ThreeWay, nullptr},
                                         Way{"Folding", HasFolding(), Folding, nullptr},
                                         Way{"IsaL", true, IsaL, nullptr},
                                         Way{"Chosen", true, Chosen, nullptr},
                                         Way{"CopyByPieces", true, nullptr, CopyByPieces},
                                         Way{"CopyThreeWay", HasThreeWay(), nullptr, CopyThreeWay},
                                         Way{"CopyFolding", HasFolding(), nullptr, CopyFolding},
                                         Way{"CopyChosen", true, nullptr, CopyChosen}),
                         [](const auto& way) { return std::string(way.param.name); });

}  // namespace
}  // namespace pollux::crc32c
