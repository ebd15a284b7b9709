#include "core/memory/buffer_pool.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace pollux {
namespace {

class Recorder final : public BufferPool::Waiter {
 public:
  explicit Recorder(std::vector<Recorder*>& order) : order_(order) {}
  void OnBuffer(std::byte* given) override {
    buffer = given;
    order_.push_back(this);
  }
  std::byte* buffer = nullptr;

 private:
  std::vector<Recorder*>& order_;
};

class BufferPoolTest : public testing::Test {
 protected:
  static constexpr size_t kBytes = 64;
  std::byte memory_[3 * kBytes];
  BufferPool pool_{memory_, kBytes, 3};
  std::vector<Recorder*> order_;

  std::vector<std::byte*> TakeAll() {
    std::vector<std::byte*> taken;
    while (std::byte* buffer = pool_.TryTake()) taken.push_back(buffer);
    return taken;
  }
};

TEST_F(BufferPoolTest, GivesEachBufferOnce) {
  const std::vector<std::byte*> taken = TakeAll();
  ASSERT_EQ(taken.size(), 3u);
  EXPECT_EQ(taken[0], memory_);
  EXPECT_EQ(taken[1], memory_ + kBytes);
  EXPECT_EQ(taken[2], memory_ + 2 * kBytes);
  EXPECT_EQ(pool_.times_empty(), 1u);
  for (std::byte* buffer : taken) pool_.Give(buffer);
  EXPECT_EQ(pool_.available(), 3u);
}

TEST_F(BufferPoolTest, WhatCameBackLastIsUsedFirst) {
  std::byte* first = pool_.TryTake();
  std::byte* second = pool_.TryTake();
  pool_.Give(first);
  pool_.Give(second);
  EXPECT_EQ(pool_.TryTake(), second);
  pool_.Give(second);
}

TEST_F(BufferPoolTest, ServesTheLineInOrderOfArrival) {
  const std::vector<std::byte*> taken = TakeAll();
  Recorder first(order_), second(order_);
  pool_.Wait(first);
  pool_.Wait(second);
  EXPECT_TRUE(order_.empty());
  pool_.Give(taken[1]);
  pool_.Give(taken[0]);
  EXPECT_EQ(order_, (std::vector<Recorder*>{&first, &second}));
  EXPECT_EQ(first.buffer, taken[1]);
  EXPECT_EQ(second.buffer, taken[0]);
  for (std::byte* buffer : taken) pool_.Give(buffer);
}

TEST_F(BufferPoolTest, OneThatLeavesTheLineGetsNothing) {
  const std::vector<std::byte*> taken = TakeAll();
  Recorder first(order_), second(order_);
  pool_.Wait(first);
  pool_.Wait(second);
  pool_.CancelWait(first);
  pool_.CancelWait(first);
  pool_.Give(taken[0]);
  EXPECT_EQ(order_, (std::vector<Recorder*>{&second}));
  for (std::byte* buffer : taken) pool_.Give(buffer);
}

TEST_F(BufferPoolTest, RefusesWhatIsNotItsOwn) {
  std::byte* buffer = pool_.TryTake();
  EXPECT_DEATH(pool_.Give(buffer + 1), "not a buffer of this pool");
  EXPECT_DEATH(pool_.Give(memory_ + 3 * kBytes), "not a buffer of this pool");
  pool_.Give(buffer);
  EXPECT_DEATH(pool_.Give(buffer), "twice");
}

TEST(BufferPoolDeathTest, DoesNotDieWhileABufferIsOut) {
  std::byte memory[64];
  EXPECT_DEATH(
      {
        BufferPool pool(memory, 64, 1);
        pool.TryTake();
      },
      "before all its buffers");
}

}  // namespace
}  // namespace pollux
