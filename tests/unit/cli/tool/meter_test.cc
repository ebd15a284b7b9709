#include "cli/tool/meter.h"

#include <gtest/gtest.h>

namespace pollux::cli {
namespace {

TEST(Meter, IsReadAndSubtracted) {
  Meter meter;
  meter.Add(100, 8);
  const Reading before(meter);
  meter.Add(300, 16);
  Reading since(meter);
  EXPECT_EQ(since.count, 2u);
  EXPECT_EQ(since.MeanNs(), 200);
  since.Subtract(before);
  EXPECT_EQ(since.count, 1u);
  EXPECT_EQ(since.bytes, 16u);
  EXPECT_EQ(since.MeanNs(), 300);
  EXPECT_EQ(since.min_ns, 100u);  // Of the whole.
}

TEST(Meter, APercentileIsNotBeyondTheLargest) {
  Meter meter;
  for (uint64_t ns = 1000; ns < 2000; ++ns) meter.Add(ns, 1);
  const Reading reading(meter);
  EXPECT_EQ(reading.PercentileNs(1), 1999u);
  EXPECT_NEAR(static_cast<double>(reading.PercentileNs(0.5)), 1500, 12);
}

TEST(Meter, NothingIsShownOfNothing) {
  const Reading nothing;
  EXPECT_EQ(nothing.MeanNs(), 0);
  EXPECT_EQ(PerSecond(10, 0), 0);
  Meter meter;
  meter.Add(5, 1);
  const Reading one(meter);
  const std::string table = LatencyTable({{"one", &one}, {"none", &nothing}});
  EXPECT_NE(table.find("one"), std::string::npos);
  EXPECT_EQ(table.find("none"), std::string::npos);
  JsonWriter out;
  WriteReading(out, "ios", "iops", nothing, 1);
  EXPECT_NE(out.Take().find("\"latency_ns\": {}"), std::string::npos);
}

}  // namespace
}  // namespace pollux::cli
