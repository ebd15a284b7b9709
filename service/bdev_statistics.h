#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/task.h"

namespace pollux::service {

// What bdev_get_iostat tells of one channel, or of all channels of a device.
struct IoStatistics {
  struct PerType {
    uint64_t operations = 0;
    uint64_t bytes = 0;
    uint64_t latency_ns = 0;
    uint64_t latency_max_ns = 0;
    uint64_t latency_min_ns = 0;  // 0: none yet.
  };
  PerType read, write, unmap;
  std::array<uint64_t, kIoStatusCount> errors{};
  uint64_t timed_out = 0;

  void Add(const IoStatistics& other);
};

// The channels' counters have one writer each, their reactors, and are never set back: a reset is a
// baseline kept here, which readers subtract. Only the extremes are reset where they are written.
// Control loop only.
class BdevStatistics final : public DeviceRegistry::Observer {
 public:
  enum class Reset { kNone, kAll, kExtremes, kErrors };

  // One entry per reactor, in order.
  std::vector<IoStatistics> PerChannel(BlockDevice& device, size_t reactors) const;
  IoStatistics Of(BlockDevice& device, size_t reactors) const;
  Task<void> DoReset(DeviceRegistry& devices, std::string name, Reset what);

 private:
  void OnRegistered(BlockDevice&) override {}
  void OnUnregistered(const std::string& name) override { baselines_.erase(name); }
  void OnResized(BlockDevice&) override {}

  std::map<std::string, std::vector<IoStatistics>> baselines_;
};

}  // namespace pollux::service
