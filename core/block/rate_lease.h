#pragma once
#include <cstdint>

#include "core/block/rate_bucket.h"

namespace pollux {

// What one reactor has taken from a bucket and not used yet: about a millisecond's worth at a time,
// so that the bucket, which all reactors write, is seldom asked.
class RateLease {
 public:
  static constexpr uint64_t kSlicesPerSecond = 1000;

  // Null: there is no limit.
  void Use(RateBucket* bucket);
  // Whether so much may be spent now.
  bool Has(uint64_t amount) const { return amount <= left_; }
  void Spend(uint64_t amount) { left_ -= amount; }
  // Sees to it that so much may be spent, now or later, and says from when on.
  uint64_t Reserve(uint64_t amount, uint64_t now_ns);
  // Takes what would have been its due since then, had it come in time.
  void CatchUp(uint64_t since_ns, uint64_t now_ns);
  // Others may have what is left.
  void GiveBack();

 private:
  static constexpr uint64_t kNoLimit = UINT64_MAX;  // It does not end while the device lives.

  RateBucket* bucket_ = nullptr;
  uint64_t left_ = kNoLimit;
  uint64_t ahead_ = 0;  // What may be spent from `from_ns_` on.
  uint64_t from_ns_ = 0;
};

}  // namespace pollux
