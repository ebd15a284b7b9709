#include <gtest/gtest.h>

#include "targets/iscsi/initiator_group.h"
#include "targets/iscsi/iscsi_spec.h"
#include "targets/iscsi/names.h"
#include "targets/iscsi/text_keys.h"

namespace pollux::iscsi {
namespace {

using namespace std::string_literals;

TEST(TextKeysTest, PairsAreCutAtNulAndAtTheFirstEqualsSign) {
  const std::string text = "A=1\0Key=a=b\0Empty=\0"s;
  const auto pairs = ParseKeys(text);
  ASSERT_TRUE(pairs.has_value());
  ASSERT_EQ(pairs->size(), 3u);
  EXPECT_EQ((*pairs)[1].key, "Key");
  EXPECT_EQ((*pairs)[1].value, "a=b");
  EXPECT_EQ((*pairs)[2].value, "");
}

TEST(TextKeysTest, TheLastNulMayBeMissing) {
  const auto pairs = ParseKeys("A=1");
  ASSERT_TRUE(pairs.has_value());
  EXPECT_EQ(pairs->at(0).value, "1");
}

TEST(TextKeysTest, WhatIsNoPairIsRefused) {
  const std::string good_key(kKeyBytesMax, 'k');
  EXPECT_TRUE(ParseKeys(good_key + "=v").has_value());
  EXPECT_FALSE(ParseKeys(good_key + "k=v").has_value());
  for (const std::string& text :
       {"A"s, "=v"s, "A=1\0B"s, "A B=1"s, "\x01=1"s, "\xff=1"s, std::string(4096, 'A')}) {
    EXPECT_FALSE(ParseKeys(text).has_value()) << text;
  }
}

TEST(TextKeysTest, NumbersAreDecimalOrHexadecimalAndInRange) {
  EXPECT_EQ(ParseNumber("512", 512, 1000), 512u);
  EXPECT_EQ(ParseNumber("0x200", 512, 1000), 512u);
  EXPECT_EQ(ParseNumber("0X3E8", 512, 1000), 1000u);
  for (const char* text : {"", "511", "1001", "-1", "+600", " 600", "600 ", "0x", "6e2", "600,700",
                           "4294967808", "99999999999999999999", "0x100000200"}) {
    EXPECT_EQ(ParseNumber(text, 512, 1000), std::nullopt) << text;
  }
}

TEST(TextKeysTest, AListIsSearchedByWholeValues) {
  EXPECT_TRUE(ListContains("None", "None"));
  EXPECT_TRUE(ListContains("CHAP,None", "None"));
  EXPECT_FALSE(ListContains("CHAP,NoneX", "None"));
  EXPECT_FALSE(ListContains("", "None"));
}

TEST(NamesTest, NamesOfTheThreeKindsAreValid) {
  for (const std::string& name :
       {"iqn.2016-06.io.spdk:disk1"s, "iqn.2001-04.com.example"s, "IQN.2001-04.Com.Example:A"s,
        "eui.02004567A425678D"s, "naa.52004567BA64678D"s, "naa.62004567BA64678D0123456789ABCDEF"s,
        "iqn.2016-06.io.spdk:"s + std::string(kNameBytesMax - 20, 'x')}) {
    EXPECT_TRUE(ValidateName("name", name).ok()) << name;
  }
}

TEST(NamesTest, OtherNamesAreRefused) {
  for (const std::string& name :
       {""s, "disk1"s, "iqn.2016-13.io.spdk:a"s, "iqn.2016-00.io.spdk:a"s, "iqn.16-06.io:a"s,
        "iqn.2016-06.io.spdk:a b"s, "iqn.2016-06.io.spdk:%n%s"s, "iqn.2016-06.io.spdk:a\n"s,
        "iqn.2016-06.io.spdk:a_b"s, "iqn."s, "eui.02004567A425678"s, "eui.02004567A425678G"s,
        "naa.5200"s, "iqn.2016-06.io\0x"s,
        "iqn.2016-06.io.spdk:"s + std::string(kNameBytesMax - 19, 'x'), std::string(65536, 'i')}) {
    EXPECT_FALSE(ValidateName("name", name).ok()) << name;
  }
}

TEST(NamesTest, AShortNameGetsTheNodeBase) {
  EXPECT_EQ(WithNodeBase("iqn.2016-06.io.spdk", "disk1"), "iqn.2016-06.io.spdk:disk1");
  EXPECT_EQ(WithNodeBase("iqn.2016-06.io.spdk", "iqn.2001-04.com.a:b"), "iqn.2001-04.com.a:b");
  EXPECT_EQ(WithoutNodeBase("iqn.2016-06.io.spdk", "iqn.2016-06.io.spdk:disk1"), "disk1");
  EXPECT_EQ(WithoutNodeBase("iqn.2016-06.io.spdk", "iqn.2016-06.io.spdkx:disk1"),
            "iqn.2016-06.io.spdkx:disk1");
}

TEST(NamesTest, CaseMakesNoDifference) {
  EXPECT_TRUE(SameName("iqn.2016-06.io.spdk:Disk", "IQN.2016-06.io.spdk:disk"));
  EXPECT_FALSE(SameName("iqn.2016-06.io.spdk:disk", "iqn.2016-06.io.spdk:disk1"));
}

class InitiatorGroupTest : public testing::Test {
 protected:
  static SocketAddress At(const char* host) { return *SocketAddress::Parse(host, 4000); }
  static Membership Of(const InitiatorGroup& group, const char* name,
                       const char* host = "10.1.2.3") {
    return MembershipOf(group, name, At(host));
  }
  static constexpr char kOne[] = "iqn.2001-04.com.example:one";
  static constexpr char kTwo[] = "iqn.2001-04.com.example:two";
};

TEST_F(InitiatorGroupTest, AnyMatchesEveryone) {
  const InitiatorGroup group{.tag = 1, .initiators = {"ANY"}, .netmasks = {"ANY"}};
  EXPECT_EQ(Of(group, kOne), Membership::kMember);
  EXPECT_EQ(Of(group, kOne, "::1"), Membership::kMember);
}

TEST_F(InitiatorGroupTest, AnExclusionCountsFromWhereItStands) {
  const InitiatorGroup excluded{
      .tag = 1, .initiators = {std::string("!") + kOne, "ANY"}, .netmasks = {"ANY"}};
  EXPECT_EQ(Of(excluded, kOne), Membership::kExcluded);
  EXPECT_EQ(Of(excluded, kTwo), Membership::kMember);
  const InitiatorGroup named{.tag = 1, .initiators = {kOne}, .netmasks = {"ANY"}};
  EXPECT_EQ(Of(named, kOne), Membership::kMember);
  EXPECT_EQ(Of(named, kTwo), Membership::kNot);
  EXPECT_EQ(Of(named, "IQN.2001-04.com.example:ONE"), Membership::kMember);
}

TEST_F(InitiatorGroupTest, AnEmptyListMatchesNobody) {
  EXPECT_EQ(Of({.tag = 1, .initiators = {}, .netmasks = {"ANY"}}, kOne), Membership::kNot);
  EXPECT_EQ(Of({.tag = 1, .initiators = {"ANY"}, .netmasks = {}}, kOne), Membership::kNot);
}

TEST_F(InitiatorGroupTest, NetmasksOfBothFamiliesMatchBitByBit) {
  struct Case {
    const char* netmask;
    const char* address;
    bool matches;
  };
  for (const Case& c : std::initializer_list<Case>{{"10.1.2.3", "10.1.2.3", true},
                                                   {"10.1.2.3", "10.1.2.4", false},
                                                   {"10.1.0.0/16", "10.1.2.3", true},
                                                   {"10.1.0.0/16", "10.2.2.3", false},
                                                   {"10.1.2.2/31", "10.1.2.3", true},
                                                   {"10.1.2.0/31", "10.1.2.3", false},
                                                   {"0.0.0.0/0", "10.1.2.3", true},
                                                   {"0.0.0.0/0", "::1", false},
                                                   {"10.1.2.3/32", "10.1.2.3", true},
                                                   {"::1", "::1", true},
                                                   {"[::1]", "::1", true},
                                                   {"[fe80::]/10", "fe80::1", true},
                                                   {"fe80::/10", "fec0::1", false},
                                                   {"2001:db8::/33", "2001:db8:7fff::1", true},
                                                   {"2001:db8::/33", "2001:db8:8000::1", false},
                                                   {"::/0", "::1", true},
                                                   {"::ffff:0:0/96", "10.1.2.3", false}}) {
    EXPECT_EQ(NetmaskMatches(c.netmask, At(c.address)), c.matches) << c.netmask << " " << c.address;
    EXPECT_TRUE(ValidateNetmask("netmasks[0]", c.netmask).ok()) << c.netmask;
  }
}

TEST_F(InitiatorGroupTest, BrokenNetmasksAreRefused) {
  for (const char* netmask : {"", "10.1.2", "10.1.2.3/", "10.1.2.3/33", "::1/129", "10.1.2.3/-1",
                              "10.1.2.3/8x", "example.com", "/8", "[::1", "any", "%n"}) {
    EXPECT_FALSE(ValidateNetmask("netmasks[0]", netmask).ok()) << netmask;
  }
}

TEST_F(InitiatorGroupTest, AFailedChangeChangesNothing) {
  InitiatorGroups groups;
  ASSERT_TRUE(groups.Create({.tag = 7, .initiators = {kOne}, .netmasks = {"ANY"}}).ok());
  EXPECT_EQ(ErrnoOf(groups.Create({.tag = 7})), EEXIST);
  EXPECT_EQ(ErrnoOf(groups.Create({.tag = 0})), EINVAL);
  EXPECT_EQ(ErrnoOf(groups.Create({.tag = 65536})), EINVAL);
  const Status bad = groups.Add(7, {kTwo, "x y"}, {});
  EXPECT_EQ(DetailOf(bad).field, "initiators[1]");
  EXPECT_EQ(ErrnoOf(groups.Add(7, {kOne}, {})), EEXIST);
  EXPECT_EQ(ErrnoOf(groups.Add(7, {kTwo, kTwo}, {})), EEXIST);
  EXPECT_EQ(ErrnoOf(groups.Remove(7, {kOne}, {"10.0.0.0/8"})), ENOENT);
  EXPECT_EQ(ErrnoOf(groups.Add(8, {}, {})), ENOENT);
  ASSERT_EQ(groups.groups().size(), 1u);
  EXPECT_EQ(groups.groups()[0].initiators, std::vector<std::string>{kOne});
  EXPECT_TRUE(groups.Add(7, {kTwo}, {"10.0.0.0/8"}).ok());
  EXPECT_TRUE(groups.Remove(7, {kOne}, {"ANY"}).ok());
  EXPECT_EQ(groups.groups()[0].initiators, std::vector<std::string>{kTwo});
}

}  // namespace
}  // namespace pollux::iscsi
