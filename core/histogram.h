#pragma once
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace pollux {

// How many values fell where, log-linear, in SPDK's bucket layout so that its tools can read it:
// ranges that double in width, each cut into 2^bucket_shift buckets of equal width. A value below
// 2^bucket_shift has a bucket of its own; of a larger one the top bucket_shift + 1 bits decide, so
// with the default of 7 a bucket is at most 1/128 of its value wide.
//
//   range 0: 0 ... 127         width 1       range 2: 256 ... 511       width 2
//   range 1: 128 ... 255       width 1       range 3: 512 ... 1023      width 4     and so on
//
// One thread adds, any thread reads: a reader may miss what is being added, and sees no bucket go
// backwards. To start again, a reader keeps a copy and subtracts it. Nothing allocates after
// construction (58 KiB with the default).
class Histogram {
 public:
  static constexpr unsigned kDefaultShift = 7;
  static constexpr unsigned kShiftMax = 10;

  explicit Histogram(unsigned bucket_shift = kDefaultShift);
  Histogram(const Histogram& other);
  Histogram& operator=(const Histogram&) = delete;

  void Add(uint64_t value) {
    std::atomic<uint64_t>& bucket = buckets_[BucketOf(value)];
    bucket.store(bucket.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  // Of the same shift. The histogram that is changed belongs to the caller.
  void Merge(const Histogram& other);
  void Subtract(const Histogram& baseline);

  unsigned bucket_shift() const { return shift_; }
  size_t bucket_count() const { return (size_t{65} - shift_) << shift_; }
  uint64_t bucket(size_t index) const { return buckets_[index].load(std::memory_order_relaxed); }
  size_t BucketOf(uint64_t value) const {
    // A value of range r has lost r - 1 bits, or none in range 0. In either case the buckets before
    // its range and the place in it add up to this.
    const unsigned top_bit = 63u ^ static_cast<unsigned>(std::countl_zero(value | 1ull << shift_));
    const unsigned lost = top_bit - shift_;
    return (size_t{lost} << shift_) + static_cast<size_t>(value >> lost);
  }
  // The smallest and the largest value of a bucket.
  uint64_t FirstOf(size_t bucket) const;
  uint64_t LastOf(size_t bucket) const;

  uint64_t count() const;
  // The value that `fraction` (0 to 1) of all values do not exceed, as the last of its bucket. 0
  // when there are none.
  uint64_t Percentile(double fraction) const;

 private:
  const unsigned shift_;
  const std::unique_ptr<std::atomic<uint64_t>[]> buckets_;
};

}  // namespace pollux
