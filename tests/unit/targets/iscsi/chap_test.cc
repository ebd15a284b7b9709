#include "targets/iscsi/chap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "targets/iscsi/auth_groups.h"
#include "targets/iscsi/binary_value.h"
#include "targets/iscsi/text_keys.h"

namespace pollux::iscsi {
namespace {

using testing::HasSubstr;
using testing::Not;

using Answers = std::map<std::string, std::string>;

AuthGroup MakeGroup() {
  return {.tag = 1,
          .secrets = {{.user = "one", .secret = "of one, long", .muser = {}, .msecret = {}},
                      {.user = "two",
                       .secret = "of two, long",
                       .muser = "target",
                       .msecret = "of target, long"}}};
}

class ChapTest : public testing::Test {
 protected:
  void Start(bool mutual = false) { chap_.emplace(group_, mutual); }

  bool Send(Chap::Keys keys) {
    std::string answer;
    const bool ok = chap_->OnKeys(keys, answer);
    answers_.clear();
    const std::vector<KeyValue> pairs = ParseKeys(answer).value();
    for (const KeyValue& pair : pairs) {
      answers_[std::string(pair.key)] = std::string(pair.value);
    }
    if (!ok) {
      EXPECT_TRUE(answer.empty());
      EXPECT_FALSE(chap_->done());
      EXPECT_FALSE(chap_->fault().empty());
      EXPECT_THAT(chap_->fault(), Not(HasSubstr(", long")));
    }
    return ok;
  }
  bool SendAlgorithms(std::string_view list) {
    if (!Send({.algorithms = list})) return false;
    challenge_ = DecodeBinary(answers_.at("CHAP_C")).value();
    identifier_ = static_cast<char>(std::stoi(answers_.at("CHAP_I")));
    return true;
  }
  std::string ResponseWith(std::string_view secret, HashAlgorithm hash = HashAlgorithm::kSha256) {
    return EncodeBinary(HashOf(hash, {{&identifier_, 1}, secret, challenge_}).value());
  }

