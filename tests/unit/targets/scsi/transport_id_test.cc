#include "targets/scsi/transport_id.h"

#include <gtest/gtest.h>

namespace pollux::scsi {
namespace {

constexpr char kPort[] = "iqn.2024-01.test:host,i,0x00023d000001";

TEST(TransportId, IsAsTheStandardDrawsIt) {
  const std::vector<uint8_t> bytes = EncodeTransportId(kPort);
  EXPECT_EQ(bytes.size() % 4, 0u);
  EXPECT_EQ(bytes[0], 0x45);
  EXPECT_EQ(bytes[1], 0);
  EXPECT_EQ(bytes[2] << 8 | bytes[3], static_cast<int>(bytes.size()) - 4);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(&bytes[4])), kPort);
  const auto parsed = ParseTransportId(bytes);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->initiator_port, kPort);
  EXPECT_EQ(parsed->bytes, bytes.size());
}

TEST(TransportId, NamesAreComparedInLowerCase) {
  const auto parsed = ParseTransportId(EncodeTransportId("iqn.A:B,i,0x00023D00ABCD"));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->initiator_port, "iqn.a:b,i,0x00023d00abcd");
}

TEST(TransportId, TheLongestNameFits) {
  const std::string port = std::string(223, 'x') + ",i,0x00023d000001";
  const auto parsed = ParseTransportId(EncodeTransportId(port));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->initiator_port, port);
}

TEST(TransportId, EveryCutIsRefused) {
  const std::vector<uint8_t> bytes = EncodeTransportId(kPort);
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_FALSE(ParseTransportId(std::span(bytes).first(cut))) << cut;
  }
}

TEST(TransportId, DamageIsRefused) {
  const auto damaged = [](size_t at, uint8_t value) {
    std::vector<uint8_t> bytes = EncodeTransportId(kPort);
    bytes[at] = value;
    return ParseTransportId(bytes).has_value();
  };
  EXPECT_FALSE(damaged(0, 0x05));  // Without an ISID.
  EXPECT_FALSE(damaged(0, 0x44));  // Of another protocol.
  EXPECT_FALSE(damaged(0, 0xc5));
  EXPECT_FALSE(damaged(2, 0x01));
  EXPECT_FALSE(damaged(3, 0x13));
  EXPECT_FALSE(damaged(3, 0x10));
  EXPECT_FALSE(damaged(6, ' '));
  EXPECT_FALSE(damaged(6, 0));
  EXPECT_FALSE(damaged(6, '\n'));
  std::vector<uint8_t> endless = EncodeTransportId(kPort);
  std::fill(endless.begin() + 4, endless.end(), uint8_t{'0'});
  EXPECT_FALSE(ParseTransportId(endless));
  EXPECT_FALSE(ParseTransportId(EncodeTransportId("iqn.a,i,0x00023d00000g")));
  EXPECT_FALSE(ParseTransportId(EncodeTransportId(",i,0x00023d000001")));
  EXPECT_FALSE(ParseTransportId(EncodeTransportId("iqn.2024-01.test:hosthosthost")));
}

}  // namespace
}  // namespace pollux::scsi
