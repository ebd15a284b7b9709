#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cli/tool/flags.h"
#include "core/status.h"

namespace pollux::cli {

// What every program that measures is asked.
struct MeasuringOptions {
  uint64_t duration_ns = 0;  // 0: as count_max says.
  uint64_t warmup_ns = 0;    // Not counted, before that.
  uint64_t count_max = 0;    // Of each queue, channel or core. 0: no bound.
  std::vector<unsigned> cores;
  uint64_t seed = 1;
  bool verify = false;
  bool json = false, progress = false, quiet = false, help = false;
};

// How long: -t, a count under the name that fits, and --warmup.
struct CountFlag {
  const char* name;  // "--ios".
  const char* help;
};
void AddLengthFlags(Flags& flags, const char* time_help, const CountFlag& count,
                    MeasuringOptions& options);
// -c, with at most `most` of them.
inline constexpr size_t kCoresMax = 256;
void AddCoresFlag(Flags& flags, const char* help, MeasuringOptions& options,
                  size_t most = kCoresMax);
void AddSeedFlag(Flags& flags, const char* help, MeasuringOptions& options);
// The heading, its flags, and the exit codes. `failing`: "an I/O failed".
void AddOutputFlags(Flags& flags, const std::string& failing, MeasuringOptions& options);

// Where neither a time nor a count was asked for, it is this time. 0: none is needed.
Status CompleteLength(uint64_t default_ns, MeasuringOptions& options);

inline constexpr uint64_t kDefaultDurationNs = 10'000'000'000;

}  // namespace pollux::cli
