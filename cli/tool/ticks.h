#pragma once
#include <cstdint>

#include "core/clock.h"

namespace pollux::cli {

// The processor's time stamp counter: the cheapest clock there is, and on every x86-64 of the last
// fifteen years one that runs evenly on all cores.
inline uint64_t Ticks() { return __builtin_ia32_rdtsc(); }

// How long a tick is. Measures against the monotonic clock for `ns`.
inline double MeasureNsPerTick(uint64_t ns = 20 * kNsPerMs) {
  const RealClock clock;
  const uint64_t start_ns = clock.NowNs();
  const uint64_t start = Ticks();
  uint64_t now_ns = start_ns;
  while (now_ns - start_ns < ns) now_ns = clock.NowNs();
  return static_cast<double>(now_ns - start_ns) / static_cast<double>(Ticks() - start);
}

}  // namespace pollux::cli
