#include "tests/unit/targets/nvmf/target_fixture.h"

namespace pollux::nvmf {
namespace {

using admin_test::AdminCommand;
using admin_test::kBadHost;
using admin_test::kBadParameter;
using admin_test::kBadSequence;
using admin_test::kOk;
using target_test::HostQueue;
using target_test::kHost;
using target_test::kNqn;
using target_test::kOther;

// Where Connect's completion says that the fault lies: in the command, or in its data.
constexpr uint32_t kQid = 42, kHostid = 1u << 16, kCntlid = 1u << 16 | 16, kSubnqn = 1u << 16 | 256,
                   kHostnqn = 1u << 16 | 512;
constexpr int kBusy = 0x181;

class AdmissionTest : public target_test::TargetTest {
 protected:
  void SetUp() override {
    Start();
    ASSERT_TRUE(Create().ok());
    ASSERT_TRUE(Listen().ok());
  }
  std::vector<ControllerInfo> Controllers(const std::string& nqn = kNqn) {
    return *Run(target_->Controllers(nqn));
  }
  // An I/O queue's Connect.
  AdminCommand& Join(const Who& who, uint16_t cntlid, uint16_t qid = 1) {
    return Connect(Connection(who), who, qid, cntlid);
  }
};

#define EXPECT_REFUSED(command, with, place)    \
  do {                                          \
    const AdminCommand& refused_ = (command);   \
    EXPECT_EQ(refused_.status(), with);         \
    EXPECT_EQ(refused_.dw0(), uint32_t{place}); \
  } while (false)

TEST_F(AdmissionTest, AnAdminQueueMakesAControllerAndIoQueuesJoinIt) {
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  EXPECT_EQ(Join({}, cntlid, 1).status(), kOk);
  EXPECT_EQ(Join({}, cntlid, 2).status(), kOk);
  const std::vector<ControllerInfo> there = Controllers();
  ASSERT_EQ(there.size(), 1u);
  EXPECT_EQ(there[0].cntlid, cntlid);
  EXPECT_EQ(there[0].hostnqn, kHost);
  EXPECT_EQ(there[0].hostid, "01000000-0000-0000-0000-000000000000");
  EXPECT_EQ(there[0].io_queues, 2u);
}

TEST_F(AdmissionTest, TheSameHostAgainIsASecondController) {
  HostQueue *first = nullptr, *second = nullptr;
  const uint16_t a = MakeController(first, {});
  const uint16_t b = MakeController(second, {});
  EXPECT_NE(a, b);
  EXPECT_EQ(Controllers().size(), 2u);
}

TEST_F(AdmissionTest, IdentifiersComeFromTheSubsystemsRangeAndAreUsedUp) {
  SubsystemSpec spec;
  spec.nqn = kOther;
  spec.allow_any_host = true;
  spec.min_cntlid = 17;
  spec.max_cntlid = 18;
  ASSERT_TRUE(Run(target_->CreateSubsystem(spec)).ok());
  ASSERT_TRUE(Listen(kOther).ok());
  const Who who{.subnqn = kOther};
  HostQueue *a = nullptr, *b = nullptr;
  EXPECT_EQ(MakeController(a, who), 17);
  EXPECT_EQ(MakeController(b, who), 18);
  HostQueue& third = Connection(who);
  EXPECT_EQ(Connect(third, who).status(), kBusy);
  Close(*a);
  EXPECT_EQ(Connect(third, who).completion.dw0 & 0xffff, 17u);
}

TEST_F(AdmissionTest, AControllerGoesWithItsAdminQueueAndItsQueuesWithIt) {
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  HostQueue& io = Connection();
  ASSERT_EQ(Connect(io, {}, 1, cntlid).status(), kOk);
  Close(*admin);
  world_.Until([&io] { return io.ended; });
  Spin();
  EXPECT_TRUE(Controllers().empty());
}

TEST_F(AdmissionTest, AnIoQueueThatLeavesMakesRoomForItsNumber) {
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  HostQueue& io = Connection();
  ASSERT_EQ(Connect(io, {}, 1, cntlid).status(), kOk);
  Close(io);
  Spin();
  EXPECT_FALSE(admin->ended);
  EXPECT_EQ(Join({}, cntlid, 1).status(), kOk);
}

TEST_F(AdmissionTest, QueuesAreSpreadOverTheReactors) {
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  for (uint16_t qid = 1; qid <= 3; ++qid) ASSERT_EQ(Join({}, cntlid, qid).status(), kOk);
  const std::vector<PollGroupInfo> groups = Run(target_->PollGroups());
  ASSERT_EQ(groups.size(), 2u);
  for (const PollGroupInfo& group : groups) {
    EXPECT_EQ(group.current_admin_qpairs + group.current_io_qpairs, 2u) << group.name;
  }
  const std::vector<QueueInfo> queues = *Run(target_->Queues(kNqn));
  ASSERT_EQ(queues.size(), 4u);
  EXPECT_EQ(queues[0].qid, 0);
  EXPECT_EQ(queues[0].state, "enabled");
  EXPECT_EQ(queues[0].peer_address.traddr, "192.0.2.9");
  EXPECT_EQ(queues[0].listen_address.trsvcid, "4420");
}

// --- Who is refused.

TEST_F(AdmissionTest, ASubsystemThatIsNotThereIsTheDataFault) {
  const Who who{.subnqn = "nqn.2026-01.test:nothing"};
  EXPECT_REFUSED(Connect(Connection(who), who), kBadParameter, kSubnqn);
}

TEST_F(AdmissionTest, AHostThatIsNotInTheListIsRefusedUntilItIs) {
  ASSERT_TRUE(Run(target_->AllowAnyHost(kNqn, false)).ok());
  HostQueue& host = Connection();
  EXPECT_REFUSED(Connect(host, {}), kBadHost, 0);
  ASSERT_TRUE(Run(target_->AddHost(kNqn, kHost)).ok());
  EXPECT_EQ(Connect(host, {}).status(), kOk);
}

TEST_F(AdmissionTest, AListenerOfAnotherSubsystemLeadsNowhere) {
  ASSERT_TRUE(Create(kOther).ok());
  ASSERT_TRUE(Listen(kOther, "4421").ok());
  const Who who{.listener = 2};
  EXPECT_REFUSED(Connect(Connection(who), who), kBadHost, 0);
}

TEST_F(AdmissionTest, AStaticControllerIsNotThere) {
  EXPECT_REFUSED(Connect(Connection(), {}, 0, 0xfffe), kBadParameter, kCntlid);
}

TEST_F(AdmissionTest, AnIoQueueNeedsItsControllersHost) {
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  EXPECT_REFUSED(Join({.nqn = "nqn.2026-01.test:thief"}, cntlid), kBadParameter, kHostnqn);
  EXPECT_REFUSED(Join({.hostid = 2}, cntlid), kBadParameter, kHostid);
  EXPECT_REFUSED(Join({}, static_cast<uint16_t>(cntlid + 1)), kBadParameter, kCntlid);
  ASSERT_TRUE(Listen(kNqn, "4421").ok());
  EXPECT_REFUSED(Join({.listener = 2}, cntlid), kBadParameter, kCntlid);
}

TEST_F(AdmissionTest, AnIoQueueBeforeTheControllerIsEnabledIsOutOfSequence) {
  HostQueue& admin = Connection();
  const AdminCommand& connected = Connect(admin, {});
  const auto cntlid = static_cast<uint16_t>(connected.completion.dw0);
  EXPECT_EQ(Join({}, cntlid).status(), kBadSequence);
  Enable(admin, connected);
  EXPECT_EQ(Join({}, cntlid).status(), kOk);
}

TEST_F(AdmissionTest, AQueueBeyondWhatWasGrantedIsRefused) {
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});  // It was granted four.
  EXPECT_EQ(Join({}, cntlid, 4).status(), kOk);
  EXPECT_REFUSED(Join({}, cntlid, 5), kBadParameter, kQid);
}

