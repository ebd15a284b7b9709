#pragma once
#include <cstdint>
#include <string>

#include "cli/tool/flags.h"
#include "cli/tool/measuring.h"
#include "core/status.h"

namespace pollux::cli {

enum class Pattern { kRead, kWrite, kRandRead, kRandWrite, kRw, kRandRw, kVerify };

inline constexpr uint32_t kDepthMax = 4096;
inline constexpr uint32_t kIoBytesMax = 64 << 20;

// What programs that read and write blocks are asked. Verify with neither a time nor a count is one
// pass.
struct IoOptions : MeasuringOptions {
  Pattern pattern = Pattern::kRandRead;
  std::string pattern_name = "randread";
  uint32_t depth = 128;  // Of each queue.
  uint32_t io_bytes = 4096;
  unsigned mix = 50;  // Percent of reads, for rw and randrw.
  uint64_t first_block = 0;
  uint64_t range_blocks = 0;  // 0: to the end.
  bool fua = false;

  bool is_random() const;
  bool is_mixed() const { return pattern == Pattern::kRw || pattern == Pattern::kRandRw; }
  bool reads() const { return pattern != Pattern::kWrite && pattern != Pattern::kRandWrite; }
  bool writes() const { return pattern != Pattern::kRead && pattern != Pattern::kRandRead; }
};

// -w, -o, -q, -M, -t, --ios and --warmup.
void AddWorkloadFlags(Flags& flags, IoOptions& options);
void AddRangeFlag(Flags& flags, IoOptions& options);
// --verify and --seed.
void AddVerifyFlags(Flags& flags, IoOptions& options);

// Checks what belongs together, and fills in how long.
Status CompleteIoOptions(IoOptions& options);

// "randrw, 4 KiB, 70 % reads, depth 128, verified".
std::string WorkloadText(const IoOptions& options);

}  // namespace pollux::cli
