#pragma once
#include <deque>
#include <string>
#include <vector>

#include "cli/bdev_perf/bdev_meters.h"
#include "cli/bdev_perf/options.h"

namespace pollux::cli {

// What a run came to.
struct BdevOutcome {
  struct Disk {
    std::string name, product;
    uint32_t block_bytes = 0;
    uint64_t blocks = 0;
  };
  struct Worker {     // A disk on a core.
    size_t disk = 0;  // Index.
    int core = 0;
    BdevTotals totals;
    uint64_t passes = 0;
    std::string failure;  // Why it ended early, or "".
  };

  std::vector<Disk> disks;
  std::deque<Worker> workers;
  double seconds = 0;
  std::string first_difference;
  bool interrupted = false;

  BdevTotals Sum() const;
  bool Good() const;  // No error, no difference, and nothing ended early.
};

std::string ForPeople(const BdevPerfOptions& options, const BdevOutcome& outcome);
std::string ToJson(const BdevPerfOptions& options, const BdevOutcome& outcome);
// One line of progress: what came in `seconds`.
std::string BdevProgressLine(double at_seconds, double seconds, const BdevTotals& since);

}  // namespace pollux::cli
