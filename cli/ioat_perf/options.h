#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cli/tool/flags.h"
#include "cli/tool/measuring.h"
#include "core/status.h"

namespace pollux::cli {

enum class IoatOperation { kCopy, kFill, kXor, kPq };

inline constexpr uint32_t kIoatDepthMax = 4096;
inline constexpr uint32_t kIoatBytesMax = 64 << 20;
inline constexpr unsigned kIoatSourcesMin = 2, kIoatSourcesMax = 8;

// Without cores it is one thread, anywhere.
struct IoatPerfOptions : MeasuringOptions {
  std::vector<std::string> devices;
  IoatOperation operation = IoatOperation::kCopy;
  std::string operation_name = "copy";
  uint32_t depth = 128;  // Of each channel.
  uint32_t bytes = 4096;
  unsigned sources = 4;   // Of XOR and PQ.
  unsigned channels = 1;  // Of each device; and threads of the CPU's turn.
  bool cpu = false;
  bool allow_no_iommu = false;

  bool has_sources() const {
    return operation == IoatOperation::kXor || operation == IoatOperation::kPq;
  }
};

// The flags, and what they say about themselves.
Flags MakeIoatPerfFlags(IoatPerfOptions& options);
// Takes the command line, and checks what belongs together.
Status ParseIoatPerfOptions(const Flags& flags, const std::vector<std::string>& words,
                            IoatPerfOptions& options);

}  // namespace pollux::cli
