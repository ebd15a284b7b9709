#include "rpc/spdk_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pollux::rpc {
namespace {

// The calls of a configuration as "subsystem method params", or its error.
std::vector<std::string> Parse(std::string_view text) {
  const auto calls = ParseSpdkConfig(text);
  if (!calls.ok()) return {std::string(calls.status().message())};
  std::vector<std::string> lines;
  for (const ConfiguredCall& entry : *calls) {
    lines.push_back(entry.subsystem + " " + entry.call.method + " " + entry.call.params);
  }
  return lines;
}

TEST(SpdkConfig, ListsTheCallsInOrder) {
  EXPECT_THAT(Parse(R"({"subsystems": [
        {"subsystem": "bdev", "config": [
          {"method": "bdev_set_options", "params": {"bdev_io_pool_size": 65535}},
          {"method": "bdev_wait_for_examine"}]},
        {"subsystem": "scsi", "config": null},
        {"subsystem": "iobuf"},
        {"config": [], "subsystem": "sock"}]})"),
              testing::ElementsAre("bdev bdev_set_options {\"bdev_io_pool_size\":65535}",
                                   "bdev bdev_wait_for_examine {}"));
}

TEST(SpdkConfig, FlattensBatches) {
  EXPECT_THAT(Parse(R"({"subsystems":[{"subsystem":"nvmf","config":[
                        {"method":"a"},[{"method":"b"},[{"method":"c","params":null}]]]}]})"),
              testing::ElementsAre("nvmf a {}", "nvmf b {}", "nvmf c {}"));
}

TEST(SpdkConfig, AllowsCommentsAndOtherMembers) {
  EXPECT_THAT(Parse("// mine\n{\"version\": 2, \"subsystems\": [/* none */]}"), testing::IsEmpty());
}

TEST(SpdkConfig, KeepsEveryDigit) {
  EXPECT_THAT(Parse(R"({"subsystems":[{"subsystem":"s","config":[
                        {"method":"m","params":{"n":18446744073709551615}}]}]})"),
              testing::ElementsAre("s m {\"n\":18446744073709551615}"));
}

TEST(SpdkConfig, NamesThePlaceOfWhatIsWrong) {
  const auto error = [](std::string_view text) { return Parse(text).at(0); };
  EXPECT_EQ(error("[]"), "configuration '[]': is no object");
  EXPECT_EQ(error("{}"), "subsystems '': is missing");
  EXPECT_EQ(error(R"({"subsystems": 7})"), "subsystems '7': is no array");
  EXPECT_EQ(error(R"({"subsystems": [[]]})"), "subsystems[0] '[]': is no object");
  EXPECT_EQ(error(R"({"subsystems": [{}]})"), "subsystems[0].subsystem '': is missing");
  EXPECT_EQ(error(R"({"subsystems": [{"subsystem": 1}]})"),
            "subsystems[0].subsystem '1': is no string");
  EXPECT_EQ(error(R"({"subsystems": [{"subsystem": "s", "config": {}}]})"),
            "subsystems[0].config '{}': is no array");
  EXPECT_EQ(error(R"({"subsystems": [{"subsystem": "s", "config": [{}, 3]}]})"),
            "subsystems[0].config[0].method '': is missing");
  EXPECT_EQ(error(R"({"subsystems": [{"subsystem": "s", "config": [{"method":"m"}, 3]}]})"),
            "subsystems[0].config[1] '3': is no object");
  EXPECT_EQ(error(R"({"subsystems":[{"subsystem":"s","config":[{"method":"m","params":[]}]}]})"),
            "subsystems[0].config[0].params '[]': is no object");
}

TEST(SpdkConfig, RefusesWhatIsNoJsonAtEveryCut) {
  const std::string whole =
      R"({"subsystems":[{"subsystem":"s","config":[{"method":"m","params":{"a":[1,"x"]}}]}]})";
  ASSERT_TRUE(ParseSpdkConfig(whole).ok());
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(ParseSpdkConfig(whole.substr(0, length)).ok()) << length;
  }
  EXPECT_FALSE(ParseSpdkConfig(std::string(100, '[')).ok());
}

}  // namespace
}  // namespace pollux::rpc
