#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/block/latency_histogram.h"
#include "core/clock.h"

namespace pollux::service {

// Base64, as SPDK's scripts expect the buckets of a histogram.
std::string EncodeBuckets(const std::vector<uint64_t>& buckets);

// The answer of a method that shows a histogram: all of them name the fields alike.
template <typename Response>
void Fill(const LatencyHistogram& histogram, Response& response) {
  response.set_histogram(EncodeBuckets(histogram.buckets));
  response.set_granularity(histogram.granularity);
  response.set_min_range(histogram.min_range);
  response.set_max_range(histogram.max_range);
  response.set_tsc_rate(kNsPerSecond);
}

}  // namespace pollux::service
