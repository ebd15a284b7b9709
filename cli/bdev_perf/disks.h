#pragma once
#include <memory>
#include <string>
#include <vector>

#include "cli/bdev_perf/disk_spec.h"
#include "core/accel/accel.h"
#include "core/block/device_registry.h"
#include "core/memory/paged_memory.h"
#include "core/memory/reactor_buffers.h"
#include "core/memory/region_registry.h"
#include "core/reactors.h"
#include "core/uring/reactor_rings.h"
#include "drivers/nvme_disk/nvme_controllers.h"

namespace pollux::cli {

// The disks of the command line, with what polluxd would have for them. Control loop only.
class Disks {
 public:
  // All outlive it.
  Disks(Loop& control, Reactors& reactors, RegionRegistry& regions);
  ~Disks();  // After Remove().

  // One disk; of an NVMe controller, all that it has. `block_bytes` of null and memory disks, and
  // of files; 0: 4096, or what suits the file.
  Task<Status> Make(DiskSpec spec, uint32_t block_bytes, bool read_only);
  // In order.
  const std::vector<BlockDevice*>& all() const { return all_; }
  DeviceRegistry& registry() { return registry_; }

  Task<void> Remove();

 private:
  Task<Status> MakeFile(DiskSpec spec, uint32_t block_bytes, bool read_only);
  Task<Status> MakeNvme(DiskSpec spec);
  Task<Status> Register(Result<std::unique_ptr<BlockDevice>> made);

  Loop& control_;
  Reactors& reactors_;
  RegionRegistry& regions_;
  PagedMemory memory_;
  Accel accel_;
  DeviceRegistry registry_;
  std::vector<BlockDevice*> all_;
  std::vector<std::string> own_;  // Names of those that go by themselves.

  // Made with the first disk that needs them.
  ReactorRings rings_;
  std::unique_ptr<ReactorBuffers> file_buffers_, nvme_buffers_;
  std::unique_ptr<NvmeControllers> controllers_;
};

}  // namespace pollux::cli
