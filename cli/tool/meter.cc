#include "cli/tool/meter.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "cli/tool/units.h"

namespace pollux::cli {
namespace {

constexpr double kMiB = 1 << 20;

}  // namespace

Reading::Reading(const Meter& from)
    : count(Meter::Get(from.count_)),
      bytes(Meter::Get(from.bytes_)),
      sum_ns(Meter::Get(from.sum_ns_)),
      min_ns(Meter::Get(from.min_ns_)),
      max_ns(Meter::Get(from.max_ns_)),
      latency(from.latency_) {}

void Reading::Add(const Reading& other) {
  count += other.count;
  bytes += other.bytes;
  sum_ns += other.sum_ns;
  min_ns = std::min(min_ns, other.min_ns);
  max_ns = std::max(max_ns, other.max_ns);
  latency.Merge(other.latency);
}

void Reading::Subtract(const Reading& baseline) {
  count -= baseline.count;
  bytes -= baseline.bytes;
  sum_ns -= baseline.sum_ns;
  latency.Subtract(baseline.latency);
}

double Reading::MeanNs() const {
  return count == 0 ? 0 : static_cast<double>(sum_ns) / static_cast<double>(count);
}

uint64_t Reading::PercentileNs(double fraction) const {
  return std::min(latency.Percentile(fraction), max_ns);
}

std::string PercentileName(double fraction) { return absl::StrFormat("p%g", fraction * 100); }

double PerSecond(uint64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

std::string RateText(uint64_t count, double seconds) {
  return WithCommas(static_cast<uint64_t>(std::llround(PerSecond(count, seconds))));
}

std::string MiBPerSecondText(uint64_t bytes, double seconds) {
  return absl::StrFormat("%.1f", PerSecond(bytes, seconds) / kMiB);
}

std::string MeanText(const Reading& reading) {
  return TimeText(static_cast<uint64_t>(reading.MeanNs()));
}

std::string RateHeading(const char* rate) {
  return absl::StrFormat("%12s %10s %8s %8s %8s %8s", rate, "MiB per s", "average", "p50", "p99",
                         "p99.99");
}

std::string RateColumns(const Reading& reading, double seconds) {
  return absl::StrFormat("%12s %10s %8s %8s %8s %8s", RateText(reading.count, seconds),
                         MiBPerSecondText(reading.bytes, seconds), MeanText(reading),
                         TimeText(reading.PercentileNs(0.5)), TimeText(reading.PercentileNs(0.99)),
                         TimeText(reading.PercentileNs(0.9999)));
}

std::string RateLine(const char* rate, double at_seconds, double seconds, const Reading& since) {
  return absl::StrFormat("%6.1f s  %12s %s  %9s MiB per s  average %8s  p99 %8s", at_seconds,
                         RateText(since.count, seconds), rate,
                         MiBPerSecondText(since.bytes, seconds), MeanText(since),
                         TimeText(since.latency.Percentile(0.99)));
}

std::string LatencyTable(const std::vector<std::pair<std::string, const Reading*>>& columns) {
  std::vector<const Reading*> shown;
  std::string out = absl::StrFormat("\n%-10s", "Latency");
  for (const auto& [name, reading] : columns) {
    if (reading->count == 0) continue;
    shown.push_back(reading);
    out += absl::StrFormat(" %10s", name);
  }
  out.push_back('\n');
  const auto row = [&](const std::string& name, auto value_ns) {
    out += absl::StrFormat("  %-8s", name);
    for (const Reading* reading : shown) {
      out += absl::StrFormat(" %10s", TimeText(value_ns(*reading)));
    }
    out.push_back('\n');
  };
  row("min", [](const Reading& reading) { return reading.min_ns; });
  row("average", [](const Reading& reading) { return static_cast<uint64_t>(reading.MeanNs()); });
  for (const double fraction : kPercentiles) {
    row(PercentileName(fraction),
        [fraction](const Reading& reading) { return reading.PercentileNs(fraction); });
  }
  row("max", [](const Reading& reading) { return reading.max_ns; });
  return out;
}

void WriteReading(JsonWriter& out, const std::string& what, const std::string& rate,
                  const Reading& reading, double seconds) {
  out.BeginObject();
  out.Key(what);
  out.Number(reading.count);
  out.Field("bytes", reading.bytes);
  out.Key(rate);
  out.Number(PerSecond(reading.count, seconds));
  out.Field("bytes_per_second", PerSecond(reading.bytes, seconds));
  out.Key("latency_ns");
  out.BeginObject();
  if (reading.count > 0) {
    out.Field("min", reading.min_ns);
    out.Field("average", reading.MeanNs());
    for (const double fraction : kPercentiles) {
      out.Key(PercentileName(fraction));
      out.Number(reading.PercentileNs(fraction));
    }
    out.Field("max", reading.max_ns);
  }
  out.EndObject();
  out.EndObject();
}

}  // namespace pollux::cli
