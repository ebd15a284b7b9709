// Discovery services that are followed: scripted targets on loopback, and somebody who only notes
// what is attached.
#include "drivers/nvme_disk/nvme_discovery.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "tests/unit/drivers/nvme/tcp_peer.h"
#include "tests/unit/drivers/nvme_disk/nvme_disk_world.h"

namespace pollux {
namespace {

using nvme::DiscoveryLogEntry;
using nvme::TcpPeer;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

DiscoveryLogEntry EntryOf(uint8_t subtype, const std::string& nqn, uint16_t port) {
  DiscoveryLogEntry entry{};
  entry.trtype = nvme::kTrtypeTcp;
  entry.adrfam = nvme::kAdrfamIpv4;
  entry.subtype = subtype;
  entry.cntlid = nvme::kDynamicCntlid;
  entry.asqsz = 128;
  memset(entry.traddr, ' ', sizeof(entry.traddr));
  memcpy(entry.traddr, "127.0.0.1", 9);
  const std::string service = std::to_string(port);
  memset(entry.trsvcid, ' ', sizeof(entry.trsvcid));
  memcpy(entry.trsvcid, service.data(), service.size());
  memcpy(entry.subnqn, nqn.data(), nqn.size());
  return entry;
}
DiscoveryLogEntry Disk(const std::string& name, uint16_t port = 4420) {
  return EntryOf(nvme::kSubtypeNvm, "nqn.2024-01.io.example:" + name, port);
}
DiscoveryLogEntry Referral(uint16_t port) {
  return EntryOf(nvme::kSubtypeReferral, nvme::kDiscoveryNqn, port);
}

class NvmeDiscoveryTest : public testing::Test, protected NvmeDiscovery::Paths {
 protected:
  NvmeDiscoveryTest() : buffers_(*MakeNvmeDiskBuffers(memory_, 1)) { AddPeer(); }
  ~NvmeDiscoveryTest() override {
    if (discovery_ != nullptr && !discovery_->stopping()) Stop();
  }

  // --- Words.

  TcpPeer& AddPeer() {
    TcpPeer::Options options;
    options.controller_type = 2;
    peers_.push_back(std::make_unique<TcpPeer>(options));
    return *peers_.back();
  }
  TcpPeer& peer() { return *peers_.front(); }
  void Tell(TcpPeer& peer, std::vector<DiscoveryLogEntry> entries) {
    peer.discovery = std::move(entries);
    ++peer.discovery_generation;
    TcpPeer::Connection* const admin = peer.OfQueue(0);
    if (admin == nullptr || peer.held_event == 0) return;
    admin->Respond(std::exchange(peer.held_event, uint16_t{0}), 0, 0x70f002);
  }
  void Start(std::vector<std::string> numbered = {}) {
    NvmeDiscoveryOptions options;
    options.name = "nvme";
    options.id.trtype = POLLUX_NVME_TRANSPORT_TCP;
    strcpy(options.id.traddr, "127.0.0.1");
    snprintf(options.id.trsvcid, sizeof(options.id.trsvcid), "%u", peer().port());
    strcpy(options.id.subnqn, nvme::kDiscoveryNqn);
    options.subsystems = std::move(numbered);
    const NvmeEnvironment environment{.control = world_.control,
                                      .reactors = *world_.reactors,
                                      .devices = world_.devices,
                                      .regions = registry_,
                                      .buffers = *buffers_,
                                      .clock = &world_.clock};
    discovery_ = std::make_unique<NvmeDiscovery>(environment, std::move(options),
                                                 /*keep_alive_ms=*/0,
                                                 static_cast<NvmeDiscovery::Paths&>(*this));
    world_.OnControl([this] { discovery_->Start(); });
  }
  void StartAndWait(std::vector<std::string> numbered = {}) {
    Start(std::move(numbered));
    const Status tried = Run(discovery_->WaitUntilTried(Loop::kNever));
    EXPECT_TRUE(tried.ok()) << tried;
  }
  void Stop(bool detach = true) { Run(discovery_->Stop(detach)); }

