#include "tests/unit/targets/nvmf/target_fixture.h"

namespace pollux::nvmf {
namespace {

using admin_test::AdminCommand;
using admin_test::kOk;
using target_test::HostQueue;
using target_test::kHost;
using target_test::kNqn;
using target_test::kOther;

class LifeOfTargetTest : public target_test::TargetTest {
 protected:
  Result<ListenAddress> Open(const std::string& port, bool retry = false,
                             const std::string& nqn = kNqn) {
    return Run(target_->AddListener(nqn, At(port), nvme::AnaState::kOptimized, false, retry));
  }
  static TransportOptions With(const std::function<void(TransportOptions&)>& change) {
    TransportOptions options;
    change(options);
    return options;
  }
};

// --- Listeners.

TEST_F(LifeOfTargetTest, SubsystemsShareAnAddress) {
  Start();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Create(kOther).ok());
  ASSERT_TRUE(Listen().ok());
  ASSERT_TRUE(Listen(kOther).ok());
  EXPECT_EQ(transport_->listening.size(), 1u);
  ASSERT_TRUE(Run(target_->RemoveListener(kNqn, At("4420"))).ok());
  EXPECT_EQ(transport_->listening.size(), 1u);
  ASSERT_TRUE(Run(target_->RemoveListener(kOther, At("4420"))).ok());
  EXPECT_TRUE(transport_->listening.empty());
  EXPECT_EQ(transport_->closed, std::vector<uint32_t>{1});
}

TEST_F(LifeOfTargetTest, AFreePortIsChosenAndKept) {
  Start();
  ASSERT_TRUE(Create().ok());
  EXPECT_EQ(Open("0")->trsvcid, "40001");
  EXPECT_EQ(Open("0")->trsvcid, "40002");
  EXPECT_EQ(Info().listeners[0].address.trsvcid, "40001");
  EXPECT_TRUE(Run(target_->RemoveListener(kNqn, At("40001"))).ok());
}

TEST_F(LifeOfTargetTest, PortsHaveDefaults) {
  Start();
  ASSERT_TRUE(Create().ok());
  EXPECT_EQ(Open("")->trsvcid, "4420");
  EXPECT_EQ(Open("", false, nvme::kDiscoveryNqn)->trsvcid, "8009");
}

TEST_F(LifeOfTargetTest, AListenerThatGoesCutsOffWhoCameThroughIt) {
  Start();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Create(kOther).ok());
  for (const char* nqn : {kNqn, kOther}) ASSERT_TRUE(Listen(nqn).ok());
  ASSERT_TRUE(Listen(kNqn, "4421").ok());
  HostQueue *through_it = nullptr, *beside_it = nullptr, *of_other = nullptr;
  MakeController(through_it, {});
  MakeController(beside_it, {.listener = 2});
  MakeController(of_other, {.subnqn = kOther});
  ASSERT_TRUE(Run(target_->RemoveListener(kNqn, At("4420"))).ok());
  EXPECT_TRUE(through_it->ended);
  EXPECT_FALSE(beside_it->ended);
  EXPECT_FALSE(of_other->ended);
}

TEST_F(LifeOfTargetTest, HeldListenersOpenLast) {
  Start();
  ASSERT_TRUE(Create().ok());
  target_->HoldListeners();
  ASSERT_TRUE(Open("4420").ok());
  EXPECT_TRUE(transport_->listening.empty());
  EXPECT_TRUE(Info().listeners[0].pending);
  EXPECT_TRUE(Run(target_->ReleaseListeners()).empty());
  EXPECT_EQ(transport_->listening.size(), 1u);
  EXPECT_FALSE(Info().listeners[0].pending);
}

// --- What fails.

TEST_F(LifeOfTargetTest, ATakenAddressFailsWithTheReason) {
  Start();
  ASSERT_TRUE(Create().ok());
  transport_->taken = "127.0.0.1:4420";
  const Status status = Open("4420").status();
  EXPECT_FAILS(status, EADDRINUSE);
  EXPECT_EQ(DetailOf(status).field, "listen_address.traddr");
  EXPECT_TRUE(Info().listeners.empty());
}

