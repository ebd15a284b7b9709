#include "targets/nvmf/discovery_log.h"

#include "tests/unit/targets/nvmf/target_fixture.h"

namespace pollux::nvmf {
namespace {

using admin_test::Sqe;
using admin_test::Text;
using admin_test::U16;
using admin_test::U64;
using target_test::Bytes;
using target_test::HostQueue;
using target_test::kHost;
using target_test::kNqn;
using target_test::kOther;

Bytes BytesOf(const std::string& log) { return {log.begin(), log.end()}; }

// --- The page itself.

TEST(DiscoveryLogPage, SaysHowManyRecordsItHasAndItsGeneration) {
  const Bytes log = BytesOf(MakeDiscoveryLog(77, {}));
  ASSERT_EQ(log.size(), 1024u);
  EXPECT_EQ(U64(log, 0), 77u);
  EXPECT_EQ(U64(log, 8), 0u);
  EXPECT_EQ(U16(log, 16), 0);
}

TEST(DiscoveryLogPage, HasAnEntryPerRecord) {
  const DiscoveryEntry entry{.address = {"TCP", "IPv6", "fd00::5", "4420"},
                             .subnqn = kNqn,
                             .subtype = nvme::kSubtypeNvm,
                             .port_id = 3,
                             .admin_depth = 128};
  const Bytes log = BytesOf(MakeDiscoveryLog(1, {entry}));
  ASSERT_EQ(log.size(), 2048u);
  EXPECT_EQ(log[1024], 3);      // TCP
  EXPECT_EQ(log[1025], 2);      // IPv6
  EXPECT_EQ(log[1026], 2);      // NVM
  EXPECT_EQ(log[1027] & 3, 0);  // Nothing is said of TLS: see discovery_log.cc.
  EXPECT_EQ(U16(log, 1028), 3);
  EXPECT_EQ(U16(log, 1030), 0xffff);
  EXPECT_EQ(U16(log, 1032), 128);
  EXPECT_EQ(Text(log, 1024 + 32, 32), "4420" + std::string(28, ' '));
  EXPECT_EQ(Text(log, 1024 + 256, 256), kNqn + std::string(256 - strlen(kNqn), '\0'));
  EXPECT_EQ(Text(log, 1024 + 512, 8), "fd00::5 ");
}

// --- What a host is shown.

const ListenAddress kAsked{"TCP", "IPv4", "10.0.0.1", "4420"};

TEST(DiscoveryFilter, WithoutOneAllIsShown) {
  ListenAddress far{"TCP", "IPv6", "fd00::1", "9999"};
  EXPECT_TRUE(ShowTo({kAsked, "10.0.0.1"}, {}, far));
  EXPECT_EQ(far.traddr, "fd00::1");
}

TEST(DiscoveryFilter, OfAListenerOnAllAddressesTheOneAskedIsShown) {
  ListenAddress any{"TCP", "IPv4", "0.0.0.0", "4420"};
  EXPECT_TRUE(ShowTo({any, "10.0.0.7"}, {.filter_address = true}, any));
  EXPECT_EQ(any.traddr, "10.0.0.7");
}

TEST(DiscoveryFilter, AnAddressThatTheHostCannotUseIsNotShown) {
  ListenAddress any{"TCP", "IPv6", "::", "4420"};
  EXPECT_FALSE(ShowTo({kAsked, "10.0.0.1"}, {}, any));
}

TEST(DiscoveryFilter, LeavesOutOtherAddressesAndPorts) {
  ListenAddress other{"TCP", "IPv4", "10.0.0.2", "4420"};
  EXPECT_FALSE(ShowTo({kAsked, "10.0.0.1"}, {.filter_address = true}, other));
  EXPECT_TRUE(ShowTo({kAsked, "10.0.0.1"}, {.filter_svcid = true}, other));
  ListenAddress port{"TCP", "IPv4", "10.0.0.1", "4421"};
  EXPECT_FALSE(ShowTo({kAsked, "10.0.0.1"}, {.filter_svcid = true}, port));
  EXPECT_TRUE(ShowTo({kAsked, "10.0.0.1"}, {.filter_address = true}, port));
}

// --- Through a discovery controller.

class DiscoveryTest : public target_test::TargetTest {
 protected:
  // The records of the log page, as this host reads them.
  struct Record {
    std::string subnqn, traddr, trsvcid;
    int subtype;
  };
  static std::string Word(const Bytes& bytes, size_t at, size_t count) {
    const std::string text = Text(bytes, at, count);
    return text.substr(0, text.find_first_of(std::string(" \0", 2)));
  }
  std::vector<Record> Read(HostQueue& host) {
    Sqe get(0x02);
    get.Dword(10, 0x70 | (8 * 1024 / 4 - 1) << 16);
    const auto& answer = Submit(host, get, 8 * 1024);
    EXPECT_EQ(answer.status(), admin_test::kOk);
    const Bytes& log = answer.in;
    std::vector<Record> records;
    if (log.size() < 1024) return records;
    generation_ = U64(log, 0);
    for (uint64_t i = 0; i < U64(log, 8) && 1024 * (i + 2) <= log.size(); ++i) {
      const size_t at = 1024 * (i + 1);
      records.push_back({Word(log, at + 256, 256), Word(log, at + 512, 256), Word(log, at + 32, 32),
                         log[at + 2]});
    }
    return records;
  }
  HostQueue& Discover(const std::string& host = kHost, uint32_t listener = 1,
                      const std::string& local_address = "127.0.0.1") {
    HostQueue* admin = nullptr;
    MakeController(admin, {.nqn = host,
                           .subnqn = nvme::kDiscoveryNqn,
                           .listener = listener,
                           .local_address = local_address});
    return *admin;
  }
  Status AddReferral(const Referral& referral) {
    Status status;
    world_.OnControl([&] { status = target_->AddReferral(referral); });
    return status;
  }
  Status RemoveReferral(const ListenAddress& address, const std::string& subnqn) {
    Status status;
    world_.OnControl([&] { status = target_->RemoveReferral(address, subnqn); });
    return status;
  }
  uint64_t generation_ = 0;
};

TEST_F(DiscoveryTest, EveryListenerAnswers) {
  Start();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  const std::vector<Record> records = Read(Discover());
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].subnqn, kNqn);
  EXPECT_EQ(records[0].traddr, "127.0.0.1");
  EXPECT_EQ(records[0].trsvcid, "4420");
  EXPECT_EQ(records[0].subtype, 2);
}

