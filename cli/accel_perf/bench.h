#pragma once
#include <atomic>
#include <ostream>

#include "cli/accel_perf/options.h"
#include "cli/accel_perf/outcome.h"
#include "core/status.h"

namespace pollux::cli {

// Measures what the options ask for. `progress` may be null; `interrupt` ends the run early.
Result<AccelOutcome> RunAccelBench(const AccelPerfOptions& options, std::ostream* progress,
                                   const std::atomic<bool>& interrupt);

}  // namespace pollux::cli
