#pragma once
#include <string>
#include <vector>

#include "cli/accel_perf/options.h"
#include "cli/tool/meter.h"

namespace pollux::cli {

// What one measurement came to: one size, by the devices or by the CPU alone.
struct AccelRun {
  struct Core {
    int core = 0;
    Reading reading;
    double busy_ns = 0;  // That the thread was not just waiting.
    uint64_t verified = 0, failures = 0;
    std::string first_failure;
  };
  bool by_device = false;
  uint32_t bytes = 0;
  double seconds = 0;
  std::vector<Core> cores;
  uint64_t by_module = 0;   // Operations that the devices executed,
  uint64_t by_cpu = 0;      // and those that the CPU did.
  uint64_t given_back = 0;  // Of the latter, those that a device had begun.
  bool interrupted = false;

  Core Sum() const;
  bool Good() const;
  // Of the CPU, for one chain.
  double CpuNsPerChain() const;
};

struct AccelOutcome {
  struct Device {
    std::string address, model;
    uint32_t channels = 0;
  };
  std::vector<Device> devices;
  std::vector<AccelRun> runs;

  bool Good() const;
  // Of a sweep: the least size from which on devices take less of the CPU than the CPU's own work
  // does. 0: none.
  uint32_t WorthwhileBytes() const;
};

std::string ForPeople(const AccelPerfOptions& options, const AccelOutcome& outcome);
std::string ToJson(const AccelPerfOptions& options, const AccelOutcome& outcome);
// One line of progress: what came in `seconds`.
std::string AccelProgressLine(const AccelRun& run, double at_seconds, double seconds,
                              const Reading& since);

}  // namespace pollux::cli
