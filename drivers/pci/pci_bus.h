#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "drivers/pci/host_files.h"
#include "drivers/pci/pci_address.h"

namespace pollux::pci {

// One function as Linux shows it in sysfs.
struct PciFunction {
  PciAddress address;
  uint16_t vendor = 0;
  uint16_t device = 0;
  uint16_t subsystem_vendor = 0;
  uint16_t subsystem_device = 0;
  uint32_t class_code = 0;  // Base class, sub-class, programming interface: 0x010802 is NVMe.
  uint8_t revision = 0;
  int numa_node = -1;                      // -1: the machine does not say.
  std::string driver;                      // Empty: none.
  int iommu_group = -1;                    // -1: none, so no VFIO.
  bool no_iommu = false;                   // The group is one of VFIO's no-IOMMU mode.
  std::vector<std::string> device_nodes;   // "/dev/nvme0", "/dev/nvme0n1", "/dev/vfio/12".
  std::vector<std::string> block_devices;  // "nvme0n1", without partitions.
  std::vector<std::string> net_devices;    // "eth0".
};

// The PCI functions of this machine, by sysfs. Holds no state.
class PciBus {
 public:
  // `files` outlives it.
  explicit PciBus(const HostFiles& files) : files_(files) {}

  // By address.
  std::vector<PciFunction> List() const;
  // ENODEV when there is none.
  Result<PciFunction> Find(const PciAddress& address) const;
  // As much as the kernel shows us: 64 bytes without privileges, else 256 or 4096.
  Result<std::string> ReadConfig(const PciAddress& address) const;

  // Hands the function to a driver such as "vfio-pci", which must be loaded, and to no other. When
  // it does not take it, the function is where it was. EBUSY, with the reason, while the function
  // is in use.
  Status Bind(const PciAddress& address, std::string_view driver) const;
  // Takes the function away from its driver; it has none then. EBUSY as above.
  Status Unbind(const PciAddress& address) const;
  // Gives it back to the driver that the kernel chooses.
  Status Restore(const PciAddress& address) const;
  // Function-level reset, or the best that the kernel knows. EBUSY as above.
  Status Reset(const PciAddress& address) const;

  // The functions of an IOMMU group that keep VFIO from it, each as "0000:01:00.1 (driver nvme)".
  std::vector<std::string> GroupObstacles(int iommu_group) const;

 private:
  Status Rebind(const PciFunction& function, std::string_view driver) const;

  const HostFiles& files_;
};

}  // namespace pollux::pci
