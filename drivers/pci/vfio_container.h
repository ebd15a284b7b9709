#pragma once
#include <memory>
#include <string>

#include "core/status.h"
#include "core/unique_fd.h"
#include "drivers/pci/dma_map.h"
#include "drivers/pci/host_files.h"
#include "drivers/pci/iova_space.h"

namespace pollux::pci {

// A VFIO container: an I/O address space that its groups share, and the memory in it. All devices
// of the process are in one where the hardware lets them, so that memory is pinned and mapped once.
// VFIO type 1, version 2; Documentation/driver-api/vfio.rst.
//
// The control thread's. Groups hold it; it has no IOMMU, and maps nothing, before the first one.
class VfioContainer final : public DmaMapper {
 public:
  // No IOMMU: VFIO then only hands out the device, which can reach all memory of the machine.
  enum class Kind { kIommu, kNoIommu };

  static Result<std::unique_ptr<VfioContainer>> Open(const HostFiles& files, Kind kind);

  // Puts a group in. Its error EINVAL with a group that is in order: it cannot share this
  // container.
  Status AddGroup(int group_fd);
  // Gives the groups' devices all memory of the registry, from now on.
  Status StartDma(RegionRegistry& registry);

  Kind kind() const { return kind_; }
  DmaMap& dma() { return *dma_; }

  Result<Mapping> Map(const Region& region) override;
  void Unmap(const Region& region, const Mapping& mapping) override;
  bool pins_pages() const override { return true; }

 private:
  VfioContainer(const HostFiles& files, Kind kind, UniqueFd fd);

  const HostFiles& files_;
  const Kind kind_;
  const UniqueFd fd_;
  bool has_iommu_set_ = false;
  IovaSpace space_;
  std::unique_ptr<DmaMap> dma_;  // Ends first: it unmaps.
};

}  // namespace pollux::pci
