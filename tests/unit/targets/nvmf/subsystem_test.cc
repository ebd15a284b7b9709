#include "targets/nvmf/names.h"
#include "tests/unit/targets/nvmf/target_fixture.h"

namespace pollux::nvmf {
namespace {

using admin_test::AdminCommand;
using admin_test::kBadNamespace;
using admin_test::kOk;
using admin_test::Sqe;
using admin_test::U32;
using target_test::HostQueue;
using target_test::kHost;
using target_test::kNqn;
using target_test::kOther;

// --- Names.

TEST(NqnTest, FollowsTheForm) {
  for (const char* good : {"nqn.2014-08.com.example:disk1", "nqn.2014-08.org.nvmexpress.discovery",
                           "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555",
                           "nqn.2016-06.io.spdk:cnode1", "nqn.2026-01.com.ex-ample:\xc3\xa4:b"}) {
    EXPECT_TRUE(ValidateNqn("nqn", good).ok()) << good;
  }
}

TEST(NqnTest, WhatIsNotOneIsRefused) {
  for (const char* bad : {"",
                          "nqn",
                          "nqn.",
                          "nqn.2014-08.com.example",
                          "nqn.2014-08.com.example:",
                          "nqn.2014-13.com.example:a",
                          "nqn.2014-00.com.example:a",
                          "nqn.14-08.com.example:a",
                          "NQN.2014-08.com.example:a",
                          "nqn.2014-08..example:a",
                          "nqn.2014-08.-com:a",
                          "nqn.2014-08.com_x:a",
                          "nqn.2014-08.org.nvmexpress:uuid:1",
                          "iqn.2014-08.com.example:a",
                          "nqn.2014-08.com.example:\x01",
                          "nqn.2014-08.com.example:\x7f",
                          "nqn.2014-08.com.example:\xff",
                          "nqn.2014-08.com.example:\xc3",
                          "nqn.2014-08.com.example:\xc0\x80",
                          "nqn.2014-08.com.example:\xed\xa0\x80",
                          "nqn.2014-08.com.example:\xc2\x85",
                          "nqn.2014-08.com.example:\xf4\x90\x80\x80"}) {
    EXPECT_FALSE(ValidateNqn("nqn", bad).ok()) << bad;
  }
}

TEST(NqnTest, HasAtMost223Bytes) {
  const std::string start = "nqn.2014-08.com.example:";
  EXPECT_TRUE(ValidateNqn("nqn", start + std::string(223 - start.size(), 'a')).ok());
  EXPECT_FALSE(ValidateNqn("nqn", start + std::string(224 - start.size(), 'a')).ok());
}

TEST(NqnTest, NothingUnprintableReachesTheMessage) {
  const Status status = ValidateNqn("nqn", std::string("nqn.\x1b[31m\0", 10));
  EXPECT_EQ(std::string(status.message()).find('\x1b'), std::string::npos);
}

// --- Subsystems.

class SubsystemTest : public target_test::TargetTest {
 protected:
  void SetUp() override { Start(); }
  // An admin queue whose host asks for events.
  HostQueue& Host(const std::string& nqn = kHost) {
    HostQueue* admin = nullptr;
    MakeController(admin, {.nqn = nqn});
    Sqe events(0x09);
    events.Dword(10, 0x0b).Dword(11, Info().spec.ana_reporting ? 1u << 8 | 1u << 11 : 1u << 8);
    EXPECT_EQ(Submit(*admin, events).status(), kOk);
    return *admin;
  }
  int IdentifyNs(HostQueue& host, uint32_t nsid) {
    Sqe identify(0x06, nsid);
    const AdminCommand& answer = Submit(host, identify, 4096);
    if (answer.status() != kOk) return answer.status();
    return admin_test::IsAllZero(answer.in) ? -1 : kOk;
  }
  std::vector<uint32_t> ActiveNamespaces(HostQueue& host) {
    Sqe identify(0x06);
    identify.Dword(10, 2);
    const AdminCommand& answer = Submit(host, identify, 4096);
    std::vector<uint32_t> nsids;
    for (size_t at = 0; at + 4 <= answer.in.size() && U32(answer.in, at) != 0; at += 4) {
      nsids.push_back(U32(answer.in, at));
    }
    return nsids;
  }
  NamespaceInfo Ns(uint32_t nsid) { return *target_->FindNamespace(kNqn, nsid); }
};

TEST_F(SubsystemTest, TheDiscoverySubsystemIsThereFromTheStart) {
  const std::vector<SubsystemInfo> all = target_->subsystems();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_TRUE(all[0].discovery);
  EXPECT_TRUE(all[0].spec.allow_any_host);
  EXPECT_FAILS(Run(target_->DeleteSubsystem(nvme::kDiscoveryNqn)), EPERM);
  EXPECT_FAILS(Run(target_->AddHost(nvme::kDiscoveryNqn, kHost)), EPERM);
  EXPECT_FAILS(Create(nvme::kDiscoveryNqn), EEXIST);
}

TEST_F(SubsystemTest, ItsDescriptionIsChecked) {
  const auto fails = [this](const std::function<void(SubsystemSpec&)>& change) {
    SubsystemSpec spec;
    spec.nqn = kOther;
    change(spec);
    const Status status = Run(target_->CreateSubsystem(spec));
    return status.ok() ? std::string("nothing") : DetailOf(status).field;
  };
  EXPECT_EQ(fails([](auto& s) { s.nqn = "disks"; }), "nqn");
  EXPECT_EQ(fails([](auto& s) { s.serial_number = std::string(21, '1'); }), "serial_number");
  EXPECT_EQ(fails([](auto& s) { s.serial_number = ""; }), "serial_number");
  EXPECT_EQ(fails([](auto& s) { s.serial_number = "a\tb"; }), "serial_number");
  EXPECT_EQ(fails([](auto& s) { s.model_number = std::string(41, '1'); }), "model_number");
  EXPECT_EQ(fails([](auto& s) { s.max_namespaces = 0; }), "max_namespaces");
  EXPECT_EQ(fails([](auto& s) { s.max_namespaces = 100000; }), "max_namespaces");
  EXPECT_EQ(fails([](auto& s) { s.min_cntlid = 0; }), "min_cntlid");
  EXPECT_EQ(fails([](auto& s) { s.max_cntlid = 0xfff0; }), "max_cntlid");
  EXPECT_EQ(fails([](auto& s) { s.min_cntlid = 5, s.max_cntlid = 4; }), "max_cntlid");
  EXPECT_EQ(target_->subsystems().size(), 1u);
}

TEST_F(SubsystemTest, NamesAreUnique) {
  ASSERT_TRUE(Create().ok());
  EXPECT_FAILS(Create(), EEXIST);
  ASSERT_TRUE(Run(target_->DeleteSubsystem(kNqn)).ok());
  EXPECT_FAILS(Run(target_->DeleteSubsystem(kNqn)), ENOENT);
  EXPECT_TRUE(Create().ok());
}

// --- Namespaces.

TEST_F(SubsystemTest, ANamespaceGetsTheLowestFreeNumber) {
  ASSERT_TRUE(Create().ok());
  for (const char* disk : {"a", "b", "c", "d"}) AddDisk(disk);
  EXPECT_EQ(AddNs("a").value(), 1u);
  EXPECT_EQ(AddNs("b", 3).value(), 3u);
  EXPECT_EQ(AddNs("c").value(), 2u);
  ASSERT_TRUE(Run(target_->RemoveNamespace(kNqn, 1)).ok());
  EXPECT_EQ(AddNs("d").value(), 1u);
}

TEST_F(SubsystemTest, IdentifiersComeFromTheDisk) {
  ASSERT_TRUE(Create().ok());
  AddDisk("a");
  ASSERT_TRUE(AddNs("a").ok());
  const Uuid uuid = (*world_.devices.Find("a"))->uuid();
  EXPECT_EQ(Ns(1).spec.uuid, uuid);
  EXPECT_EQ(Ns(1).spec.nguid, uuid.bytes);
  EXPECT_EQ(Ns(1).spec.eui64, std::nullopt);
  EXPECT_EQ(Ns(1).spec.anagrpid, 1u);
}

TEST_F(SubsystemTest, HostsAreToldAndFindWhatIsThere) {
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  AddDisk("a");
  HostQueue& host = Host();
  EXPECT_TRUE(ActiveNamespaces(host).empty());
  const AdminCommand& event = Submit(host, Sqe(0x0c));
  ASSERT_TRUE(AddNs("a", 5).ok());
  world_.Until([&event] { return event.ended; });
  EXPECT_EQ(EventOf(event), 0x040002);  // Changed Namespace List, attribute changed, notice.
  EXPECT_EQ(ActiveNamespaces(host), std::vector<uint32_t>{5});
  EXPECT_EQ(IdentifyNs(host, 5), kOk);
  ASSERT_TRUE(Run(target_->RemoveNamespace(kNqn, 5)).ok());
  EXPECT_TRUE(ActiveNamespaces(host).empty());
}

TEST_F(SubsystemTest, OneDiskMayBeANamespaceOfSeveralSubsystems) {
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Create(kOther).ok());
  AddDisk("a");
  EXPECT_TRUE(AddNs("a").ok());
  EXPECT_TRUE(AddNs("a", 0, false, kOther).ok());
  EXPECT_EQ((*world_.devices.Find("a"))->users().size(), 2u);
}

TEST_F(SubsystemTest, OnlyNamedHostsSeeAHiddenNamespace) {
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  AddDisk("a");
  NamespaceSpec spec;
  spec.bdev_name = "a";
  spec.no_auto_visible = true;
  ASSERT_TRUE(Run(target_->AddNamespace(kNqn, spec, false)).ok());
  HostQueue& host = Host();
  HostQueue& stranger = Host("nqn.2026-01.test:stranger");
  EXPECT_TRUE(ActiveNamespaces(host).empty());
  ASSERT_TRUE(Run(target_->AddNamespaceHost(kNqn, 1, kHost)).ok());
  EXPECT_EQ(ActiveNamespaces(host), std::vector<uint32_t>{1});
  EXPECT_TRUE(ActiveNamespaces(stranger).empty());
  EXPECT_FAILS(Run(target_->AddNamespaceHost(kNqn, 1, kHost)), EEXIST);
  ASSERT_TRUE(Run(target_->RemoveNamespaceHost(kNqn, 1, kHost)).ok());
  EXPECT_TRUE(ActiveNamespaces(host).empty());
  EXPECT_FAILS(Run(target_->RemoveNamespaceHost(kNqn, 1, kHost)), ENOENT);
}

TEST_F(SubsystemTest, AResizeIsToldToHosts) {
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  auto made = std::make_unique<admin_test::PaperDisk>("a", Geometry{.blocks = 64});
  ASSERT_TRUE(Run(world_.devices.Register(std::move(made))).ok());
  ASSERT_TRUE(AddNs("a").ok());
  HostQueue& host = Host();
  const AdminCommand& event = Submit(host, Sqe(0x0c));
  BlockDevice& disk = **world_.devices.Find("a");
  ASSERT_TRUE(Run(world_.devices.Resize(disk, 128)).ok());
  world_.Until([&event] { return event.ended; });
  EXPECT_EQ(EventOf(event), 0x040002);
}

TEST_F(SubsystemTest, AnaStatesChangeAllAtOnceAndHostsAreTold) {
  ASSERT_TRUE(Create(kNqn, true, /*ana=*/true).ok());
  ASSERT_TRUE(Listen().ok());
  AddDisk("a");
  ASSERT_TRUE(AddNs("a").ok());
  HostQueue& host = Host();
  const AdminCommand& event = Submit(host, Sqe(0x0c));
  ASSERT_TRUE(Run(target_->SetAnaState(kNqn, At("4420"), nvme::AnaState::kInaccessible, 0)).ok());
  world_.Until([&event] { return event.ended; });
  EXPECT_EQ(EventOf(event), 0x0c0302);  // ANA log, changed, notice.
  const std::vector<nvme::AnaState> states = Info().listeners[0].ana_states;
  ASSERT_EQ(states.size(), 32u);
  for (const nvme::AnaState state : states) EXPECT_EQ(state, nvme::AnaState::kInaccessible);
  ASSERT_TRUE(Run(target_->SetAnaState(kNqn, At("4420"), nvme::AnaState::kOptimized, 2)).ok());
  EXPECT_EQ(Info().listeners[0].ana_states[0], nvme::AnaState::kInaccessible);
  EXPECT_EQ(Info().listeners[0].ana_states[1], nvme::AnaState::kOptimized);
  ASSERT_TRUE(Run(target_->SetAnaGroup(kNqn, 1, 2)).ok());
  EXPECT_EQ(Ns(1).spec.anagrpid, 2u);
}

TEST_F(SubsystemTest, ThousandsOfNamespacesAreNoMatter) {
  SubsystemSpec spec;
  spec.nqn = kNqn;
  spec.max_namespaces = 4096;
  ASSERT_TRUE(Run(target_->CreateSubsystem(spec)).ok());
  for (int i = 0; i < 4096; ++i) {
    const std::string name = absl::StrFormat("disk%d", i);
    auto disk = std::make_unique<admin_test::PaperDisk>(name, Geometry{.blocks = 8});
    ASSERT_TRUE(Run(world_.devices.Register(std::move(disk))).ok());
    ASSERT_TRUE(AddNs(name).ok());
  }
  EXPECT_EQ(Info().namespaces.size(), 4096u);
  EXPECT_EQ(Info().namespaces.back().spec.nsid, 4096u);
  AddDisk("one_more");
  EXPECT_FAILS(AddNs("one_more").status(), ENOSPC);
}

// --- Damage.

TEST_F(SubsystemTest, ANamespaceWhoseDiskGoesWaitsForOneOfThatName) {
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  AddDisk("a");
  ASSERT_TRUE(AddNs("a").ok());
  HostQueue& host = Host();
  ASSERT_TRUE(RemoveDisk("a").ok());
  EXPECT_TRUE(Ns(1).pending);
  EXPECT_EQ(Ns(1).reason, "block device 'a' was removed");
  EXPECT_TRUE(ActiveNamespaces(host).empty());

  const AdminCommand& event = Submit(host, Sqe(0x0c));
  AddDisk("a");
  Spin();
  EXPECT_FALSE(Ns(1).pending);
  EXPECT_EQ(ActiveNamespaces(host), std::vector<uint32_t>{1});
  EXPECT_TRUE(event.ended);
}

TEST_F(SubsystemTest, ADiskThatIsMissingIsAnErrorOrPending) {
  ASSERT_TRUE(Create().ok());
  EXPECT_FAILS(AddNs("a").status(), ENODEV);
  EXPECT_TRUE(Info().namespaces.empty());
  ASSERT_TRUE(AddNs("a", 7, /*pending=*/true).ok());
  EXPECT_TRUE(Ns(7).pending);
  ASSERT_TRUE(Run(target_->RemoveNamespace(kNqn, 7)).ok());
  AddDisk("a");
  Spin();
  EXPECT_TRUE(Info().namespaces.empty()) << "it was removed while it was pending";
  EXPECT_TRUE((*world_.devices.Find("a"))->users().empty());
}

TEST_F(SubsystemTest, WhatIsTakenOrBeyondIsRefused) {
  ASSERT_TRUE(Create().ok());
  AddDisk("a");
  AddDisk("b");
  ASSERT_TRUE(AddNs("a", 4).ok());
  EXPECT_FAILS(AddNs("b", 4).status(), EEXIST);
  EXPECT_FAILS(AddNs("b", 33).status(), EINVAL);
  EXPECT_FAILS(AddNs("a").status(), EEXIST) << "the disk is a namespace already";
  EXPECT_FAILS(Run(target_->RemoveNamespace(kNqn, 5)), ENOENT);
  EXPECT_FAILS(Run(target_->AddNamespaceHost(kNqn, 4, kHost)), EPERM);
  EXPECT_EQ(AddNs("b").value(), 1u);
}

TEST_F(SubsystemTest, ForeignIdentifiersAreRefused) {
  ASSERT_TRUE(Create().ok());
  AddDisk("a");
  AddDisk("b");
  NamespaceSpec spec;
  spec.bdev_name = "a";
  spec.eui64 = std::array<uint8_t, 8>{};
  EXPECT_FAILS(Run(target_->AddNamespace(kNqn, spec, false)).status(), EINVAL);
  spec.eui64 = std::array<uint8_t, 8>{1, 2, 3};
  ASSERT_TRUE(Run(target_->AddNamespace(kNqn, spec, false)).ok());
  spec.bdev_name = "b";
  const Status same = Run(target_->AddNamespace(kNqn, spec, false)).status();
  EXPECT_FAILS(same, EEXIST);
  EXPECT_EQ(DetailOf(same).field, "namespace.eui64");
  ASSERT_TRUE(Run(target_->RemoveNamespace(kNqn, 1)).ok());
  EXPECT_TRUE(Run(target_->AddNamespace(kNqn, spec, false)).ok());
}

TEST_F(SubsystemTest, WithoutAnaReportingThereAreNoStatesToSet) {
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  EXPECT_TRUE(Info().listeners[0].ana_states.empty());
  EXPECT_FAILS(Run(target_->SetAnaState(kNqn, At("4420"), nvme::AnaState::kInaccessible, 0)),
               EINVAL);
  AddDisk("a");
  ASSERT_TRUE(AddNs("a").ok());
  EXPECT_FAILS(Run(target_->SetAnaGroup(kNqn, 1, 2)), EINVAL);
}

TEST_F(SubsystemTest, AnaGroupsBeyondTheNumberAreRefused) {
  ASSERT_TRUE(Create(kNqn, true, /*ana=*/true).ok());
  ASSERT_TRUE(Listen().ok());
  EXPECT_FAILS(Run(target_->SetAnaState(kNqn, At("4420"), nvme::AnaState::kOptimized, 33)), EINVAL);
  EXPECT_FAILS(Run(target_->SetAnaState(kNqn, At("4421"), nvme::AnaState::kOptimized, 0)), ENOENT);
  AddDisk("a");
  ASSERT_TRUE(AddNs("a").ok());
  EXPECT_FAILS(Run(target_->SetAnaGroup(kNqn, 1, 33)), EINVAL);
  EXPECT_FAILS(Run(target_->SetAnaGroup(kNqn, 1, 0)), EINVAL);
}

TEST_F(SubsystemTest, HostsAreListedOnce) {
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Run(target_->AddHost(kNqn, kHost)).ok());
  EXPECT_FAILS(Run(target_->AddHost(kNqn, kHost)), EEXIST);
  EXPECT_FAILS(Run(target_->AddHost(kNqn, "host")), EINVAL);
  EXPECT_EQ(Info().hosts, std::vector<std::string>{kHost});
}

}  // namespace
}  // namespace pollux::nvmf
