#pragma once
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "cli/ioat_perf/job.h"
#include "cli/ioat_perf/options.h"
#include "cli/tool/meter.h"

namespace pollux::cli {

// What a run came to.
struct IoatOutcome {
  struct Device {
    std::string address, model;
    unsigned version = 0;
    uint64_t transfer_bytes_max = 0;
  };
  struct Channel {
    int device = -1;  // Index; -1: the CPU.
    unsigned number = 0;
    int core = -1;
    uint32_t depth = 0;
    double seconds = 0;
    Reading reading;
    std::map<IoatJob::Kind, uint64_t> errors;
    uint64_t error_count = 0, verified = 0, differences = 0;
    std::string failure, first_difference;
    pollux_ioat_statistics driver{};
  };
  // Of all channels of the devices, or of those that stand for the CPU.
  struct Side {
    Reading reading;
    double seconds = 0;
    uint64_t error_count = 0, verified = 0, differences = 0;
    size_t channels = 0;
  };

  std::vector<Device> devices;
  std::deque<Channel> channels;
  bool interrupted = false;

  Side Sum(bool cpu) const;
  bool Good() const;  // No error, no difference, and nothing ended early.
};

std::string ForPeople(const IoatPerfOptions& options, const IoatOutcome& outcome);
std::string ToJson(const IoatPerfOptions& options, const IoatOutcome& outcome);
// One line of progress: what came in `seconds`.
std::string IoatProgressLine(bool cpu, double at_seconds, double seconds, const Reading& since,
                             uint64_t errors);

}  // namespace pollux::cli
