#include "core/memory/registered_memory.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <memory>

namespace pollux {
namespace {

class RegisteredMemoryTest : public testing::Test {
 protected:
  static constexpr size_t kPage = 4096;
  struct Free {
    void operator()(std::byte* memory) const { free(memory); }
  };
  RegionRegistry registry_;
  const std::unique_ptr<std::byte, Free> memory_{
      static_cast<std::byte*>(aligned_alloc(kPage, 4 * kPage))};
};

TEST_F(RegisteredMemoryTest, IsARegionUntilItIsTakenBack) {
  RegisteredMemory registered(registry_, "given");
  ASSERT_TRUE(registered.Add(memory_.get(), 2 * kPage, -1, 0).ok());
  const Region* const region = registry_.Find(memory_.get(), 2 * kPage);
  ASSERT_NE(region, nullptr);
  EXPECT_EQ(region->name, "given");
  EXPECT_TRUE(registered.Remove(memory_.get()).ok());
  EXPECT_TRUE(registry_.regions().empty());
}

TEST_F(RegisteredMemoryTest, GoesWithItsOwner) {
  {
    RegisteredMemory registered(registry_, "given");
    ASSERT_TRUE(registered.Add(memory_.get(), kPage, -1, 0).ok());
    ASSERT_TRUE(registered.Add(memory_.get() + kPage, kPage, -1, 0).ok());
    EXPECT_EQ(registry_.regions().size(), 2u);
  }
  EXPECT_TRUE(registry_.regions().empty());
}

TEST_F(RegisteredMemoryTest, RefusesWhatIsNotOfWholePagesOverlapsOrIsUnknown) {
  RegisteredMemory registered(registry_, "given");
  std::byte* const memory = memory_.get();
  EXPECT_EQ(ErrnoOf(registered.Add(nullptr, kPage, -1, 0)), EINVAL);
  EXPECT_EQ(ErrnoOf(registered.Add(memory, 0, -1, 0)), EINVAL);
  EXPECT_EQ(ErrnoOf(registered.Add(memory + 8, kPage, -1, 0)), EINVAL);
  EXPECT_EQ(ErrnoOf(registered.Add(memory, kPage + 1, -1, 0)), EINVAL);
  EXPECT_EQ(ErrnoOf(registered.Add(memory, kPage, -1, 8)), EINVAL);
  EXPECT_EQ(ErrnoOf(registered.Add(memory, SIZE_MAX & ~(kPage - 1), -1, 0)), EINVAL);
  EXPECT_TRUE(registered.Add(memory, 2 * kPage, -1, 0).ok());
  EXPECT_EQ(ErrnoOf(registered.Add(memory + kPage, kPage, -1, 0)), EEXIST);
  EXPECT_EQ(ErrnoOf(registered.Remove(memory + kPage)), ENOENT);
  EXPECT_EQ(registry_.regions().size(), 1u);
}

}  // namespace
}  // namespace pollux
