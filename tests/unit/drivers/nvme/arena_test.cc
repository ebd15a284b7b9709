#include "drivers/nvme/arena.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace pollux::nvme {
namespace {

constexpr size_t kHuge = 2 << 20;
constexpr size_t kBytes = 4 * kHuge;

class ArenaTest : public testing::Test {
 protected:
  static bool Aligned(const std::byte* piece, size_t alignment) {
    return reinterpret_cast<uintptr_t>(piece) % alignment == 0;
  }

  struct Freed {
    void operator()(std::byte* memory) const {
      ::operator delete (memory, std::align_val_t{kHuge});
    }
  };
  std::unique_ptr<std::byte, Freed> memory_{
      static_cast<std::byte*>(::operator new (kBytes, std::align_val_t{kHuge}))};
  Arena arena_{memory_.get(), kBytes};
};

TEST_F(ArenaTest, PiecesAreZeroedAlignedAndApart) {
  std::memset(memory_.get(), 0xee, kBytes);
  std::byte* const first = arena_.Allocate(100, 64);
  std::byte* const second = arena_.Allocate(5000, 4096);
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_TRUE(Aligned(first, 64));
  EXPECT_TRUE(Aligned(second, 4096));
  for (size_t i = 0; i < 5000; ++i) ASSERT_EQ(second[i], std::byte{0});
  // No cache line is of both: 100 bytes take two.
  EXPECT_GE(second - first, 128);
  EXPECT_EQ(arena_.free_bytes(), kBytes - 128 - 5056);
}

TEST_F(ArenaTest, NothingCrossesTheBorderOfAHugepageThatNeedNot) {
  ASSERT_NE(arena_.Allocate(kHuge - 4096, 64), nullptr);
  std::byte* const piece = arena_.Allocate(8192, 64);
  EXPECT_EQ(piece, memory_.get() + kHuge);
  EXPECT_EQ(arena_.Allocate(4096, 64), memory_.get() + kHuge - 4096);  // What was left out is used.
  EXPECT_EQ(arena_.Allocate(kHuge + 4096, 64), memory_.get() + kHuge + 8192);  // It has to.
}

TEST_F(ArenaTest, WhatIsFreedIsJoinedToItsNeighbours) {
  std::vector<std::byte*> pieces;
  for (int i = 0; i < 4; ++i) pieces.push_back(arena_.Allocate(kHuge, 64));
  EXPECT_EQ(arena_.free_bytes(), 0u);
  EXPECT_EQ(arena_.Allocate(64, 64), nullptr);
  for (const size_t i : {1u, 3u, 2u, 0u}) EXPECT_TRUE(arena_.Free(pieces[i]));
  EXPECT_EQ(arena_.Allocate(kBytes, 64), memory_.get());
}

TEST_F(ArenaTest, WhatCannotBeIsRefused) {
  EXPECT_EQ(arena_.Allocate(0, 64), nullptr);
  EXPECT_EQ(arena_.Allocate(kBytes + 1, 64), nullptr);
  EXPECT_EQ(arena_.Allocate(SIZE_MAX, 64), nullptr);
  EXPECT_EQ(arena_.Allocate(64, 2 * kHuge), nullptr);
  EXPECT_FALSE(arena_.Free(memory_.get()));
  std::byte* const piece = arena_.Allocate(4096, 4096);
  EXPECT_FALSE(arena_.Free(piece + 64));
  EXPECT_TRUE(arena_.Free(piece));
  EXPECT_FALSE(arena_.Free(piece));
  EXPECT_EQ(arena_.free_bytes(), kBytes);
}

TEST_F(ArenaTest, AnEmptyOneGivesNothing) {
  Arena none(nullptr, 0);
  EXPECT_EQ(none.Allocate(64, 64), nullptr);
}

TEST_F(ArenaTest, APieceIsGivenBackByWhoeverHasItLast) {
  {
    Piece piece(arena_, 4096, 4096);
    Piece other = std::move(piece);
    EXPECT_FALSE(piece.valid());
    EXPECT_TRUE(other.valid());
    other = Piece(arena_, 100, 64);
    EXPECT_EQ(other.bytes(), 100u);
  }
  EXPECT_EQ(arena_.free_bytes(), kBytes);
  EXPECT_FALSE(Piece(arena_, 2 * kBytes, 64).valid());
}

TEST_F(ArenaTest, KeepsPiecesApartWhateverComesAndGoes) {
  std::mt19937 random(7);
  std::vector<std::pair<std::byte*, size_t>> pieces;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 3 != 0) {
      const size_t bytes = 1 + random() % (random() % 8 == 0 ? 300'000 : 5000);
      const size_t alignment = size_t{64} << random() % 8;
      std::byte* const piece = arena_.Allocate(bytes, alignment);
      if (piece == nullptr) continue;
      ASSERT_TRUE(Aligned(piece, alignment));
      ASSERT_EQ(
          (reinterpret_cast<uintptr_t>(piece) ^ (reinterpret_cast<uintptr_t>(piece) + bytes - 1)) /
              kHuge,
          0u);
      std::memset(piece, static_cast<int>(pieces.size() % 251 + 1), bytes);
      pieces.emplace_back(piece, bytes);
      for (size_t at : {size_t{0}, bytes - 1}) ASSERT_NE(piece[at], std::byte{0});
    } else if (!pieces.empty()) {
      std::swap(pieces[random() % pieces.size()], pieces.back());
      const auto [piece, bytes] = pieces.back();
      // Nobody wrote into it: all of it still holds one value.
      for (size_t at = 1; at < bytes; ++at) ASSERT_EQ(piece[at], piece[0]);
      ASSERT_TRUE(arena_.Free(piece));
      pieces.pop_back();
    }
  }
  for (const auto& [piece, bytes] : pieces) EXPECT_TRUE(arena_.Free(piece));
  EXPECT_EQ(arena_.Allocate(kBytes, 64), memory_.get());
}

}  // namespace
}  // namespace pollux::nvme
