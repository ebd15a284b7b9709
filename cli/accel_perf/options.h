#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cli/tool/flags.h"
#include "cli/tool/measuring.h"
#include "core/accel/accel_opcode.h"
#include "core/status.h"

namespace pollux::cli {

inline constexpr uint32_t kAccelDepthMax = 4096;
inline constexpr uint32_t kAccelBytesMax = 16 << 20;
inline constexpr size_t kAccelStepsMax = 4;
// Of the data of one thread.
inline constexpr uint64_t kAccelMemoryMax = uint64_t{2} << 30;

// Without cores it is core 0.
struct AccelPerfOptions : MeasuringOptions {
  std::vector<std::string> devices;
  std::vector<AccelOpcode> steps = {AccelOpcode::kCopy};  // Of a chain.
  std::string workload = "copy";
  uint32_t depth = 128;  // Of each thread.
  uint32_t bytes = 4096;
  uint32_t bytes_min = 0;  // What is shorter the CPU executes.
  bool cpu = false, sweep = false;

  // The CPU is to be measured, too or alone.
  bool wants_cpu() const { return cpu || devices.empty(); }
};

// The flags, and what they say about themselves.
Flags MakeAccelPerfFlags(AccelPerfOptions& options);
// Takes the command line, and checks what belongs together.
Status ParseAccelPerfOptions(const Flags& flags, const std::vector<std::string>& words,
                             AccelPerfOptions& options);

}  // namespace pollux::cli
