#include "targets/iscsi/login.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "targets/iscsi/binary_value.h"

namespace pollux::iscsi {
namespace {

using namespace std::string_literals;

constexpr char kInitiator[] = "iqn.2001-04.com.example:host";
constexpr char kTarget[] = "iqn.2016-06.io.spdk:disk1";

// Flags of a login request, from §11.12: T, C, CSG at bit 2, NSG at bit 0.
constexpr uint8_t kT = 0x80, kC = 0x40;
constexpr uint8_t Stages(int csg, int nsg) { return static_cast<uint8_t>(csg << 2 | nsg); }

class LoginTest : public testing::Test, public Login::Gate {
 protected:
  LoginTest() {
    ours_.max_connections = 2;
    ours_.initial_r2t = false;
    ours_.max_burst_length = 1 << 20;
    ours_.first_burst_length = 8192;
    ours_.max_recv_data_segment_length = 65536;
    Restart();
  }
  void Restart() { login_.emplace(ours_, *this); }

  static std::string Text(const std::vector<std::string>& pairs) {
    std::string text;
    for (const std::string& pair : pairs) text += pair + '\0';
    return text;
  }
  static std::vector<std::string> Names() {
    return {"InitiatorName="s + kInitiator, "TargetName="s + kTarget, "SessionType=Normal"};
  }
  Login::Reply SendText(uint8_t flags, const std::string& text) {
    LoginRequestPdu request{};
    request.opcode = 0x43;
    request.flags = flags;
    request.version_min = version_min_;
    request.data_segment_length = static_cast<uint32_t>(text.size());
    request.isid = isid_;
    request.cid = 1;
    request.itt = 77;
    request.cmd_sn = 1000;
    Login::Reply reply = login_->OnRequest(request, text);
    EXPECT_LE(reply.text.size(), 8192u);
    EXPECT_EQ(reply.header.data_segment_length, reply.text.size());
    return reply;
  }
  Login::Reply Send(uint8_t flags, const std::vector<std::string>& pairs) {
    return SendText(flags, Text(pairs));
  }
  // Names in the security stage, then on to the operational stage.
  void PassSecurity() {
    const Login::Reply reply = Send(kT | Stages(0, 1), Names());
    ASSERT_EQ(reply.header.flags, kT | Stages(0, 1)) << login_->fault();
  }
  static std::map<std::string, std::string> Answers(const Login::Reply& reply) {
    std::map<std::string, std::string> answers;
    size_t at = 0;
    while (at < reply.text.size()) {
      const size_t end = reply.text.find('\0', at);
      const std::string pair = reply.text.substr(at, end - at);
      answers[pair.substr(0, pair.find('='))] = pair.substr(pair.find('=') + 1);
      at = end + 1;
    }
    return answers;
  }
  // What a key is answered with in the operational stage; nothing when it is not answered.
  std::optional<std::string> Answer(const std::string& key, const std::string& value) {
    Restart();
    PassSecurity();
    const auto answers = Answers(Send(Stages(1, 0), {key + "=" + value}));
    const auto found = answers.find(key);
    if (found == answers.end()) return std::nullopt;
    return found->second;
  }
  static int StatusOf(const Login::Reply& reply) {
    EXPECT_EQ(reply.outcome, Login::Outcome::kFailed);
    EXPECT_EQ(reply.header.flags & kT, 0);
    EXPECT_TRUE(reply.text.empty());
    return uint16_t{reply.header.status};
  }

  Parameters ours_;
  Login::Verdict verdict_{.portal_group_tag = 3, .target_alias = "disk"};
  int admissions_ = 0;
  uint8_t version_min_ = 0;
  Isid isid_{{0x80, 0, 0, 1, 2, 3}};
  std::optional<Login> login_;

