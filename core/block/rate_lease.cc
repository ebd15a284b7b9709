#include "core/block/rate_lease.h"

#include <algorithm>

namespace pollux {

void RateLease::Use(RateBucket* bucket) {
  bucket_ = bucket;
  left_ = bucket == nullptr ? kNoLimit : 0;
  ahead_ = 0;
}

uint64_t RateLease::Reserve(uint64_t amount, uint64_t now_ns) {
  if (left_ >= amount) return now_ns;
  if (left_ + ahead_ < amount) {
    const uint64_t slice = std::max<uint64_t>(1, bucket_->per_second() / kSlicesPerSecond);
    const uint64_t more = std::max(amount - left_ - ahead_, slice);
    from_ns_ = bucket_->Take(more, now_ns);
    ahead_ += more;
  }
  if (from_ns_ > now_ns) return from_ns_;
  left_ += ahead_;
  ahead_ = 0;
  return now_ns;
}

void RateLease::CatchUp(uint64_t since_ns, uint64_t now_ns) {
  if (bucket_ != nullptr) left_ += bucket_->TakeElapsed(since_ns, now_ns);
}

void RateLease::GiveBack() {
  if (bucket_ != nullptr) bucket_->GiveBack(left_ + ahead_);
  Use(bucket_);
}

}  // namespace pollux
