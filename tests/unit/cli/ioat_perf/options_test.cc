#include "cli/ioat_perf/options.h"

#include <gtest/gtest.h>

#include "core/clock.h"

namespace pollux::cli {
namespace {

struct Parsed {
  IoatPerfOptions options;
  Status status;
};

Parsed Parse(const std::vector<std::string>& words) {
  Parsed parsed;
  const Flags flags = MakeIoatPerfFlags(parsed.options);
  parsed.status = ParseIoatPerfOptions(flags, words, parsed.options);
  return parsed;
}

std::string Refusal(const std::vector<std::string>& words) {
  return std::string(Parse(words).status.message());
}

TEST(IoatPerfOptions, HaveDefaults) {
  const auto [options, status] = Parse({"/tmp/ioat"});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(options.devices, std::vector<std::string>{"/tmp/ioat"});
  EXPECT_EQ(options.operation, IoatOperation::kCopy);
  EXPECT_EQ(options.bytes, 4096u);
  EXPECT_EQ(options.depth, 128u);
  EXPECT_EQ(options.channels, 1u);
  EXPECT_EQ(options.duration_ns, 10 * kNsPerSecond);
  EXPECT_FALSE(options.verify || options.cpu || options.json);
}

TEST(IoatPerfOptions, TakeAllThatThereIs) {
  const auto [options, status] =
      Parse({"-w", "pq",  "-o",    "64k",      "-q",     "8",          "--sources",
             "3",  "-t",  "0.5",   "--warmup", "1",      "--channels", "2",
             "-c", "0-1", "--cpu", "--verify", "--json", "a/b",        "0000:00:04.0"});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(options.operation, IoatOperation::kPq);
  EXPECT_EQ(options.operation_name, "pq");
  EXPECT_EQ(options.bytes, 65536u);
  EXPECT_EQ(options.sources, 3u);
  EXPECT_EQ(options.duration_ns, kNsPerSecond / 2);
  EXPECT_EQ(options.channels, 2u);
  EXPECT_EQ(options.cores, (std::vector<unsigned>{0, 1}));
  EXPECT_TRUE(options.cpu && options.verify && options.json);
  EXPECT_EQ(options.devices.size(), 2u);
}

TEST(IoatPerfOptions, ACountIsABoundOfItsOwn) {
  EXPECT_EQ(Parse({"--operations", "5", "x"}).options.duration_ns, 0u);
}

TEST(IoatPerfOptions, NeedADeviceOrTheCpu) {
  EXPECT_NE(Refusal({}).find("which device"), std::string::npos);
  EXPECT_TRUE(Parse({"--cpu"}).status.ok());
  EXPECT_TRUE(Parse({"--help"}).status.ok());
}

TEST(IoatPerfOptions, RefuseWhatDoesNotFit) {
  EXPECT_NE(Refusal({"-w", "crc", "x"}).find("copy, fill, xor or pq"), std::string::npos);
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"-o", "0", "x"},
                                             {"-o", "65m", "x"},
                                             {"-q", "0", "x"},
                                             {"-q", "4097", "x"},
                                             {"--sources", "1", "x"},
                                             {"--sources", "9", "x"},
                                             {"--channels", "0", "x"},
                                             {"-c", "a", "x"},
                                             {"--nonsense", "x"},
                                             {"--operations", "5", "--warmup", "1", "x"}}) {
    EXPECT_FALSE(Parse(words).status.ok()) << words[0];
  }
}

}  // namespace
}  // namespace pollux::cli
