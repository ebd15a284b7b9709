#include "cli/perf/outcome.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <json/reader.h>
#include <json/value.h>

#include <memory>

namespace pollux::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A run of two seconds with one queue: 100 reads of 4 KiB, of 1 to 100 us.
class OutcomeTest : public testing::Test {
 protected:
  OutcomeTest() {
    outcome_.controllers.push_back({"/tmp/x\n", "Model", "SN\xff", "1.0", false});
    Outcome::Queue& queue = outcome_.queues.emplace_back();
    queue.nsid = 1;
    queue.id = 1;
    IoMeters meters;
    for (uint64_t us = 1; us <= 100; ++us) meters.reads.Add(us * 1000, 4096);
    queue.totals.Add(Totals(meters));
    outcome_.seconds = 2;
  }
  Json::Value Json() {
    const std::string text = ToJson(options_, outcome_);
    const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
    Json::Value value;
    std::string errors;
    EXPECT_TRUE(reader->parse(text.data(), text.data() + text.size(), &value, &errors)) << errors;
    return value;
  }

  PerfOptions options_;
  Outcome outcome_;
};

TEST_F(OutcomeTest, TheTableHasRatesAndPercentiles) {
  const std::string text = ForPeople(options_, outcome_);
  EXPECT_THAT(text, AllOf(HasSubstr("randread, 4 KiB, depth 128: 2.00 s"),
                          HasSubstr("          50        0.2"), HasSubstr("average     50.5 us"),
                          HasSubstr("min         1.00 us"), HasSubstr("max          100 us"),
                          HasSubstr("p99.99"), Not(HasSubstr("write")), Not(HasSubstr("total")),
                          HasSubstr("/tmp/x\\x0a"), HasSubstr("SN\\xff")));
}

TEST_F(OutcomeTest, JsonHasTheSame) {
  const Json::Value json = Json();
  EXPECT_EQ(json["total"]["iops"].asDouble(), 50);
  const Json::Value& read = json["queues"][0]["read"];
  EXPECT_EQ(read["ios"].asUInt64(), 100u);
  EXPECT_EQ(read["latency_ns"]["min"].asUInt64(), 1000u);
  EXPECT_NEAR(read["latency_ns"]["p50"].asDouble(), 50'000, 500);
  EXPECT_EQ(read["latency_ns"]["p99.99"].asUInt64(), 100'000u);
  EXPECT_TRUE(json["queues"][0]["write"]["latency_ns"].empty());
}

TEST_F(OutcomeTest, ErrorsAreNamedAndMakeItBad) {
  EXPECT_TRUE(outcome_.Good());
  for (int i = 0; i < 3; ++i) outcome_.queues[0].errors.Add(0x281);
  EXPECT_FALSE(outcome_.Good());
  EXPECT_THAT(ForPeople(options_, outcome_), HasSubstr("Errors: 3 x Unrecovered Read Error"));
  EXPECT_EQ(Json()["total"]["errors_by_status"][0]["count"].asUInt64(), 3u);
}

TEST_F(OutcomeTest, KindsOfErrorsAreBoundedAndAllAreCounted) {
  ErrorCounts sum;
  for (uint16_t code = 1; code <= 100; ++code) outcome_.queues[0].errors.Add(code);
  sum.Add(outcome_.queues[0].errors);
  sum.Add(outcome_.queues[0].errors);
  EXPECT_EQ(sum.total(), 200u);
  EXPECT_EQ(sum.kinds(), ErrorCounts::kKindsMax);
  EXPECT_THAT(sum.Text(), HasSubstr("168 x others"));
}

TEST_F(OutcomeTest, DifferencesAndFailuresMakeItBad) {
  outcome_.queues[0].differences = 1;
  outcome_.first_difference = "byte 8 of LBA 7";
  options_.verify = true;
  EXPECT_FALSE(outcome_.Good());
  EXPECT_THAT(ForPeople(options_, outcome_), HasSubstr("first: byte 8 of LBA 7"));
  outcome_.queues[0].differences = 0;
  outcome_.queues[0].failure = "No such device or address";
  EXPECT_FALSE(outcome_.Good());
  EXPECT_THAT(ForPeople(options_, outcome_), HasSubstr("queue 1 ended early: No such device"));
}

TEST_F(OutcomeTest, ARunOfNoTimeAndNoIoIsTold) {
  outcome_.queues.clear();
  outcome_.queues.emplace_back();
  outcome_.seconds = 0;
  EXPECT_THAT(ForPeople(options_, outcome_), Not(HasSubstr("Latency")));
  EXPECT_EQ(Json()["total"]["iops"].asDouble(), 0);
}

TEST_F(OutcomeTest, TheWarmUpIsSubtracted) {
  IoMeters meters;
  meters.reads.Add(1000, 512);
  const Totals baseline(meters);
  meters.reads.Add(3000, 512);
  Totals totals(meters);
  totals.Subtract(baseline);
  EXPECT_EQ(totals.ios(), 1u);
  EXPECT_EQ(totals.reads.MeanNs(), 3000);
  EXPECT_EQ(totals.Both().latency.count(), 1u);
}

TEST(PercentileNames, AreShort) {
  EXPECT_EQ(PercentileName(0.5), "p50");
  EXPECT_EQ(PercentileName(0.999), "p99.9");
  EXPECT_EQ(PercentileName(0.9999), "p99.99");
}

}  // namespace
}  // namespace pollux::cli