  void Turn() {
    world_.Turn();
    bool worked = false;
    for (auto& peer : peers_) worked |= peer->Step();
    if (!worked) world_.clock.Advance(kNsPerMs);
  }
  void Until(const std::function<bool()>& so) {
    for (int i = 0; i < 200000; ++i) {
      if (so()) return;
      Turn();
    }
    FAIL() << "it never came to be";
  }
  template <typename T>
  T Run(Task<T> task) {
    world_.Begin(task);
    Until([&task] { return task.done(); });
    CHECK(task.done());
    return task.TakeResult();
  }
  void Pass(uint64_t seconds) {
    const uint64_t until = world_.clock.NowNs() + seconds * kNsPerSecond;
    while (world_.clock.NowNs() < until) Turn();
  }
  // "nvme0 nqn...:a 4420"
  std::set<std::string> Attached() const { return attached_; }
  static std::string Path(int number, const std::string& name, int port = 4420) {
    return absl::StrFormat("nvme%d nqn.2024-01.io.example:%s %d", number, name, port);
  }

  static std::string Describe(const NvmeAttachment& attachment) {
    return absl::StrFormat("%s %s %s", attachment.name, attachment.id.subnqn,
                           attachment.id.trsvcid);
  }

  // --- Who attaches.

  Task<Status> Attach(NvmeAttachment attachment) override {
    ++attaches_;
    attaching_most_ = std::max(attaching_most_, ++attaching_);
    while (holds_ && !cancelled_.contains(Describe(attachment))) co_await released_;
    --attaching_;
    if (cancelled_.erase(Describe(attachment)) > 0) co_return Cancelled("given up");
    const auto error = errors_.find(attachment.id.subnqn);
    if (error != errors_.end()) co_return ErrorOfErrno(error->second, "as the test wants it");
    attached_.insert(Describe(attachment));
    co_return OkStatus();
  }
  void CancelAttach(const NvmeAttachment& attachment) override {
    cancelled_.insert(Describe(attachment));
    released_.Pulse();
  }
  Task<void> Detach(NvmeAttachment attachment) override {
    attached_.erase(Describe(attachment));
    co_return;
  }
  bool IsTaken(const std::string& name) const override { return taken_.contains(name); }

