#include "drivers/pci/vfio_host.h"

#include <utility>

#include "core/log.h"
#include "drivers/pci/pci_bus.h"
#include "drivers/pci/vfio_device.h"

namespace pollux::pci {

Result<std::unique_ptr<PciDevice>> VfioHost::Open(const PciAddress& address) {
  ASSIGN_OR_RETURN(const PciFunction function, PciBus(files_).Find(address));
  if (function.no_iommu && !options_.no_iommu) {
    return PermissionDenied(
        "%s is in VFIO's no-IOMMU mode, where nothing keeps a device from any memory: it is taken "
        "only when asked for",
        ToString(address));
  }
  ASSIGN_OR_RETURN(std::shared_ptr<VfioGroup> group, OpenGroup(function));
  RETURN_IF_ERROR(group->container()->StartDma(registry_));
  return VfioDevice::Open(std::move(group), function);
}

Result<std::shared_ptr<VfioGroup>> VfioHost::OpenGroup(const PciFunction& function) {
  std::erase_if(groups_, [](const std::weak_ptr<VfioGroup>& group) { return group.expired(); });
  for (const std::weak_ptr<VfioGroup>& known : groups_) {
    std::shared_ptr<VfioGroup> group = known.lock();
    if (group->number() == function.iommu_group) return group;
  }
  ASSIGN_OR_RETURN(std::shared_ptr<VfioGroup> group, VfioGroup::Open(files_, function));
  RETURN_IF_ERROR(JoinContainer(*group));
  groups_.push_back(group);
  return group;
}

Status VfioHost::JoinContainer(VfioGroup& group) {
  const auto kind = group.no_iommu() ? VfioContainer::Kind::kNoIommu : VfioContainer::Kind::kIommu;
  for (const std::weak_ptr<VfioGroup>& known : groups_) {
    const std::shared_ptr<VfioContainer> container = known.lock()->container();
    if (container->kind() != kind) continue;
    const Status joined = group.Join(container);
    if (joined.ok()) return OkStatus();
    // Another IOMMU, which cannot do what is mapped already. The group gets a container of its own.
    LogInfo("pci", "IOMMU group %d cannot share a container: %s", group.number(),
            std::string(joined.message()));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<VfioContainer> container, VfioContainer::Open(files_, kind));
  return group.Join(std::move(container));
}

}  // namespace pollux::pci
