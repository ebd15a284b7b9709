// Each key of RFC 7143 §13 with each kind of offer: legal, illegal, repeated, out of its stage, in
// a discovery session, of an initiator that logs in.

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "targets/iscsi/login.h"

namespace pollux::iscsi {
namespace {

using namespace std::string_literals;

// Flags of a login request, from §11.12: T, CSG at bit 2, NSG at bit 0.
constexpr uint8_t kT = 0x80, kSecurity = 0, kOperational = 4, kToOperational = 1,
                  kToFullFeature = 3;

using Offers = std::vector<std::string>;

struct Key {
  const char* name;
  // With the answers; nothing where there is none: the key is a declaration.
  std::vector<std::pair<std::string, std::optional<std::string>>> legal;
  Offers illegal;
  bool irrelevant_to_discovery = true;
  bool in_security_stage = false;  // Or in any.
};

const std::optional<std::string> kNone;
const std::string k256(256, '1');

// What is no number, and no number that any key may have. §6.1
Offers NoNumber(Offers more) {
  const Offers common = {"",   "-1",    "+1",  " 1",         "1 ",  "1.0", "0x",   "0xg",
                         "1h", "1000k", "Yes", "4294967296", "1,2", "1~2", "None", k256};
  more.insert(more.end(), common.begin(), common.end());
  return more;
}
Offers NoBoolean() {
  return {"", "yes", "YES", "no", "Yes ", " No", "True", "0", "1", "Yes,No", "None", k256};
}

// With what the fixture below wishes.
std::vector<Key> AllKeys() {
  return {
      {"HeaderDigest",  // §13.1
       {{"None", "None"},
        {"CRC32C", "CRC32C"},
        {"CRC32C,None", "CRC32C"},
        {"None,CRC32C", "None"},
        {"X-com.example.sum,CRC32C", "CRC32C"}},
       {"", "none", "crc32c", "CRC32", "CRC32C None", ",", "X-com.example.sum", "Yes", k256},
       /*irrelevant_to_discovery=*/false},
      {"DataDigest",  // §13.1
       {{"None", "None"}, {"CRC32C,None", "CRC32C"}, {"Y-sum,None", "None"}},
       {"", "NONE", "CRC32c", "MD5", "No", k256},
       /*irrelevant_to_discovery=*/false},
      {"MaxConnections",  // §13.2
       {{"1", "1"}, {"2", "2"}, {"3", "2"}, {"65535", "2"}, {"0x1", "1"}, {"0X2", "2"}},
       NoNumber({"0", "65536"})},
      {"InitialR2T",  // §13.10, OR
       {{"Yes", "Yes"}, {"No", "No"}},
       NoBoolean()},
      {"ImmediateData",  // §13.11, AND
       {{"Yes", "Yes"}, {"No", "No"}},
       NoBoolean()},
      {"MaxRecvDataSegmentLength",  // §13.12, declared by both
       {{"512", "65536"}, {"0x200", "65536"}, {"16777215", "65536"}},
       NoNumber({"0", "511", "16777216"}),
       /*irrelevant_to_discovery=*/false,
       /*in_security_stage=*/true},
      {"MaxBurstLength",  // §13.13
       {{"512", "512"}, {"1048576", "1048576"}, {"1048577", "1048576"}, {"16777215", "1048576"}},
       NoNumber({"0", "511", "16777216"})},
      {"FirstBurstLength",  // §13.14
       {{"512", "512"}, {"8192", "8192"}, {"8193", "8192"}, {"16777215", "8192"}},
       NoNumber({"0", "511", "16777216"})},
      {"DefaultTime2Wait",  // §13.15, the larger one
       {{"0", "2"}, {"2", "2"}, {"3", "3"}, {"3600", "3600"}},
       NoNumber({"3601"}),
       /*irrelevant_to_discovery=*/false},
      {"DefaultTime2Retain",  // §13.16
       {{"0", "0"}, {"20", "20"}, {"21", "20"}, {"3600", "20"}},
       NoNumber({"3601"}),
       /*irrelevant_to_discovery=*/false},
      {"MaxOutstandingR2T",  // §13.17
       {{"1", "1"}, {"2", "1"}, {"65535", "1"}},
       NoNumber({"0", "65536"})},
      {"DataPDUInOrder",  // §13.18, OR
       {{"Yes", "Yes"}, {"No", "Yes"}},
       NoBoolean()},
      {"DataSequenceInOrder",  // §13.19, OR
       {{"Yes", "Yes"}, {"No", "Yes"}},
       NoBoolean()},
      {"ErrorRecoveryLevel",  // §13.20
       {{"0", "0"}, {"1", "0"}, {"2", "0"}},
       NoNumber({"3"}),
       /*irrelevant_to_discovery=*/false},
      {"TaskReporting",  // §13.23
       {{"RFC3720", "RFC3720"}, {"FastAbort,ResponseFence,RFC3720", "RFC3720"}},
       {"", "rfc3720", "FastAbort", "Yes", k256},
       /*irrelevant_to_discovery=*/false},
      {"iSCSIProtocolLevel",  // §13.24
       {{"0", "1"}, {"1", "1"}, {"2", "1"}, {"31", "1"}},
       NoNumber({"32"}),
       /*irrelevant_to_discovery=*/false},
      {"InitiatorAlias",  // §13.6, declared
       {{"a host", kNone}, {"", kNone}},
       {k256},
       /*irrelevant_to_discovery=*/false,
       /*in_security_stage=*/true},
      // Obsolete, and to be understood: §13.25.
      {"IFMarker", {{"No", "No"}, {"Yes", "No"}}, {}, /*irrelevant_to_discovery=*/false},
      {"OFMarker", {{"No", "No"}, {"Yes", "No"}}, {}, /*irrelevant_to_discovery=*/false},
      {"IFMarkInt", {}, {"2048~8192", "2048", ""}, /*irrelevant_to_discovery=*/false},
      {"OFMarkInt", {}, {"2048~8192", "2048", ""}, /*irrelevant_to_discovery=*/false},
      // Not for an initiator to say, or not in a login: §13.3, §13.7, §13.8, §13.9.
      {"SendTargets", {}, {"All", "", "iqn.2016-06.io.spdk:disk1"}, false},
      {"TargetAlias", {}, {"disk", ""}, false},
      {"TargetAddress", {}, {"127.0.0.1:3260,1"}, false},
      {"TargetPortalGroupTag", {}, {"1", "65536"}, false},
  };
}

class LoginKeysTest : public testing::Test, public Login::Gate {
 protected:
  LoginKeysTest() {
    ours_.max_connections = 2;
    ours_.initial_r2t = false;
    ours_.max_burst_length = 1 << 20;
    ours_.first_burst_length = 8192;
    ours_.max_recv_data_segment_length = 65536;
  }
  void Begin(bool discovery = false) {
    login_.emplace(ours_, *this);
    names_ = "InitiatorName=iqn.2001-04.com.example:host\0"s +
             (discovery ? "SessionType=Discovery\0"s
                        : "SessionType=Normal\0TargetName=iqn.2016-06.io.spdk:disk1\0"s);
  }
  void BeginAfterSecurity() {
    Begin();
    ASSERT_EQ(Send(kT | kSecurity | kToOperational, "").outcome, Login::Outcome::kGoOn);
  }
  Login::Reply Send(uint8_t flags, const std::string& text) {
    LoginRequestPdu request{};
    request.opcode = 0x43;
    request.flags = flags;
    const std::string all = std::exchange(names_, {}) + text;
    request.data_segment_length = static_cast<uint32_t>(all.size());
    return login_->OnRequest(request, all);
  }
  static std::string Pair(const std::string& key, const std::string& value) {
    return key + "=" + value + '\0';
  }
  // What the text says of the key: all of it, should that be more than once.
  static std::optional<std::string> Said(const std::string& text, const std::string& key) {
    std::optional<std::string> said;
    size_t at = 0;
    while (at < text.size()) {
      const std::string pair = text.c_str() + at;
      at += pair.size() + 1;
      if (!pair.starts_with(key + "=")) continue;
      said = (said ? *said + " and " : "") + pair.substr(key.size() + 1);
    }
    return said;
  }
  // The login ends well, with default values where nothing was agreed upon.
  void ExpectToFinish() {
    // What we propose, it accepts.
    Login::Reply reply = Send(kT | kOperational | kToFullFeature, "");
    if (reply.outcome == Login::Outcome::kGoOn) {
      reply = Send(kT | kOperational | kToFullFeature, reply.text);
    }
    EXPECT_EQ(reply.outcome, Login::Outcome::kComplete) << login_->fault();
  }

