#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/memory/region_registry.h"
#include "core/memory/registered_memory.h"
#include "core/status.h"
#include "core/task.h"
#include "drivers/nvme/arena.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme/transport.h"
#include "drivers/pci/host_files.h"
#include "drivers/pci/pci_device.h"
#include "drivers/pci/vfio_host.h"
#include "drivers/pci/vfio_user_client.h"

namespace pollux::nvme {

// What this process brings: memory that devices reach, and access to devices. Control thread.
//
// A program that has only nvme.h makes one by pollux_nvme_host_create(), with a region registry and
// memory of its own. polluxd makes one over what it has:
//
//   NvmeHost::Parts parts;
//   parts.registry = &registry;
//   parts.memory = *memory.Allocate("nvme: queues and admin data", kBytes);
//   parts.memory_bytes = kBytes;
//   auto host = std::make_unique<pollux_nvme_host>(std::move(parts));
class NvmeHost {
 public:
  struct Parts {
    RegionRegistry* registry = nullptr;
    // Lies in a region of the registry; queues, lists and pollux_nvme_alloc() are cut from it.
    std::byte* memory = nullptr;
    size_t memory_bytes = 0;
    bool allow_no_iommu = false;
    pci::HostFiles files;          // /sys and /dev.
    const Clock* clock = nullptr;  // Null: the real one.
    // As syslog's priorities. Null: the process's log.
    std::function<void(int priority, const std::string& text)> log;
    // What a function that waits does between two polls. Null: it sleeps for a moment. A test
    // lets its device work, and moves its clock.
    std::function<void()> idle;
  };
  // What a host made by itself, and keeps: its registry and memory.
  struct Own;
  // What `parts` points to outlives the host.
  explicit NvmeHost(Parts parts, std::shared_ptr<Own> own = nullptr);
  ~NvmeHost();  // All controllers have been released.
  NvmeHost(const NvmeHost&) = delete;
  NvmeHost& operator=(const NvmeHost&) = delete;

  // With a registry and memory of its own, as pollux_nvme_host_create() says.
  static Result<std::unique_ptr<pollux_nvme_host>> Create(pollux_nvme_host_options options);

  RegionRegistry& registry() { return *parts_.registry; }
  Arena& arena() { return arena_; }
  const Clock& clock() const { return *parts_.clock; }
  // Of this process, for whoever gives none: made up once.
  const std::array<uint8_t, 16>& host_id() const { return host_id_; }
  const pci::HostFiles& files() const { return files_; }
  void Idle();
  void Log(int priority, const std::string& text) const;

  Status RegisterMemory(std::byte* memory, size_t bytes, int fd, uint64_t fd_offset);
  Status UnregisterMemory(std::byte* memory);

  // Begins to attach what the transport id names.
  Result<pollux_nvme_controller*> Attach(const pollux_nvme_transport_id& id,
                                         const pollux_nvme_attach_options& options);
  // For a loop that has others to serve: connects to a vfio-user server that `id` names, so that
  // the next attach to it need not wait for it to answer. ECANCELED soon after `cancelled` was set.
  // For other transports it does nothing. Whoever calls it keeps the host until it has returned.
  Task<Status> Greet(pollux_nvme_transport_id id, const bool* cancelled);

  // The device that is there, ready to be driven.
  Result<std::unique_ptr<pci::PciDevice>> OpenDevice(const pollux_nvme_transport_id& id);
  // Begins to attach; the transport is made with the controller. The host owns it until Release().
  Result<pollux_nvme_controller*> Attach(const Transport::Maker& make_transport,
                                         const pollux_nvme_transport_id& id,
                                         const pollux_nvme_attach_options& options);
  // A device that somebody opened: the bus, a socket, a test.
  Result<pollux_nvme_controller*> AttachDevice(std::unique_ptr<pci::PciDevice> device,
                                               const pollux_nvme_transport_id& id,
                                               const pollux_nvme_attach_options& options);
  void Release(pollux_nvme_controller* controller);
  size_t controllers() const { return controllers_.size(); }

 private:
  Parts parts_;
  std::shared_ptr<Own> own_;  // Shared, since it is known to host.cc alone.
  Arena arena_;
  const std::array<uint8_t, 16> host_id_;
  RegisteredMemory registered_;
  pci::HostFiles files_;
  pci::VfioHost vfio_;
  std::unique_ptr<pci::VfioUserClient> greeted_;  // By Greet(), and not attached to yet.
  std::vector<std::unique_ptr<pollux_nvme_controller>> controllers_;
};

}  // namespace pollux::nvme

struct pollux_nvme_host final : pollux::nvme::NvmeHost {
  using NvmeHost::NvmeHost;
};
