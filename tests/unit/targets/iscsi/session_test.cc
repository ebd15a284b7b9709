// Logins, sessions, their connections, and what they ask for besides I/O.
#include "tests/unit/targets/iscsi/iscsi_fixture.h"

namespace pollux::iscsi {
namespace {

using namespace std::string_literals;

class SessionTest : public IscsiTest {
 protected:
  explicit SessionTest(size_t reactors = 1) : IscsiTest(reactors) {}
  void SetUp() override { Start(); }

  void AddPortals(int32_t tag, const std::string& host, bool is_private = false) {
    OnControl([&] {
      PortalGroup group{.tag = tag, .portals = {{host, "0"}}, .is_private = is_private};
      EXPECT_TRUE(target_->CreatePortalGroup(group, false).ok());
    });
  }
};

// --- Login.

TEST_F(SessionTest, LoginAnswersNameThePortalGroupAndTheSession) {
  const auto initiator = LogIn();
  EXPECT_EQ(initiator->negotiated["TargetPortalGroupTag"], "1");
  EXPECT_EQ(initiator->negotiated["MaxConnections"], "2");
  EXPECT_NE(initiator->tsih, 0);
  const auto connections = Connections();
  ASSERT_EQ(connections.size(), 1u);
  EXPECT_EQ(connections[0].tsih, initiator->tsih);
  EXPECT_EQ(connections[0].state, "running");
  EXPECT_EQ(connections[0].login_phase, "full_feature_phase");
  EXPECT_EQ(connections[0].initiator_address, "127.0.0.1");
  EXPECT_EQ(connections[0].target_node_name, "disk1");
  EXPECT_EQ(connections[0].thread_name, "reactor_0");
}

TEST_F(SessionTest, TheWindowIsTheQueueDepth) {
  const auto initiator = LogIn();
  EXPECT_EQ(initiator->max_cmd_sn - initiator->exp_cmd_sn + 1, 64u);
}

TEST_F(SessionTest, AConnectionThatHasNotLoggedInIsShownAsSuch) {
  const auto initiator = Connect();
  Turns(5);
  const auto connections = Connections();
  ASSERT_EQ(connections.size(), 1u);
  EXPECT_EQ(connections[0].tsih, 65535);
  EXPECT_EQ(connections[0].login_phase, "not_started");
}

TEST_F(SessionTest, UnknownTargetsAndStrangersAreRefused) {
  TestInitiator::LoginOptions options;
  options.target = "iqn.2016-06.io.spdk:other";
  EXPECT_EQ(Connect()->Login(options), 0x0203);
  OnControl([this] {
    InitiatorGroup few{
        .tag = 2, .initiators = {"iqn.2001-04.com.example:friend"}, .netmasks = {"127.0.0.0/8"}};
    EXPECT_TRUE(target_->CreateInitiatorGroup(few).ok());
  });
  ASSERT_TRUE(AddTarget("disk2", {{1, 2}}).ok());
  options.target = "iqn.2016-06.io.spdk:disk2";
  EXPECT_EQ(Connect()->Login(options), 0x0202);
  options.initiator = "iqn.2001-04.com.example:FRIEND";
  EXPECT_EQ(Connect()->Login(options), 0);
}

TEST_F(SessionTest, AnExclusionHoldsForAllMapsBehindIt) {
  OnControl([this] {
    InitiatorGroup without{
        .tag = 2, .initiators = {"!iqn.2001-04.com.example:host"}, .netmasks = {"ANY"}};
    EXPECT_TRUE(target_->CreateInitiatorGroup(without).ok());
  });
  ASSERT_TRUE(AddTarget("disk2", {{1, 2}, {1, 1}}).ok());
  TestInitiator::LoginOptions options;
  options.target = "iqn.2016-06.io.spdk:disk2";
  EXPECT_EQ(Connect()->Login(options), 0x0202);
  options.initiator = "iqn.2001-04.com.example:another";
  EXPECT_EQ(Connect()->Login(options), 0);
}

TEST_F(SessionTest, ATargetThatRequiresChapRefusesALoginWithout) {
  TargetNode node{.name = "locked",
                  .maps = {{1, 1}},
                  .luns = {{.bdev_name = "disk", .lun_id = 0}},
                  .authentication = {.require = true}};
  ASSERT_TRUE(Run(target_->CreateTargetNode(std::move(node), false)).ok());
  TestInitiator::LoginOptions options;
  options.target = "iqn.2016-06.io.spdk:locked";
  EXPECT_EQ(Connect()->Login(options), 0x0201);
}

TEST_F(SessionTest, SessionsBeyondTheMaximumAreOutOfResources) {
  std::vector<std::unique_ptr<TestInitiator>> all;
  TestInitiator::LoginOptions options;
  for (options.isid = 1; options.isid <= 8; ++options.isid) all.push_back(LogIn(options));
  EXPECT_EQ(Connect()->Login(options), 0x0302);
  all.pop_back();
  Turns(50);
  EXPECT_EQ(Connect()->Login(options), 0) << "one has gone";
}

TEST_F(SessionTest, DiscoverySessionsDoNotKeepOthersOut) {
  TestInitiator::LoginOptions options;
  options.discovery = true;
  std::vector<std::unique_ptr<TestInitiator>> all;
  for (options.isid = 1; options.isid <= 8; ++options.isid) all.push_back(LogIn(options));
  EXPECT_EQ(Connect()->Login(options), 0x0302);
  ExpectServing();
}

TEST_F(SessionTest, ALoginThatTakesTooLongIsClosed) {
  const auto initiator = Connect();
  Turns(5);
  Advance(29);
  EXPECT_TRUE(initiator->IsQuiet());
  Advance(2);
  EXPECT_TRUE(initiator->IsClosed());
  ExpectNobody();
}

// --- NOP.

TEST_F(SessionTest, APingIsAnsweredWithItsData) {
  const auto initiator = LogIn();
  for (const size_t bytes : {0u, 1u, 5u, 8192u, 8193u, 65536u}) {
    const Wire ping = initiator->NopOut(Pattern(bytes, 1));
    initiator->Send(ping);
    const Wire pong = initiator->Receive();
    EXPECT_EQ(pong.opcode(), 0x20);
    EXPECT_EQ(pong.Get32(16), ping.Get32(16));
    EXPECT_EQ(pong.Get32(20), 0xffffffff);
    EXPECT_EQ(pong.data, Pattern(bytes, 1));
  }
}

TEST_F(SessionTest, ASilentInitiatorIsPingedAndGivenUp) {
  const auto initiator = LogIn();
  Advance(65);
  const Wire ping = initiator->Receive();
  EXPECT_EQ(ping.opcode(), 0x20);
  EXPECT_EQ(ping.Get32(16), 0xffffffff);
  Advance(61);
  EXPECT_TRUE(initiator->IsClosed());
  ExpectNobody();
}

TEST_F(SessionTest, AnInitiatorThatAnswersPingsStays) {
  const auto initiator = LogIn();
  for (int i = 0; i < 5; ++i) {
    Advance(95);
    const Wire ping = initiator->Receive();
    ASSERT_EQ(ping.opcode(), 0x20);
    Wire pong(0x40);
    pong.Put32(16, 0xffffffff).Put32(20, ping.Get32(20)).Put32(24, initiator->cmd_sn);
    initiator->Send(pong);
    Turns(5);
  }
  EXPECT_TRUE(initiator->IsQuiet());
}

TEST_F(SessionTest, APingInTheOrderOfCommandsUsesUpItsNumber) {
  const auto initiator = LogIn();
  Wire ping = initiator->NopOut(Pattern(4, 1));
  ping.header[0] = 0x00;
  const uint32_t number = initiator->cmd_sn++;
  initiator->Send(ping);
  EXPECT_EQ(initiator->Receive().Get32(28), number + 1);
}

TEST_F(SessionTest, ALargePingMayComeInPieces) {
  const auto initiator = LogIn();
  const Wire ping = initiator->NopOut(Pattern(40000, 8));
  const Bytes bytes = ping.Encode();
  for (size_t at = 0; at < bytes.size(); at += 7000) {
    const auto from = bytes.begin() + static_cast<ptrdiff_t>(at);
    const size_t piece = std::min<size_t>(7000, bytes.size() - at);
    initiator->SendRaw(Bytes(from, from + static_cast<ptrdiff_t>(piece)));
    Turns(3);
  }
  EXPECT_EQ(initiator->Receive().data, Pattern(40000, 8));
}

// --- Order of commands.

TEST_F(SessionTest, NumbersOutsideTheWindowAreIgnored) {
  const auto initiator = LogIn();
  const uint32_t next = initiator->cmd_sn;
  for (const uint32_t wrong : {next - 1, next + 64, next + 0x80000000}) {
    initiator->cmd_sn = wrong;
    Wire write = initiator->Command(Write10(0, 32), 0xa1, 32 * 512);
    write.data = Bytes(8192);
    initiator->Send(write);
    EXPECT_TRUE(initiator->IsQuiet()) << wrong - next;
  }
  initiator->cmd_sn = next;
  EXPECT_EQ(initiator->NoData(TestUnitReady()).status, 0);
}

TEST_F(SessionTest, ACommandThatOvertookWaitsForTheOneBefore) {
  const auto initiator = LogIn();
  const Wire first = initiator->Command(TestUnitReady(), 0x81, 0);
  const Wire second = initiator->Command(TestUnitReady(), 0x81, 0);
  initiator->Send(second);
  EXPECT_TRUE(initiator->IsQuiet());
  initiator->Send(second);  // Twice: the second one is ignored.
  initiator->Send(first);
  EXPECT_EQ(initiator->Receive().Get32(16), first.Get32(16));
  EXPECT_EQ(initiator->Receive().Get32(16), second.Get32(16));
  EXPECT_TRUE(initiator->IsQuiet());
}

TEST_F(SessionTest, AnImmediateCommandDoesNotWait) {
  const auto initiator = LogIn();
  disk_->holds = true;
  std::vector<uint32_t> tags;
  for (int i = 0; i < 64; ++i) {
    const Wire command = initiator->Command(Read10(0, 1), 0xc1, 512);
    tags.push_back(command.Get32(16));
    initiator->Send(command);
  }
  Wire immediate = initiator->Command(TestUnitReady(), 0x81, 0);
  immediate.header[0] |= 0x40;
  --initiator->cmd_sn;
  initiator->Send(immediate);
  const Wire answer = initiator->Receive();
  EXPECT_EQ(answer.Get32(16), immediate.Get32(16));
  EXPECT_EQ(initiator->max_cmd_sn, initiator->cmd_sn - 1) << "the window is closed";
  world_.On(0, [this] { disk_->Release(); });
  initiator->exp_stat_sn = answer.Get32(24) + 1;
  for (const uint32_t tag : tags) EXPECT_EQ(initiator->Finish(tag).status, 0);
  EXPECT_EQ(initiator->max_cmd_sn - initiator->cmd_sn + 1, 64u) << "it is open again";
}

TEST_F(SessionTest, AQueueDepthOfOneGoesOnForEver) {
  TargetNode node{.name = "narrow",
                  .maps = {{1, 1}},
                  .luns = {{.bdev_name = "disk", .lun_id = 0}},
                  .queue_depth = 1};
  ASSERT_TRUE(Run(target_->CreateTargetNode(std::move(node), false)).ok());
  TestInitiator::LoginOptions options;
  options.target = "iqn.2016-06.io.spdk:narrow";
  const auto initiator = LogIn(options);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(initiator->max_cmd_sn, initiator->cmd_sn);
    EXPECT_EQ(initiator->Read(Read10(0, 1), 512).status, 0);
    EXPECT_EQ(initiator->Write(Write10(0, 200), Bytes(200 * 512), 512).status, 0);
  }
}

// --- Logout and reinstatement.

TEST_F(SessionTest, ALogoutClosesTheSession) {
  const auto initiator = LogIn();
  initiator->Send(initiator->Logout(0));
  const Wire response = initiator->Receive();
  EXPECT_EQ(response.opcode(), 0x26);
  EXPECT_EQ(response.header[2], 0);
  EXPECT_TRUE(initiator->IsClosed());
  ExpectNobody();
}

TEST_F(SessionTest, ALogoutForRecoveryIsNotSupported) {
  const auto initiator = LogIn();
  initiator->Send(initiator->Logout(2));
  EXPECT_EQ(initiator->Receive().header[2], 2);
  initiator->Send(initiator->Logout(1, 99));
  EXPECT_EQ(initiator->Receive().header[2], 1) << "no such CID";
  EXPECT_TRUE(initiator->IsQuiet());
}

TEST_F(SessionTest, ALogoutEndsTheTasksUnderWay) {
  const auto initiator = LogIn();
  disk_->holds = true;
  initiator->Send(initiator->Command(Read10(0, 1), 0xc1, 512));
  initiator->Send(initiator->Command(Write10(0, 64), 0xa1, 64 * 512));
  EXPECT_EQ(initiator->Receive().opcode(), 0x31);
  initiator->Send(initiator->Logout(0));
  EXPECT_EQ(initiator->Receive().opcode(), 0x26);
  EXPECT_TRUE(initiator->IsClosed());
  ExpectNobody();
}

TEST_F(SessionTest, ANewLoginOfTheSamePortReinstatesTheSession) {
  const auto old = LogIn();
  disk_->holds = true;
  old->Send(old->Command(Read10(0, 1), 0xc1, 512));
  Turns(5);
  disk_->holds = false;
  const auto anew = LogIn();
  EXPECT_TRUE(old->IsClosed());
  EXPECT_NE(anew->tsih, old->tsih);
  EXPECT_EQ(Connections().size(), 1u);
  TestInitiator::LoginOptions other;
  other.initiator = "iqn.2001-04.com.example:another";
  LogIn(other);
  EXPECT_TRUE(anew->IsQuiet()) << "another initiator with the same ISID is another port";
}

TEST_F(SessionTest, AnInitiatorThatVanishesLeavesNothing) {
  const auto initiator = LogIn();
  disk_->holds = true;
  initiator->Send(initiator->Command(Read10(0, 1), 0xc1, 512));
  initiator->Send(initiator->Command(Write10(0, 64), 0xa1, 64 * 512));
  Turns(5);
  initiator->Disconnect();
  ExpectNobody();
}

// --- Several connections of a session.

TEST_F(SessionTest, ASecondConnectionJoinsTheSession) {
  const auto first = LogIn();
  TestInitiator::LoginOptions options;
  options.tsih = first->tsih;
  options.cid = 2;
  const auto second = Connect();
  ASSERT_EQ(second->Login(options), 0);
  EXPECT_EQ(second->tsih, first->tsih);
  EXPECT_EQ(Connections().size(), 2u);
  // One order of commands for both; answers come where the command was.
  const Wire early = first->Command(TestUnitReady(), 0x81, 0);
  second->cmd_sn = first->cmd_sn;
  const Wire late = second->Command(TestUnitReady(), 0x81, 0);
  second->Send(late);
  EXPECT_TRUE(second->IsQuiet());
  first->Send(early);
  EXPECT_EQ(second->Receive().Get32(16), late.Get32(16));
  EXPECT_EQ(first->Receive().Get32(16), early.Get32(16));

  options.cid = 3;
  EXPECT_EQ(Connect()->Login(options), 0x0206) << "two were agreed upon";
}

TEST_F(SessionTest, OneConnectionMayLogOutWhileTheOtherStays) {
  const auto first = LogIn();
  TestInitiator::LoginOptions options;
  options.tsih = first->tsih;
  options.cid = 2;
  const auto second = Connect();
  ASSERT_EQ(second->Login(options), 0);
  first->Send(first->Logout(1, 2));
  EXPECT_EQ(first->Receive().header[2], 0);
  EXPECT_TRUE(second->IsClosed());
  EXPECT_TRUE(first->IsQuiet());
  EXPECT_EQ(Connections().size(), 1u);
}

TEST_F(SessionTest, ALogoutOfTheSessionClosesAllItsConnections) {
  const auto first = LogIn();
  TestInitiator::LoginOptions options;
  options.tsih = first->tsih;
  options.cid = 2;
  const auto second = Connect();
  ASSERT_EQ(second->Login(options), 0);
  first->Send(first->Logout(0));
  EXPECT_EQ(first->Receive().header[2], 0);
  EXPECT_TRUE(second->IsClosed());
  ExpectNobody();
}

TEST_F(SessionTest, AConnectionThatFailsTakesItsSessionWithIt) {
  const auto first = LogIn();
  TestInitiator::LoginOptions options;
  options.tsih = first->tsih;
  options.cid = 2;
  const auto second = Connect();
  ASSERT_EQ(second->Login(options), 0);
  second->Disconnect();
  EXPECT_TRUE(first->IsClosed());
  ExpectNobody();
}

TEST_F(SessionTest, TheSameCidAgainReplacesTheConnection) {
  const auto first = LogIn();
  TestInitiator::LoginOptions options;
  options.tsih = first->tsih;
  const auto again = Connect();
  ASSERT_EQ(again->Login(options), 0);
  EXPECT_TRUE(first->IsClosed());
  again->cmd_sn = first->cmd_sn;
  EXPECT_EQ(again->NoData(TestUnitReady()).status, 0);
}

TEST_F(SessionTest, AnUnknownSessionCannotBeJoined) {
  const auto first = LogIn();
  TestInitiator::LoginOptions options;
  options.cid = 2;
  options.tsih = static_cast<uint16_t>(first->tsih + 1);
  EXPECT_EQ(Connect()->Login(options), 0x020a);
  options.tsih = first->tsih;
  options.initiator = "iqn.2001-04.com.example:thief";
  EXPECT_EQ(Connect()->Login(options), 0x020a);
}

class TwoReactorsTest : public SessionTest {
 protected:
  TwoReactorsTest() : SessionTest(2) {}
};

TEST_F(TwoReactorsTest, SessionsAreSpreadAndTheirConnectionsStayTogether) {
  std::vector<std::unique_ptr<TestInitiator>> all;
  TestInitiator::LoginOptions options;
  for (options.isid = 1; options.isid <= 4; ++options.isid) all.push_back(LogIn(options));
  options.isid = 1;
  options.tsih = all[0]->tsih;
  options.cid = 2;
  all.push_back(Connect());
  ASSERT_EQ(all.back()->Login(options), 0);
  std::map<int, std::string> reactor_of;
  std::map<std::string, int> sessions_on;
  for (const ConnectionInfo& info : Connections()) {
    const auto [place, is_new] = reactor_of.emplace(info.tsih, info.thread_name);
    if (is_new) ++sessions_on[info.thread_name];
    EXPECT_EQ(place->second, info.thread_name);
  }
  EXPECT_EQ(sessions_on["reactor_0"], 2);
  EXPECT_EQ(sessions_on["reactor_1"], 2);
}

// --- Logout by request.

TEST_F(SessionTest, WhoIsAskedToLogOutMayTakeItsTime) {
  const auto initiator = LogIn();
  EXPECT_TRUE(world_.Run(target_->RequestLogout(kTargetName, std::nullopt)).ok());
  const Wire event = initiator->Receive();
  EXPECT_EQ(event.opcode(), 0x32);
  EXPECT_EQ(event.header[36], 1) << "logout requested";
  EXPECT_EQ(event.header[42] << 8 | event.header[43], 30) << "seconds";
  world_.clock.Advance(29 * kNsPerSecond);
  Turns(5);
  initiator->Send(initiator->Command(TestUnitReady(), 0x81, 0));
  EXPECT_EQ(initiator->Receive().header[3], 0) << "until then it is served";
}

TEST_F(SessionTest, WhoDoesNotLogOutWhenAskedIsDisconnected) {
  const auto initiator = LogIn();
  EXPECT_TRUE(world_.Run(target_->RequestLogout(kTargetName, 1)).ok());
  EXPECT_EQ(initiator->Receive().opcode(), 0x32);
  world_.clock.Advance(20 * kNsPerSecond);
  EXPECT_TRUE(world_.Run(target_->RequestLogout(kTargetName, 1)).ok());
  EXPECT_EQ(initiator->Receive().opcode(), 0x32);
  world_.clock.Advance(11 * kNsPerSecond);
  EXPECT_TRUE(initiator->IsClosed()) << "the second request gives no more time";
  world_.Until([this] { return Connections().empty(); });
}

TEST_F(SessionTest, OnlyThoseOfThePortalGroupAreAskedToLogOut) {
  const auto initiator = LogIn();
  EXPECT_EQ(ErrnoOf(world_.Run(target_->RequestLogout(kTargetName, 9))), ENOENT);
  EXPECT_EQ(ErrnoOf(world_.Run(target_->RequestLogout("iqn.2026-01.test:none", 1))), ENOENT);
  initiator->Send(initiator->Command(TestUnitReady(), 0x81, 0));
  EXPECT_EQ(initiator->Receive().opcode(), 0x21);
}

// --- The end.

TEST_F(SessionTest, AStoppingTargetAsksForLogoutAndDrains) {
  const auto idle = LogIn();
  TestInitiator::LoginOptions options;
  options.isid = 2;
  const auto busy = LogIn(options);
  disk_->holds = true;
  const Wire read = busy->Command(Read10(0, 1), 0xc1, 512);
  busy->Send(read);
  Turns(5);
  Task<void> stop = target_->Stop(kNsPerSecond);
  world_.Begin(stop);
  const Wire event = idle->Receive();
  EXPECT_EQ(event.opcode(), 0x32);
  EXPECT_EQ(event.header[36], 1) << "logout requested";
  EXPECT_TRUE(idle->IsClosed());

  EXPECT_EQ(busy->Receive().opcode(), 0x32);
  busy->Send(busy->Command(TestUnitReady(), 0x81, 0));
  EXPECT_EQ(busy->Receive().header[3], 0x08) << "BUSY";
  EXPECT_FALSE(stop.done());
  world_.On(0, [this] { disk_->Release(); });
  Wire answer = busy->Receive();
  EXPECT_EQ(answer.Get32(16), read.Get32(16));
  EXPECT_EQ(answer.header[3], 0);
  EXPECT_TRUE(busy->IsClosed());
  world_.Until([&stop] { return stop.done(); });
}

TEST_F(SessionTest, AStopDoesNotWaitForEver) {
  const auto busy = LogIn();
  disk_->holds = true;
  busy->Send(busy->Command(Write10(0, 64), 0xa1, 64 * 512));
  EXPECT_EQ(busy->Receive().opcode(), 0x31);
  Task<void> stop = target_->Stop(kNsPerSecond);
  world_.Begin(stop);
  Turns(50);
  EXPECT_FALSE(stop.done());
  Advance(2);
  EXPECT_TRUE(busy->IsClosed());
  world_.Until([&stop] { return stop.done(); });
}

TEST_F(SessionTest, DeletingATargetClosesItsSessions) {
  const auto initiator = LogIn();
  disk_->holds = true;
  initiator->Send(initiator->Command(Read10(0, 1), 0xc1, 512));
  Turns(5);
  EXPECT_TRUE(Run(target_->DeleteTargetNode("disk1")).ok());
  EXPECT_TRUE(initiator->IsClosed());
  EXPECT_EQ(Connect()->Login(), 0x0203);
  disk_->holds = false;
  EXPECT_EQ(ErrnoOf(Run(target_->DeleteTargetNode("disk1"))), ENOENT);
}

TEST_F(SessionTest, DeletingAPortalGroupClosesItsSessionsAndMaps) {
  AddPortals(2, "127.0.0.1");
  ASSERT_TRUE(AddTarget("disk2", {{1, 1}, {2, 1}}).ok());
  const auto other = LogIn();
  const auto through_it = Connect(2);
  TestInitiator::LoginOptions options;
  options.target = "iqn.2016-06.io.spdk:disk2";
  ASSERT_EQ(through_it->Login(options), 0);
  EXPECT_TRUE(Run(target_->DeletePortalGroup(2)).ok());
  EXPECT_TRUE(through_it->IsClosed());
  EXPECT_TRUE(other->IsQuiet());
  EXPECT_EQ(target_->target_nodes()[1].maps, (std::vector<GroupMap>{{1, 1}}));
}

TEST_F(SessionTest, AVanishingDiskEndsItsCommandsAndStaysConfigured) {
  const auto initiator = LogIn();
  const Wire write = initiator->Command(Write10(0, 64), 0xa1, 64 * 512);
  initiator->Send(write);
  EXPECT_EQ(initiator->Receive().opcode(), 0x31);
  EXPECT_TRUE(Run(world_.devices.Unregister("disk")).ok());
  EXPECT_EQ(initiator->Finish(write.Get32(16)).asc, 0x25);
  ASSERT_EQ(target_->pending_luns().size(), 1u);
  EXPECT_EQ(target_->pending_luns()[0].bdev_name, "disk");
  disk_ = &AddDisk("disk");
  Turns(50);
  EXPECT_TRUE(target_->pending_luns().empty());
  initiator->NoData(TestUnitReady());
  initiator->NoData(TestUnitReady());
  EXPECT_EQ(initiator->Read(Read10(0, 1), 512).status, 0);
}

}  // namespace
}  // namespace pollux::iscsi
