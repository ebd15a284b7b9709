#include "cli/bdev_perf/bdev_meters.h"

#include <numeric>

namespace pollux::cli {

BdevTotals::BdevTotals(const BdevMeters& from)
    : io(from.io),
      unmaps(from.unmaps),
      flushes(from.flushes),
      differences(from.differences.load(std::memory_order_relaxed)) {
  for (size_t i = 0; i < errors.size(); ++i) {
    errors[i] = from.errors[i].load(std::memory_order_relaxed);
  }
}

void BdevTotals::Add(const BdevTotals& other) {
  io.Add(other.io);
  unmaps.Add(other.unmaps);
  flushes.Add(other.flushes);
  for (size_t i = 0; i < errors.size(); ++i) errors[i] += other.errors[i];
  differences += other.differences;
}

void BdevTotals::Subtract(const BdevTotals& baseline) {
  io.Subtract(baseline.io);
  unmaps.Subtract(baseline.unmaps);
  flushes.Subtract(baseline.flushes);
}

Reading BdevTotals::All() const {
  Reading all = io.Both();
  all.Add(unmaps);
  all.Add(flushes);
  return all;
}

uint64_t BdevTotals::error_count() const {
  return std::accumulate(errors.begin(), errors.end(), uint64_t{0});
}

}  // namespace pollux::cli