 private:
  Login::Verdict Admit(const Login::Identity& identity) override {
    ++admissions_;
    EXPECT_EQ(identity.initiator_name, kInitiator);
    return verdict_;
  }
};

TEST_F(LoginTest, TwoStagesLeadToFullFeature) {
  const Login::Reply first =
      SendText(kT | Stages(0, 1), Text(Names()) + Text({"AuthMethod=CHAP,None"}));
  EXPECT_EQ(first.outcome, Login::Outcome::kGoOn);
  EXPECT_EQ(Answers(first),
            (std::map<std::string, std::string>{
                {"AuthMethod", "None"}, {"TargetAlias", "disk"}, {"TargetPortalGroupTag", "3"}}));
  const Login::Reply second = Send(
      kT | Stages(1, 3),
      {"HeaderDigest=CRC32C,None", "FirstBurstLength=262144", "MaxRecvDataSegmentLength=262144"});
  EXPECT_EQ(second.outcome, Login::Outcome::kComplete);
  EXPECT_EQ(second.header.flags, kT | Stages(1, 3));
  EXPECT_EQ(Answers(second),
            (std::map<std::string, std::string>{{"HeaderDigest", "CRC32C"},
                                                {"FirstBurstLength", "8192"},
                                                {"MaxRecvDataSegmentLength", "65536"}}));
  EXPECT_EQ(login_->parameters().max_recv_data_segment_length, 262144u);
  EXPECT_EQ(login_->parameters().first_burst_length, 8192u);
  EXPECT_EQ(second.header.stat_sn, first.header.stat_sn + 1);
  EXPECT_EQ(second.header.itt, 77u);
  EXPECT_EQ(second.header.exp_cmd_sn, 1000u);
  EXPECT_EQ(admissions_, 1);
}

TEST_F(LoginTest, TheSecurityStageMayBeLeftOut) {
  const Login::Reply reply =
      SendText(kT | Stages(1, 3), Text(Names()) + Text({"FirstBurstLength=4096"}));
  EXPECT_EQ(reply.outcome, Login::Outcome::kComplete);
}

TEST_F(LoginTest, TheOperationalStageMayBeLeftOut) {
  const Login::Reply reply = Send(kT | Stages(0, 3), Names());
  EXPECT_EQ(reply.outcome, Login::Outcome::kComplete);
  EXPECT_EQ(login_->parameters().first_burst_length, 65536u);  // The default of §13.14.
  EXPECT_TRUE(login_->parameters().initial_r2t);
}

TEST_F(LoginTest, EachKeyIsAnsweredByItsRule) {
  struct Case {
    const char* key;
    const char* value;
    std::optional<std::string> answer;
  };
  const std::optional<std::string> kNoAnswer;
  for (const Case& c : std::vector<Case>{
           // Lists.
           {"HeaderDigest", "None", "None"},
           {"HeaderDigest", "CRC32C,None", "CRC32C"},
           {"HeaderDigest", "CRC32C", "CRC32C"},
           {"HeaderDigest", "Y-com.example.sum,CRC32C", "CRC32C"},
           {"HeaderDigest", "X-sum", "Reject"},
           {"HeaderDigest", "crc32c", "Reject"},
           {"DataDigest", "CRC32C", "CRC32C"},
           {"DataDigest", "None,CRC32C", "None"},
           {"DataDigest", "CRC32C CRC32C", "Reject"},
           {"DataDigest", ",", "Reject"},
           {"DataDigest", "", "Reject"},
           {"TaskReporting", "FastAbort,RFC3720", "RFC3720"},
           {"TaskReporting", "ResponseFence", "Reject"},
           // The smaller number.
           {"MaxConnections", "8", "2"},
           {"MaxConnections", "1", "1"},
           {"MaxConnections", "0", "Reject"},
           {"MaxConnections", "65536", "Reject"},
           {"MaxBurstLength", "16776192", "1048576"},
           {"MaxBurstLength", "0x10000", "65536"},
           {"MaxBurstLength", "511", "Reject"},
           {"MaxBurstLength", "16777216", "Reject"},
           {"FirstBurstLength", "512", "512"},
           {"FirstBurstLength", "1000000", "8192"},
           {"FirstBurstLength", "-1", "Reject"},
           {"MaxOutstandingR2T", "16", "1"},
           {"MaxOutstandingR2T", "0", "Reject"},
           {"DefaultTime2Retain", "0", "0"},
           {"DefaultTime2Retain", "3600", "20"},
           {"DefaultTime2Retain", "3601", "Reject"},
           {"ErrorRecoveryLevel", "2", "0"},
           {"ErrorRecoveryLevel", "3", "Reject"},
           // The larger one.
           {"DefaultTime2Wait", "0", "2"},
           {"DefaultTime2Wait", "100", "100"},
           {"DefaultTime2Wait", "soon", "Reject"},
           // OR.
           {"InitialR2T", "No", "No"},
           {"InitialR2T", "Yes", "Yes"},
           {"InitialR2T", "yes", "Reject"},
           {"DataPDUInOrder", "No", "Yes"},
           {"DataSequenceInOrder", "No", "Yes"},
           {"DataSequenceInOrder", "", "Reject"},
           // AND.
           {"ImmediateData", "Yes", "Yes"},
           {"ImmediateData", "No", "No"},
           {"ImmediateData", "1", "Reject"},
           // Declarations; ours is answered in its place.
           {"MaxRecvDataSegmentLength", "512", "65536"},
           {"InitiatorAlias", "a host", kNoAnswer},
           // Known, and obsolete, late, or the target's to say.
           {"OFMarker", "Yes", "No"},
           {"IFMarker", "No", "No"},
           {"OFMarkInt", "2048", "Reject"},
           {"SendTargets", "All", "Reject"},
           {"TargetAlias", "x", "Reject"},
           {"TargetPortalGroupTag", "1", "Reject"},
           {"AuthMethod", "None", "Reject"},
           {"iSCSIProtocolLevel", "2", "1"},
           {"iSCSIProtocolLevel", "x", "Reject"},
           // Unknown.
           {"X-com.example.key", "1", "NotUnderstood"},
           {"CHAP_A", "5", "NotUnderstood"},
           {"headerdigest", "None", "NotUnderstood"},
       }) {
    EXPECT_EQ(Answer(c.key, c.value), c.answer) << c.key << "=" << c.value;
  }
}

TEST_F(LoginTest, WhatIsAgreedAboutDigestsIsTheResult) {
  PassSecurity();
  EXPECT_EQ(Send(kT | Stages(1, 3),
                 {"HeaderDigest=None", "DataDigest=CRC32C,None", "FirstBurstLength=512"})
                .outcome,
            Login::Outcome::kComplete);
  EXPECT_FALSE(login_->parameters().header_digest);
  EXPECT_TRUE(login_->parameters().data_digest);
  Restart();
  PassSecurity();
  EXPECT_EQ(Send(kT | Stages(1, 3), {"FirstBurstLength=512"}).outcome, Login::Outcome::kComplete);
  EXPECT_FALSE(login_->parameters().header_digest || login_->parameters().data_digest);
}

TEST_F(LoginTest, ARequiredDigestIsChosenWhereverItStandsInTheList) {
  verdict_.header_digest_required = verdict_.data_digest_required = true;
  const Login::Reply reply =
      SendText(kT | Stages(1, 3),
               Text({"HeaderDigest=None,CRC32C", "DataDigest=CRC32C", "FirstBurstLength=512"}) +
                   Text(Names()));
  EXPECT_EQ(reply.outcome, Login::Outcome::kComplete) << login_->fault();
  EXPECT_EQ(Answers(reply).at("HeaderDigest"), "CRC32C");
  EXPECT_TRUE(login_->parameters().header_digest && login_->parameters().data_digest);
}

TEST_F(LoginTest, ARequiredDigestThatIsLeftOutIsProposed) {
  verdict_.data_digest_required = true;
  for (const auto& [answer, agreed] : std::vector<std::pair<std::string, bool>>{
           {"CRC32C", true}, {"None", false}, {"Reject", false}, {"NotUnderstood", false}}) {
    Restart();
    PassSecurity();
    const Login::Reply proposal =
        Send(kT | Stages(1, 3), {"HeaderDigest=None", "FirstBurstLength=512"});
    EXPECT_EQ(proposal.outcome, Login::Outcome::kGoOn);
    EXPECT_EQ(Answers(proposal).at("DataDigest"), "CRC32C");
    const Login::Reply last = Send(kT | Stages(1, 3), {"DataDigest=" + answer});
    if (agreed) {
      EXPECT_EQ(last.outcome, Login::Outcome::kComplete);
    } else {
      EXPECT_EQ(StatusOf(last), 0x0200) << answer;
    }
    EXPECT_EQ(login_->parameters().data_digest, agreed);
  }
}

TEST_F(LoginTest, WithoutARequiredDigestLoginFails) {
  verdict_.header_digest_required = true;
  PassSecurity();
  EXPECT_EQ(StatusOf(Send(kT | Stages(1, 3), {"HeaderDigest=None"})), 0x0200);
  Restart();
  EXPECT_EQ(StatusOf(Send(kT | Stages(0, 3), Names())), 0x0200) << "by leaving out the stage";
}

TEST_F(LoginTest, ARejectedValueLeavesTheDefault) {
  PassSecurity();
  Send(Stages(1, 0), {"MaxBurstLength=7", "InitialR2T=perhaps"});
  EXPECT_EQ(login_->parameters().max_burst_length, 262144u);
  EXPECT_TRUE(login_->parameters().initial_r2t);
}

TEST_F(LoginTest, AValueOfMoreThan255BytesIsRejected) {
  EXPECT_EQ(Answer("InitiatorAlias", std::string(256, 'v')), "Reject");
  EXPECT_EQ(Answer("X-key", std::string(256, 'v')), "NotUnderstood") << "as it is when it is short";
}

TEST_F(LoginTest, OperationalKeysOfTheSecurityStageAreRejected) {
  const auto answers = Answers(
      SendText(Stages(0, 0), Text(Names()) + Text({"MaxBurstLength=65536", "X-unknown=1"})));
  EXPECT_EQ(answers.at("MaxBurstLength"), "Reject");
  EXPECT_EQ(answers.at("X-unknown"), "NotUnderstood");
}

TEST_F(LoginTest, DiscoveryMakesManyKeysIrrelevant) {
  const Login::Reply reply =
      Send(kT | Stages(1, 3), {"MaxBurstLength=65536", "InitialR2T=No", "DefaultTime2Wait=5",
                               "InitiatorName="s + kInitiator, "SessionType=Discovery"});
  EXPECT_EQ(reply.outcome, Login::Outcome::kComplete) << login_->fault();
  const auto answers = Answers(reply);
  EXPECT_EQ(answers.at("MaxBurstLength"), "Irrelevant");
  EXPECT_EQ(answers.at("InitialR2T"), "Irrelevant");
  EXPECT_EQ(answers.at("DefaultTime2Wait"), "5");
  EXPECT_TRUE(login_->identity().discovery);
}

TEST_F(LoginTest, WhatTheInitiatorLeavesOutIsProposed) {
  ours_.immediate_data = false;
  Restart();
  PassSecurity();
  const Login::Reply proposal = SendText(kT | Stages(1, 3), ""s);
  EXPECT_EQ(proposal.outcome, Login::Outcome::kGoOn);
  EXPECT_EQ(proposal.header.flags, Stages(1, 0)) << "it does not transit yet";
  EXPECT_EQ(Answers(proposal).at("FirstBurstLength"), "8192");
  EXPECT_EQ(Answers(proposal).at("ImmediateData"), "No");
  const Login::Reply last = Send(kT | Stages(1, 3), {"FirstBurstLength=4096", "ImmediateData=No"});
  EXPECT_EQ(last.outcome, Login::Outcome::kComplete);
  EXPECT_TRUE(last.text.empty()) << "an answer is not answered";
  EXPECT_EQ(login_->parameters().first_burst_length, 4096u);
  EXPECT_FALSE(login_->parameters().immediate_data);
}

TEST_F(LoginTest, TextMayGoOnInTheNextRequest) {
  const std::string text = Text(Names());
  for (size_t cut = 1; cut < text.size(); cut += 7) {
    Restart();
    const Login::Reply first = SendText(kC | Stages(1, 0), text.substr(0, cut));
    EXPECT_EQ(first.header.flags, Stages(1, 0));
    EXPECT_TRUE(first.text.empty());
    EXPECT_EQ(admissions_, 0);
    SendText(Stages(1, 0), text.substr(cut));
    EXPECT_EQ(admissions_, 1) << cut;
    admissions_ = 0;
  }
}

TEST_F(LoginTest, ALongAnswerComesInPortions) {
  PassSecurity();
  std::string text;
  for (int i = 0; i < 800; ++i) text += Text({"X-key" + std::to_string(i) + "=1"});
  Login::Reply reply = SendText(kT | Stages(1, 3), text.substr(0, 8000) + "=1"s + '\0');
  std::string whole = reply.text;
  int portions = 1;
  while ((reply.header.flags & kC) != 0) {
    EXPECT_EQ(reply.header.flags & kT, 0);
    reply = SendText(kT | Stages(1, 3), ""s);
    whole += reply.text;
    ASSERT_LT(++portions, 20);
  }
  EXPECT_GT(portions, 1);
  EXPECT_NE(whole.find("X-key0=NotUnderstood"), std::string::npos);
  EXPECT_NE(whole.find("X-key500=NotUnderstood"), std::string::npos);
}

// --- Damage.

TEST_F(LoginTest, AKeyThatComesTwiceEndsTheLogin) {
  EXPECT_EQ(StatusOf(SendText(Stages(1, 0), Text(Names()) + Text(Names()))), 0x0200);
  Restart();
  PassSecurity();
  Send(Stages(1, 0), {"MaxBurstLength=65536"});
  EXPECT_EQ(StatusOf(Send(Stages(1, 0), {"MaxBurstLength=65536"})), 0x0200);
}

TEST_F(LoginTest, NamesMustComeInTheFirstRequest) {
  EXPECT_EQ(StatusOf(Send(Stages(0, 0), {"SessionType=Normal"})), 0x0207);
  Restart();
  EXPECT_EQ(StatusOf(Send(Stages(0, 0), {"InitiatorName="s + kInitiator})), 0x0207);
  Restart();
  EXPECT_EQ(StatusOf(SendText(Stages(0, 0), ""s)), 0x0207);
  Restart();
  Send(Stages(1, 0), {"InitiatorName="s + kInitiator, "SessionType=Discovery"});
  EXPECT_EQ(StatusOf(Send(Stages(1, 0), {"TargetName="s + kTarget})), 0x0200);
}

TEST_F(LoginTest, NamesMustBeValid) {
  for (const std::string& name : {"host"s, std::string(224, 'i'), "iqn.2001-04.com:%n%s"s, ""s,
                                  "iqn.2001-04.com.example:"s + std::string(4000, 'x')}) {
    Restart();
    EXPECT_EQ(StatusOf(Send(Stages(0, 0), {"InitiatorName=" + name, "TargetName="s + kTarget})),
              0x0200)
        << name;
  }
}

TEST_F(LoginTest, TheGateDecides) {
  for (const auto status :
       {LoginStatus::kNotFound, LoginStatus::kNotAuthorized, LoginStatus::kServiceUnavailable}) {
    verdict_.status = status;
    Restart();
    EXPECT_EQ(StatusOf(Send(kT | Stages(0, 1), Names())), static_cast<int>(status));
  }
}

TEST_F(LoginTest, WhereChapIsRequiredLoginFails) {
  verdict_.authentication.require = true;
  EXPECT_EQ(StatusOf(SendText(kT | Stages(0, 1), Text(Names()) + Text({"AuthMethod=None"}))),
            0x0201);
  Restart();
  EXPECT_EQ(StatusOf(Send(kT | Stages(1, 3), Names())), 0x0201) << "by leaving out the stage";
}

// What an initiator with the secret answers in the request after `reply`.
std::string ChapResponse(const std::map<std::string, std::string>& answers, const char* secret) {
  const char identifier = static_cast<char>(std::stoi(answers.at("CHAP_I")));
  const std::string challenge = DecodeBinary(answers.at("CHAP_C")).value();
  const auto hash = HashOf(HashAlgorithm::kMd5, {{&identifier, 1}, secret, challenge});
  return "CHAP_R=" + EncodeBinary(*hash);
}

std::shared_ptr<const AuthGroup> OneUser() {
  return std::make_shared<AuthGroup>(
      AuthGroup{.tag = 1, .secrets = {{.user = "a", .secret = "b", .muser = {}, .msecret = {}}}});
}

TEST_F(LoginTest, ChapHoldsTheLoginInTheSecurityStageUntilItIsDone) {
  verdict_.authentication = {.require = true, .group = 1};
  verdict_.secrets = OneUser();
  for (const int next : {1, 3}) {
    Restart();
    Login::Reply reply =
        SendText(kT | Stages(0, next), Text(Names()) + Text({"AuthMethod=CHAP,None"}));
    EXPECT_EQ(reply.header.flags, Stages(0, 0));
    EXPECT_EQ(Answers(reply).at("AuthMethod"), "CHAP");
    reply = Send(kT | Stages(0, next), {});
    EXPECT_EQ(reply.header.flags, Stages(0, 0)) << "nothing said is nothing proved";
    reply = Send(kT | Stages(0, next), {"CHAP_A=5"});
    EXPECT_EQ(reply.header.flags, Stages(0, 0));
    reply = Send(kT | Stages(0, next), {"CHAP_N=a", ChapResponse(Answers(reply), "b")});
    EXPECT_EQ(reply.header.flags, kT | Stages(0, next));
    EXPECT_EQ(reply.outcome, next == 3 ? Login::Outcome::kComplete : Login::Outcome::kGoOn);
  }
}

TEST_F(LoginTest, ALongChapExchangeMayComeInPieces) {
  verdict_.authentication = {.require = true, .group = 1};
  verdict_.secrets = OneUser();
  SendText(Stages(0, 0), Text(Names()) + Text({"AuthMethod=CHAP"}));
  const Login::Reply reply = Send(Stages(0, 0), {"CHAP_A=5"});
  const std::string text = Text({"CHAP_N=a", ChapResponse(Answers(reply), "b")});
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    EXPECT_EQ(SendText(kC | Stages(0, 0), text.substr(i, 1)).outcome, Login::Outcome::kGoOn);
  }
  EXPECT_EQ(SendText(kT | Stages(0, 3), text.substr(text.size() - 1)).outcome,
            Login::Outcome::kComplete);
}

TEST_F(LoginTest, EveryFailureOfChapLooksTheSame) {
  verdict_.authentication = {.require = true, .group = 1};
  verdict_.secrets = OneUser();
  const std::vector<std::string> cases[] = {{"CHAP_N=a", "CHAP_R=0x00"},
                                            {"CHAP_N=b", "CHAP_R=0x00"},
                                            {"CHAP_N=a"},
                                            {"CHAP_R=0x00"},
                                            {"CHAP_A=9"},
                                            {"CHAP_I=5"},
                                            {"CHAP_N=a", "CHAP_R=0x0"},
                                            {"CHAP_N=a", "CHAP_R="},
                                            {"CHAP_N=" + std::string(300, 'a'), "CHAP_R=0x00"}};
  for (const std::vector<std::string>& keys : cases) {
    Restart();
    SendText(Stages(0, 0), Text(Names()) + Text({"AuthMethod=CHAP"}));
    if (keys[0] != "CHAP_A=9") Send(Stages(0, 0), {"CHAP_A=5"});
    const Login::Reply reply = Send(kT | Stages(0, 1), keys);
    EXPECT_EQ(StatusOf(reply), 0x0201) << keys[0];
  }
}

TEST_F(LoginTest, TheInitiatorsOrderDecidesWhereBothAreAllowed) {
  struct Case {
    Authentication policy;
    const char* offer;
    const char* answer;  // Null: refused.
  };
  const Authentication choice{.group = 1}, disabled{.disable = true, .group = 1},
      required{.require = true, .group = 1}, none{};
  const Case cases[] = {
      {choice, "CHAP,None", "CHAP"},   {choice, "None,CHAP", "None"},
      {choice, "CHAP", "CHAP"},        {choice, "None", "None"},
      {choice, "KRB5,SRP", nullptr},   {choice, "KRB5,CHAP", "CHAP"},
      {disabled, "CHAP,None", "None"}, {disabled, "CHAP", nullptr},
      {required, "None,CHAP", "CHAP"}, {required, "None", nullptr},
      {required, "chap", nullptr},     {required, "", nullptr},
      {none, "CHAP,None", "None"},     {none, "CHAP", nullptr},
  };
  for (const Case& c : cases) {
    verdict_.authentication = c.policy;
    verdict_.secrets = OneUser();
    Restart();
    const Login::Reply reply =
        SendText(Stages(0, 0), Text(Names()) + Text({"AuthMethod="s + c.offer}));
    if (c.answer == nullptr) {
      EXPECT_EQ(StatusOf(reply), 0x0201) << c.offer;
    } else {
      EXPECT_EQ(Answers(reply)["AuthMethod"], c.answer) << c.offer;
    }
  }
}

TEST_F(LoginTest, NoWayLeadsAroundChap) {
  verdict_.authentication = {.require = true, .group = 1};
  verdict_.secrets = OneUser();
  for (const uint8_t flags : {uint8_t(kT | Stages(1, 3)), Stages(1, 0), uint8_t(kT | Stages(0, 1)),
                              uint8_t(kT | Stages(0, 3))}) {
    Restart();
    EXPECT_EQ(StatusOf(Send(flags, Names())), 0x0201) << int{flags};
  }
  // Before the method was agreed upon.
  Restart();
  EXPECT_EQ(StatusOf(SendText(Stages(0, 0), Text(Names()) + Text({"AuthMethod=CHAP", "CHAP_A=5"}))),
            0x0201);
  Restart();
  EXPECT_EQ(StatusOf(SendText(Stages(0, 0), Text(Names()) + Text({"CHAP_A=5"}))), 0x0201);
  // The method is chosen once, and the stage is left when we say so.
  Restart();
  SendText(Stages(0, 0), Text(Names()) + Text({"AuthMethod=CHAP"}));
  EXPECT_EQ(StatusOf(Send(kT | Stages(0, 1), {"AuthMethod=None"})), 0x0200);
  Restart();
  SendText(Stages(0, 0), Text(Names()) + Text({"AuthMethod=CHAP"}));
  EXPECT_EQ(StatusOf(Send(kT | Stages(1, 3), {})), 0x0200);
  Restart();
  SendText(Stages(0, 0), Text(Names()) + Text({"AuthMethod=CHAP"}));
  EXPECT_EQ(StatusOf(Send(Stages(0, 0), {"CHAP_A=5", "CHAP_A=5"})), 0x0200);
}

TEST_F(LoginTest, WithoutACommonAuthenticationMethodLoginFails) {
  EXPECT_EQ(StatusOf(SendText(kT | Stages(0, 1), Text(Names()) + Text({"AuthMethod=CHAP"}))),
            0x0201);
}

TEST_F(LoginTest, StagesOutOfOrderEndTheLogin) {
  for (const uint8_t flags :
       {Stages(2, 0), Stages(3, 0), uint8_t(kT | Stages(0, 0)), uint8_t(kT | Stages(1, 1)),
        uint8_t(kT | Stages(0, 2)), uint8_t(kT | Stages(1, 0)), uint8_t(kT | kC | Stages(0, 1))}) {
    Restart();
    EXPECT_EQ(StatusOf(Send(flags, Names())), 0x0200) << int{flags};
  }
  Restart();
  PassSecurity();
  EXPECT_EQ(StatusOf(SendText(Stages(0, 0), ""s)), 0x0200) << "back to the security stage";
}

TEST_F(LoginTest, WhoItIsMustNotChange) {
  PassSecurity();
  isid_.bytes[5] ^= 1;
  EXPECT_EQ(StatusOf(SendText(Stages(1, 0), ""s)), 0x0200);
}

TEST_F(LoginTest, AVersionThatWeDoNotHaveIsRefused) {
  version_min_ = 1;
  EXPECT_EQ(StatusOf(Send(kT | Stages(0, 1), Names())), 0x0205);
}

TEST_F(LoginTest, TextThatIsNoTextEndsTheLogin) {
  for (const std::string& text : {"no pair"s, std::string(100, '\xff'), "=1"s,
                                  std::string(64, 'k') + "=1", std::string(8192, 'A')}) {
    Restart();
    EXPECT_EQ(StatusOf(SendText(Stages(0, 0), text)), 0x0200);
  }
}

TEST_F(LoginTest, TextWithoutEndIsCutOffAt64KiB) {
  Login::Reply reply;
  int requests = 0;
  do {
    reply = SendText(kC | Stages(0, 0), std::string(8192, 'A'));
  } while (reply.outcome == Login::Outcome::kGoOn && ++requests < 100);
  EXPECT_EQ(StatusOf(reply), 0x0200);
  EXPECT_EQ(requests, 8);
}

TEST_F(LoginTest, AnswersToTenThousandUnknownKeysAreBounded) {
  // As many of the shortest keys as 64 KiB hold.
  PassSecurity();
  std::string text;
  for (int i = 0; text.size() < 60000; ++i) text += Text({std::to_string(i) + "="});
  Login::Reply reply;
  for (size_t at = 0; at < text.size(); at += 8000) {
    const bool last = at + 8000 >= text.size();
    reply = SendText(last ? Stages(1, 0) : uint8_t(kC | Stages(1, 0)), text.substr(at, 8000));
    if (reply.outcome == Login::Outcome::kFailed) break;
  }
  EXPECT_EQ(StatusOf(reply), 0x0200);
}

TEST_F(LoginTest, AnUnknownSessionTypeIsRefused) {
  EXPECT_EQ(StatusOf(Send(Stages(0, 0), {"InitiatorName="s + kInitiator, "SessionType=Other"})),
            0x0209);
}

TEST_F(LoginTest, TextWhileOurAnswerIsIncompleteEndsTheLogin) {
  PassSecurity();
  std::string text;
  for (int i = 0; i < 600; ++i) text += Text({"X-key" + std::to_string(i) + "="});
  const Login::Reply reply = SendText(Stages(1, 0), text);
  ASSERT_NE(reply.header.flags & kC, 0);
  EXPECT_EQ(StatusOf(Send(Stages(1, 0), {"A=1"})), 0x0200);
}

}  // namespace
}  // namespace pollux::iscsi
