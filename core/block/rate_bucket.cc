#include "core/block/rate_bucket.h"

#include <algorithm>

namespace pollux {

// Of the largest I/O at the smallest rate this is centuries, and no more than 64 bits can say.
uint64_t RateBucket::NsOf(uint64_t amount) const {
  using Wide = unsigned __int128;
  const Wide ns = Wide{amount} * 1'000'000'000 / per_second_;
  return static_cast<uint64_t>(std::min<Wide>(ns, UINT64_MAX / 4));
}

uint64_t RateBucket::Take(uint64_t amount, uint64_t now_ns) {
  const uint64_t earliest_ns = now_ns - std::min(now_ns, kCreditNs);
  const uint64_t length_ns = NsOf(amount);
  uint64_t until_ns = taken_until_ns_.load(std::memory_order_relaxed);
  uint64_t begin_ns = 0;
  do {
    // A line that is full for centuries is not made longer.
    begin_ns = std::min(std::max(until_ns, earliest_ns), UINT64_MAX / 2);
  } while (!taken_until_ns_.compare_exchange_weak(until_ns, begin_ns + length_ns,
                                                  std::memory_order_relaxed));
  return begin_ns;
}

uint64_t RateBucket::TakeElapsed(uint64_t since_ns, uint64_t now_ns) {
  uint64_t until_ns = taken_until_ns_.load(std::memory_order_relaxed);
  for (;;) {
    const uint64_t begin_ns = std::max(until_ns, since_ns);
    if (begin_ns >= now_ns) return 0;
    using Wide = unsigned __int128;
    const auto amount =
        static_cast<uint64_t>(Wide{now_ns - begin_ns} * per_second_ / 1'000'000'000);
    // What is not enough for another one is left where it is.
    if (taken_until_ns_.compare_exchange_weak(until_ns, begin_ns + NsOf(amount),
                                              std::memory_order_relaxed)) {
      return amount;
    }
  }
}

void RateBucket::GiveBack(uint64_t amount) {
  const uint64_t length_ns = NsOf(amount);
  uint64_t until_ns = taken_until_ns_.load(std::memory_order_relaxed);
  while (!taken_until_ns_.compare_exchange_weak(until_ns, until_ns - std::min(until_ns, length_ns),
                                                std::memory_order_relaxed)) {
  }
}

}  // namespace pollux
