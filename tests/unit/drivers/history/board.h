#pragma once
#include <atomic>
#include <cstdint>
#include <memory>

#include "tests/unit/drivers/history/content.h"
#include "tests/unit/drivers/history/journal.h"

namespace pollux::history {

// What the players of one disk share.
class Board {
 public:
  // Without `overlaps`, two I/Os of which one writes are on the same block at once only where one
  // of them is a compare-and-write. So it is where reactors have threads: like every memory, a disk
  // gives parts of both to who reads what another is writing.
  explicit Board(bool overlaps)
      : overlaps_(overlaps), blocks_(std::make_unique<Block[]>(kLbasMax)) {}

  Moments moments;

  // What a block held when somebody looked last: a guess, for those who want to compare.
  Value guess(uint64_t lba) const { return blocks_[lba].guess.load(std::memory_order_relaxed); }
  void Guess(uint64_t lba, Value value) {
    blocks_[lba].guess.store(value, std::memory_order_relaxed);
  }

  // False when somebody is in the way; nothing has happened then.
  bool TryTake(uint64_t lba, uint64_t blocks, bool write) {
    if (overlaps_) return true;
    for (uint64_t i = 0; i < blocks; ++i) {
      if (TryTakeOne(blocks_[lba + i].takers, write)) continue;
      Give(lba, i, write);
      return false;
    }
    return true;
  }
  void Give(uint64_t lba, uint64_t blocks, bool write) {
    if (overlaps_) return;
    for (uint64_t i = 0; i < blocks; ++i) {
      blocks_[lba + i].takers.fetch_add(write ? kWriter : -1, std::memory_order_release);
    }
  }

 private:
  static constexpr int kWriter = 1 << 16;
  struct Block {
    std::atomic<Value> guess{kZeroes};
    std::atomic<int> takers{0};  // Readers, or -kWriter.
  };

  static bool TryTakeOne(std::atomic<int>& takers, bool write) {
    int now = takers.load(std::memory_order_relaxed);
    do {
      if (now < 0 || (write && now > 0)) return false;
    } while (!takers.compare_exchange_weak(now, write ? -kWriter : now + 1,
                                           std::memory_order_acquire, std::memory_order_relaxed));
    return true;
  }

  const bool overlaps_;
  const std::unique_ptr<Block[]> blocks_;
};

}  // namespace pollux::history
