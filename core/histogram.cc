#include "core/histogram.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace pollux {

Histogram::Histogram(unsigned bucket_shift)
    : shift_(bucket_shift), buckets_(std::make_unique<std::atomic<uint64_t>[]>(bucket_count())) {
  CHECK(bucket_shift >= 1 && bucket_shift <= kShiftMax);
}

Histogram::Histogram(const Histogram& other) : Histogram(other.shift_) { Merge(other); }

uint64_t Histogram::FirstOf(size_t bucket) const {
  const size_t range = bucket >> shift_;
  const uint64_t in_range = bucket & ((uint64_t{1} << shift_) - 1);
  if (range == 0) return in_range;
  return ((uint64_t{1} << shift_) + in_range) << (range - 1);
}

uint64_t Histogram::LastOf(size_t bucket) const {
  return bucket + 1 < bucket_count() ? FirstOf(bucket + 1) - 1 : UINT64_MAX;
}

void Histogram::Merge(const Histogram& other) {
  CHECK(other.shift_ == shift_);
  for (size_t i = 0; i < bucket_count(); ++i) {
    buckets_[i].store(bucket(i) + other.bucket(i), std::memory_order_relaxed);
  }
}

void Histogram::Subtract(const Histogram& baseline) {
  CHECK(baseline.shift_ == shift_);
  for (size_t i = 0; i < bucket_count(); ++i) {
    const uint64_t before = bucket(i);
    buckets_[i].store(before - std::min(before, baseline.bucket(i)), std::memory_order_relaxed);
  }
}

uint64_t Histogram::count() const {
  uint64_t sum = 0;
  for (size_t i = 0; i < bucket_count(); ++i) sum += bucket(i);
  return sum;
}

uint64_t Histogram::Percentile(double fraction) const {
  const uint64_t total = count();
  if (total == 0) return 0;
  const double wanted = std::ceil(std::clamp(fraction, 0.0, 1.0) * static_cast<double>(total));
  const auto rank = std::clamp<uint64_t>(static_cast<uint64_t>(wanted), 1, total);
  uint64_t seen = 0;
  size_t last_used = 0;
  for (size_t i = 0; i < bucket_count(); ++i) {
    if (bucket(i) == 0) continue;
    seen += bucket(i);
    last_used = i;
    if (seen >= rank) break;
  }
  return LastOf(last_used);
}

}  // namespace pollux
