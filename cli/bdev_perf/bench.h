#pragma once
#include <atomic>
#include <ostream>

#include "cli/bdev_perf/options.h"
#include "cli/bdev_perf/outcome.h"
#include "core/status.h"

namespace pollux::cli {

// Makes the disks, keeps all cores busy with them, and takes them away. `progress` may be null;
// `interrupt` ends the run early.
Result<BdevOutcome> RunBdevBench(const BdevPerfOptions& options, std::ostream* progress,
                                 const std::atomic<bool>& interrupt);

}  // namespace pollux::cli