  Parameters ours_;
  std::optional<Login> login_;

 private:
  Login::Verdict Admit(const Login::Identity&) override { return {.portal_group_tag = 1}; }
  std::string names_;  // Of the first request.
};

TEST_F(LoginKeysTest, LegalOffersAreAnsweredByTheRuleOfTheKey) {
  for (const Key& key : AllKeys()) {
    for (const auto& [offer, answer] : key.legal) {
      SCOPED_TRACE(key.name + "="s + offer);
      BeginAfterSecurity();
      EXPECT_EQ(Said(Send(kOperational, Pair(key.name, offer)).text, key.name), answer);
      ExpectToFinish();
    }
  }
}

TEST_F(LoginKeysTest, IllegalOffersAreRejectedAndChangeNothing) {
  for (const Key& key : AllKeys()) {
    for (const std::string& offer : key.illegal) {
      SCOPED_TRACE(key.name + "="s + offer);
      BeginAfterSecurity();
      const std::string text = Send(kOperational, Pair(key.name, offer)).text;
      const auto said = Said(text, key.name);
      // Of this one we say ours besides.
      if (key.name == "MaxRecvDataSegmentLength"s) {
        EXPECT_EQ(said, "Reject and 65536");
      } else {
        EXPECT_EQ(said, "Reject");
      }
      const Parameters& agreed = login_->parameters();
      EXPECT_EQ(agreed.max_recv_data_segment_length, 8192u);
      EXPECT_EQ(agreed.max_connections, 1u);
      EXPECT_EQ(agreed.max_burst_length, 262144u);
      EXPECT_EQ(agreed.first_burst_length, 65536u);
      EXPECT_EQ(agreed.max_outstanding_r2t, 1u);
      EXPECT_EQ(agreed.default_time2wait, 2u);
      EXPECT_EQ(agreed.default_time2retain, 20u);
      EXPECT_TRUE(agreed.initial_r2t && agreed.immediate_data);
      EXPECT_FALSE(agreed.header_digest || agreed.data_digest);
      ExpectToFinish();
    }
  }
}

TEST_F(LoginKeysTest, AKeyThatIsOfferedTwiceEndsTheLogin) {
  for (const Key& key : AllKeys()) {
    SCOPED_TRACE(key.name);
    const std::string pair =
        Pair(key.name, key.legal.empty() ? key.illegal[0] : key.legal[0].first);
    BeginAfterSecurity();
    const Login::Reply at_once = Send(kOperational, pair + pair);
    EXPECT_EQ(at_once.outcome, Login::Outcome::kFailed);
    EXPECT_EQ(uint16_t{at_once.header.status}, 0x0200);
    BeginAfterSecurity();
    EXPECT_EQ(Send(kOperational, pair).outcome, Login::Outcome::kGoOn);
    const Login::Reply later = Send(kOperational, pair);
    EXPECT_EQ(later.outcome, Login::Outcome::kFailed);
    EXPECT_EQ(uint16_t{later.header.status}, 0x0200);
  }
}

TEST_F(LoginKeysTest, OperationalKeysAreRejectedInTheSecurityStage) {
  for (const Key& key : AllKeys()) {
    if (key.legal.empty()) continue;
    SCOPED_TRACE(key.name);
    Begin();
    const Login::Reply reply = Send(kSecurity, Pair(key.name, key.legal[0].first));
    EXPECT_EQ(reply.outcome, Login::Outcome::kGoOn);
    const auto said = Said(reply.text, key.name);
    EXPECT_EQ(said, key.in_security_stage ? kNone : "Reject");
  }
}

TEST_F(LoginKeysTest, DiscoveryAsksForLess) {
  for (const Key& key : AllKeys()) {
    if (key.legal.empty()) continue;
    SCOPED_TRACE(key.name);
    Begin(/*discovery=*/true);
    const auto& [offer, answer] = key.legal[0];
    const Login::Reply reply = Send(kOperational, Pair(key.name, offer));
    EXPECT_EQ(Said(reply.text, key.name), key.irrelevant_to_discovery ? "Irrelevant" : answer);
    ExpectToFinish();
  }
}

TEST_F(LoginKeysTest, UnknownKeysAreNotUnderstoodInEitherStage) {
  for (const std::string name : {"X-com.example.key", "Y-com.example.digest", "Z-auth", "X#",
                                 "MaxBurstLengths", "maxburstlength", "RDMAExtensions"}) {
    SCOPED_TRACE(name);
    Begin();
    EXPECT_EQ(Said(Send(kSecurity, Pair(name, "1")).text, name), "NotUnderstood");
    BeginAfterSecurity();
    EXPECT_EQ(Said(Send(kOperational, Pair(name, "1")).text, name), "NotUnderstood");
    ExpectToFinish();
  }
}

// What the initiator makes of what we propose counts, unless it makes no sense.
TEST_F(LoginKeysTest, AnswersToOurProposalsAreTaken) {
  for (const auto& [answer, agreed] : std::vector<std::pair<std::string, uint32_t>>{
           {"8192", 8192}, {"512", 512}, {"65536", 8192}, {"Reject", 65536}, {"", 65536}}) {
    SCOPED_TRACE(answer);
    BeginAfterSecurity();
    const Login::Reply ours = Send(kT | kOperational | kToFullFeature, "");
    EXPECT_EQ(Said(ours.text, "FirstBurstLength"), "8192");
    EXPECT_EQ(ours.header.flags & kT, 0) << "there is something to answer";
    const Login::Reply last =
        Send(kT | kOperational | kToFullFeature, Pair("FirstBurstLength", answer));
    EXPECT_EQ(last.outcome, Login::Outcome::kComplete);
    EXPECT_EQ(Said(last.text, "FirstBurstLength"), kNone);
    EXPECT_EQ(login_->parameters().first_burst_length, agreed);
  }
}

}  // namespace
}  // namespace pollux::iscsi