TEST_F(LifeOfTargetTest, AHeldListenerThatCannotOpenIsPendingAndTriedAgain) {
  Start();
  ASSERT_TRUE(Create().ok());
  transport_->taken = "127.0.0.1:4420";
  target_->HoldListeners();
  ASSERT_TRUE(Open("4420").ok());
  const std::vector<NvmfTarget::Unopened> unopened = Run(target_->ReleaseListeners());
  ASSERT_EQ(unopened.size(), 1u);
  EXPECT_EQ(unopened[0].nqn, kNqn);
  EXPECT_EQ(unopened[0].address.trsvcid, "4420");
  EXPECT_EQ(Info().listeners[0].reason, "the address is in use");
  EXPECT_FAILS(Open("4420", /*retry=*/true).status(), EADDRINUSE);
  EXPECT_FAILS(Open("4420").status(), EEXIST);
  EXPECT_EQ(Info().listeners.size(), 1u);
  transport_->taken.clear();
  EXPECT_TRUE(Open("4420", /*retry=*/true).ok());
  EXPECT_FALSE(Info().listeners[0].pending);
  EXPECT_FAILS(Open("4420", /*retry=*/true).status(), EEXIST);
}

TEST_F(LifeOfTargetTest, APendingListenerCanBeRemoved) {
  Start();
  ASSERT_TRUE(Create().ok());
  transport_->taken = "127.0.0.1:4420";
  target_->HoldListeners();
  ASSERT_TRUE(Open("4420").ok());
  Run(target_->ReleaseListeners());
  EXPECT_TRUE(Run(target_->RemoveListener(kNqn, At("4420"))).ok());
  EXPECT_TRUE(Info().listeners.empty());
}

TEST_F(LifeOfTargetTest, WhatIsNoAddressIsRefused) {
  Start();
  ASSERT_TRUE(Create().ok());
  const auto fails = [this](const ListenAddress& address) {
    return ErrnoOf(
        Run(target_->AddListener(kNqn, address, nvme::AnaState::kOptimized, false, false))
            .status());
  };
  EXPECT_EQ(fails({"RDMA", "", "127.0.0.1", "4420"}), ENOTSUP);
  EXPECT_EQ(fails({"VFIOUSER", "", "/tmp/x", ""}), ENOTSUP);
  EXPECT_EQ(fails({"pigeon", "", "127.0.0.1", "4420"}), EINVAL);
  EXPECT_EQ(fails({"TCP", "", "localhost", "4420"}), EINVAL);
  EXPECT_EQ(fails({"TCP", "IPv6", "127.0.0.1", "4420"}), EINVAL);
  EXPECT_EQ(fails({"TCP", "", "127.0.0.1", "65536"}), EINVAL);
  EXPECT_EQ(fails({"TCP", "", "127.0.0.1", "44x"}), EINVAL);
  EXPECT_FAILS(Run(target_->AddListener(kNqn, At("4420"), nvme::AnaState::kOptimized,
                                        /*secure_channel=*/true, false))
                   .status(),
               ENOTSUP);
  EXPECT_FAILS(Open("4420", false, kOther).status(), ENOENT);
  EXPECT_FAILS(Run(target_->RemoveListener(kNqn, At("4420"))), ENOENT);
}

TEST_F(LifeOfTargetTest, TransportOptionsAreChecked) {
  EXPECT_TRUE(Validate(TransportOptions()).ok());
  for (const TransportOptions& bad :
       {With([](auto& o) { o.max_queue_depth = 15; }),
        With([](auto& o) { o.max_queue_depth = 1025; }),
        With([](auto& o) { o.max_io_qpairs_per_ctrlr = 0; }),
        With([](auto& o) { o.max_aq_depth = 31; }), With([](auto& o) { o.max_io_size = 5000; }),
        With([](auto& o) { o.max_io_size = 2u << 20; }),
        With([](auto& o) { o.in_capsule_data_size = 8; }),
        With([](auto& o) { o.in_capsule_data_size = 16384; }), With([](auto& o) { o.kas = 0; }),
        With([](auto& o) { o.dif_insert_or_strip = true; })}) {
    EXPECT_FALSE(Validate(bad).ok());
  }
}

TEST_F(LifeOfTargetTest, OneTransportOfAKind) {
  Start();
  EXPECT_FAILS(target_->AddTransport(std::make_unique<target_test::PaperTransport>()), EEXIST);
  EXPECT_EQ(target_->transports().size(), 1u);
}

