#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cli/tool/json_writer.h"
#include "core/histogram.h"

namespace pollux::cli {

// How often something was done, with how many bytes, and how long it took. Its thread writes, any
// thread reads: a reader takes a Reading before and subtracts it.
class Meter {
 public:
  void Add(uint64_t ns, uint64_t bytes) {
    latency_.Add(ns);
    Put(bytes_, Get(bytes_) + bytes);
    Put(sum_ns_, Get(sum_ns_) + ns);
    if (ns < Get(min_ns_)) Put(min_ns_, ns);
    if (ns > Get(max_ns_)) Put(max_ns_, ns);
    Put(count_, Get(count_) + 1);
  }

 private:
  friend struct Reading;
  static uint64_t Get(const std::atomic<uint64_t>& value) {
    return value.load(std::memory_order_relaxed);
  }
  static void Put(std::atomic<uint64_t>& value, uint64_t to) {
    value.store(to, std::memory_order_relaxed);
  }
  std::atomic<uint64_t> count_{0}, bytes_{0}, sum_ns_{0}, min_ns_{UINT64_MAX}, max_ns_{0};
  Histogram latency_;
};

// A reader's copy, with arithmetic.
struct Reading {
  uint64_t count = 0, bytes = 0, sum_ns = 0, min_ns = UINT64_MAX, max_ns = 0;
  Histogram latency;

  Reading() = default;
  explicit Reading(const Meter& from);
  void Add(const Reading& other);
  // What came since. The extremes stay those of the whole.
  void Subtract(const Reading& baseline);
  double MeanNs() const;
  // A percentile is the end of its bucket; it does not lie beyond the largest value.
  uint64_t PercentileNs(double fraction) const;
};

// The percentiles that are shown, as fractions.
inline constexpr double kPercentiles[] = {0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999};
// "p50", "p99.99".
std::string PercentileName(double fraction);

double PerSecond(uint64_t count, double seconds);
// "12,345" and "1234.5".
std::string RateText(uint64_t count, double seconds);
std::string MiBPerSecondText(uint64_t bytes, double seconds);
std::string MeanText(const Reading& reading);
// Of a table with a row for each of what was measured: rate, throughput, average and percentiles.
// `rate`: how the first column is called.
std::string RateHeading(const char* rate);
std::string RateColumns(const Reading& reading, double seconds);
// "   2.0 s  1,234 I/Os per s ...": what came in `seconds`.
std::string RateLine(const char* rate, double at_seconds, double seconds, const Reading& since);
// A blank line, and one column for each that has something, with a row for each percentile.
std::string LatencyTable(const std::vector<std::pair<std::string, const Reading*>>& columns);
// An object. `what` is its unit: "ios".
void WriteReading(JsonWriter& out, const std::string& what, const std::string& rate,
                  const Reading& reading, double seconds);

}  // namespace pollux::cli
