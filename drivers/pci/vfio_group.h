#pragma once
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "core/status.h"
#include "core/unique_fd.h"
#include "drivers/pci/pci_bus.h"
#include "drivers/pci/vfio_container.h"

namespace pollux::pci {

// A VFIO group: the functions that the IOMMU cannot tell apart, and that one process has as a
// whole. The control thread's. Devices hold it, and it holds its container.
class VfioGroup {
 public:
  // Opens the group of a function, which vfio-pci must drive.
  static Result<std::shared_ptr<VfioGroup>> Open(const HostFiles& files,
                                                 const PciFunction& function);

  // Once, before OpenDevice().
  Status Join(std::shared_ptr<VfioContainer> container);
  // EBUSY while it is open already: VFIO would share its interrupts between the two.
  Result<UniqueFd> OpenDevice(const std::string& name);
  void OnDeviceClosed(const std::string& name) { open_.erase(name); }

  int number() const { return number_; }
  bool no_iommu() const { return no_iommu_; }
  const std::shared_ptr<VfioContainer>& container() const { return container_; }

 private:
  VfioGroup(int number, bool no_iommu, UniqueFd fd)
      : number_(number), no_iommu_(no_iommu), fd_(std::move(fd)) {}

  const int number_;
  const bool no_iommu_;
  std::set<std::string> open_;
  const UniqueFd fd_;
  // Ends first: the last group that leaves takes the IOMMU along, in which memory is mapped.
  std::shared_ptr<VfioContainer> container_;
};

}  // namespace pollux::pci
