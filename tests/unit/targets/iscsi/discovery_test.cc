// SendTargets: who sees what.
#include <algorithm>

#include "tests/unit/targets/iscsi/iscsi_fixture.h"

namespace pollux::iscsi {
namespace {

class DiscoveryTest : public IscsiTest {
 protected:
  DiscoveryTest() { Start(); }
  std::string Discover(const std::string& what = "All",
                       const std::string& initiator = "iqn.2001-04.com.example:host") {
    TestInitiator::LoginOptions options;
    options.discovery = true;
    options.initiator = initiator;
    const auto discovery = LogIn(options);
    discovery->Send(discovery->TextRequest({"SendTargets=" + what}));
    const Wire answer = discovery->Receive();
    EXPECT_EQ(answer.opcode(), 0x24);
    return answer.text();
  }
  std::string PortOf(int32_t tag) {
    for (const PortalGroup& group : target_->portal_groups_as_bound()) {
      if (group.tag == tag) return group.portals[0].port;
    }
    return "none";
  }
  void AddPortals(int32_t tag, const std::string& host, bool is_private = false) {
    OnControl([&] {
      PortalGroup group{.tag = tag, .portals = {{host, "0"}}, .is_private = is_private};
      EXPECT_TRUE(target_->CreatePortalGroup(group, false).ok());
    });
  }
};

TEST_F(DiscoveryTest, DiscoveryListsTargetsWithTheirPortals) {
  ASSERT_TRUE(AddTarget("disk2").ok());
  const std::string address = "TargetAddress=127.0.0.1:" + PortOf(1) + ",1\n";
  EXPECT_EQ(Discover(), "TargetName=iqn.2016-06.io.spdk:disk1\n" + address +
                            "TargetName=iqn.2016-06.io.spdk:disk2\n" + address);
  EXPECT_EQ(Discover("iqn.2016-06.io.spdk:disk2"),
            "TargetName=iqn.2016-06.io.spdk:disk2\n" + address);
  EXPECT_EQ(Discover("iqn.2016-06.io.spdk:none"), "");
}

TEST_F(DiscoveryTest, DiscoveryHidesWhatAnInitiatorMayNotUse) {
  OnControl([this] {
    InitiatorGroup few{
        .tag = 2, .initiators = {"iqn.2001-04.com.example:friend"}, .netmasks = {"ANY"}};
    EXPECT_TRUE(target_->CreateInitiatorGroup(few).ok());
  });
  ASSERT_TRUE(AddTarget("secret", {{1, 2}}).ok());
  EXPECT_EQ(Discover().find("secret"), std::string::npos);
  EXPECT_NE(Discover("All", "iqn.2001-04.com.example:friend").find("secret"), std::string::npos);
}

TEST_F(DiscoveryTest, APrivateGroupIsHiddenFromOthers) {
  AddPortals(2, "127.0.0.1", /*is_private=*/true);
  ASSERT_TRUE(AddTarget("disk2", {{1, 1}, {2, 1}}).ok());
  EXPECT_EQ(Discover().find(PortOf(2) + ",2"), std::string::npos);
  TestInitiator::LoginOptions options;
  options.discovery = true;
  const auto through_it = Connect(2);
  ASSERT_EQ(through_it->Login(options), 0);
  through_it->Send(through_it->TextRequest({"SendTargets=All"}));
  EXPECT_NE(through_it->Receive().text().find(PortOf(2) + ",2"), std::string::npos);
}

TEST_F(DiscoveryTest, AWildcardPortalIsShownAsTheAddressConnectedTo) {
  AddPortals(2, "0.0.0.0");
  AddPortals(3, "[::]");
  ASSERT_TRUE(AddTarget("disk2", {{2, 1}, {3, 1}}).ok());
  const std::string text = Discover("iqn.2016-06.io.spdk:disk2");
  EXPECT_EQ(text,
            "TargetName=iqn.2016-06.io.spdk:disk2\nTargetAddress=127.0.0.1:" + PortOf(2) + ",2\n");
}

TEST_F(DiscoveryTest, ALongAnswerGoesOnWhenAskedTo) {
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(AddTarget("d" + std::to_string(i), {{1, 1}}).ok());
  TestInitiator::LoginOptions options;
  options.discovery = true;
  options.keys = {"MaxRecvDataSegmentLength=512"};
  const auto discovery = LogIn(options);
  discovery->Send(discovery->TextRequest({"SendTargets=All"}));
  std::string text;
  for (;;) {
    const Wire answer = discovery->Receive();
    EXPECT_LE(answer.data.size(), 512u);
    text += answer.text();
    const bool more = (answer.flags() & 0x40) != 0;
    EXPECT_EQ((answer.flags() & 0x80) != 0, !more);
    if (!more) {
      EXPECT_EQ(answer.Get32(20), 0xffffffff);
      break;
    }
    Wire next = discovery->TextRequest({});
    next.Put32(20, answer.Get32(20));
    discovery->Send(next);
  }
  EXPECT_NE(text.find("TargetName=iqn.2016-06.io.spdk:d199\n"), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2 * 201);
}

TEST_F(DiscoveryTest, ANormalSessionMayAskForItsOwnTarget) {
  ASSERT_TRUE(AddTarget("disk2").ok());
  const auto initiator = LogIn();
  initiator->Send(initiator->TextRequest({"SendTargets="}));
  const std::string text = initiator->Receive().text();
  EXPECT_NE(text.find("disk1"), std::string::npos);
  EXPECT_EQ(text.find("disk2"), std::string::npos);
}

TEST_F(DiscoveryTest, DiscoverySessionsRefuseCommands) {
  TestInitiator::LoginOptions options;
  options.discovery = true;
  const auto discovery = LogIn(options);
  discovery->Send(discovery->Command(TestUnitReady(), 0x81, 0));
  const Wire reject = discovery->Receive();
  EXPECT_EQ(reject.opcode(), 0x3f);
  EXPECT_EQ(reject.header[2], 0x05);
  discovery->Send(discovery->TaskManagement(6));
  EXPECT_EQ(discovery->Receive().opcode(), 0x3f);
  discovery->Send(discovery->Logout(0));
  EXPECT_EQ(discovery->Receive().opcode(), 0x26);
  EXPECT_TRUE(discovery->IsClosed());
}

}  // namespace
}  // namespace pollux::iscsi
