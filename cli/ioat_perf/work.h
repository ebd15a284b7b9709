#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "cli/ioat_perf/options.h"

namespace pollux::cli {

// The memory of one operation that is done again and again, and what must be in it afterwards.
class IoatWork {
 public:
  struct Shape {
    IoatOperation operation = IoatOperation::kCopy;
    size_t bytes = 0;
    unsigned sources = 1;  // 0 for fill, 1 for copy.
    unsigned targets = 1;  // 2 for PQ.

    static Shape Of(const IoatPerfOptions& options);
    // Of the memory; each part begins at a cache line.
    size_t memory_bytes() const { return part_bytes() * (sources + targets); }
    size_t part_bytes() const { return (bytes + 63) / 64 * 64; }
  };

  // `memory` has memory_bytes(), and outlives it. Its sources are made from the seed.
  IoatWork(const Shape& shape, std::byte* memory, uint64_t seed);

  const Shape& shape() const { return shape_; }
  const void* const* sources() const { return sources_; }
  const std::byte* source() const { return static_cast<const std::byte*>(sources_[0]); }
  std::byte* target(unsigned index = 0) const { return targets_[index]; }
  uint64_t pattern() const { return pattern_; }
  static const uint8_t* coefficients();

  // The next result differs from the last, at both ends.
  void Change();
  void DoByCpu() const;
  // "" when the targets are what the sources make; else what differs first.
  std::string Check() const;

 private:
  Shape shape_;
  const void* sources_[kIoatSourcesMax] = {};
  std::byte* targets_[2] = {};
  std::byte* first_source_ = nullptr;
  uint64_t pattern_ = 0;
};

}  // namespace pollux::cli
