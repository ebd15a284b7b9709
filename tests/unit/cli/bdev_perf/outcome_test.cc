#include "cli/bdev_perf/outcome.h"

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

// A run of two seconds on one core: 100 reads of 4 KiB, of 1 to 100 us, and a flush.
class BdevOutcomeTest : public testing::Test {
 protected:
  BdevOutcomeTest() {
    outcome_.disks.push_back({"Malloc0", "Malloc disk", 512, 2048});
    for (uint64_t us = 1; us <= 100; ++us) meters_.io.reads.Add(us * 1000, 4096);
    meters_.flushes.Add(500, 0);
    outcome_.seconds = 2;
  }
  void Take() { outcome_.workers.emplace_back().totals.Add(BdevTotals(meters_)); }
  Json::Value Json() {
    const std::string text = ToJson(options_, outcome_);
    const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
    Json::Value value;
    std::string errors;
    EXPECT_TRUE(reader->parse(text.data(), text.data() + text.size(), &value, &errors)) << errors;
    return value;
  }

  BdevPerfOptions options_;
  BdevMeters meters_;
  BdevOutcome outcome_;
};

TEST_F(BdevOutcomeTest, TheTableHasRatesAndOnlyTheKindsThatWere) {
  Take();
  EXPECT_THAT(ForPeople(options_, outcome_),
              AllOf(HasSubstr("randread, 4 KiB, depth 128: 2.00 s"),
                    HasSubstr("Malloc0: Malloc disk, 1 MiB, blocks of 512 bytes"),
                    HasSubstr("flush"), Not(HasSubstr("unmap")), Not(HasSubstr("total"))));
}

TEST_F(BdevOutcomeTest, JsonHasTheSame) {
  Take();
  const Json::Value json = Json();
  EXPECT_EQ(json["total"]["iops"].asDouble(), 50.5);
  EXPECT_EQ(json["total"]["read"]["iops"].asDouble(), 50);
  EXPECT_EQ(json["workers"][0]["read"]["latency_ns"]["p99.99"].asUInt64(), 100'000u);
  EXPECT_EQ(json["workers"][0]["flush"]["ios"].asUInt64(), 1u);
  EXPECT_TRUE(outcome_.Good());
}

TEST_F(BdevOutcomeTest, ErrorsAreNamedAndMakeItBad) {
  for (int i = 0; i < 3; ++i) {
    BdevMeters::CountOne(meters_.errors[static_cast<size_t>(IoStatus::kMediumError)]);
  }
  Take();
  EXPECT_FALSE(outcome_.Good());
  EXPECT_THAT(ForPeople(options_, outcome_), HasSubstr("Errors: 3 x medium error"));
  EXPECT_EQ(Json()["total"]["errors_by_status"]["medium error"].asUInt64(), 3u);
}

TEST_F(BdevOutcomeTest, ADifferenceMakesItBadAndSoDoesAnEarlyEnd) {
  BdevMeters::CountOne(meters_.differences);
  Take();
  EXPECT_FALSE(outcome_.Good());
  outcome_.workers[0].totals.differences = 0;
  EXPECT_TRUE(outcome_.Good());
  outcome_.workers[0].failure = "the disk has gone";
  EXPECT_FALSE(outcome_.Good());
  EXPECT_THAT(ForPeople(options_, outcome_),
              HasSubstr("Malloc0, core 0 ended early: the disk has gone"));
}

TEST_F(BdevOutcomeTest, WhatCameBeforeIsSubtracted) {
  const BdevTotals before(meters_);
  meters_.io.writes.Add(2000, 512);
  meters_.unmaps.Add(700, 4096);
  BdevTotals since(meters_);
  since.Subtract(before);
  EXPECT_EQ(since.All().count, 2u);
  EXPECT_EQ(since.All().bytes, 4608u);
  EXPECT_THAT(BdevProgressLine(1, 1, since), HasSubstr("2 I/Os per s"));
}

}  // namespace
}  // namespace pollux::cli
