#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "core/block/device_registry.h"
#include "drivers/stacked/stacked_disk.h"

namespace pollux {

inline constexpr char kDelayProduct[] = "delay";
inline constexpr uint64_t kDelayUsMax = 3600ull * 1000 * 1000;

// What is added to the base's own latency, in microseconds, under the names of bdev_delay_create.
// One I/O in a hundred, at random, has the p99 latency instead of the average one.
struct DelayLatencies {
  uint64_t avg_read_latency = 0, p99_read_latency = 0;
  uint64_t avg_write_latency = 0, p99_write_latency = 0;
};

// The parameters of bdev_delay_create, under their names there.
struct DelayOptions {
  std::string name;
  std::string uuid;  // Empty: one that follows from the base's.
  DelayLatencies latencies;
};

// EINVAL names the parameter at fault.
Status CheckLatencies(const DelayLatencies& latencies);

// Ends reads and writes of its base later than the base does; all else at once.
Result<std::unique_ptr<StackedDisk>> MakeDelayDisk(const DelayOptions& options, BlockDevice& base);

// For what is submitted from here on. ENODEV when there is no delay disk of that name.
Status UpdateDelays(DeviceRegistry& devices, const std::string& name,
                    const DelayLatencies& latencies);

}  // namespace pollux
