#pragma once
#include <atomic>
#include <cstdint>

#include "cli/tool/meter.h"

namespace pollux::cli {

// What one queue does. Its thread writes, any thread reads: a reader takes Totals before and
// subtracts them.
struct IoMeters {
  Meter reads, writes;
  std::atomic<uint64_t> verified{0};

  void CountVerified() {
    verified.store(verified.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
};

// A reader's copy, with arithmetic.
struct Totals {
  Totals() = default;
  explicit Totals(const IoMeters& from);
  void Add(const Totals& other);
  void Subtract(const Totals& baseline);
  // Both directions as one.
  Reading Both() const;
  uint64_t ios() const { return reads.count + writes.count; }
  uint64_t bytes() const { return reads.bytes + writes.bytes; }

  Reading reads, writes;
  uint64_t verified = 0;
};

}  // namespace pollux::cli
