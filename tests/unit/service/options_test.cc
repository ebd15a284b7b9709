#include "service/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pollux::service {
namespace {

std::string ErrorOf(const std::vector<std::string>& arguments) {
  const auto options = ParseDaemonOptions(arguments);
  return options.ok() ? "" : std::string(options.status().message());
}

TEST(ParseCores, ReadsMasksAndLists) {
  EXPECT_EQ(*ParseCores("0x1"), std::vector<int>({0}));
  EXPECT_EQ(*ParseCores("1"), std::vector<int>({0}));
  EXPECT_EQ(*ParseCores("[0]"), std::vector<int>({0}));
  EXPECT_EQ(*ParseCores("[0-0,0]"), std::vector<int>({0}));
}

TEST(ParseCores, RefusesWhatNamesNoCore) {
  for (const char* text :
       {"", "0x0", "[]", "[a]", "[1-0]", "[-1]", "x", "[0", "[99999]", "[0,,x]"}) {
    EXPECT_FALSE(ParseCores(text).ok()) << text;
  }
}

TEST(ParseCores, RefusesACoreThatIsNotThere) {
  const auto cores = ParseCores("[1000]");
  ASSERT_FALSE(cores.ok());
  EXPECT_THAT(std::string(cores.status().message()), testing::HasSubstr("core 1000 is not there"));
}

TEST(ParseDaemonOptions, HasDefaults) {
  const auto options = ParseDaemonOptions({});
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->cores.size(), 1u);
  EXPECT_EQ(options->rpc_sockets, std::vector<std::string>({DefaultRpcSocket()}));
  EXPECT_EQ(options->state_dir, DefaultStateDirectory());
  EXPECT_FALSE(options->poll);
}

TEST(ParseDaemonOptions, TakesValuesAttachedOrApart) {
  const auto options = ParseDaemonOptions(
      {"-r", "/a", "--rpc-socket=/b", "--spdk-compat", "--no-state", "--mem-mib=64"});
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->rpc_sockets, std::vector<std::string>({"/a", "/b", "/var/tmp/spdk.sock"}));
  EXPECT_EQ(options->state_dir, std::nullopt);
  EXPECT_EQ(options->mem_mib, 64u);
}

TEST(ParseDaemonOptions, SaysWhatIsWrong) {
  EXPECT_EQ(ErrorOf({"--frobnicate"}), "unknown option '--frobnicate'; see polluxd --help");
  EXPECT_EQ(ErrorOf({"-m"}), "-m needs a value");
  EXPECT_EQ(ErrorOf({"--poll=yes"}), "--poll 'yes': takes no value");
  EXPECT_EQ(ErrorOf({"--hugepages", "maybe"}), "--hugepages 'maybe': must be auto, on or off");
  EXPECT_EQ(ErrorOf({"--mem-mib", "64k"}), "--mem-mib '64k': is not a number");
  EXPECT_EQ(ErrorOf({"--state-dir", "/x", "--no-state"}),
            "--state-dir and --no-state exclude each other");
}

TEST(ParseDaemonOptions, RefusesFacesThatAreNotServedYet) {
  EXPECT_EQ(ErrorOf({"--grpc", "off", "--http", "off"}), "");
  EXPECT_THAT(ErrorOf({"--grpc", "127.0.0.1:5000"}), testing::HasSubstr("only 'off' is accepted"));
  EXPECT_THAT(ErrorOf({"--http", "127.0.0.1:80"}), testing::HasSubstr("only 'off' is accepted"));
}

}  // namespace
}  // namespace pollux::service
