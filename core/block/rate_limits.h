#pragma once
#include <cstdint>

namespace pollux {

// What all users of a device together may do in a second. 0: as much as they can.
struct RateLimits {
  uint64_t rw_ios = 0;    // I/Os that read or change blocks.
  uint64_t rw_bytes = 0;  // Data read and written,
  uint64_t r_bytes = 0;   // read alone,
  uint64_t w_bytes = 0;   // and written alone.

  bool any() const { return rw_ios != 0 || rw_bytes != 0 || r_bytes != 0 || w_bytes != 0; }
  bool operator==(const RateLimits&) const = default;
};

}  // namespace pollux
