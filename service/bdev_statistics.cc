#include "service/bdev_statistics.h"

#include <algorithm>

#include "core/reactors.h"

namespace pollux::service {
namespace {

uint64_t Load(const std::atomic<uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}

IoStatistics::PerType Read(const IoCounters::PerType& counters) {
  return {.operations = Load(counters.operations),
          .bytes = Load(counters.bytes),
          .latency_ns = Load(counters.latency_ns),
          .latency_max_ns = Load(counters.latency_max_ns),
          .latency_min_ns = Load(counters.latency_min_ns)};
}

IoStatistics Read(const BlockChannel& channel) {
  const IoCounters& counters = channel.counters();
  IoStatistics result{.read = Read(counters.read),
                      .write = Read(counters.write),
                      .unmap = Read(counters.unmap),
                      .errors = {},
                      .timed_out = Load(counters.timed_out)};
  for (size_t i = 0; i < result.errors.size(); ++i) result.errors[i] = Load(counters.errors[i]);
  return result;
}

void Add(IoStatistics::PerType& sum, const IoStatistics::PerType& other) {
  sum.operations += other.operations;
  sum.bytes += other.bytes;
  sum.latency_ns += other.latency_ns;
  sum.latency_max_ns = std::max(sum.latency_max_ns, other.latency_max_ns);
  if (other.latency_min_ns != 0 &&
      (sum.latency_min_ns == 0 || other.latency_min_ns < sum.latency_min_ns)) {
    sum.latency_min_ns = other.latency_min_ns;
  }
}

void Subtract(IoStatistics::PerType& value, const IoStatistics::PerType& baseline) {
  value.operations -= baseline.operations;
  value.bytes -= baseline.bytes;
  value.latency_ns -= baseline.latency_ns;
}

}  // namespace

void IoStatistics::Add(const IoStatistics& other) {
  service::Add(read, other.read);
  service::Add(write, other.write);
  service::Add(unmap, other.unmap);
  for (size_t i = 0; i < errors.size(); ++i) errors[i] += other.errors[i];
  timed_out += other.timed_out;
}

std::vector<IoStatistics> BdevStatistics::PerChannel(BlockDevice& device, size_t reactors) const {
  const auto baseline = baselines_.find(device.name());
  std::vector<IoStatistics> result(reactors);
  for (size_t i = 0; i < reactors; ++i) {
    const BlockChannel* channel = device.channel(i);
    if (channel == nullptr) continue;
    result[i] = Read(*channel);
    if (baseline == baselines_.end()) continue;
    const IoStatistics& base = baseline->second[i];
    Subtract(result[i].read, base.read);
    Subtract(result[i].write, base.write);
    Subtract(result[i].unmap, base.unmap);
    for (size_t e = 0; e < result[i].errors.size(); ++e) result[i].errors[e] -= base.errors[e];
    result[i].timed_out -= base.timed_out;
  }
  return result;
}

IoStatistics BdevStatistics::Of(BlockDevice& device, size_t reactors) const {
  IoStatistics sum;
  for (const IoStatistics& channel : PerChannel(device, reactors)) sum.Add(channel);
  return sum;
}

Task<void> BdevStatistics::DoReset(DeviceRegistry& devices, std::string name, Reset what) {
  if (what == Reset::kNone) co_return;
  Reactors& reactors = devices.reactors();
  if (what == Reset::kAll || what == Reset::kExtremes) {
    for (size_t i = 0; i < reactors.size(); ++i) {
      // Looked up for each, since the device may go during a wait.
      const Result<BlockDevice*> device = devices.Find(name);
      if (!device.ok() || (*device)->channel(i) == nullptr) co_return;
      auto reset = [channel = (*device)->channel(i)] { channel->ResetExtremes(); };
      co_await RunOn(reactors[i], reset);
    }
  }
  if (what == Reset::kExtremes) co_return;
  const Result<BlockDevice*> device = devices.Find(name);
  if (!device.ok()) co_return;
  std::vector<IoStatistics>& baseline = baselines_[(*device)->name()];
  baseline.resize(reactors.size());
  for (size_t i = 0; i < reactors.size(); ++i) {
    if ((*device)->channel(i) == nullptr) continue;
    const IoStatistics now = Read(*(*device)->channel(i));
    if (what == Reset::kAll) {
      baseline[i] = now;
    } else {
      baseline[i].errors = now.errors;
      baseline[i].timed_out = now.timed_out;
    }
  }
}

}  // namespace pollux::service
