#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/block/block_device.h"
#include "core/memory/memory.h"
#include "core/memory/reactor_buffers.h"
#include "core/status.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme_disk/nvme_channel.h"
#include "drivers/nvme_disk/nvme_queue.h"

namespace pollux {

inline constexpr char kNvmeDiskProduct[] = "NVMe disk";

// What NVMe disks need on every reactor: buffers for data that a device cannot reach where it lies,
// such as the zeroes that the block layer writes. All NVMe disks share them.
MemoryNeed NvmeDiskBuffersNeed(size_t reactors);
Result<std::unique_ptr<ReactorBuffers>> MakeNvmeDiskBuffers(Memory& memory, size_t reactors);

// How a namespace becomes a disk.
struct NvmeDiskOptions {
  std::string name;  // "Nvme0n1"
  bool check_reference_tag = false, check_guard = false;
  int32_t retries_max = 3;    // -1: without limit.
  bool count_errors = false;  // By status, for bdev_get_iostat.
};

// What a disk uses; all of it outlives the disk.
struct NvmeDiskParts {
  pollux_nvme_host* host = nullptr;
  pollux_nvme_controller* controller = nullptr;
  const pollux_nvme_namespace* ns = nullptr;
  const std::vector<std::unique_ptr<NvmeQueue>>* queues = nullptr;  // One per reactor.
  ReactorBuffers* buffers = nullptr;
};

// A namespace of an NVMe controller. It has no reset of its own: a reset of the disk aborts what is
// in flight, and where the device does not end that in time the whole controller is reset.
class NvmeDisk final : public BlockDevice {
 public:
  // NotSupported: a namespace that is no disk (zones, another command set), or whose blocks are
  // none that we can serve. Control loop.
  static Result<std::unique_ptr<NvmeDisk>> Make(const NvmeDiskOptions& options,
                                                const NvmeDiskParts& parts);

  uint32_t nsid() const;
  pollux_nvme_controller* controller() const { return parts_.controller; }

  // {"nvme":[...],"mp_policy":"active_passive"}
  std::string DriverSpecificJson() const override;
  // {"nvme_error":{"status_type":{...},"status_code":{...}}}, when errors are counted.
  std::string StatisticsJson() const override;

 private:
  NvmeDisk(const NvmeDiskOptions& options, const NvmeDiskParts& parts, const Geometry& geometry,
           Uuid uuid);
  Status MakeMetadataMemory();
  void DescribeLimits(const pollux_nvme_namespace_info& info);
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override;
  // The device has that many already.
  Status CheckResize(uint64_t) const override { return OkStatus(); }

  const NvmeDiskParts parts_;
  NvmeNamespaceFacts facts_;
  nvme::Memory metadata_memory_;
};

}  // namespace pollux
