#include "cli/accel_perf/outcome.h"

#include <gtest/gtest.h>
#include <json/json.h>

#include <memory>

namespace pollux::cli {
namespace {

AccelRun Measured(bool by_device, uint32_t bytes, double cpu_ns) {
  AccelRun run{.by_device = by_device, .bytes = bytes, .seconds = 2};
  Meter meter;
  for (int i = 0; i < 100; ++i) meter.Add(2000, bytes);
  run.cores.push_back({.core = 3, .reading = Reading(meter), .busy_ns = 100 * cpu_ns});
  return run;
}

TEST(AccelOutcome, SaysFromWhenOnADeviceSavesTheCpu) {
  AccelOutcome outcome;
  const auto add = [&](uint32_t bytes, double device, double cpu) {
    outcome.runs.push_back(Measured(true, bytes, device));
    outcome.runs.push_back(Measured(false, bytes, cpu));
  };
  add(512, 100, 50);
  EXPECT_EQ(outcome.WorthwhileBytes(), 0u);
  add(1024, 100, 110);
  EXPECT_EQ(outcome.WorthwhileBytes(), 1024u);
  add(2048, 110, 100);
  EXPECT_EQ(outcome.WorthwhileBytes(), 0u) << "a luck of one size";
  add(4096, 110, 200);
  add(8192, 110, 400);
  EXPECT_EQ(outcome.WorthwhileBytes(), 4096u);
  AccelPerfOptions options;
  options.sweep = true;
  EXPECT_NE(ForPeople(options, outcome).find("from 4 KiB on"), std::string::npos);
}

TEST(AccelOutcome, IsJson) {
  AccelOutcome outcome;
  outcome.devices.push_back({"/tmp/ioat", "Ice Lake", 2});
  outcome.runs.push_back(Measured(true, 4096, 70));
  outcome.runs[0].by_module = 90;
  outcome.runs[0].by_cpu = 10;
  outcome.runs[0].cores[0].failures = 1;
  outcome.runs[0].cores[0].first_failure = "copy: byte 3 is 00h, not ffh";
  EXPECT_FALSE(outcome.Good());
  const std::string text = ToJson({}, outcome);
  Json::Value value;
  std::string errors;
  const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
  ASSERT_TRUE(reader->parse(text.data(), text.data() + text.size(), &value, &errors)) << errors;
  const Json::Value& run = value["runs"][0];
  EXPECT_EQ(run["by"].asString(), "device");
  EXPECT_EQ(run["done"]["chains"].asInt(), 100);
  EXPECT_EQ(run["done"]["chains_per_second"].asDouble(), 50);
  EXPECT_EQ(run["cpu_ns_per_chain"].asDouble(), 70);
  EXPECT_EQ(run["operations_by_device"].asInt(), 90);
  EXPECT_EQ(run["first_failure"].asString(), "copy: byte 3 is 00h, not ffh");
  EXPECT_NE(ForPeople({}, outcome).find("failed: copy: byte 3"), std::string::npos);
}

}  // namespace
}  // namespace pollux::cli