  std::shared_ptr<const AuthGroup> group_ = std::make_shared<AuthGroup>(MakeGroup());
  std::optional<Chap> chap_;
  Answers answers_;
  std::string challenge_;
  char identifier_ = 0;
};

TEST_F(ChapTest, EachAlgorithmLetsTheOneWithTheSecretIn) {
  const std::pair<const char*, HashAlgorithm> algorithms[] = {{"5", HashAlgorithm::kMd5},
                                                              {"6", HashAlgorithm::kSha1},
                                                              {"7", HashAlgorithm::kSha256},
                                                              {"8", HashAlgorithm::kSha3_256}};
  for (const auto& [number, hash] : algorithms) {
    Start();
    ASSERT_TRUE(SendAlgorithms(number));
    EXPECT_EQ(answers_.at("CHAP_A"), number);
    EXPECT_EQ(answers_.size(), 3u);
    EXPECT_EQ(challenge_.size(), Chap::kChallengeBytes);
    const std::string response = ResponseWith("of one, long", hash);
    EXPECT_TRUE(Send({.name = "one", .response = response})) << number;
    EXPECT_TRUE(chap_->done());
    EXPECT_TRUE(answers_.empty());
  }
}

TEST_F(ChapTest, TheFirstAlgorithmOfTheInitiatorThatWeHaveIsTaken) {
  for (const auto& [list, chosen] : Answers{{"5,7", "5"},
                                            {"7,5", "7"},
                                            {"1,2,8,5", "8"},
                                            {"0x06,5", "6"},
                                            {"x,,5", "5"},
                                            {"99999999999,5", "5"}}) {
    Start();
    ASSERT_TRUE(SendAlgorithms(list)) << list;
    EXPECT_EQ(answers_.at("CHAP_A"), chosen) << list;
  }
  for (const char* list : {"", "4", "9,10", "255", "5 ", "05x", "-5", "None", ",", "0x", "261"}) {
    Start();
    EXPECT_FALSE(SendAlgorithms(list)) << list;
  }
}

TEST_F(ChapTest, WhatIsWrongIsRefusedTheSameWay) {
  std::set<std::string> faults;
  const auto refused = [&](std::string_view name, const std::string& response) {
    EXPECT_FALSE(Send({.name = name, .response = response})) << name << ' ' << response;
    faults.insert(chap_->fault());
  };
  const auto begin = [&] {
    Start();
    ASSERT_TRUE(SendAlgorithms("7"));
  };
  begin();
  refused("one", ResponseWith("of two, long"));
  begin();
  refused("two", ResponseWith("of one, long"));
  begin();
  refused("nobody", ResponseWith("of one, long"));
  begin();
  refused("", ResponseWith(""));
  begin();
  refused("one", ResponseWith("of one, long").substr(0, 64));
  begin();
  refused("one", ResponseWith("of one, long") + "00");
  begin();
  refused("ONE", ResponseWith("of one, long"));
  begin();
  refused("one", ResponseWith("of one, long", HashAlgorithm::kSha3_256));
  group_.reset();
  begin();
  refused("one", ResponseWith("of one, long"));
  EXPECT_EQ(faults.size(), 1u) << testing::PrintToString(faults);
}

TEST_F(ChapTest, OddResponsesAreRefused) {
  for (const std::string& response :
       {std::string(), std::string("0x"), std::string("12"), std::string("0x123"),
        "0x" + std::string(2050, '0'), "0b" + std::string(1372, 'A'), std::string("0bZg=")}) {
    Start();
    ASSERT_TRUE(SendAlgorithms("7"));
    EXPECT_FALSE(Send({.name = "one", .response = response})) << response;
  }
}

TEST_F(ChapTest, AResponseHoldsForItsLoginOnly) {
  Start();
  ASSERT_TRUE(SendAlgorithms("7"));
  const std::string response = ResponseWith("of one, long");
  Start();
  ASSERT_TRUE(SendAlgorithms("7"));
  EXPECT_FALSE(Send({.name = "one", .response = response}));
  // One attempt is all there is.
  const std::string right = ResponseWith("of one, long");
  EXPECT_FALSE(Send({.name = "one", .response = right}));
}

TEST_F(ChapTest, KeysOutOfOrderAreRefused) {
  const Chap::Keys before[] = {
      {.identifier = "1"},
      {.challenge = "0x00"},
      {.name = "one"},
      {.response = "0x00"},
      {.algorithms = "7", .identifier = "1"},
      {.algorithms = "7", .challenge = "0x00"},
      {.algorithms = "7", .name = "one"},
      {.algorithms = "7", .response = "0x00"},
  };
  for (const Chap::Keys& keys : before) {
    Start();
    EXPECT_FALSE(Send(keys));
    EXPECT_FALSE(Send({.algorithms = "7"})) << "it is over";
  }
  Start();
  ASSERT_TRUE(SendAlgorithms("7"));
  EXPECT_FALSE(Send({.algorithms = "7"})) << "twice";
  for (const bool with_name : {false, true}) {
    Start();
    ASSERT_TRUE(SendAlgorithms("7"));
    const std::string response = ResponseWith("of one, long");
    EXPECT_FALSE(with_name ? Send({.name = "one"}) : Send({.response = response}));
  }
  Start();
  ASSERT_TRUE(SendAlgorithms("7"));
  const std::string response = ResponseWith("of one, long");
  EXPECT_FALSE(Send({.algorithms = "5", .name = "one", .response = response}));
  Start();
  ASSERT_TRUE(SendAlgorithms("7"));
  const std::string good = ResponseWith("of one, long");
  ASSERT_TRUE(Send({.name = "one", .response = good}));
  EXPECT_FALSE(Send({.name = "one", .response = good})) << "after the end";
}

TEST_F(ChapTest, TheTargetProvesItselfToOneWhoIsWhoItSays) {
  Start(/*mutual=*/true);
  ASSERT_TRUE(SendAlgorithms("7"));
  const std::string response = ResponseWith("of two, long");
  ASSERT_TRUE(
      Send({.identifier = "77", .challenge = "0x0102", .name = "two", .response = response}));
  const std::string expected =
      EncodeBinary(HashOf(HashAlgorithm::kSha256, {"M", "of target, long", "\x01\x02"}).value());
  EXPECT_EQ(answers_, (Answers{{"CHAP_N", "target"}, {"CHAP_R", expected}}));
  EXPECT_TRUE(chap_->done());

  Start(/*mutual=*/true);
  ASSERT_TRUE(SendAlgorithms("7"));
  const std::string wrong = ResponseWith("of one, long");
  EXPECT_FALSE(Send({.identifier = "77", .challenge = "0x0102", .name = "two", .response = wrong}));
}

TEST_F(ChapTest, MutualAuthenticationIsWholeOrRefused) {
  const auto refused = [this](const char* user, const char* secret,
                              std::optional<std::string_view> identifier,
                              std::optional<std::string> challenge) {
    Start(/*mutual=*/true);
    ASSERT_TRUE(SendAlgorithms("7"));
    const std::string response = ResponseWith(secret);
    if (challenge == "ours") challenge = EncodeBinary(challenge_);
    Chap::Keys keys{.identifier = identifier, .name = user, .response = response};
    if (challenge) keys.challenge = *challenge;
    EXPECT_FALSE(Send(keys)) << user << ' ' << challenge.value_or("none");
  };
  refused("two", "of two, long", std::nullopt, std::nullopt);
  refused("two", "of two, long", "1", std::nullopt);
  refused("two", "of two, long", std::nullopt, "0x01");
  refused("two", "of two, long", "256", "0x01");
  refused("two", "of two, long", "-1", "0x01");
  refused("two", "of two, long", "", "0x01");
  refused("two", "of two, long", "1", "0x");
  refused("two", "of two, long", "1", "0x" + std::string(2050, '0'));
  refused("one", "of one, long", "1", "0x01");  // It has no secret for us.
  refused("two", "of two, long", "1", "ours");
}

TEST_F(ChapTest, OneSecretForBothDirectionsIsRefused) {
  AuthGroup group = MakeGroup();
  group.secrets[1].msecret = group.secrets[1].secret;
  group_ = std::make_shared<AuthGroup>(group);
  Start();
  ASSERT_TRUE(SendAlgorithms("7"));
  const std::string response = ResponseWith("of two, long");
  EXPECT_FALSE(Send({.identifier = "1", .challenge = "0x01", .name = "two", .response = response}));
}

TEST_F(ChapTest, NoChallengeComesTwice) {
  std::set<std::string> seen;
  for (int i = 0; i < 10000; ++i) {
    Start();
    ASSERT_TRUE(SendAlgorithms("5"));
    EXPECT_TRUE(seen.insert(challenge_).second);
  }
}

// --- Groups.

TEST(AuthGroupsTest, AGroupChangesUserByUser) {
  AuthGroups groups;
  ASSERT_TRUE(groups.Create(MakeGroup()).ok());
  const std::shared_ptr<const AuthGroup> before = groups.Find(1);
  EXPECT_TRUE(
      groups.AddSecret(1, {.user = "three", .secret = "x", .muser = {}, .msecret = {}}).ok());
  EXPECT_TRUE(groups.RemoveSecret(1, "one").ok());
  ASSERT_EQ(groups.Find(1)->secrets.size(), 2u);
  EXPECT_EQ(groups.Find(1)->secrets[0].user, "two");
  EXPECT_EQ(groups.Find(1)->secrets[1].user, "three");
  EXPECT_EQ(before->secrets.size(), 2u) << "what a login has does not change";
  EXPECT_EQ(before->secrets[0].user, "one");
  EXPECT_TRUE(groups.Delete(1).ok());
  EXPECT_EQ(groups.Find(1), nullptr);
  for (const Status& status :
       {groups.Delete(1), groups.RemoveSecret(1, "two"), groups.AddSecret(1, {})}) {
    EXPECT_EQ(DetailOf(status).field, "tag");
  }
}

TEST(AuthGroupsTest, WhatIsUnacceptableIsRefusedAndNamed) {
  AuthGroups groups;
  ASSERT_TRUE(groups.Create(MakeGroup()).ok());
  EXPECT_EQ(DetailOf(groups.Create(MakeGroup())).error_number, EEXIST);
  EXPECT_EQ(DetailOf(groups.Create({.tag = 0, .secrets = {}})).field, "tag");
  EXPECT_EQ(DetailOf(groups.RemoveSecret(1, "nobody")).field, "user");

  const std::string kLong(256, 'a'), kLongSecret(1024, 'a');
  const std::pair<ChapSecret, const char*> cases[] = {
      {{.user = "", .secret = "a", .muser = "", .msecret = ""}, "user"},
      {{.user = kLong, .secret = "a", .muser = "", .msecret = ""}, "user"},
      {{.user = std::string("a\0b", 3), .secret = "a", .muser = "", .msecret = ""}, "user"},
      {{.user = "one", .secret = "a", .muser = "", .msecret = ""}, "user"},
      {{.user = "a", .secret = "", .muser = "", .msecret = ""}, "secret"},
      {{.user = "a", .secret = kLongSecret, .muser = "", .msecret = ""}, "secret"},
      {{.user = "a", .secret = "a", .muser = "b", .msecret = ""}, "msecret"},
      {{.user = "a", .secret = "a", .muser = "", .msecret = "b"}, "muser"},
      {{.user = "a", .secret = "a", .muser = kLong, .msecret = "b"}, "muser"},
      {{.user = "a", .secret = "a", .muser = "b", .msecret = kLongSecret}, "msecret"},
      {{.user = "a", .secret = "same", .muser = "b", .msecret = "same"}, "msecret"},
  };
  for (const auto& [secret, field] : cases) {
    const Status status = groups.AddSecret(1, secret);
    EXPECT_EQ(DetailOf(status).field, field) << status;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("same'")));
    AuthGroup other{.tag = 2, .secrets = {MakeGroup().secrets[0], secret}};
    EXPECT_EQ(DetailOf(groups.Create(other)).field, std::string("secrets[1].") + field);
  }
  EXPECT_EQ(groups.groups().size(), 1u);
  EXPECT_EQ(groups.Find(1)->secrets.size(), 2u);
}

TEST(AuthGroupsTest, AuthenticationMustNotContradictItself) {
  EXPECT_TRUE(Validate(Authentication{}).ok());
  EXPECT_TRUE(Validate({.disable = true}).ok());
  EXPECT_TRUE(Validate({.require = true, .mutual = true, .group = 7}).ok());
  EXPECT_EQ(DetailOf(Validate({.disable = true, .require = true})).field, "require_chap");
  EXPECT_EQ(DetailOf(Validate({.mutual = true})).field, "mutual_chap");
  EXPECT_EQ(DetailOf(Validate({.disable = true, .mutual = true})).field, "mutual_chap");
  EXPECT_EQ(DetailOf(Validate({.group = -1})).field, "chap_group");
}

}  // namespace
}  // namespace pollux::iscsi