TEST_F(DiscoveryTest, AListenerOfItsOwnIsShownAsWhatItIs) {
  Start();
  ASSERT_TRUE(Listen(nvme::kDiscoveryNqn, "").ok());
  const std::vector<Record> records = Read(Discover());
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].trsvcid, "8009");
  EXPECT_EQ(records[0].subtype, 3);
}

TEST_F(DiscoveryTest, AHostSeesOnlyWhatAdmitsIt) {
  Start();
  ASSERT_TRUE(Create(kNqn, /*any_host=*/false).ok());
  ASSERT_TRUE(Create(kOther).ok());
  ASSERT_TRUE(Listen().ok());
  ASSERT_TRUE(Listen(kOther).ok());
  HostQueue& host = Discover();
  EXPECT_EQ(Read(host).size(), 1u);
  ASSERT_TRUE(Run(target_->AddHost(kNqn, kHost)).ok());
  EXPECT_EQ(Read(host).size(), 2u);
}

TEST_F(DiscoveryTest, AListenerOnAllAddressesShowsTheOneThatTheHostCameTo) {
  Start();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen(kNqn, "4420", "0.0.0.0").ok());
  EXPECT_EQ(Read(Discover(kHost, 1, "10.1.2.3")).at(0).traddr, "10.1.2.3");
  EXPECT_EQ(Read(Discover(kHost, 1, "10.9.9.9")).at(0).traddr, "10.9.9.9");
}