TEST_F(AdmissionTest, ADiscoveryControllerHasNoIoQueues) {
  HostQueue* admin = nullptr;
  const Who who{.subnqn = nvme::kDiscoveryNqn};
  const uint16_t cntlid = MakeController(admin, who);
  EXPECT_REFUSED(Join(who, cntlid), kBadParameter, kQid);
}

// --- Races.

TEST_F(AdmissionTest, AQueueNumberIsGivenOnceWhoeverIsFirst) {
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  HostQueue& a = Connection({.reactor = 0});
  HostQueue& b = Connection({.reactor = 1});
  AdminCommand& first = BeginConnect(a, {}, 1, cntlid);
  AdminCommand& second = BeginConnect(b, {}, 1, cntlid);
  world_.Until([&] { return first.ended && second.ended; });
  EXPECT_NE(first.status() == kOk, second.status() == kOk);
  AdminCommand& loser = first.status() == kOk ? second : first;
  EXPECT_REFUSED(loser, kBadParameter, kQid);
}

TEST_F(AdmissionTest, AQueueNumberIsTakenWhileTheOldQueueDies) {
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  HostQueue& old = Connection();
  ASSERT_EQ(Connect(old, {}, 1, cntlid).status(), kOk);
  world_.On(old.reactor().index(), [&] { old.Close(); });
  AdminCommand& early = BeginConnect(Connection(), {}, 1, cntlid);
  world_.Until([&] { return early.ended && old.ended; });
  // Either is right, as long as there is one of it.
  if (early.status() != kOk) {
    EXPECT_REFUSED(early, kBadParameter, kQid);
  }
  EXPECT_EQ(Controllers().at(0).io_queues, early.status() == kOk ? 1u : 0u);
}

