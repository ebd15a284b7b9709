// Two threads, each with a queue pair of the same controller, write no cache line that the other
// reads or writes. What is shared with the device, shadow doorbells, lies as the specification has
// it.
#include <cstddef>
#include <set>

#include "tests/unit/drivers/nvme/queue_world.h"

namespace pollux::nvme {

// Conditionally supported for a class that is not of standard layout, and g++ supports it.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

struct QueuePairLayout {
  static size_t LineOf(size_t offset) { return offset / 64; }
  static constexpr size_t kFreeTop = offsetof(QueuePair, free_top_);
  static constexpr size_t kSqNext = offsetof(QueuePair, sq_next_);
  static constexpr size_t kGate = offsetof(QueuePair, gate_);
  static constexpr size_t kFloor = offsetof(QueuePair, plain_floor_);
  static constexpr size_t kPageBytes = offsetof(QueuePair, page_bytes_);
  static constexpr size_t kView = offsetof(QueuePair, view_);
  static constexpr size_t kSlots = offsetof(QueuePair, slots_);
  static constexpr size_t kCqHead = offsetof(QueuePair, cq_head_);
  static constexpr size_t kSqRung = offsetof(QueuePair, sq_rung_);
  static constexpr size_t kCounters = offsetof(QueuePair, submitted_);
  static constexpr size_t kLastCounter = offsetof(QueuePair, timeouts_);
  static constexpr size_t kCold = offsetof(QueuePair, cq_);
  static constexpr size_t kWishes = offsetof(QueuePair, drain_status_);

  static_assert(sizeof(QueuePair::Slot) == 32 && alignof(QueuePair::Slot) == 32);

  // The lines of the heap that a queue's owner writes.
  static std::set<uintptr_t> WrittenLines(const QueuePair& queue) {
    std::set<uintptr_t> lines;
    const auto add = [&lines](const void* begin, const void* end) {
      for (auto at = reinterpret_cast<uintptr_t>(begin) / 64;
           at <= (reinterpret_cast<uintptr_t>(end) - 1) / 64; ++at) {
        lines.insert(at);
      }
    };
    add(&queue, &queue + 1);
    add(queue.slots_, queue.slots_ + queue.depth());
    add(queue.free_, queue.free_ + queue.depth());
    return lines;
  }
};

namespace {

using Layout = QueuePairLayout;

TEST(QueueLayout, ASubmissionNeedsTwoLinesOfTheQueue) {
  for (const size_t offset :
       {Layout::kFreeTop, Layout::kSqNext, Layout::kFloor, Layout::kPageBytes}) {
    EXPECT_EQ(Layout::LineOf(offset), Layout::LineOf(Layout::kGate));
  }
  EXPECT_EQ(Layout::LineOf(Layout::kView), Layout::LineOf(Layout::kGate) + 1);
}

TEST(QueueLayout, ACompletionNeedsNoMore) {
  for (const size_t offset : {Layout::kSlots, Layout::kCqHead, Layout::kSqRung}) {
    EXPECT_EQ(Layout::LineOf(offset), Layout::LineOf(Layout::kView));
  }
}

TEST(QueueLayout, TheCountersAreOneLine) {
  EXPECT_EQ(Layout::kCounters % 64, 0u);
  EXPECT_EQ(Layout::LineOf(Layout::kCounters), Layout::LineOf(Layout::kLastCounter));
}

TEST(QueueLayout, WhatTheControlThreadWritesIsApart) {
  EXPECT_EQ(Layout::kWishes % 64, 0u);
  EXPECT_GT(Layout::LineOf(Layout::kWishes), Layout::LineOf(Layout::kCold));
}

TEST(QueueLayout, TwoQueuesShareNoLine) {
  EXPECT_EQ(sizeof(QueuePair) % 64, 0u);
  EXPECT_EQ(alignof(pollux_nvme_queue), 64u);
  SharedMemory memory(1);
  std::vector<std::unique_ptr<QueueDevice>> devices;
  std::vector<std::unique_ptr<pollux_nvme_queue>> queues;
  std::set<uintptr_t> all;
  for (uint16_t id = 1; id <= 20; ++id) {
    // Depths at which an array ends in the middle of a line.
    devices.push_back(std::make_unique<QueueDevice>(id, static_cast<uint16_t>(2 + id)));
    queues.push_back(std::make_unique<pollux_nvme_queue>(devices.back()->Parts(memory.map())));
    for (const uintptr_t line : Layout::WrittenLines(*queues.back())) {
      EXPECT_TRUE(all.insert(line).second) << "queue " << id;
    }
  }
}

TEST(QueueLayout, ARequestIsOneLine) { EXPECT_EQ(sizeof(pollux_nvme_request), 64u); }

}  // namespace
}  // namespace pollux::nvme
