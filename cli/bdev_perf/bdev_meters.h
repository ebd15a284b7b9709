#pragma once
#include <array>
#include <atomic>
#include <cstdint>

#include "cli/workload/io_meters.h"
#include "core/block/io_status.h"

namespace pollux::cli {

// What one worker does: one writer, any reader.
struct BdevMeters {
  IoMeters io;
  Meter unmaps, flushes;
  std::array<std::atomic<uint64_t>, kIoStatusCount> errors{};
  std::atomic<uint64_t> differences{0};

  static void CountOne(std::atomic<uint64_t>& counter) {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
};

// A reader's copy, with arithmetic.
struct BdevTotals {
  BdevTotals() = default;
  explicit BdevTotals(const BdevMeters& from);
  void Add(const BdevTotals& other);
  // What came since; errors and differences stay those of the whole.
  void Subtract(const BdevTotals& baseline);
  // All kinds as one.
  Reading All() const;
  uint64_t error_count() const;

  Totals io;
  Reading unmaps, flushes;
  std::array<uint64_t, kIoStatusCount> errors{};
  uint64_t differences = 0;
};

}  // namespace pollux::cli