// --- The end.

TEST_F(LifeOfTargetTest, ASubsystemThatIsDeletedTakesItsHostsWithIt) {
  Start();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  AddDisk("a");
  ASSERT_TRUE(AddNs("a").ok());
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  HostQueue& io = Connection();
  ASSERT_EQ(Connect(io, {}, 1, cntlid).status(), kOk);
  ASSERT_TRUE(Run(target_->DeleteSubsystem(kNqn)).ok());
  EXPECT_TRUE(admin->ended);
  EXPECT_TRUE(io.ended);
  EXPECT_TRUE((*world_.devices.Find("a"))->users().empty());
  EXPECT_TRUE(transport_->listening.empty());
}

TEST_F(LifeOfTargetTest, ADeletionWaitsForAQueueThatWillNotGoAndLetsNobodyIn) {
  Start();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  HostQueue* admin = nullptr;
  MakeController(admin, {});
  admin->stays = true;
  Task<Status> deletion = target_->DeleteSubsystem(kNqn);
  world_.Begin(deletion);
  Spin();
  EXPECT_FALSE(deletion.done());
  EXPECT_EQ(Connect(Connection(), {}).status(), admin_test::kBadParameter);
  EXPECT_FAILS(target_->FindSubsystem(kNqn).status(), ENOENT);
  Close(*admin);
  world_.Until([&deletion] { return deletion.done(); });
  EXPECT_TRUE(deletion.TakeResult().ok());
}

TEST_F(LifeOfTargetTest, StopEndsEverybody) {
  Start();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  AddDisk("a");
  ASSERT_TRUE(AddNs("a").ok());
  HostQueue *admin = nullptr, *discovering = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  MakeController(discovering, {.subnqn = nvme::kDiscoveryNqn});
  HostQueue& io = Connection();
  ASSERT_EQ(Connect(io, {}, 1, cntlid).status(), kOk);
  HostQueue& nobody = Connection();
  Run(target_->Stop(kNsPerSecond));
  for (HostQueue* host : {admin, discovering, &io, &nobody}) EXPECT_TRUE(host->ended);
  EXPECT_TRUE((*world_.devices.Find("a"))->users().empty());
}

TEST_F(LifeOfTargetTest, AStoppingTargetLetsNobodyIn) {
  Start();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  HostQueue* admin = nullptr;
  const uint16_t cntlid = MakeController(admin, {});
  HostQueue& late = Connection();
  HostQueue& io = Connection();
  ASSERT_EQ(Connect(io, {}, 1, cntlid).status(), kOk);
  io.stays = true;
  Task<void> stop = target_->Stop(kNsPerSecond);
  world_.Begin(stop);
  EXPECT_EQ(Connect(late, {}).status(), 0x181);
  world_.clock.Advance(2 * kNsPerSecond);
  world_.Until([&stop] { return stop.done(); });
}

TEST_F(LifeOfTargetTest, APendingNamespaceAndADiskThatComesMeetNoDeletedSubsystem) {
  Start();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(AddNs("a", 1, /*pending=*/true).ok());
  Task<Status> deletion = target_->DeleteSubsystem(kNqn);
  world_.Begin(deletion);
  AddDisk("a");
  world_.Until([&deletion] { return deletion.done(); });
  EXPECT_TRUE((*world_.devices.Find("a"))->users().empty());
}

TEST_F(LifeOfTargetTest, ADiskMayGoWhileItsNamespaceIsRemoved) {
  Start();
  ASSERT_TRUE(Create().ok());
  for (int turns = 0; turns < 8; ++turns) {
    AddDisk("a");
    ASSERT_TRUE(AddNs("a", 1).ok());
    Task<Status> removal = target_->RemoveNamespace(kNqn, 1);
    world_.Begin(removal);
    world_.Turns(turns);
    ASSERT_TRUE(RemoveDisk("a").ok());
    world_.Until([&removal] { return removal.done(); });
    EXPECT_TRUE(removal.TakeResult().ok());
    EXPECT_TRUE(Info().namespaces.empty());
  }
}

}  // namespace
}  // namespace pollux::nvmf
