#include "drivers/pci/vfio_group.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <utility>
#include <vector>

#include "core/check.h"

namespace pollux::pci {
namespace {

Status OpenError(int error_number, const std::string& name, const std::string& node) {
  switch (error_number) {
    case EBUSY:
      return Busy("%s: another process has its VFIO group (%s)", name, node);
    case EACCES:
    case EPERM:
      return PermissionDenied("%s: no permission to open %s", name, node);
    default:
      return ErrorOfErrno(error_number, absl::StrFormat("%s: cannot open %s: %s", name, node,
                                                        strerror(error_number)));
  }
}

std::string Join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

}  // namespace

Result<std::shared_ptr<VfioGroup>> VfioGroup::Open(const HostFiles& files,
                                                   const PciFunction& function) {
  const std::string name = ToString(function.address);
  if (function.driver.compare(0, 5, "vfio-") != 0) {
    return ErrorOfErrno(
        ENODEV,
        absl::StrFormat("%s has %s, not vfio-pci: pollux pci bind %s", name,
                        function.driver.empty() ? "no driver" : "driver " + function.driver, name));
  }
  if (function.iommu_group < 0) {
    return NotSupported(
        "%s has no IOMMU group. Switch the IOMMU on (in the firmware, and intel_iommu=on or "
        "amd_iommu=on for the kernel)",
        name);
  }
  const std::string node = (function.no_iommu ? "/dev/vfio/noiommu-" : "/dev/vfio/") +
                           std::to_string(function.iommu_group);
  UniqueFd fd(open(files.Path(node).c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return OpenError(errno, name, node);
  vfio_group_status status{.argsz = sizeof(status)};
  if (ioctl(fd.get(), VFIO_GROUP_GET_STATUS, &status) != 0) {
    return InternalError("%s: VFIO_GROUP_GET_STATUS: %s", name, strerror(errno));
  }
  if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0) {
    const std::vector<std::string> obstacles = PciBus(files).GroupObstacles(function.iommu_group);
    return Busy(
        "%s shares IOMMU group %d with functions that the kernel drives: %s. All of them must be "
        "bound to vfio-pci, or to nothing",
        name, function.iommu_group, obstacles.empty() ? "unknown ones" : pci::Join(obstacles));
  }
  return std::shared_ptr<VfioGroup>(
      new VfioGroup(function.iommu_group, function.no_iommu, std::move(fd)));
}

Status VfioGroup::Join(std::shared_ptr<VfioContainer> container) {
  CHECK(container_ == nullptr);
  RETURN_IF_ERROR(container->AddGroup(fd_.get()));
  container_ = std::move(container);
  return OkStatus();
}

Result<UniqueFd> VfioGroup::OpenDevice(const std::string& name) {
  if (open_.count(name) != 0) return Busy("%s is attached already", name);
  UniqueFd device(ioctl(fd_.get(), VFIO_GROUP_GET_DEVICE_FD, name.c_str()));
  if (!device.valid()) {
    const int error_number = errno;
    return ErrorOfErrno(error_number, absl::StrFormat("%s: VFIO_GROUP_GET_DEVICE_FD: %s", name,
                                                      strerror(error_number)));
  }
  open_.insert(name);
  return device;
}

}  // namespace pollux::pci
