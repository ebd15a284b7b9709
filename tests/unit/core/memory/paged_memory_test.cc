#include "core/memory/paged_memory.h"

#include <gtest/gtest.h>

namespace pollux {
namespace {

TEST(PagedMemory, GivesZeroedPagesOfTheRegistryAndSaysToWhom) {
  RegionRegistry registry;
  {
    PagedMemory memory(registry);
    const Result<std::byte*> first = memory.Allocate("buffers", 8192);
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(*first) % 4096, 0u);
    EXPECT_EQ((*first)[8191], std::byte{0});
    EXPECT_NE(registry.Find(*first, 8192), nullptr);
    ASSERT_TRUE(memory.Allocate("queues", 4096).ok());
    ASSERT_EQ(memory.usage().allocated.size(), 2u);
    EXPECT_EQ(memory.usage().allocated[1].consumer, "queues");
    EXPECT_EQ(memory.usage().total_bytes, 3 * 4096u);
  }
  EXPECT_TRUE(registry.regions().empty());
}

TEST(PagedMemory, SaysSoWhenThereIsNoRoom) {
  RegionRegistry registry;
  PagedMemory memory(registry);
  EXPECT_FALSE(memory.Allocate("too much", size_t{1} << 62).ok());
  EXPECT_TRUE(memory.usage().allocated.empty());
}

}  // namespace
}  // namespace pollux
