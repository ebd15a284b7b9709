#include "core/memory/region_registry.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pollux {
namespace {

class Follower final : public RegionRegistry::Follower {
 public:
  Status OnRegionAdded(const Region& region) override {
    if (region.name == refuses) return NoSpace("no slot for '%s'", region.name);
    heard.push_back("+" + region.name);
    return OkStatus();
  }
  void OnRegionRemoved(const Region& region) override { heard.push_back("-" + region.name); }

  std::string refuses = "nothing";
  std::vector<std::string> heard;
};

class RegionRegistryTest : public testing::Test {
 protected:
  std::byte memory_[4096];
  RegionRegistry registry_;

  Status Add(size_t offset, size_t bytes, const std::string& name) {
    return registry_.Add({.address = memory_ + offset, .bytes = bytes, .name = name});
  }
};

TEST_F(RegionRegistryTest, FindsTheRegionThatHoldsAllOfIt) {
  ASSERT_TRUE(Add(1024, 512, "b").ok());
  ASSERT_TRUE(Add(0, 1024, "a").ok());
  EXPECT_EQ(registry_.Find(memory_, 1)->name, "a");
  EXPECT_EQ(registry_.Find(memory_ + 1024, 512)->name, "b");
  EXPECT_EQ(registry_.Find(memory_ + 1535, 1)->name, "b");
  EXPECT_EQ(registry_.Find(memory_ + 1023, 2), nullptr);  // Two regions are not one.
  EXPECT_EQ(registry_.Find(memory_ + 1536, 1), nullptr);
  EXPECT_EQ(registry_.Find(memory_ + 1100, SIZE_MAX), nullptr);
}

TEST_F(RegionRegistryTest, AnIovaIsTheAddressUnlessSaid) {
  ASSERT_TRUE(Add(0, 16, "a").ok());
  EXPECT_EQ(registry_.regions()[0].iova, reinterpret_cast<uint64_t>(memory_));
}

TEST_F(RegionRegistryTest, RefusesAnOverlap) {
  ASSERT_TRUE(Add(1000, 100, "a").ok());
  for (const auto& [offset, bytes] :
       {std::pair{999u, 2u}, {1000u, 100u}, {1099u, 1u}, {0u, 4096u}}) {
    const Status status = Add(offset, bytes, "b");
    EXPECT_EQ(ErrnoOf(status), EEXIST) << offset;
    EXPECT_EQ(status.message(), "memory region 'b' overlaps 'a'");
  }
  EXPECT_TRUE(Add(1100, 1, "behind").ok());
  EXPECT_TRUE(Add(999, 1, "before").ok());
}

TEST_F(RegionRegistryTest, FollowersHearOfWhatIsThereAndWhatComes) {
  ASSERT_TRUE(Add(0, 16, "a").ok());
  Follower follower;
  ASSERT_TRUE(registry_.Follow(follower).ok());
  ASSERT_TRUE(Add(16, 16, "b").ok());
  registry_.Remove(memory_);
  registry_.Unfollow(follower);
  registry_.Remove(memory_ + 16);
  EXPECT_EQ(follower.heard, (std::vector<std::string>{"+a", "+b", "-a"}));
}

TEST_F(RegionRegistryTest, WhatOneFollowerRefusesNobodyKeeps) {
  Follower willing, refusing;
  refusing.refuses = "b";
  ASSERT_TRUE(registry_.Follow(willing).ok());
  ASSERT_TRUE(registry_.Follow(refusing).ok());
  ASSERT_TRUE(Add(0, 16, "a").ok());
  EXPECT_EQ(ErrnoOf(Add(16, 16, "b")), ENOSPC);
  EXPECT_EQ(registry_.regions().size(), 1u);
  EXPECT_EQ(willing.heard, (std::vector<std::string>{"+a", "+b", "-b"}));
  EXPECT_EQ(refusing.heard, (std::vector<std::string>{"+a"}));
}

TEST_F(RegionRegistryTest, AFollowerThatCannotTakeWhatIsThereStaysOut) {
  ASSERT_TRUE(Add(0, 16, "a").ok());
  ASSERT_TRUE(Add(16, 16, "b").ok());
  Follower refusing;
  refusing.refuses = "b";
  EXPECT_EQ(ErrnoOf(registry_.Follow(refusing)), ENOSPC);
  ASSERT_TRUE(Add(32, 16, "c").ok());
  EXPECT_EQ(refusing.heard, (std::vector<std::string>{"+a", "-a"}));
}

}  // namespace
}  // namespace pollux
