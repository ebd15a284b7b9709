#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cli/bdev_perf/disk_spec.h"
#include "cli/tool/flags.h"
#include "cli/workload/io_options.h"
#include "core/block/rate_limits.h"
#include "core/status.h"

namespace pollux::cli {

// Without cores it is core 0.
struct BdevPerfOptions : IoOptions {
  std::vector<DiskSpec> disks;
  uint32_t block_bytes = 0;       // 0: what suits the disk.
  unsigned flush = 0, unmap = 0;  // Percent of all I/Os.
  bool lend = false;              // In the disk's own memory.
  RateLimits limits;              // Of each disk.
};

// The flags, and what they say about themselves.
Flags MakeBdevPerfFlags(BdevPerfOptions& options);
// Takes the command line, and checks what belongs together.
Status ParseBdevPerfOptions(const Flags& flags, const std::vector<std::string>& words,
                            BdevPerfOptions& options);

}  // namespace pollux::cli
