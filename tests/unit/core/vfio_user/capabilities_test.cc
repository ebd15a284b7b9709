#include "core/vfio_user/capabilities.h"

#include <gtest/gtest.h>

namespace pollux::vfio_user {
namespace {

Result<Capabilities> Parse(const std::string& json) {
  const std::string with_nul = json + '\0';
  return ParseCapabilities(std::as_bytes(std::span(with_nul)));
}

TEST(CapabilitiesTest, WhatIsAbsentHasTheProtocolsDefault) {
  for (const char* json : {"", "{}", " { } ", R"({"capabilities":{}})", R"({"else":1})"}) {
    const auto parsed = Parse(json);
    ASSERT_TRUE(parsed.ok()) << json;
    EXPECT_EQ(parsed->max_msg_fds, 1u);
    EXPECT_EQ(parsed->max_data_xfer_size, 1u << 20);
    EXPECT_EQ(parsed->max_dma_maps, 65535u);
    EXPECT_EQ(parsed->pgsizes, 4096u);
    EXPECT_FALSE(parsed->write_multiple);
  }
  EXPECT_TRUE(ParseCapabilities({}).ok());
}

TEST(CapabilitiesTest, QemusProposalIsRead) {
  const auto parsed =
      Parse(R"({"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, )"
            R"("max_data_xfer_size": 1048576, "migration": {"max_bitmap_size": 268435456, )"
            R"("pgsize": 4096}, "write_multiple": true}})");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->max_msg_fds, 16u);
  EXPECT_TRUE(parsed->write_multiple);
}

TEST(CapabilitiesTest, UnknownKeysAreSkippedWhateverTheyHold) {
  const auto parsed = Parse(
      R"({"a":[1,-2.5e3,"x\"]}",{"b":[[],{}]}],"capabilities":{"c":null,"d":true,"max_msg_fds":3,)"
      R"("e":{"max_msg_fds":9}},"f":"\\"})");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->max_msg_fds, 3u);
}

TEST(CapabilitiesTest, WhatIsWrittenIsRead) {
  const Capabilities ours{.max_msg_fds = 8,
                          .max_data_xfer_size = 4096,
                          .max_dma_maps = 17,
                          .pgsizes = 0x201000,
                          .write_multiple = true};
  const std::string json = FormatCapabilities(ours);
  EXPECT_EQ(json.back(), '\0');
  const auto parsed = ParseCapabilities(std::as_bytes(std::span(json)));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->max_msg_fds, 8u);
  EXPECT_EQ(parsed->max_data_xfer_size, 4096u);
  EXPECT_EQ(parsed->max_dma_maps, 17u);
  EXPECT_EQ(parsed->pgsizes, 0x201000u);
  EXPECT_TRUE(parsed->write_multiple);
}

TEST(CapabilitiesTest, WhatIsNoJsonIsRefused) {
  for (const char* json : {"{",
                           "}",
                           "[]",
                           "1",
                           "null",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{} x",
                           "{\"a\":tru}",
                           "{\"a\":\"\n\"}",
                           "{\"a\":\"",
                           "{\"a\\",
                           R"({"capabilities":[]})",
                           R"({"capabilities":{"max_msg_fds":-1}})",
                           R"({"capabilities":{"max_msg_fds":1.5}})",
                           R"({"capabilities":{"max_msg_fds":1e1}})",
                           R"({"capabilities":{"max_msg_fds":01}})",
                           R"({"capabilities":{"max_msg_fds":"1"}})",
                           R"({"capabilities":{"max_msg_fds":}})",
                           R"({"capabilities":{"max_msg_fds":1025}})",
                           R"({"capabilities":{"max_dma_maps":18446744073709551616}})",
                           R"({"capabilities":{"write_multiple":1}})"}) {
    EXPECT_FALSE(Parse(json).ok()) << json;
  }
  EXPECT_TRUE(Parse(R"({"capabilities":{"max_dma_maps":18446744073709551615}})").ok());
}

TEST(CapabilitiesTest, NestingAndLengthHaveBounds) {
  const auto nested = [](size_t depth) {
    return R"({"a":)" + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_TRUE(Parse(nested(16)).ok());
  EXPECT_FALSE(Parse(nested(18)).ok());
  EXPECT_FALSE(Parse(nested(1500)).ok());
  EXPECT_TRUE(Parse("{}" + std::string(kVersionJsonBytesMax - 3, ' ')).ok());
  EXPECT_FALSE(Parse("{}" + std::string(kVersionJsonBytesMax - 2, ' ')).ok());
}

TEST(CapabilitiesTest, TheNulIsPartOfIt) {
  const std::string json = "{}";
  EXPECT_FALSE(ParseCapabilities(std::as_bytes(std::span(json))).ok());
}

TEST(CapabilitiesTest, EveryCutIsRefused) {
  const std::string json = R"({"capabilities":{"max_msg_fds":3,"x":[{"y":null}]}})";
  for (size_t cut = 1; cut < json.size(); ++cut) EXPECT_FALSE(Parse(json.substr(0, cut)).ok());
}

}  // namespace
}  // namespace pollux::vfio_user
