#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "core/histogram.h"
#include "drivers/nvme/nvme.h"

namespace pollux::cli {

// What one queue does. Its thread writes, any thread reads: a reader takes a copy before and
// subtracts it.
class Statistics {
 public:
  struct Direction {
    std::atomic<uint64_t> bytes{0}, sum_ns{0}, min_ns{UINT64_MAX}, max_ns{0};
    Histogram latency;

    void Add(uint64_t ns, uint64_t of_bytes) {
      latency.Add(ns);
      Put(bytes, Get(bytes) + of_bytes);
      Put(sum_ns, Get(sum_ns) + ns);
      if (ns < Get(min_ns)) Put(min_ns, ns);
      if (ns > Get(max_ns)) Put(max_ns, ns);
      Put(ios, Get(ios) + 1);
    }
    std::atomic<uint64_t> ios{0};
  };

  static uint64_t Get(const std::atomic<uint64_t>& value) {
    return value.load(std::memory_order_relaxed);
  }
  static void Put(std::atomic<uint64_t>& value, uint64_t to) {
    value.store(to, std::memory_order_relaxed);
  }

  Direction reads, writes;
  std::atomic<uint64_t> verified{0};
};

// A reader's copy, with arithmetic.
struct Totals {
  struct Direction {
    uint64_t ios = 0, bytes = 0, sum_ns = 0, min_ns = UINT64_MAX, max_ns = 0;
    Histogram latency;

    Direction() = default;
    explicit Direction(const Statistics::Direction& from);
    void Add(const Direction& other);
    // What came since. The extremes stay those of the whole.
    void Subtract(const Direction& baseline);
    double MeanNs() const;
  };

  Totals() = default;
  explicit Totals(const Statistics& from);
  void Add(const Totals& other);
  void Subtract(const Totals& baseline);
  // Both directions as one.
  Direction Both() const;
  uint64_t ios() const { return reads.ios + writes.ios; }
  uint64_t bytes() const { return reads.bytes + writes.bytes; }

  Direction reads, writes;
  uint64_t verified = 0;
};

// How often commands ended with which error. The kinds are bounded; what is beyond them is counted
// together. One thread writes; others read when it has ended.
class ErrorCounts {
 public:
  static constexpr size_t kKindsMax = 16;
  struct Kind {
    uint16_t code = 0;  // SCT << 8 | SC.
    uint64_t count = 0;
  };

  ErrorCounts() = default;
  ErrorCounts(const ErrorCounts& other) { Add(other); }
  ErrorCounts& operator=(const ErrorCounts&) = delete;

  void Add(uint16_t code, uint64_t count = 1);
  void Add(const ErrorCounts& other);
  uint64_t total() const { return total_.load(std::memory_order_relaxed); }
  size_t kinds() const { return kinds_; }
  const Kind& kind(size_t index) const { return counts_[index]; }
  // "3 x Unrecovered Read Error (281h), 1 x ...".
  std::string Text() const;

 private:
  std::array<Kind, kKindsMax> counts_{};
  size_t kinds_ = 0;
  std::atomic<uint64_t> total_{0};
};

}  // namespace pollux::cli
