#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/block/io_request.h"

namespace pollux {

// A request, or a loan, that ended.
struct TracedIo {
  uint64_t number = 0;  // From 0, in the order in which this reactor's ended.
  uint64_t ended_ns = 0;
  uint64_t latency_ns = 0;
  uint64_t lba = 0;
  uint64_t blocks = 0;
  uint32_t device = 0;  // BlockDevice::number().
  IoType type = IoType::kRead;
  IoStatus status = IoStatus::kSuccess;
  IoSource source = IoSource::kOther;
  bool lent = false;
};

// The last requests of one reactor: a ring that the reactor writes, and that any thread reads
// meanwhile. Each slot carries a generation, odd while it is being written: a reader that finds
// another one afterwards leaves that slot out, so it never shows a mixture of two requests.
class IoTrace {
 public:
  static constexpr size_t kCapacityMax = 65536;

  // The next power of two from `capacity` on.
  explicit IoTrace(size_t capacity);

  // The writer only. The number is given here.
  void Add(const TracedIo& io);
  // The last ones, at most `count`, oldest first.
  std::vector<TracedIo> Last(size_t count) const;
  size_t capacity() const { return mask_ + 1; }

 private:
  static constexpr size_t kWords = 5;
  struct Slot {
    std::atomic<uint64_t> generation{0};
    std::array<std::atomic<uint64_t>, kWords> words{};
  };
  bool Read(uint64_t number, TracedIo& io) const;

  const size_t mask_;
  const std::unique_ptr<Slot[]> slots_;
  std::atomic<uint64_t> next_number_{0};
};

}  // namespace pollux
