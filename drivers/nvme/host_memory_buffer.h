#pragma once
#include <cstdint>
#include <memory>

#include "core/memory/memory.h"
#include "core/memory/region_registry.h"
#include "core/status.h"
#include "core/task.h"
#include "drivers/nvme/admin.h"
#include "drivers/nvme/identify.h"

namespace pollux::nvme {

// Memory that we lend to a device without DRAM of its own. Base §8.9. It is the device's from
// Offer() until TakeBack(), or until the device is disabled.
class HostMemoryBuffer {
 public:
  // As much as it would like to have, if that is not more than `bytes_max`; else what it needs. OK
  // also when it wants none, or too much. An error when it refused.
  Task<Status> Offer(AdminQueue& admin, pci::DmaMap& dma, RegionRegistry& registry,
                     const ControllerFacts& facts, uint64_t bytes_max);
  Task<Status> TakeBack(AdminQueue& admin);
  bool used() const { return used_; }

 private:
  // Bytes to lend; 0: none.
  static uint64_t Choose(const ControllerFacts& facts, uint64_t bytes_max);
  // Memory, and the list that describes it.
  Status Prepare(AdminQueue& admin, pci::DmaMap& dma, RegionRegistry& registry,
                 const ControllerFacts& facts, uint64_t bytes);

  std::unique_ptr<SharedPages> pages_;
  Piece list_;
  uint32_t entries_ = 0;
  uint64_t list_iova_ = 0, described_bytes_ = 0;
  bool used_ = false;
};

}  // namespace pollux::nvme
