#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cli/tool/flags.h"
#include "cli/workload/io_options.h"
#include "core/status.h"
#include "drivers/nvme/nvme.h"

namespace pollux::cli {

inline constexpr unsigned kQueuesMax = 256;
inline constexpr size_t kNamespacesMax = 64;

// Without cores it is one thread, anywhere.
struct PerfOptions : IoOptions {
  std::vector<pollux_nvme_transport_id> controllers;
  std::vector<uint32_t> nsids;  // Empty: the first that is active.
  unsigned queues = 1;          // For each namespace.
  bool no_shadow_doorbells = false, no_sgl = false, queues_in_cmb = false;
  bool header_digest = false, data_digest = false;
  bool allow_no_iommu = false;
};

// The flags, and what they say about themselves.
Flags MakePerfFlags(PerfOptions& options);
// Takes the command line, and checks what belongs together.
Status ParsePerfOptions(const Flags& flags, const std::vector<std::string>& words,
                        PerfOptions& options);

}  // namespace pollux::cli
