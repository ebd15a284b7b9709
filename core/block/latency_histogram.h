#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/block/io_request.h"
#include "core/clock.h"
#include "core/histogram.h"
#include "core/status.h"
#include "core/task.h"

namespace pollux {

class BlockDevice;
class DeviceRegistry;

// The parameters of bdev_enable_histogram.
struct LatencyHistogramOptions {
  std::optional<IoType> type;  // Only of this one; absent: of all.
  uint32_t granularity = Histogram::kDefaultShift;
  // What is shown: the ranges from that of min_nsec to that of max_nsec - 1.
  uint64_t min_nsec = 1000;
  uint64_t max_nsec = 120 * kNsPerSecond;
};

// The latencies of a device's I/O on all reactors, in nanoseconds, as SPDK lays out a histogram of
// some ranges: what lies below falls into the first bucket, what lies above into the last.
struct LatencyHistogram {
  uint32_t granularity = 0;
  uint32_t min_range = 0, max_range = 0;
  std::vector<uint64_t> buckets;  // (max_range - min_range + 1) << granularity.

  uint64_t count() const;
  // How many fell into the bucket of `border` and those before it.
  uint64_t CountUntil(uint64_t border) const;
};

// From now on the latencies of the device's I/O are kept. When they were kept before, they begin
// anew. EINVAL names the option that is out of range.
Task<Status> EnableLatencyHistogram(DeviceRegistry& devices, std::string name,
                                    LatencyHistogramOptions options);
Task<Status> DisableLatencyHistogram(DeviceRegistry& devices, std::string name);

// What several histograms of one layout have in common with the ranges of the options.
LatencyHistogram CollectLatencies(const std::vector<std::unique_ptr<Histogram>>& kept,
                                  uint64_t min_nsec, uint64_t max_nsec);

// EFAULT, as SPDK has it, when none is kept. Control loop.
Result<LatencyHistogram> LatencyHistogramOf(const BlockDevice& device);

}  // namespace pollux
