#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/memory/memory.h"
#include "core/memory/region_registry.h"
#include "core/memory/registered_memory.h"
#include "core/status.h"
#include "core/task.h"
#include "drivers/ioat/device.h"
#include "drivers/ioat/ioat.h"
#include "drivers/pci/host_files.h"
#include "drivers/pci/pci_device.h"
#include "drivers/pci/vfio_host.h"
#include "drivers/pci/vfio_user_client.h"

namespace pollux::ioat {

// What this process brings: memory that devices reach, and access to devices. Control thread. A
// program that has only ioat.h makes one with a registry of its own, polluxd over the one it has.
class IoatHost {
 public:
  struct Parts {
    RegionRegistry* registry = nullptr;  // Null: one of its own.
    bool allow_no_iommu = false;         // Memory is then of hugepages.
    pci::HostFiles files;                // /sys and /dev.
    const Clock* clock = nullptr;        // Null: the real one.
    // What a function that waits does between two polls. Null: it sleeps for a moment.
    std::function<void()> idle;
  };
  explicit IoatHost(Parts parts);
  ~IoatHost();  // All devices have been detached.
  IoatHost(const IoatHost&) = delete;
  IoatHost& operator=(const IoatHost&) = delete;

  RegionRegistry& registry() { return registry_; }
  const Clock& clock() const { return *parts_.clock; }
  const pci::HostFiles& files() const { return files_; }
  void Idle();

  Result<std::unique_ptr<SharedPages>> MapPages(const std::string& name, size_t bytes);
  Result<std::byte*> Allocate(size_t bytes);
  void Free(const std::byte* memory);
  Status RegisterMemory(std::byte* memory, size_t bytes, int fd, uint64_t fd_offset);
  Status UnregisterMemory(const std::byte* memory);

  // For a loop that has others to serve: connects to the vfio-user server at `address`, so that the
  // next attach to it need not wait for it to answer. ECANCELED soon after `cancelled` was set; as
  // AttachBegin() where the device is attached already. For a PCI address it does nothing.
  Task<Status> Greet(std::string address, const bool* cancelled);

  // Begin to attach: the device is then polled, and released at last. It may be one that somebody
  // opened: a test.
  Result<pollux_ioat_device*> AttachBegin(const std::string& address,
                                          const pollux_ioat_attach_options& options);
  Result<pollux_ioat_device*> AttachDeviceBegin(std::unique_ptr<pci::PciDevice> pci,
                                                const std::string& address,
                                                const pollux_ioat_attach_options& options);
  // Detached.
  void Release(const pollux_ioat_device& device);
  size_t devices() const { return devices_.size(); }

  // The same, and wait.
  Result<pollux_ioat_device*> Attach(const std::string& address,
                                     const pollux_ioat_attach_options& options);
  Result<pollux_ioat_device*> AttachDevice(std::unique_ptr<pci::PciDevice> pci,
                                           const std::string& address,
                                           const pollux_ioat_attach_options& options);
  Status Detach(pollux_ioat_device& device);

 private:
  Status CheckNew(const std::string& name) const;
  Result<pollux_ioat_device*> Await(Result<pollux_ioat_device*> begun);

  Parts parts_;
  std::unique_ptr<RegionRegistry> own_registry_;
  pci::HostFiles files_;
  RegionRegistry& registry_;
  pci::VfioHost vfio_;
  std::vector<std::unique_ptr<pci::VfioUserClient>>
      greeted_;  // By Greet(), and not attached to yet.
  std::vector<std::unique_ptr<SharedPages>> allocated_;
  RegisteredMemory registered_;
  std::vector<std::unique_ptr<pollux_ioat_device>> devices_;
};

}  // namespace pollux::ioat

struct pollux_ioat_host final : pollux::ioat::IoatHost {
  using IoatHost::IoatHost;
};
