#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "core/unique_fd.h"
#include "drivers/pci/host_files.h"
#include "drivers/pci/pci_address.h"

namespace pollux::pci {

// What the kernel has made of the functions: disks, network interfaces, nodes in /dev. As it was
// when it was read.
class KernelDevices {
 public:
  explicit KernelDevices(const HostFiles& files);

  // What lives on the function or behind it, when it is a bridge. Disks are whole ones, not
  // partitions; one that several paths lead to is that of each of them.
  std::vector<std::string> Disks(const PciAddress& address) const;     // "nvme0n1"
  std::vector<std::string> Networks(const PciAddress& address) const;  // "eth0"
  std::vector<std::string> Nodes(const PciAddress& address) const;     // "/dev/nvme0"

 private:
  struct Device {
    std::string path;  // In /sys/devices.
    std::string name;
  };
  static std::vector<std::string> Below(const std::vector<Device>& devices,
                                        const PciAddress& address);

  std::vector<Device> disks_;
  std::vector<Device> networks_;
  std::vector<Device> nodes_;
};

// Proof that nobody uses a function, for as long as it lives: its disks are held exclusively, so
// that nobody mounts one in the meantime.
struct IdleProof {
  std::vector<UniqueFd> disks;
};

// EBUSY, with who and where, when a disk of the function is mounted, swapped to, part of a device
// mapper, RAID or LVM device, or open; when a network interface of it is up; when one of `nodes`
// (its own and that of its VFIO group) is open.
Result<IdleProof> ProveIdle(const HostFiles& files, const PciAddress& address,
                            const std::vector<std::string>& nodes);

// "\040" and the like, by which /proc/mounts and its kin write blanks, undone.
std::string UnescapeMount(std::string_view text);

}  // namespace pollux::pci
