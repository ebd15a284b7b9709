#include "service/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/default_paths.h"

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

TEST(ParseDaemonOptions, GrpcIsBesideTheFirstSocketUnlessToldOtherwise) {
  const auto options = ParseDaemonOptions({"-r", "/a/x.sock", "-r", "/a/y.sock"});
  EXPECT_THAT(options->grpc_sockets, testing::ElementsAre("/a/x.sock.grpc"));
  EXPECT_TRUE(options->grpc_tcp.empty());
  const auto told = ParseDaemonOptions({"--grpc", "127.0.0.1:0", "--grpc", "[::1]:1"});
  EXPECT_TRUE(told->grpc_sockets.empty());
  EXPECT_THAT(told->grpc_tcp, testing::ElementsAre("127.0.0.1:0", "[::1]:1"));
  EXPECT_THAT(ParseDaemonOptions({"--grpc=unix:/b"})->grpc_sockets, testing::ElementsAre("/b"));
  EXPECT_TRUE(ParseDaemonOptions({"--grpc", "off"})->grpc_sockets.empty());
  // A socket of JSON-RPC may have the longest path there is.
  const std::string longest = "/" + std::string(106, 'x');
  EXPECT_TRUE(ParseDaemonOptions({"-r", longest})->grpc_sockets.empty());
}

TEST(ParseDaemonOptions, GrpcIsForThisMachineAlone) {
  for (const char* address : {"127.0.0.1", "unix:", "on", ""}) {
    EXPECT_THAT(ErrorOf({"--grpc", address}), testing::HasSubstr("must be unix:PATH, an address"));
  }
  for (const char* address : {"0.0.0.0:1", "192.0.2.1:1", "[::]:1"}) {
    EXPECT_THAT(ErrorOf({"--grpc", address}), testing::HasSubstr("must be a loopback address"));
    EXPECT_EQ(ErrorOf({"--grpc", address, "--grpc-tls-cert", "a", "--grpc-tls-key", "b",
                       "--grpc-tls-ca", "c"}),
              "");
  }
  EXPECT_THAT(ErrorOf({"--grpc", "off", "--grpc", "unix:/b"}), testing::HasSubstr("excludes"));
  EXPECT_THAT(ErrorOf({"--grpc", "unix:/b", "--grpc", "off"}), testing::HasSubstr("excludes"));
}

TEST(ParseDaemonOptions, TlsNeedsAllItsFilesAndAnAddress) {
  for (const char* some : {"--grpc-tls-cert", "--grpc-tls-key", "--grpc-tls-ca"}) {
    EXPECT_THAT(ErrorOf({"--grpc", "127.0.0.1:1", some, "x"}), testing::HasSubstr("go together"));
  }
  const std::vector<std::string> files{"--grpc-tls-cert=a", "--grpc-tls-key=b", "--grpc-tls-ca=c"};
  EXPECT_THAT(ErrorOf(files), testing::HasSubstr("needs a --grpc"));
}

TEST(ParseDaemonOptions, RefusesFacesThatAreNotServedYet) {
  EXPECT_EQ(ErrorOf({"--http", "off"}), "");
  EXPECT_THAT(ErrorOf({"--http", "127.0.0.1:80"}), testing::HasSubstr("only 'off' is accepted"));
}

}  // namespace
}  // namespace pollux::service
