#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "core/block/io_request.h"
#include "tests/unit/drivers/history/content.h"

namespace pollux::history {

// A moment, in an order that all reactors agree on. Relaxed: it orders nothing else between them,
// so the thread sanitizer sees the block layer's own order only.
class Moments {
 public:
  uint64_t Next() { return next_.fetch_add(1, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> next_{1};
};

// One I/O, or loan, that has ended.
struct Entry {
  uint64_t began = 0, ended = 0;  // Moments.
  IoType type = IoType::kRead;    // A loan counts as what it is for.
  IoStatus status = IoStatus::kSuccess;
  bool lent = false;
  bool fua = false;
  bool abort_asked = false;  // Or a reset was, while it was in flight.
  bool abort_granted = false;
  size_t reactor = 0;
  uint64_t lba = 0, blocks = 0;
  uint64_t write = 0;  // The number of what it writes.
  // Where the values of its blocks are in Journal::values: of a read what was seen, of a compare
  // what was expected.
  size_t values = 0;
  uint64_t miscompare_block = 0;  // From lba on.
};

// What one reactor's player did, in order of its ends.
struct Journal {
  std::vector<Entry> entries;
  std::vector<Value> values;

  void Clear() {
    entries.clear();
    values.clear();
  }
};

// When a disk grew, or began to go.
struct Growth {
  uint64_t began = 0, ended = UINT64_MAX;
  uint64_t blocks = 0;
};

}  // namespace pollux::history