TEST_F(AdmissionTest, AnIoQueueThatConnectsAfterTheAdminQueueDiedIsRefused) {
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  HostQueue& io = Connection();
  ASSERT_EQ(Connect(io, {}, 1, cntlid).status(), kOk);
  io.stays = true;  // So that the controller is there, and dying.
  Close(*admin);
  Spin();
  ASSERT_FALSE(io.ended);
  EXPECT_REFUSED(Join({}, cntlid, 2), kBadParameter, kCntlid);
  Close(io);
  Spin();
  EXPECT_TRUE(Controllers().empty());
}

TEST_F(AdmissionTest, AnIdentifierIsFreeOnlyWhenTheLastQueueIsGone) {
  SubsystemSpec spec;
  spec.nqn = kOther;
  spec.allow_any_host = true;
  spec.min_cntlid = spec.max_cntlid = 9;
  ASSERT_TRUE(Run(target_->CreateSubsystem(spec)).ok());
  ASSERT_TRUE(Listen(kOther).ok());
  const Who who{.subnqn = kOther};
  HostQueue* admin = nullptr;
  ASSERT_EQ(MakeController(admin, who), 9);
  HostQueue& io = Connection(who);
  ASSERT_EQ(Connect(io, who, 1, 9).status(), kOk);
  io.stays = true;
  Close(*admin);
  HostQueue& next = Connection(who);
  EXPECT_EQ(Connect(next, who).status(), kBusy);
  Close(io);
  Spin();
  EXPECT_EQ(Connect(next, who).status(), kOk);
}

TEST_F(AdmissionTest, AConnectionThatDiesWhileItConnectsLeavesNothing) {
  for (int turns = 0; turns < 12; ++turns) {
    HostQueue& host = Connection({.reactor = 1});
    BeginConnect(host, {}, 0, 0xffff);
    world_.Turns(turns);
    Close(host);
    Spin();
    EXPECT_TRUE(Controllers().empty()) << turns;
  }
}

