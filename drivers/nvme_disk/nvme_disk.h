#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/block/block_device.h"
#include "core/memory/memory.h"
#include "core/memory/reactor_buffers.h"
#include "core/reactors.h"
#include "core/status.h"
#include "core/task.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme_disk/nvme_channel.h"
#include "drivers/nvme_disk/nvme_options.h"
#include "drivers/nvme_disk/nvme_route.h"

namespace pollux {

class NvmePath;

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
  bool count_paths = false;   // I/O by path.
  NvmePathChoice choice;
};

// A namespace of an NVM subsystem, reached by one path or more. It has no reset of its own: a reset
// of the disk aborts what is in flight, and where the device does not end that in time the whole
// controller is reset.
//
// What changes paths runs on the control loop, one at a time, while the disk is registered; paths
// outlive their time with the disk.
class NvmeDisk final : public BlockDevice {
 public:
  // NotSupported: a namespace that is no disk (zones, another command set), or whose blocks are
  // none that we can serve. Control loop.
  static Result<std::unique_ptr<NvmeDisk>> Make(const NvmeDiskOptions& options, NvmePath& path,
                                                const pollux_nvme_namespace* ns);

  // One more. EINVAL when the namespace there is another one, or cannot do what this one can.
  Task<Status> AddPath(NvmePath& path, const pollux_nvme_namespace* ns);
  // No I/O begins there any more; what is under way ends by itself.
  Task<void> ClosePath(NvmePath& path);
  // Nothing is under way there any more: it is forgotten.
  Task<void> RemovePath(NvmePath& path);
  // That is not closed.
  bool HasPath(const NvmePath& path) const { return RouteOf(path) != nullptr; }
  // That is not forgotten.
  bool KnowsPath(const NvmePath& path) const;
  // Whether it can do without this one.
  bool HasOther(const NvmePath& path) const;
  // The path says something else of how well it reaches the namespace.
  Task<void> UpdateAccess(NvmePath& path);

  const NvmePathChoice& choice() const { return choice_; }
  Task<void> SetChoice(NvmePathChoice choice);
  Task<void> SetPreferred(NvmePath& path);

  // Each reactor's way over each path.
  struct LaneInfo {
    NvmePath* path;
    size_t reactor;
    NvmeChannel::LaneInfo lane;
  };
  Task<std::vector<LaneInfo>> Lanes();

  // {"nvme":[...],"mp_policy":"active_passive"}
  std::string DriverSpecificJson() const override;
  // {"nvme_error":{"status_type":{...},"status_code":{...}}}, when errors are counted.
  std::string StatisticsJson() const override;

 private:
  NvmeDisk(const NvmeDiskOptions& options, NvmePath& path, const pollux_nvme_namespace* ns,
           const Geometry& geometry, Uuid uuid);
  void DescribeLimits(const pollux_nvme_namespace_info& info);
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override;
  // The device has that many already.
  Status CheckResize(uint64_t) const override { return OkStatus(); }

  Result<std::unique_ptr<NvmeRoute>> MakeRoute(NvmePath& path,
                                               const pollux_nvme_namespace* ns) const;
  Status CheckSame(const pollux_nvme_namespace_info& info, const NvmePath& path) const;
  static NvmeAccess AccessBy(const NvmeRoute& route);
  NvmeRoute* RouteOf(const NvmePath& path) const;
  NvmeRoute* RetiredRouteOf(const NvmePath& path, const pollux_nvme_namespace_info& info) const;
  // On each reactor, one after the other.
  template <typename Step>
  Task<void> OnChannels(Step step);

  Reactors& reactors_;
  const NvmeDiskOptions options_;
  NvmePathChoice choice_;
  NvmeNamespaceFacts facts_;
  std::vector<std::unique_ptr<NvmeRoute>> routes_;
  const NvmeRoute* preferred_ = nullptr;
};

}  // namespace pollux