TEST_F(DiscoveryTest, ReferralsAreShownAndGo) {
  Start();
  ASSERT_TRUE(Listen(nvme::kDiscoveryNqn, "8009").ok());
  HostQueue& host = Discover();
  ASSERT_TRUE(AddReferral({.address = At("", "10.0.0.9")}).ok());
  EXPECT_FAILS(AddReferral({.address = At("8009", "10.0.0.9")}), EEXIST);
  const std::vector<Record> records = Read(host);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[1].subtype, 1);
  EXPECT_EQ(records[1].traddr, "10.0.0.9");
  ASSERT_TRUE(RemoveReferral(At("8009", "10.0.0.9"), nvme::kDiscoveryNqn).ok());
  EXPECT_EQ(Read(host).size(), 1u);
  EXPECT_FAILS(RemoveReferral(At("8009", "10.0.0.9"), nvme::kDiscoveryNqn), ENOENT);
}

TEST_F(DiscoveryTest, AHostThatAskedIsToldOfChanges) {
  Start();
  ASSERT_TRUE(Listen(nvme::kDiscoveryNqn, "8009").ok());
  HostQueue* admin = nullptr;
  const Who who{.subnqn = nvme::kDiscoveryNqn};
  MakeController(admin, who);
  Sqe events(0x09);
  events.Dword(10, 0x0b).Dword(11, 1u << 31);
  EXPECT_EQ(Submit(*admin, events).status(), admin_test::kOk);
  Read(*admin);
  const uint64_t before = generation_;
  const auto& request = Submit(*admin, Sqe(0x0c));
  EXPECT_EQ(EventOf(request), -1);

  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  world_.Until([&request] { return request.ended; });
  EXPECT_EQ(EventOf(request), 0x70f002);  // Discovery log, changed, notice.
  EXPECT_EQ(Read(*admin).size(), 2u);
  EXPECT_GT(generation_, before);
}

// --- Damage.

TEST_F(DiscoveryTest, ASubsystemThatIsDeletedIsNotShown) {
  Start();
  ASSERT_TRUE(Listen(nvme::kDiscoveryNqn, "8009").ok());
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Listen().ok());
  HostQueue& host = Discover();
  EXPECT_EQ(Read(host).size(), 2u);
  ASSERT_TRUE(Run(target_->DeleteSubsystem(kNqn)).ok());
  EXPECT_EQ(Read(host).size(), 1u);
}

TEST_F(DiscoveryTest, WhoDiscoversThroughAListenerThatGoesIsCutOff) {
  Start();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Create(kOther).ok());
  ASSERT_TRUE(Listen().ok());
  ASSERT_TRUE(Listen(kOther).ok());
  HostQueue& host = Discover();
  ASSERT_TRUE(Run(target_->RemoveListener(kNqn, At("4420"))).ok());
  EXPECT_FALSE(host.ended) << "another subsystem is there still";
  EXPECT_EQ(Read(host).size(), 1u);
  ASSERT_TRUE(Run(target_->RemoveListener(kOther, At("4420"))).ok());
  EXPECT_TRUE(host.ended);
}

TEST_F(DiscoveryTest, ReferralsToNowhereAreRefused) {
  Start();
  EXPECT_FAILS(AddReferral({.address = At("8009", "nowhere")}), EINVAL);
  EXPECT_FAILS(AddReferral({.address = At("80090", "10.0.0.1")}), EINVAL);
  EXPECT_FAILS(AddReferral({.address = At("8009", "10.0.0.1"), .subnqn = "nqn"}), EINVAL);
  EXPECT_FAILS(AddReferral({.address = At("8009", "10.0.0.1"), .secure_channel = true}), ENOTSUP);
}

}  // namespace
}  // namespace pollux::nvmf
