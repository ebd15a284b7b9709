#pragma once
#include <atomic>
#include <cstdint>

#include "core/block/rate_limits.h"

namespace pollux {

// One limit of one device, for all reactors: so much per second. What is taken lies on a line of
// time, each taker's piece behind the one before, as long as the rate makes it; the line's end is
// the only thing shared. A piece may be used from the time where it begins. So whoever asks is
// served in order, whichever reactor it is on, and no more than the rate is given away.
class RateBucket {
 public:
  // So much of what nobody asked for is kept: it makes up for a reactor that comes late.
  static constexpr uint64_t kCreditNs = 10'000'000;

  explicit RateBucket(uint64_t per_second) : per_second_(per_second) {}  // 0: no limit.

  bool limits() const { return per_second_ != 0; }
  uint64_t per_second() const { return per_second_; }
  // Takes so much, and says from when on it may be used. Any thread.
  uint64_t Take(uint64_t amount, uint64_t now_ns);
  // Takes what nobody has taken of the time from `since_ns` to now, and says how much that is. Any
  // thread.
  uint64_t TakeElapsed(uint64_t since_ns, uint64_t now_ns);
  // What was taken and will not be used. Any thread.
  void GiveBack(uint64_t amount);

 private:
  uint64_t NsOf(uint64_t amount) const;

  const uint64_t per_second_;
  std::atomic<uint64_t> taken_until_ns_{0};
};

// The limits of one device. Made and destroyed on the control loop, used on every reactor.
struct RateBuckets {
  explicit RateBuckets(const RateLimits& limits)
      : ios(limits.rw_ios),
        bytes(limits.rw_bytes),
        read_bytes(limits.r_bytes),
        written_bytes(limits.w_bytes) {}

  RateBucket ios, bytes, read_bytes, written_bytes;
};

}  // namespace pollux
