#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cli/tool/flags.h"
#include "core/status.h"

namespace pollux::cli {

enum class IoatOperation { kCopy, kFill, kXor, kPq };

inline constexpr uint32_t kIoatDepthMax = 4096;
inline constexpr uint32_t kIoatBytesMax = 64 << 20;
inline constexpr unsigned kIoatSourcesMin = 2, kIoatSourcesMax = 8;

struct IoatPerfOptions {
  std::vector<std::string> devices;
  IoatOperation operation = IoatOperation::kCopy;
  std::string operation_name = "copy";
  uint32_t depth = 128;  // Of each channel.
  uint32_t bytes = 4096;
  unsigned sources = 4;      // Of XOR and PQ.
  uint64_t duration_ns = 0;  // 0: as operations_max says.
  uint64_t warmup_ns = 0;
  uint64_t operations_max = 0;  // Of each channel. 0: no bound.
  unsigned channels = 1;        // Of each device; and threads of the CPU's turn.
  std::vector<unsigned> cores;  // Empty: one thread, anywhere.
  uint64_t seed = 1;
  bool verify = false;
  bool cpu = false;
  bool allow_no_iommu = false;
  bool json = false, progress = false, quiet = false, help = false;

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