TEST_F(AdmissionTest, TheAdminQueueMayDieAnywhereInAnIoConnect) {
  for (int turns = 0; turns < 12; ++turns) {
    HostQueue* admin = nullptr;
    const uint16_t cntlid = MakeController(admin, {});
    HostQueue& io = Connection({.reactor = 1});
    AdminCommand& joining = BeginConnect(io, {}, 1, cntlid);
    world_.Turns(turns);
    Close(*admin);
    world_.Until([&joining] { return joining.ended; });
    Spin();
    EXPECT_TRUE(Controllers().empty()) << turns;
    if (joining.status() != kOk) Close(io);
    EXPECT_TRUE(io.ended) << turns;
  }
}

TEST_F(AdmissionTest, AHostMayBeRemovedAnywhereInAnIoConnect) {
  for (int turns = 0; turns < 8; ++turns) {
    ASSERT_TRUE(Run(target_->AllowAnyHost(kNqn, true)).ok());
    HostQueue* admin = nullptr;
    const uint16_t cntlid = MakeController(admin, {});
    HostQueue& io = Connection({.reactor = 1});
    AdminCommand& joining = BeginConnect(io, {}, 1, cntlid);
    world_.Turns(turns);
    // Between the question to the controller's home and its answer, too.
    world_.control.RunTurn();
    ASSERT_TRUE(Run(target_->AllowAnyHost(kNqn, false)).ok()) << turns;
    world_.Until([&joining] { return joining.ended; });
    EXPECT_TRUE(Controllers().empty()) << turns;
    if (joining.status() != kOk) Close(io);
    EXPECT_TRUE(io.ended) << turns;
  }
}

TEST_F(AdmissionTest, HostsThatAreNoLongerAdmittedAreCutOff) {
  ASSERT_TRUE(Run(target_->AddHost(kNqn, kHost)).ok());
  ASSERT_TRUE(Run(target_->AllowAnyHost(kNqn, false)).ok());
  HostQueue* admin = nullptr;
  MakeController(admin, {});
  EXPECT_FAILS(Run(target_->RemoveHost(kNqn, "nqn.2026-01.test:stranger", 0)), ENOENT);
  EXPECT_FALSE(admin->ended);
  ASSERT_TRUE(Run(target_->RemoveHost(kNqn, kHost, 0)).ok());
  EXPECT_TRUE(admin->ended);
  EXPECT_EQ(admin->reason, "the host is no longer admitted");
}

TEST_F(AdmissionTest, AHostThatIsRemovedWithATimeMayLeaveByItself) {
  ASSERT_TRUE(Run(target_->AddHost(kNqn, kHost)).ok());
  ASSERT_TRUE(Run(target_->AllowAnyHost(kNqn, false)).ok());
  HostQueue* admin = nullptr;
  MakeController(admin, {});
  Task<Status> removal = target_->RemoveHost(kNqn, kHost, 500);
  world_.Begin(removal);
  Spin();
  EXPECT_FALSE(removal.done());
  EXPECT_FALSE(admin->ended);
  HostQueue& again = Connection();
  EXPECT_EQ(Connect(again, {}).status(), kBadHost) << "it stays, it does not come back";
  world_.clock.Advance(501 * kNsPerMs);
  world_.Until([&removal] { return removal.done(); });
  EXPECT_TRUE(removal.TakeResult().ok());
  EXPECT_TRUE(admin->ended);
}

TEST_F(AdmissionTest, ASecondControllerThroughOneListenerMayBeForbidden) {
  ASSERT_TRUE(Run(target_->DeleteSubsystem(kNqn)).ok());
  Run(target_->Stop(0));
  Start({.restrict_duplicate_hosts = true});
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  HostQueue* admin = nullptr;
  MakeController(admin, {});
  EXPECT_EQ(Connect(Connection(), {}).status(), kBusy);
  ASSERT_TRUE(Listen(kNqn, "4421").ok());
  const Who by_another_path{.listener = 2};
  EXPECT_EQ(Connect(Connection(by_another_path), by_another_path).status(), kOk);
}

}  // namespace
}  // namespace pollux::nvmf
