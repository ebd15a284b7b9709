#include "core/memory/pool_bound.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "core/memory/reactor_buffers.h"

namespace pollux {
namespace {

class SmallMemory final : public Memory {
 public:
  Result<std::byte*> Allocate(const std::string&, size_t bytes) override {
    asked_for_ += bytes;
    return all_.data();
  }
  Usage usage() const override { return {}; }
  size_t asked_for() const { return asked_for_; }

 private:
  std::vector<std::byte> all_ = std::vector<std::byte>(2 * 4096);
  size_t asked_for_ = 0;
};

class PoolBoundTest : public testing::Test {
 protected:
  ~PoolBoundTest() override { unsetenv("POLLUX_POOL_SIZE"); }
};

TEST_F(PoolBoundTest, PoolsAreAsLargeAsTheyAreMeantToBe) { EXPECT_EQ(BoundedPool(1024), 1024u); }

TEST_F(PoolBoundTest, ATestMakesThemSmallerAndNeverLarger) {
  setenv("POLLUX_POOL_SIZE", "16", 1);
  EXPECT_EQ(BoundedPool(1024), 16u);
  EXPECT_EQ(BoundedPool(4), 4u);
}

TEST_F(PoolBoundTest, APoolHasAtLeastOneElement) {
  for (const char* const text : {"0", "none"}) {
    setenv("POLLUX_POOL_SIZE", text, 1);
    EXPECT_EQ(BoundedPool(1024), 1u) << text;
  }
}

TEST_F(PoolBoundTest, HoldsForTheBuffersOfEveryReactor) {
  setenv("POLLUX_POOL_SIZE", "1", 1);
  SmallMemory memory;
  const auto buffers = ReactorBuffers::Make(memory, "a test", 2, {4096, 1024});
  ASSERT_TRUE(buffers.ok());
  EXPECT_EQ((*buffers)->of(0).count(), 1u);
  EXPECT_EQ((*buffers)->of(1).count(), 1u);
  EXPECT_EQ(memory.asked_for(), 2u * 4096);
}

}  // namespace
}  // namespace pollux
