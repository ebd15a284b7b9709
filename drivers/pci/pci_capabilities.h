#pragma once
#include <cstdint>
#include <optional>

#include "drivers/pci/pci_device.h"

namespace pollux::pci {

// Where a capability (pci_spec::kMsixId) begins in the configuration space, or nullopt. The list is
// the device's: it may be a circle, point anywhere, or be gone.
std::optional<uint32_t> FindCapability(PciDevice& device, uint8_t id);

// Where the device keeps its MSI-X table, which is the kernel's to write.
struct MsixTable {
  int bar = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};
std::optional<MsixTable> FindMsixTable(PciDevice& device);

}  // namespace pollux::pci
