#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cli/tool/flags.h"
#include "core/status.h"
#include "drivers/nvme/nvme.h"

namespace pollux::cli {

enum class Pattern { kRead, kWrite, kRandRead, kRandWrite, kRw, kRandRw, kVerify };

inline constexpr uint32_t kDepthMax = 4096;
inline constexpr uint32_t kIoBytesMax = 64 << 20;
inline constexpr unsigned kQueuesMax = 256;
inline constexpr size_t kCoresMax = 256;
inline constexpr size_t kNamespacesMax = 64;

struct PerfOptions {
  std::vector<pollux_nvme_transport_id> controllers;
  std::vector<uint32_t> nsids;  // Empty: the first that is active.
  Pattern pattern = Pattern::kRandRead;
  std::string pattern_name = "randread";
  uint32_t depth = 128;  // Of each queue.
  uint32_t io_bytes = 4096;
  unsigned mix = 50;         // Percent of reads, for rw and randrw.
  uint64_t duration_ns = 0;  // 0: as ios_max says.
  uint64_t warmup_ns = 0;
  uint64_t ios_max = 0;         // Of each queue. 0: no bound. Verify: 0 is one pass.
  unsigned queues = 1;          // For each namespace.
  std::vector<unsigned> cores;  // Empty: one thread, anywhere.
  uint64_t first_block = 0;
  uint64_t range_blocks = 0;  // 0: to the end.
  uint64_t seed = 1;
  bool verify = false;
  bool fua = false;
  bool no_shadow_doorbells = false, no_sgl = false, queues_in_cmb = false;
  bool header_digest = false, data_digest = false;
  bool allow_no_iommu = false;
  bool json = false, progress = false, quiet = false, help = false;

  bool is_random() const;
  bool reads() const { return pattern != Pattern::kWrite && pattern != Pattern::kRandWrite; }
  bool writes() const { return pattern != Pattern::kRead && pattern != Pattern::kRandRead; }
};

// The flags, and what they say about themselves.
Flags MakePerfFlags(PerfOptions& options);
// Takes the command line, and checks what belongs together.
Status ParsePerfOptions(const Flags& flags, const std::vector<std::string>& words,
                        PerfOptions& options);

}  // namespace pollux::cli
