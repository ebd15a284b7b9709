#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "drivers/nvme/nvme.h"
#include "drivers/nvme_disk/nvme_ana.h"

namespace pollux {

class NvmePath;

// A disk's way over one path: the namespace as the path's controller has it. The control loop's;
// channels read what does not change.
struct NvmeRoute {
  NvmeRoute(NvmePath& its_path, const pollux_nvme_namespace* its_ns) : path(its_path), ns(its_ns) {}

  NvmePath& path;
  // Changes only while the route is retired, and every lane is closed.
  const pollux_nvme_namespace* ns;
  std::array<uint32_t, 4> retry_delays_ms{};  // By CRD of the status. Base figure 94.
  // For I/O without metadata where it is separate: as much as one command can need, to be written
  // into, and of zeroes.
  nvme::Memory metadata{nullptr, nvme::MemoryDeleter{nullptr}};
  uint32_t metadata_blocks = 0;  // How many it is enough for.
  std::byte* metadata_sink = nullptr;
  std::byte* metadata_zeroes = nullptr;
  bool retired = false;         // The namespace has gone from this path, and may come back.
  bool reports_access = false;  // By the ANA log page.
};

}  // namespace pollux
