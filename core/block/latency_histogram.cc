#include "core/block/latency_histogram.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "core/block/block_device.h"
#include "core/block/device_registry.h"

namespace pollux {
namespace {

Status Check(const LatencyHistogramOptions& options) {
  if (options.granularity < 1 || options.granularity > Histogram::kShiftMax) {
    return InvalidField("granularity", options.granularity, "must be from 1 to %u",
                        Histogram::kShiftMax);
  }
  if (options.min_nsec >= options.max_nsec) {
    return InvalidField("max_nsec", options.max_nsec, "must be more than min_nsec (%u)",
                        options.min_nsec);
  }
  return OkStatus();
}

}  // namespace

Task<Status> EnableLatencyHistogram(DeviceRegistry& devices, std::string name,
                                    LatencyHistogramOptions options) {
  CO_RETURN_IF_ERROR(Check(options));
  DeviceHistograms made;
  made.min_nsec = options.min_nsec;
  made.max_nsec = options.max_nsec;
  made.types = options.type.has_value() ? 1u << static_cast<unsigned>(*options.type) : UINT32_MAX;
  for (size_t i = 0; i < devices.reactors().size(); ++i) {
    made.by_reactor.push_back(std::make_unique<Histogram>(options.granularity));
  }
  co_return co_await devices.SetHistograms(std::move(name), std::move(made));
}

Task<Status> DisableLatencyHistogram(DeviceRegistry& devices, std::string name) {
  DeviceHistograms none;
  co_return co_await devices.SetHistograms(std::move(name), std::move(none));
}

Result<LatencyHistogram> LatencyHistogramOf(const BlockDevice& device) {
  const DeviceHistograms& kept = device.histograms();
  if (kept.by_reactor.empty()) {
    return ErrorOfField(EFAULT, "name", device.name(), "its histogram is not enabled");
  }
  return CollectLatencies(kept.by_reactor, kept.min_nsec, kept.max_nsec);
}

LatencyHistogram CollectLatencies(const std::vector<std::unique_ptr<Histogram>>& kept,
                                  uint64_t min_nsec, uint64_t max_nsec) {
  const Histogram& layout = *kept.front();
  const unsigned shift = layout.bucket_shift();
  LatencyHistogram result;
  result.granularity = shift;
  result.min_range = static_cast<uint32_t>(layout.BucketOf(min_nsec) >> shift);
  result.max_range = static_cast<uint32_t>(layout.BucketOf(max_nsec - 1) >> shift);
  result.buckets.resize((size_t{result.max_range} - result.min_range + 1) << shift);

  const size_t first = size_t{result.min_range} << shift;
  const size_t last = first + result.buckets.size() - 1;
  for (const auto& one : kept) {
    for (size_t i = 0; i < one->bucket_count(); ++i) {
      result.buckets[std::clamp(i, first, last) - first] += one->bucket(i);
    }
  }
  return result;
}

uint64_t LatencyHistogram::count() const {
  return std::accumulate(buckets.begin(), buckets.end(), uint64_t{0});
}

uint64_t LatencyHistogram::CountUntil(uint64_t border) const {
  const size_t first = size_t{min_range} << granularity;
  const size_t place = Histogram(granularity).BucketOf(border);
  if (place < first) return 0;
  const size_t end = std::min(place - first + 1, buckets.size());
  return std::accumulate(buckets.begin(), buckets.begin() + static_cast<ptrdiff_t>(end),
                         uint64_t{0});
}

}  // namespace pollux
