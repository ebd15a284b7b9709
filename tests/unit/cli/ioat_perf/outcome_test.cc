#include "cli/ioat_perf/outcome.h"

#include <gtest/gtest.h>
#include <json/json.h>

#include <memory>

namespace pollux::cli {
namespace {

// One channel of a device, and the CPU.
class IoatOutcomeTest : public testing::Test {
 protected:
  IoatOutcomeTest() {
    outcome_.devices.push_back({.address = "/tmp/ioat",
                                .model = "Ice Lake",
                                .version = 0x34,
                                .transfer_bytes_max = 1 << 20});
    Meter fast, slow;
    for (int i = 0; i < 100; ++i) fast.Add(2000, 4096);
    for (int i = 0; i < 50; ++i) slow.Add(4000, 4096);
    Add(0, fast);
    Add(-1, slow);
  }
  void Add(int device, const Meter& meter) {
    IoatOutcome::Channel& channel = outcome_.channels.emplace_back();
    channel.device = device;
    channel.depth = 8;
    channel.seconds = 2;
    channel.reading.Add(Reading(meter));
    channel.driver.doorbells = 17;
  }
  Json::Value AsJson() {
    Json::Value value;
    const std::string text = ToJson(options_, outcome_);
    std::string errors;
    const std::unique_ptr<Json::CharReader> reader(Json::CharReaderBuilder().newCharReader());
    EXPECT_TRUE(reader->parse(text.data(), text.data() + text.size(), &value, &errors)) << errors;
    return value;
  }
  bool Shows(const std::string& text) {
    const std::string shown = ForPeople(options_, outcome_);
    return shown.find(text) != std::string::npos;
  }

  IoatPerfOptions options_;
  IoatOutcome outcome_;
};

TEST_F(IoatOutcomeTest, TellsDeviceAndCpuApart) {
  EXPECT_EQ(outcome_.Sum(false).reading.count, 100u);
  EXPECT_EQ(outcome_.Sum(true).reading.count, 50u);
  const Json::Value value = AsJson();
  EXPECT_EQ(value["device"]["done"]["operations_per_second"].asDouble(), 50);
  EXPECT_EQ(value["cpu"]["done"]["operations_per_second"].asDouble(), 25);
  EXPECT_EQ(value["device"]["done"]["bytes"].asUInt64(), 409600u);
  EXPECT_EQ(value["device"]["done"]["latency_ns"]["p99.99"].asUInt64(), 2000u);
  EXPECT_EQ(value["devices"][0]["version"].asString(), "3.4");
  EXPECT_EQ(value["channels"][0]["driver"]["doorbells"].asUInt64(), 17u);
  EXPECT_FALSE(value["channels"][1].isMember("driver"));
  EXPECT_EQ(value["channels"][1]["device"].asString(), "cpu");
  EXPECT_TRUE(Shows("/tmp/ioat: Ice Lake, version 3.4, 1 MiB at once"));
  EXPECT_TRUE(Shows("CPU"));
}

TEST_F(IoatOutcomeTest, IsGoodWithoutErrorsDifferencesAndEarlyEnds) {
  EXPECT_TRUE(outcome_.Good());
  outcome_.channels[0].differences = 1;
  EXPECT_FALSE(outcome_.Good());
  outcome_.channels[0].differences = 0;
  outcome_.channels[1].failure = "why";
  EXPECT_FALSE(outcome_.Good());
  EXPECT_TRUE(Shows("CPU, channel 0 ended early: why"));
  outcome_.channels[1].failure = "";
  outcome_.channels[0].error_count = 1;
  EXPECT_FALSE(outcome_.Good());
}

TEST_F(IoatOutcomeTest, NamesErrors) {
  outcome_.channels[0].errors[{POLLUX_IOAT_FAILED, 0x100}] = 3;
  outcome_.channels[0].error_count = 3;
  EXPECT_TRUE(Shows("/tmp/ioat, channel 0: 3 times: failed (CHANERR 100h)"));
  const Json::Value error = AsJson()["channels"][0]["errors_by_status"][0];
  EXPECT_EQ(error["status"].asString(), "failed");
  EXPECT_EQ(error["chanerr"].asUInt(), 0x100u);
  EXPECT_EQ(error["count"].asUInt(), 3u);
}

TEST_F(IoatOutcomeTest, ShowsWhatWasVerified) {
  EXPECT_FALSE(Shows("Verified"));
  options_.verify = true;
  outcome_.channels[0].verified = 1234;
  outcome_.channels[0].differences = 1;
  outcome_.channels[0].first_difference = "byte 5 of the copy is 00 instead of 01";
  EXPECT_TRUE(Shows("Verified: 1,234 results were right, 1 were not"));
  EXPECT_TRUE(Shows("byte 5 of the copy"));
}

TEST_F(IoatOutcomeTest, AControlCharacterOfAnAddressIsNotShown) {
  outcome_.devices[0].address = "/tmp/\033[2J";
  EXPECT_FALSE(Shows("\033"));
  EXPECT_EQ(AsJson()["devices"][0]["address"].asString(), "/tmp/\033[2J");
}

TEST_F(IoatOutcomeTest, ProgressSaysWhoWorks) {
  const Reading& reading = outcome_.channels[0].reading;
  EXPECT_EQ(IoatProgressLine(false, 1, 2, reading, 0).substr(0, 6), "device");
  EXPECT_NE(IoatProgressLine(true, 1, 2, reading, 3).find("3 errors"), std::string::npos);
}

}  // namespace
}  // namespace pollux::cli
