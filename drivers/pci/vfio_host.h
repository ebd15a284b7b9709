#pragma once
#include <memory>
#include <vector>

#include "core/memory/region_registry.h"
#include "core/status.h"
#include "drivers/pci/host_files.h"
#include "drivers/pci/pci_address.h"
#include "drivers/pci/pci_device.h"
#include "drivers/pci/vfio_container.h"
#include "drivers/pci/vfio_group.h"

namespace pollux::pci {

// Opens this machine's PCI functions through VFIO, all in one container as far as their IOMMUs
// allow. One per process. The control thread's.
class VfioHost {
 public:
  struct Options {
    // Takes functions also in VFIO's no-IOMMU mode, in which a device reaches all memory: a
    // faulty one overwrites anything, and memory given to it must be in hugepages.
    bool no_iommu = false;
  };
  // The registry and the files outlive it and its devices. Devices may outlive it.
  VfioHost(RegionRegistry& registry, const HostFiles& files, Options options)
      : registry_(registry), files_(files), options_(options) {}

  // The function must be bound to vfio-pci, and in no other process's hands.
  Result<std::unique_ptr<PciDevice>> Open(const PciAddress& address);

 private:
  Result<std::shared_ptr<VfioGroup>> OpenGroup(const PciFunction& function);
  Status JoinContainer(VfioGroup& group);

  RegionRegistry& registry_;
  const HostFiles& files_;
  const Options options_;
  std::vector<std::weak_ptr<VfioGroup>> groups_;
};

}  // namespace pollux::pci
