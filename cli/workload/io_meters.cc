#include "cli/workload/io_meters.h"

namespace pollux::cli {

Totals::Totals(const IoMeters& from)
    : reads(from.reads),
      writes(from.writes),
      verified(from.verified.load(std::memory_order_relaxed)) {}

void Totals::Add(const Totals& other) {
  reads.Add(other.reads);
  writes.Add(other.writes);
  verified += other.verified;
}

void Totals::Subtract(const Totals& baseline) {
  reads.Subtract(baseline.reads);
  writes.Subtract(baseline.writes);
  verified -= baseline.verified;
}

Reading Totals::Both() const {
  Reading both;
  both.Add(reads);
  both.Add(writes);
  return both;
}

}  // namespace pollux::cli
