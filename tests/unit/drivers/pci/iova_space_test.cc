#include "drivers/pci/iova_space.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace pollux::pci {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHuge = 2 << 20;
// What QEMU's intel-iommu says: 39 bits, around the window for interrupts.
const std::vector<IovaRange> kVtd = {{0, 0xfedfffff}, {0xfef00000, (1ull << 39) - 1}};

class IovaSpaceTest : public testing::Test {
 protected:
  IovaSpace space_{kVtd, kPage};

  uint64_t Allocate(size_t bytes, uintptr_t address = 0) {
    const Result<uint64_t> iova = space_.Allocate(bytes, address);
    EXPECT_TRUE(iova.ok()) << iova.status();
    return iova.value_or(0);
  }
};

TEST_F(IovaSpaceTest, LiesToLargePagesAsTheMemoryDoes) {
  EXPECT_EQ(Allocate(kHuge, 0x7f0000000000) % kHuge, 0u);
  EXPECT_EQ(Allocate(3 * kHuge, 0x7f0000000000 + 5 * kPage) % kHuge, 5 * kPage);
  EXPECT_EQ(Allocate(8 * kPage, 0x7f0000003000) % (8 * kPage), 3 * kPage);
}

TEST_F(IovaSpaceTest, FitsIntoTheRangesAlthoughAddressesDoNot) {
  for (int i = 0; i < 200; ++i) {
    EXPECT_LT(Allocate(1ull << 30, 0x7fff00000000), 1ull << 39) << i;
  }
}

TEST_F(IovaSpaceTest, KeepsOutOfTheHoleBetweenRanges) {
  IovaSpace space({{0, 0x3fffff}, {0x800000, 0xffffff}}, kPage);
  EXPECT_EQ(*space.Allocate(0x200000, 0), 0x200000u);
  EXPECT_EQ(*space.Allocate(0x400000, 0), 0x800000u);
  EXPECT_EQ(*space.Allocate(0x400000, 0), 0xc00000u);
  EXPECT_EQ(ErrnoOf(space.Allocate(0x200000, 0).status()), ENOSPC);
}

TEST_F(IovaSpaceTest, AnAddressComesAgainAsLateAsPossible) {
  const uint64_t first = Allocate(kPage);
  space_.Free(first);
  EXPECT_NE(Allocate(kPage), first);
}

TEST_F(IovaSpaceTest, WhatIsFreedIsFoundAgainWhenTheEndIsReached) {
  IovaSpace space({{0, (4 << 20) - 1}}, kPage);
  const uint64_t first = *space.Allocate(1 << 20, 0);
  *space.Allocate(1 << 20, 0);
  *space.Allocate(1 << 20, 0);
  EXPECT_EQ(space.Allocate(kPage, 0).status().message(),
            "no 4 KiB of the IOMMU's address space are left in one piece");
  space.Free(first);
  EXPECT_EQ(*space.Allocate(1 << 20, 0), first);
}

TEST_F(IovaSpaceTest, ReachesTheLastAddressOfAll) {
  IovaSpace space({{UINT64_MAX - kHuge + 1, UINT64_MAX}}, kPage);
  EXPECT_EQ(*space.Allocate(kHuge, 0), UINT64_MAX - kHuge + 1);
  EXPECT_FALSE(space.Allocate(kPage, 0).ok());
}

TEST_F(IovaSpaceTest, SmallerRangesHoldForWhatComes) {
  Allocate(kHuge);
  space_.SetRanges({{0x40000000, 0x7fffffff}});
  EXPECT_GE(Allocate(kHuge), 0x40000000u);
  space_.SetRanges({});
  EXPECT_FALSE(space_.Allocate(kPage, 0).ok());
}

TEST_F(IovaSpaceTest, NothingEverOverlaps) {
  std::mt19937_64 random(7);
  IovaSpace space({{0, 0x7ffffff}, {0x9000000, 0xfffffff}}, kPage);
  std::map<uint64_t, uint64_t> taken;
  for (int i = 0; i < 20000; ++i) {
    if (taken.size() > 40 || (!taken.empty() && random() % 3 == 0)) {
      auto victim = taken.begin();
      std::advance(victim, static_cast<long>(random() % taken.size()));
      space.Free(victim->first);
      taken.erase(victim);
      continue;
    }
    const size_t bytes = (random() % 2000 + 1) * kPage;
    const Result<uint64_t> iova = space.Allocate(bytes, random() % 4096 * kPage);
    if (!iova.ok()) continue;
    const uint64_t last = *iova + bytes - 1;
    EXPECT_TRUE(last <= 0x7ffffff || (*iova >= 0x9000000 && last <= 0xfffffff));
    for (const auto& [begin, end] : taken) {
      ASSERT_TRUE(last < begin || *iova > end);
    }
    taken.emplace(*iova, last);
  }
}

}  // namespace
}  // namespace pollux::pci
