#include "service/access_control.h"

#include <gtest/gtest.h>

namespace pollux::service {
namespace {

rpc::Identity Holder(const std::string& subject) {
  return rpc::IdentityOfCertificate("192.0.2.7:1", subject);
}

rpc::Identity Member(std::vector<uint32_t> groups) {
  rpc::Identity caller;
  caller.name = "uid 1000 pid 1 (unix)";
  caller.groups = std::move(groups);
  return caller;
}

TEST(MatchesPattern, StarsStandForAnyLetters) {
  struct Case {
    const char *name, *pattern;
    bool matches;
  };
  for (const Case& c : {Case{"bdev_get_bdevs", "bdev_get_bdevs", true},
                        {"bdev_get_bdevs", "bdev_*", true},
                        {"bdev_get_bdevs", "*", true},
                        {"bdev_get_bdevs", "*_get_*", true},
                        {"bdev_get_bdevs", "*bdevs", true},
                        {"bdev_get_bdevs", "bdev_get_bdevs*", true},
                        {"bdev_get_bdevs", "**", true},
                        {"aaab", "*ab", true},
                        {"aabaab", "a*ab", true},
                        {"bdev_get_bdevs", "", false},
                        {"", "*", true},
                        {"", "", true},
                        {"bdev_get_bdevs", "bdev", false},
                        {"bdev_get_bdevs", "*_get", false},
                        {"bdev_get_bdevs", "get_*", false},
                        {"bdev_get_bdevs", "bdev_get_bdevs_*", false}}) {
    EXPECT_EQ(MatchesPattern(c.name, c.pattern), c.matches) << c.name << " " << c.pattern;
  }
}

TEST(MatchesPattern, ManyStarsTakeNoLongTime) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "a*";
  EXPECT_FALSE(MatchesPattern(std::string(2000, 'a') + "b", pattern + "c"));
}

TEST(AccessControl, WithoutAGrantNobodyHasARole) {
  const AccessControl access;
  EXPECT_EQ(access.RoleOf(Holder("CN=a")), v1::ROLE_UNSPECIFIED);
  EXPECT_EQ(access.RoleOf(Member({0, 4})), v1::ROLE_UNSPECIFIED);
  EXPECT_EQ(access.RoleOf(rpc::Identity()), v1::ROLE_UNSPECIFIED);
  EXPECT_EQ(access.RoleOf(rpc::IdentityOfLoopback("127.0.0.1:1")), v1::ROLE_ADMIN);
  EXPECT_FALSE(access.Admit("bdev_get_bdevs", v1::ROLE_READ_ONLY, Holder("CN=a")).ok());
}

TEST(AccessControl, ASubjectIsComparedAsAWhole) {
  AccessControl access;
  ASSERT_TRUE(access.Give("CN=ansible,O=Example", v1::ROLE_OPERATOR).ok());
  EXPECT_EQ(access.RoleOf(Holder("CN=ansible,O=Example")), v1::ROLE_OPERATOR);
  for (const char* other : {"CN=ansible", "CN=ansible,O=Example2", "cn=ansible,O=Example",
                            "CN=ansible,O=Example,C=DE", ""}) {
    EXPECT_EQ(access.RoleOf(Holder(other)), v1::ROLE_UNSPECIFIED) << other;
  }
}

TEST(AccessControl, ACertificateCannotClaimAGroup) {
  AccessControl access;
  ASSERT_TRUE(access.Give("group:4", v1::ROLE_ADMIN).ok());
  EXPECT_EQ(access.RoleOf(Holder("group:4")), v1::ROLE_UNSPECIFIED);
  EXPECT_EQ(access.RoleOf(Member({4})), v1::ROLE_ADMIN);
  EXPECT_TRUE(access.has_groups());
  ASSERT_TRUE(access.Revoke("group:4").ok());
  EXPECT_FALSE(access.has_groups());
}

TEST(AccessControl, TheStrongestGrantCounts) {
  AccessControl access;
  ASSERT_TRUE(access.Give("group:4", v1::ROLE_READ_ONLY).ok());
  ASSERT_TRUE(access.Give("group:5", v1::ROLE_ADMIN).ok());
  ASSERT_TRUE(access.Give("group:6", v1::ROLE_OPERATOR).ok());
  EXPECT_EQ(access.RoleOf(Member({4, 5, 6})), v1::ROLE_ADMIN);
  EXPECT_EQ(access.RoleOf(Member({6, 4})), v1::ROLE_OPERATOR);
  EXPECT_EQ(access.RoleOf(Member({7})), v1::ROLE_UNSPECIFIED);
}

TEST(AccessControl, EachRoleMayDoWhatTheWeakerMay) {
  const AccessControl access;
  const std::vector<v1::Role> roles{v1::ROLE_READ_ONLY, v1::ROLE_OPERATOR, v1::ROLE_ADMIN};
  for (const v1::Role role : roles) {
    for (const v1::Role needed : roles) {
      EXPECT_EQ(access.Allows(role, "m", needed), needed <= role) << role << " " << needed;
    }
  }
}

TEST(AccessControl, AListIsAllThatARoleHas) {
  AccessControl access;
  ASSERT_TRUE(access.SetAllowed(v1::ROLE_READ_ONLY, {"bdev_get_*", "log_set_level"}).ok());
  EXPECT_TRUE(access.Allows(v1::ROLE_READ_ONLY, "bdev_get_bdevs", v1::ROLE_READ_ONLY));
  EXPECT_TRUE(access.Allows(v1::ROLE_READ_ONLY, "log_set_level", v1::ROLE_OPERATOR));
  EXPECT_FALSE(access.Allows(v1::ROLE_READ_ONLY, "pollux_get_status", v1::ROLE_READ_ONLY));
  EXPECT_TRUE(access.Allows(v1::ROLE_READ_ONLY, "pollux_access_whoami", v1::ROLE_READ_ONLY));
  EXPECT_TRUE(access.Allows(v1::ROLE_OPERATOR, "pollux_get_status", v1::ROLE_READ_ONLY));
  ASSERT_TRUE(access.SetAllowed(v1::ROLE_READ_ONLY, {}).ok());
  EXPECT_TRUE(access.Allows(v1::ROLE_READ_ONLY, "pollux_get_status", v1::ROLE_READ_ONLY));
}

TEST(AccessControl, WhoMayCallIsTheAdminsAlone) {
  AccessControl access;
  ASSERT_TRUE(access.SetAllowed(v1::ROLE_OPERATOR, {"*"}).ok());
  EXPECT_FALSE(access.Allows(v1::ROLE_OPERATOR, "pollux_access_grant", v1::ROLE_ADMIN));
  EXPECT_FALSE(access.SetAllowed(v1::ROLE_ADMIN, {"bdev_*"}).ok());
  EXPECT_TRUE(access.Allows(v1::ROLE_ADMIN, "pollux_access_grant", v1::ROLE_ADMIN));
}

TEST(AccessControl, GrantsAreBounded) {
  AccessControl access;
  for (int i = 0; i < 1024; ++i) {
    ASSERT_TRUE(access.Give(absl::StrFormat("CN=%d", i), v1::ROLE_READ_ONLY).ok());
  }
  EXPECT_FALSE(access.Give("CN=more", v1::ROLE_READ_ONLY).ok());
  EXPECT_TRUE(access.Give("CN=5", v1::ROLE_ADMIN).ok());
}

}  // namespace
}  // namespace pollux::service
