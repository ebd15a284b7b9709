#include "targets/iscsi/auth_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>

#include "tests/unit/targets/iscsi/iscsi_fixture.h"

namespace pollux::iscsi {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kGood[] =
    "# Who may come.\n"
    "[AuthGroup1]\n"
    "  Comment \"the first\"\n"
    "  Auth \"anna\" \"what only # anna knows\" # Who is she?\r\n"
    "\tAuth ben secret-of-ben \"the target\" 'quoted'\n"
    "\n"
    "[AuthGroup20]";

std::string Why(std::string_view text) {
  const auto groups = ParseAuthFile(text);
  return groups.ok() ? "" : std::string(groups.status().message());
}

TEST(AuthFileTest, GroupsAndTheirUsers) {
  const auto groups = ParseAuthFile(kGood);
  ASSERT_TRUE(groups.ok()) << groups.status();
  ASSERT_EQ(groups->size(), 2u);
  EXPECT_EQ(groups->at(0).tag, 1);
  EXPECT_EQ(groups->at(1).tag, 20);
  EXPECT_TRUE(groups->at(1).secrets.empty());
  ASSERT_EQ(groups->at(0).secrets.size(), 2u);
  const ChapSecret& anna = groups->at(0).secrets[0];
  EXPECT_EQ(anna.user, "anna");
  EXPECT_EQ(anna.secret, "what only # anna knows");
  EXPECT_EQ(anna.muser, "");
  const ChapSecret& ben = groups->at(0).secrets[1];
  EXPECT_EQ(ben.secret, "secret-of-ben");
  EXPECT_EQ(ben.muser, "the target");
  EXPECT_EQ(ben.msecret, "'quoted'");
}

TEST(AuthFileTest, AnEmptyFileHasNoGroups) {
  for (const char* text : {"", "\n\n", "# nothing", " \t\r\n"}) {
    const auto groups = ParseAuthFile(text);
    ASSERT_TRUE(groups.ok()) << groups.status();
    EXPECT_TRUE(groups->empty());
  }
}

TEST(AuthFileTest, DamageIsToldByItsLine) {
  const std::string begin = "[AuthGroup1]\n";
  const std::pair<std::string, std::string> cases[] = {
      {"Auth a b\n", "line 1: it stands before"},
      {begin + "\nAuth a \"b\n", "line 3: a quote is not closed"},
      {begin + "Auth \"a\"\"b\"", "line 2: a quote is not closed, or words are not apart"},
      {begin + "Auth a", "line 2: Auth has a user and a secret"},
      {begin + "Auth a b c", "line 2: Auth has a user and a secret"},
      {begin + "Auth a b c d e", "line 2: Auth has a user and a secret"},
      {begin + "auth a b", "line 2: it is neither"},
      {begin + "Auth \"\" b", "line 2: user"},
      {begin + "Auth a \"\"", "line 2: secret"},
      {begin + "Auth a b c b", "line 2: msecret"},
      {begin + "Auth a b\nAuth a c", "line 3: user 'a'"},
      {begin + begin, "line 2: tag '1'"},
      {"[AuthGroup0]", "line 1: tag '0'"},
      {"[AuthGroup-1]", "line 1: tag '-1'"},
      {"[AuthGroup]", "line 1: a section is"},
      {"[AuthGroup1x]", "line 1: a section is"},
      {"[AuthGroup99999999999]", "line 1: a section is"},
      {"[AuthGroup1] Auth", "line 1: a section is"},
      {"[Other1]", "line 1: a section is"},
      {"[", "line 1: a section is"},
      {"[AuthGroup1", "line 1: a section is"},
      {begin + std::string("Auth a\0b c", 10), "line 2: user"},
  };
  for (const auto& [text, why] : cases) EXPECT_THAT(Why(text), HasSubstr(why)) << text;
}

TEST(AuthFileTest, NoErrorShowsASecret) {
  for (const char* line : {"Auth a hidden c", "Auth a \"hidden", "Auth a hidden m hidden",
                           "Auth a \"hidden\"x", "hidden"}) {
    const std::string why = Why("[AuthGroup1]\n" + std::string(line));
    EXPECT_NE(why, "");
    EXPECT_THAT(why, Not(HasSubstr("hidden")));
  }
}

TEST(AuthFileTest, CutAnywhereItNeverTakesMoreThanItHas) {
  const std::string whole = kGood;
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const auto groups = ParseAuthFile(whole.substr(0, bytes));
    EXPECT_TRUE(!groups.ok() || groups->size() <= 2);
  }
}

class AuthFileOnDiskTest : public IscsiTest {
 protected:
  AuthFileOnDiskTest() : path_(testing::TempDir() + "auth_file_" + std::to_string(getpid())) {}
  ~AuthFileOnDiskTest() override { std::remove(path_.c_str()); }
  void Write(const std::string& text) { std::ofstream(path_) << text; }

  const std::string path_;
};

TEST_F(AuthFileOnDiskTest, WhatIsNoFileOfGroupsIsRefused) {
  for (const std::string& path :
       {std::string(), path_, testing::TempDir(), std::string("/dev/zero")}) {
    const auto groups = ReadAuthFile(path);
    ASSERT_FALSE(groups.ok()) << path;
    EXPECT_EQ(DetailOf(groups.status()).field, "auth_file");
  }
  Write(std::string(kAuthFileBytesMax, '\n'));
  EXPECT_TRUE(ReadAuthFile(path_).ok());
  Write(std::string(kAuthFileBytesMax + 1, '\n'));
  EXPECT_FALSE(ReadAuthFile(path_).ok());
}

TEST_F(AuthFileOnDiskTest, AFifoDoesNotHoldUpTheLoop) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_FALSE(ReadAuthFile(path_).ok());
}

TEST_F(AuthFileOnDiskTest, ItsGroupsAreThereAndChangeWithItAlone) {
  Write(kGood);
  options_.auth_file = path_;
  Start();
  OnControl([this] {
    ASSERT_EQ(target_->auth_groups().size(), 2u);
    EXPECT_EQ(ErrnoOf(target_->DeleteAuthGroup(1)), EPERM);
    EXPECT_EQ(ErrnoOf(target_->AddSecret(20, {"carl", "carls secret", "", ""})), EPERM);
    EXPECT_EQ(ErrnoOf(target_->RemoveSecret(1, "anna")), EPERM);
    EXPECT_EQ(ErrnoOf(target_->CreateAuthGroup({.tag = 20, .secrets = {}})), EEXIST);
    EXPECT_EQ(target_->auth_groups()[0].secrets.size(), 2u);
    EXPECT_TRUE(target_->CreateAuthGroup({.tag = 2, .secrets = {}}).ok());
    EXPECT_TRUE(target_->DeleteAuthGroup(2).ok());
  });
}

TEST_F(AuthFileOnDiskTest, ADamagedOneIsNotStartedWith) {
  Write("[AuthGroup1]\nAuth anna");
  options_.auth_file = path_;
  const IscsiTarget::Environment environment{.control = world_.control,
                                             .reactors = *world_.reactors,
                                             .devices = world_.devices,
                                             .memory = memory_};
  IscsiTarget target(environment);
  const Status started = Run(target.Start(options_));
  EXPECT_THAT(std::string(started.message()), HasSubstr("line 2"));
  Run(target.Stop(0));
}

}  // namespace
}  // namespace pollux::iscsi
