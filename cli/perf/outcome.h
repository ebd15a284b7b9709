#pragma once
#include <deque>
#include <string>
#include <vector>

#include "cli/perf/error_counts.h"
#include "cli/perf/options.h"
#include "cli/workload/io_meters.h"

namespace pollux::cli {

// What a run came to.
struct Outcome {
  struct Controller {
    std::string address, model, serial_number, firmware;
    bool shadow_doorbells = false;
  };
  struct Queue {
    size_t controller = 0;  // Index.
    uint32_t nsid = 0;
    uint16_t id = 0;
    int core = -1;
    uint32_t depth = 0;
    Totals totals;
    ErrorCounts errors;
    uint64_t differences = 0, passes = 0;
    std::string failure;  // Why it ended early, or "".
    pollux_nvme_queue_statistics driver{};
  };

  std::vector<Controller> controllers;
  std::deque<Queue> queues;
  double seconds = 0;
  std::string first_difference;
  bool interrupted = false;

  Totals Sum() const;
  ErrorCounts Errors() const;
  uint64_t Differences() const;
  bool Good() const;  // No error, no difference, and nothing ended early.
};

std::string ForPeople(const PerfOptions& options, const Outcome& outcome);
std::string ToJson(const PerfOptions& options, const Outcome& outcome);
// One line of progress: what came in `seconds`.
std::string ProgressLine(double at_seconds, double seconds, const Totals& since, uint64_t errors);

}  // namespace pollux::cli
