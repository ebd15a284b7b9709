#include "core/histogram.h"

#include <gtest/gtest.h>

#include <thread>

namespace pollux {
namespace {

TEST(HistogramTest, SmallValuesHaveABucketOfTheirOwn) {
  const Histogram h;
  for (uint64_t value = 0; value < 256; ++value) {
    EXPECT_EQ(h.BucketOf(value), value);
    EXPECT_EQ(h.FirstOf(value), value);
    EXPECT_EQ(h.LastOf(value), value);
  }
}

// Computed by hand from the layout: range = bits - 7, index = the seven bits below the top one.
TEST(HistogramTest, LargeValuesFallWhereSpdkPutsThem) {
  const Histogram h;
  EXPECT_EQ(h.BucketOf(256), 2u * 128);
  EXPECT_EQ(h.BucketOf(257), 2u * 128);
  EXPECT_EQ(h.BucketOf(258), 2u * 128 + 1);
  EXPECT_EQ(h.BucketOf(511), 2u * 128 + 127);
  EXPECT_EQ(h.BucketOf(512), 3u * 128);
  EXPECT_EQ(h.BucketOf(1'000'000), (20u - 7) * 128 + (1'000'000 >> 12) - 128);
  EXPECT_EQ(h.BucketOf(UINT64_MAX), 57u * 128 + 127);
  EXPECT_EQ(h.bucket_count(), 58u * 128);
}

TEST(HistogramTest, BucketsCoverEveryValueOnceWithoutGaps) {
  for (unsigned shift = 1; shift <= Histogram::kShiftMax; ++shift) {
    const Histogram h(shift);
    EXPECT_EQ(h.FirstOf(0), 0u);
    for (size_t i = 0; i < h.bucket_count(); ++i) {
      ASSERT_EQ(h.BucketOf(h.FirstOf(i)), i);
      ASSERT_EQ(h.BucketOf(h.LastOf(i)), i);
      ASSERT_EQ(h.FirstOf(i), i == 0 ? 0 : h.LastOf(i - 1) + 1);
    }
    EXPECT_EQ(h.LastOf(h.bucket_count() - 1), UINT64_MAX);
  }
}

TEST(HistogramTest, ABucketIsNarrowForItsValues) {
  const Histogram h;
  for (size_t i = 128; i < h.bucket_count(); ++i) {
    ASSERT_LE(h.LastOf(i) - h.FirstOf(i) + 1, std::max<uint64_t>(h.FirstOf(i) / 128, 1));
  }
}

TEST(HistogramTest, PercentilesAreTheLastOfTheirBucket) {
  Histogram h;
  EXPECT_EQ(h.Percentile(0.5), 0u);
  for (uint64_t value = 1; value <= 100; ++value) h.Add(value);
  EXPECT_EQ(h.count(), 100u);
  EXPECT_EQ(h.Percentile(0), 1u);
  EXPECT_EQ(h.Percentile(0.5), 50u);
  EXPECT_EQ(h.Percentile(0.99), 99u);
  EXPECT_EQ(h.Percentile(1), 100u);
  h.Add(1'000'000);
  EXPECT_EQ(h.Percentile(1), h.LastOf(h.BucketOf(1'000'000)));
}

TEST(HistogramTest, AFractionOutOfRangeIsTheNearestOneInIt) {
  Histogram h;
  h.Add(5);
  h.Add(9);
  EXPECT_EQ(h.Percentile(-1), 5u);
  EXPECT_EQ(h.Percentile(7), 9u);
}

TEST(HistogramTest, MergesReactorsAndSubtractsABaseline) {
  Histogram a, b;
  a.Add(10);
  a.Add(10);
  b.Add(10);
  b.Add(70'000);
  Histogram sum(a);
  sum.Merge(b);
  EXPECT_EQ(sum.count(), 4u);
  EXPECT_EQ(sum.bucket(10), 3u);
  EXPECT_EQ(a.count(), 2u) << "the source is left alone";
  sum.Subtract(a);
  EXPECT_EQ(sum.bucket(10), 1u);
  EXPECT_EQ(sum.count(), 2u);
  // A baseline that was read later than what it is taken from must not turn into a huge number.
  a.Subtract(sum);
  a.Subtract(sum);
  a.Subtract(sum);
  EXPECT_EQ(a.count(), 0u);
}

TEST(HistogramTest, AReaderNeverSeesABucketGoBackwards) {
  Histogram h;
  constexpr uint64_t kAdded = 100'000;
  std::thread writer([&] {
    for (uint64_t i = 0; i < kAdded; ++i) h.Add(42);
  });
  uint64_t last = 0;
  while (last < kAdded) {
    const uint64_t now = h.bucket(42);
    ASSERT_GE(now, last);
    last = now;
  }
  writer.join();
  EXPECT_EQ(h.count(), kAdded);
}

}  // namespace
}  // namespace pollux