  RegionRegistry registry_;
  PagedMemory memory_{registry_};
  BlockWorld world_{1};
  std::unique_ptr<ReactorBuffers> buffers_;
  std::vector<std::unique_ptr<TcpPeer>> peers_;
  std::unique_ptr<NvmeDiscovery> discovery_;
  std::set<std::string> attached_, taken_, cancelled_;
  std::map<std::string, int> errors_;  // By NQN.
  int attaches_ = 0, attaching_ = 0, attaching_most_ = 0;
  bool holds_ = false;
  Event released_;
};

// --- As it should be.

TEST_F(NvmeDiscoveryTest, EverySubsystemHasANumberAndEveryAddressIsAPath) {
  peer().discovery = {Disk("a"), Disk("b"), Disk("a", 4421)};
  StartAndWait();
  EXPECT_THAT(Attached(), UnorderedElementsAre(Path(0, "a"), Path(1, "b"), Path(0, "a", 4421)));
  EXPECT_THAT(discovery_->options().subsystems,
              ElementsAre("nqn.2024-01.io.example:a", "nqn.2024-01.io.example:b"));
  Stop();
  EXPECT_THAT(Attached(), IsEmpty());
}

TEST_F(NvmeDiscoveryTest, WhatTheLogNamesComesAndGoesOnItsEvent) {
  peer().discovery = {Disk("a"), Disk("a", 4421)};
  StartAndWait();
  Until([this] { return peer().held_event != 0; });
  Tell(peer(), {Disk("a", 4421), Disk("b")});
  Until([this] { return attached_.size() == 2 && attached_.contains(Path(1, "b")); });
  EXPECT_THAT(Attached(), UnorderedElementsAre(Path(0, "a", 4421), Path(1, "b")));
  Until([this] { return peer().held_event != 0; });
  Tell(peer(), {});
  Until([this] { return attached_.empty(); });
}

TEST_F(NvmeDiscoveryTest, NumbersThatAreKnownAreKept) {
  peer().discovery = {Disk("new"), Disk("b"), Disk("a")};
  StartAndWait({"nqn.2024-01.io.example:a", "", "nqn.2024-01.io.example:b"});
  EXPECT_THAT(Attached(), UnorderedElementsAre(Path(0, "a"), Path(2, "b"), Path(3, "new")));
}

TEST_F(NvmeDiscoveryTest, NamesThatOthersHaveAreNotUsed) {
  taken_ = {"nvme0", "nvme1"};
  peer().discovery = {Disk("a")};
  StartAndWait();
  EXPECT_THAT(Attached(), ElementsAre(Path(2, "a")));
}

TEST_F(NvmeDiscoveryTest, ReferralsAreFollowedEachOnce) {
  TcpPeer& second = AddPeer();
  TcpPeer& third = AddPeer();
  peer().discovery = {Referral(second.port()), Referral(peer().port()), Disk("a")};
  second.discovery = {Referral(third.port()), Referral(peer().port()), Disk("b")};
  third.discovery = {Referral(second.port()), Disk("c")};
  StartAndWait();
  Until([this] { return attached_.size() == 3; });
  EXPECT_THAT(discovery_->referrals(), SizeIs(2));
  for (const auto& one : peers_) EXPECT_EQ(one->connections_accepted, 1);

  Until([this] { return peer().held_event != 0; });
  Tell(peer(), {Disk("a")});
  Until([this] { return attached_.size() == 1; });
  EXPECT_THAT(Attached(), ElementsAre(Path(0, "a")));
  EXPECT_THAT(discovery_->referrals(), IsEmpty());
}

TEST_F(NvmeDiscoveryTest, WhatALostServiceNamedStays) {
  peer().discovery = {Disk("a")};
  StartAndWait();
  peer().CloseAll();
  peer().StopListening();
  Until([this] { return !discovery_->failure().ok(); });
  Pass(120);
  EXPECT_THAT(Attached(), ElementsAre(Path(0, "a")));
  peer().discovery = {Disk("b")};
  ++peer().discovery_generation;
  peer().Listen();
  Until([this] { return attached_.contains(Path(1, "b")); });
  Until([this] { return attached_.size() == 1; });
  EXPECT_TRUE(discovery_->failure().ok());
}

TEST_F(NvmeDiscoveryTest, APathThatHasGoneIsTriedAgain) {
  peer().discovery = {Disk("a")};
  StartAndWait();
  attached_.clear();
  NvmeAttachment attachment;
  attachment.name = "nvme0";
  strcpy(attachment.id.traddr, "127.0.0.1");
  strcpy(attachment.id.trsvcid, "4420");
  strcpy(attachment.id.subnqn, "nqn.2024-01.io.example:a");
  world_.OnControl([&] { discovery_->OnPathGone(attachment); });
  Until([this] { return attached_.size() == 1; });
}

// --- Trouble.

TEST_F(NvmeDiscoveryTest, WhatCannotBeAttachedIsTriedLessAndLessOften) {
  errors_["nqn.2024-01.io.example:a"] = ECONNREFUSED;
  peer().discovery = {Disk("a"), Disk("b")};
  StartAndWait();
  EXPECT_THAT(Attached(), ElementsAre(Path(1, "b")));
  Pass(300);
  EXPECT_GE(attaches_, 2 + 6);
  EXPECT_LE(attaches_, 2 + 12);
  errors_.clear();
  Until([this] { return attached_.contains(Path(0, "a")); });
}

TEST_F(NvmeDiscoveryTest, WhatSomebodyElseHasIsLeftAlone) {
  errors_["nqn.2024-01.io.example:a"] = EEXIST;
  peer().discovery = {Disk("a")};
  StartAndWait();
  Pass(300);
  EXPECT_EQ(attaches_, 1);
}

TEST_F(NvmeDiscoveryTest, AServiceThatIsNotThereIsWaitedFor) {
  peer().StopListening();
  peer().discovery = {Disk("a")};
  Start();
  const Status late = Run(discovery_->WaitUntilTried(world_.clock.NowNs() + 5 * kNsPerSecond));
  EXPECT_EQ(ErrnoOf(late), ETIMEDOUT);
  EXPECT_FALSE(discovery_->failure().ok());
  peer().Listen();
  Until([this] { return attached_.size() == 1; });
}

TEST_F(NvmeDiscoveryTest, AReferralThatIsDeadHoldsNothingUp) {
  TcpPeer& dead = AddPeer();
  dead.StopListening();
  peer().discovery = {Referral(dead.port()), Disk("a")};
  StartAndWait();
  EXPECT_THAT(Attached(), ElementsAre(Path(0, "a")));
}

TEST_F(NvmeDiscoveryTest, ReferralsWithoutEndAreBounded) {
  for (uint16_t port = 1; port <= 200; ++port) peer().discovery.push_back(Referral(port));
  StartAndWait();
  EXPECT_THAT(discovery_->referrals(), SizeIs(NvmeDiscovery::kServicesMax - 1));
}

TEST_F(NvmeDiscoveryTest, ReferralsAreFollowedOnlySoDeep) {
  for (int i = 0; i < NvmeDiscovery::kReferralDepthMax + 2; ++i) AddPeer();
  for (size_t i = 0; i + 1 < peers_.size(); ++i) {
    peers_[i]->discovery = {Referral(peers_[i + 1]->port())};
  }
  StartAndWait();
  Pass(5);
  EXPECT_THAT(discovery_->referrals(), SizeIs(NvmeDiscovery::kReferralDepthMax));
  EXPECT_EQ(peers_.back()->connections_accepted, 0);
}

TEST_F(NvmeDiscoveryTest, AddressesWithoutEndAreBoundedAndNotTriedAllAtOnce) {
  holds_ = true;
  for (int i = 0; i < 600; ++i) peer().discovery.push_back(Disk("many" + std::to_string(i)));
  Start();
  Until([this] { return attaching_ == static_cast<int>(NvmeDiscovery::kAttachesAtOnce); });
  Pass(1);
  EXPECT_EQ(attaching_most_, static_cast<int>(NvmeDiscovery::kAttachesAtOnce));
  holds_ = false;
  world_.OnControl([this] { released_.Pulse(); });
  Until([this] { return attached_.size() == NvmeDiscovery::kPathsMax; });
  Pass(5);
  EXPECT_THAT(Attached(), SizeIs(NvmeDiscovery::kPathsMax));
}

TEST_F(NvmeDiscoveryTest, ALogThatLiesDetachesNothing) {
  peer().discovery = {Disk("a")};
  StartAndWait();
  Until([this] { return peer().held_event != 0; });
  peer().on_command = [](TcpPeer::Connection& connection, const nvme::SubmissionEntry& sqe) {
    if (sqe.opc != nvme::admin::kGetLogPage || (sqe.cdw10 & 0xff) != nvme::log_page::kDiscovery) {
      return false;
    }
    std::vector<std::byte> page(((sqe.cdw10 >> 16) + 1) * size_t{4}, std::byte{0xff});
    connection.Deliver(sqe.cid, page.data(), static_cast<uint32_t>(page.size()));
    return true;
  };
  Tell(peer(), {});
  Until([this] { return !discovery_->failure().ok(); });
  Pass(10);
  EXPECT_THAT(Attached(), ElementsAre(Path(0, "a")));
}

TEST_F(NvmeDiscoveryTest, EntriesThatAreNoPlaceAreLeftOut) {
  peer().discovery = {Disk("a"), Disk("rdma"), Disk("nowhere"), Disk("port")};
  peer().discovery[1].trtype = nvme::kTrtypeRdma;
  memset(peer().discovery[2].traddr, 'x', sizeof(peer().discovery[2].traddr));
  memset(peer().discovery[3].trsvcid, '9', sizeof(peer().discovery[3].trsvcid));
  StartAndWait();
  EXPECT_THAT(Attached(), ElementsAre(Path(0, "a")));
}

TEST_F(NvmeDiscoveryTest, StoppingGivesUpWhatIsUnderWay) {
  holds_ = true;
  peer().discovery = {Disk("a"), Disk("b")};
  Start();
  Until([this] { return attaching_ == 2; });
  Stop();
  EXPECT_EQ(attaching_, 0);
  EXPECT_THAT(Attached(), IsEmpty());
}

TEST_F(NvmeDiscoveryTest, WhatLeavesTheLogWhileItIsAttachedIsGivenUp) {
  holds_ = true;
  peer().discovery = {Disk("a")};
  Start();
  Until([this] { return attaching_ == 1 && peer().held_event != 0; });
  Tell(peer(), {});
  Until([this] { return attaching_ == 0; });
  Pass(10);
  EXPECT_EQ(attaches_, 1);
}

}  // namespace
}  // namespace pollux
