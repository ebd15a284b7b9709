#pragma once
#include <cstdint>
#include <string>

#include "cli/workload/io_options.h"
#include "cli/workload/workload.h"

namespace pollux::cli {

// Which blocks of a disk are worked on, in units of one I/O, and by how many workers at a time.
struct IoRange {
  uint64_t first_block = 0;
  uint64_t units = 0;  // Of each worker.
  uint32_t io_blocks = 1;
  bool apart = false;  // Each worker has a part of its own.

  uint64_t FirstBlockOf(uint64_t worker) const {
    return first_block + (apart ? worker * units * io_blocks : 0);
  }
};

// Of a disk of so many blocks. `disk`: how messages call it.
Result<IoRange> FindRange(const IoOptions& options, const std::string& disk, uint64_t blocks,
                          uint32_t io_blocks, unsigned workers);

// `number`: of the worker, among all.
Workload::Shape ShapeOf(const IoOptions& options, const IoRange& range, uint64_t number);

}  // namespace pollux::cli
