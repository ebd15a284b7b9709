// The discovery log page: of targets that tell it as they should, and of others.
#include "drivers/nvme/discovery_log.h"

#include "core/spec/nvmf_spec.h"
#include "drivers/nvme/discovery_reading.h"
#include "tests/unit/drivers/nvme/tcp_world.h"

namespace pollux::nvme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

template <size_t N>
void SetPadded(char (&field)[N], const std::string& text, char padding) {
  memset(field, padding, N);
  memcpy(field, text.data(), std::min(text.size(), N));
}

DiscoveryLogEntry Entry(const std::string& nqn, const std::string& traddr = "192.0.2.1",
                        const std::string& trsvcid = "4420", uint8_t subtype = kSubtypeNvm) {
  DiscoveryLogEntry entry{};
  entry.trtype = kTrtypeTcp;
  entry.adrfam = traddr.find(':') == std::string::npos ? kAdrfamIpv4 : kAdrfamIpv6;
  entry.subtype = subtype;
  entry.portid = 7;
  entry.cntlid = kDynamicCntlid;
  entry.asqsz = 128;
  SetPadded(entry.subnqn, nqn, '\0');
  SetPadded(entry.traddr, traddr, ' ');
  SetPadded(entry.trsvcid, trsvcid, ' ');
  return entry;
}

class DiscoveryLogTest : public TcpWorld, protected DiscoveryReader {
 protected:
  DiscoveryLogTest() {
    subnqn_ = kDiscoveryNqn;
    peer_.options().controller_type = 2;
  }

  void Connect() { ASSERT_EQ(Attach(), POLLUX_NVME_STATE_READY) << failure_text(); }
  void OnDiscoveryLog(int error, const pollux_nvme_discovery_log* log) override {
    ++calls_;
    error_ = error;
    if (error != 0) {
      EXPECT_EQ(log, nullptr);
      text_ = pollux_nvme_error_text();
      return;
    }
    generation_ = log->generation;
    entries_.assign(log->entries, log->entries + log->count);
  }
  // Returns how it ended.
  int ReadLog() {
    const int calls = calls_;
    const int error = DiscoveryReader::Read(controller_);
    EXPECT_EQ(error, 0) << pollux_nvme_error_text();
    for (int i = 0; error == 0 && i < kTurnsMax && calls_ == calls; ++i) Turn();
    EXPECT_EQ(calls_, calls + 1);
    return error_;
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : entries_) names.emplace_back(entry.subnqn);
    return names;
  }
  // What the one entry of the page is not usable for.
  std::string Unusable(const DiscoveryLogEntry& entry) {
    const pollux_nvme_discovery_entry decoded = DecodeDiscoveryEntry(entry);
    EXPECT_EQ(decoded.id.trtype == 0, decoded.unusable != nullptr);
    return decoded.unusable == nullptr ? "" : decoded.unusable;
  }
  // Every header that is told from now on.
  void TellHeader(std::function<void(DiscoveryLogHeader&)> change) {
    peer_.on_command = [this, change](TcpPeer::Connection& connection, const SubmissionEntry& sqe) {
      const bool log = sqe.opc == admin::kGetLogPage && (sqe.cdw10 & 0xff) == log_page::kDiscovery;
      if (!log || sqe.cdw12 != 0) return false;
      DiscoveryLogHeader header{};
      header.genctr = peer_.discovery_generation;
      header.numrec = peer_.discovery.size();
      change(header);
      connection.Deliver(sqe.cid, reinterpret_cast<const std::byte*>(&header), sizeof(header));
      return true;
    };
  }
  size_t CountOf(pollux_nvme_event_type type) const {
    size_t count = 0;
    for (const pollux_nvme_event& event : events_) count += event.type == type;
    return count;
  }

  int calls_ = 0;
  int error_ = 0;
  std::string text_;
  uint64_t generation_ = 0;
  std::vector<pollux_nvme_discovery_entry> entries_;
};

// --- As it should be.

TEST_F(DiscoveryLogTest, ControllerHasNoQueuesAndIsKeptAlive) {
  Connect();
  EXPECT_EQ(info().io_queues, 0);
  EXPECT_EQ(peer_.connections_accepted, 1);
  EXPECT_STREQ(peer_.connected.subnqn, kDiscoveryNqn);
  EXPECT_EQ(peer_.connect.kato, 10000u);  // Not 0: it is to stay. Base §3.1.2.3
  const uint64_t until = clock_.NowNs() + 20 * kNsPerSecond;
  while (clock_.NowNs() < until) Turn();
  EXPECT_GE(peer_.keep_alives, 3);
  EXPECT_EQ(state(), POLLUX_NVME_STATE_READY);
}

TEST_F(DiscoveryLogTest, TellsEveryFieldOfAnEntry) {
  peer_.discovery = {Entry("nqn.2024-01.io.example:a", "192.0.2.7", "4421")};
  peer_.discovery[0].treq = kTreqNotRequired;
  peer_.discovery[0].eflags = kEflagPersistent;
  peer_.discovery_generation = 42;
  Connect();
  ASSERT_EQ(ReadLog(), 0) << text_;
  EXPECT_EQ(generation_, 42u);
  ASSERT_THAT(entries_, SizeIs(1));
  const pollux_nvme_discovery_entry& entry = entries_[0];
  EXPECT_EQ(entry.unusable, nullptr);
  EXPECT_EQ(entry.id.trtype, POLLUX_NVME_TRANSPORT_TCP);
  EXPECT_EQ(entry.id.adrfam, POLLUX_NVME_ADRFAM_IPV4);
  EXPECT_STREQ(entry.id.traddr, "192.0.2.7");
  EXPECT_STREQ(entry.id.trsvcid, "4421");
  EXPECT_STREQ(entry.id.subnqn, "nqn.2024-01.io.example:a");
  EXPECT_EQ(entry.trtype, kTrtypeTcp);
  EXPECT_EQ(entry.subtype, POLLUX_NVME_SUBSYSTEM_NVM);
  EXPECT_EQ(entry.treq, kTreqNotRequired);
  EXPECT_EQ(entry.eflags, kEflagPersistent);
  EXPECT_EQ(entry.portid, 7);
  EXPECT_EQ(entry.cntlid, kDynamicCntlid);
  EXPECT_EQ(entry.asqsz, 128);
}

TEST_F(DiscoveryLogTest, IsReadInPiecesAndInOrder) {
  std::vector<std::string> names;
  for (size_t i = 0; i < 3 * DiscoveryReading::kPieceEntriesMax + 5; ++i) {
    names.push_back(absl::StrFormat("nqn.2024-01.io.example:%d", i));
    peer_.discovery.push_back(Entry(names.back()));
  }
  Connect();
  ASSERT_EQ(ReadLog(), 0) << text_;
  EXPECT_EQ(Names(), names);
}

TEST_F(DiscoveryLogTest, MayBeEmpty) {
  Connect();
  ASSERT_EQ(ReadLog(), 0) << text_;
  EXPECT_THAT(entries_, IsEmpty());
}

TEST_F(DiscoveryLogTest, CanBeWaitedFor) {
  peer_.discovery = {Entry("nqn.2024-01.io.example:a", "2001:db8::1")};
  Connect();
  struct Count {
    uint32_t entries = 0;
  } count;
  const auto on_read = [](void* context, int, const pollux_nvme_discovery_log* log) {
    static_cast<Count*>(context)->entries = log == nullptr ? 0 : log->count;
  };
  EXPECT_EQ(pollux_nvme_discovery_read_wait(controller_, on_read, &count), 0);
  EXPECT_EQ(count.entries, 1u);
}

TEST_F(DiscoveryLogTest, TellsThatItChanged) {
  std::vector<uint32_t> configured;
  peer_.on_command = [&configured](TcpPeer::Connection&, const SubmissionEntry& sqe) {
    const bool events = (sqe.cdw10 & 0xff) == feature::kAsyncEventConfiguration;
    if (sqe.opc == admin::kSetFeatures && events) configured.push_back(sqe.cdw11);
    return false;
  };
  Connect();
  // No other bit: Linux's target refuses all then.
  EXPECT_THAT(configured, ElementsAre(async_event::kEnableDiscoveryChange));
  Turns(20);
  ASSERT_NE(peer_.held_event, 0);
  EXPECT_EQ(CountOf(POLLUX_NVME_EVENT_DISCOVERY_CHANGED), 0u);
  peer_.OfQueue(0)->Respond(peer_.held_event, 0, 0x70f002);
  Turns(50);
  EXPECT_EQ(CountOf(POLLUX_NVME_EVENT_DISCOVERY_CHANGED), 1u);
}

TEST_F(DiscoveryLogTest, OneThatChangesMeanwhileIsReadAgain) {
  peer_.discovery = {Entry("nqn.2024-01.io.example:a"), Entry("nqn.2024-01.io.example:b")};
  Connect();
  int readings = 0;
  peer_.on_command = [this, &readings](TcpPeer::Connection&, const SubmissionEntry& sqe) {
    if (sqe.opc == admin::kGetLogPage && sqe.cdw12 != 0 && ++readings == 1) {
      peer_.discovery.pop_back();
      ++peer_.discovery_generation;
    }
    return false;
  };
  ASSERT_EQ(ReadLog(), 0) << text_;
  EXPECT_THAT(Names(), ElementsAre("nqn.2024-01.io.example:a"));
  EXPECT_EQ(readings, 2);
}

TEST_F(DiscoveryLogTest, ReferralsAndTheServiceItselfHaveTheirTypes) {
  peer_.discovery = {Entry(kDiscoveryNqn, "192.0.2.2", "8009", kSubtypeReferral),
                     Entry(kDiscoveryNqn, "192.0.2.1", "8009", kSubtypeCurrentDiscovery)};
  Connect();
  ASSERT_EQ(ReadLog(), 0) << text_;
  ASSERT_THAT(entries_, SizeIs(2));
  EXPECT_EQ(entries_[0].subtype, POLLUX_NVME_SUBSYSTEM_REFERRAL);
  EXPECT_EQ(entries_[1].subtype, POLLUX_NVME_SUBSYSTEM_CURRENT_DISCOVERY);
  EXPECT_EQ(entries_[0].unusable, nullptr);
}

// --- Damage.

TEST_F(DiscoveryLogTest, OnlyOneReadingAtATime) {
  Connect();
  ASSERT_EQ(DiscoveryReader::Read(controller_), 0);
  EXPECT_EQ(DiscoveryReader::Read(controller_), -EBUSY);
  for (int i = 0; i < kTurnsMax && calls_ == 0; ++i) Turn();
  EXPECT_EQ(error_, 0);
  EXPECT_EQ(ReadLog(), 0);
}

TEST_F(DiscoveryLogTest, AnIoControllerHasNone) {
  peer_.options().controller_type = 1;
  subnqn_ = "nqn.2024-01.io.example:disks";
  Connect();
  EXPECT_EQ(DiscoveryReader::Read(controller_), -ENOTSUP);
  EXPECT_EQ(calls_, 0);
}

TEST_F(DiscoveryLogTest, EndlessNumbersOfEntriesAreNotRead) {
  Connect();
  for (const uint64_t records : {uint64_t{4097}, uint64_t{1} << 32, ~uint64_t{0}}) {
    TellHeader([records](DiscoveryLogHeader& header) { header.numrec = records; });
    EXPECT_EQ(ReadLog(), -EFBIG);
    EXPECT_THAT(text_, HasSubstr(std::to_string(records)));
  }
}

TEST_F(DiscoveryLogTest, ChangesWithoutEndAreGivenUp) {
  Connect();
  uint64_t generation = 1;
  TellHeader([&generation](DiscoveryLogHeader& header) { header.genctr = generation++; });
  EXPECT_EQ(ReadLog(), -ESTALE);
  EXPECT_EQ(generation, 1u + 2 * DiscoveryReading::kAttemptsMax);
}

TEST_F(DiscoveryLogTest, AnotherNumberOfTheSameGenerationIsAChangeToo) {
  Connect();
  uint64_t records = 0;
  TellHeader([&records](DiscoveryLogHeader& header) { header.numrec = records++ & 1; });
  EXPECT_EQ(ReadLog(), -ESTALE);
}

TEST_F(DiscoveryLogTest, AnUnknownFormatIsNotRead) {
  Connect();
  TellHeader([](DiscoveryLogHeader& header) { header.recfmt = 1; });
  EXPECT_EQ(ReadLog(), -EPROTO);
}

TEST_F(DiscoveryLogTest, EntriesThatArePromisedAndNotThereAreUnusable) {
  Connect();
  TellHeader([](DiscoveryLogHeader& header) { header.numrec = 3; });
  ASSERT_EQ(ReadLog(), 0) << text_;
  ASSERT_THAT(entries_, SizeIs(3));
  for (const auto& entry : entries_) EXPECT_NE(entry.unusable, nullptr);
}

TEST_F(DiscoveryLogTest, ARefusalIsToldWithItsStatus) {
  Connect();
  peer_.on_command = [](TcpPeer::Connection& connection, const SubmissionEntry& sqe) {
    if (sqe.opc != admin::kGetLogPage) return false;
    connection.Respond(sqe.cid, status::kInvalidLogPage | 0x4000);
    return true;
  };
  EXPECT_EQ(ReadLog(), -EIO);
  EXPECT_THAT(text_, HasSubstr("Invalid Log Page"));
}

TEST_F(DiscoveryLogTest, AConnectionThatIsLostEndsTheReadingAndComesBack) {
  peer_.discovery = {Entry("nqn.2024-01.io.example:a")};
  Connect();
  peer_.on_command = [](TcpPeer::Connection& connection, const SubmissionEntry& sqe) {
    if (sqe.opc != admin::kGetLogPage) return false;
    connection.Close();
    return true;
  };
  EXPECT_EQ(ReadLog(), -EIO);
  peer_.on_command = nullptr;
  PollUntil(POLLUX_NVME_STATE_READY);
  EXPECT_EQ(ReadLog(), 0) << text_;
}

TEST_F(DiscoveryLogTest, ADetachEndsTheReading) {
  Connect();
  peer_.on_command = [](TcpPeer::Connection&, const SubmissionEntry& sqe) {
    return sqe.opc == admin::kGetLogPage;
  };
  ASSERT_EQ(DiscoveryReader::Read(controller_), 0);
  Turns(5);
  Detach();
  EXPECT_EQ(calls_, 1);
  EXPECT_NE(error_, 0);
}

TEST_F(DiscoveryLogTest, StringsThatDoNotEndStayWithinTheirFields) {
  DiscoveryLogEntry entry = Entry("nqn.2024-01.io.example:a");
  memset(entry.subnqn, 'n', sizeof(entry.subnqn));
  memset(entry.traddr, '1', sizeof(entry.traddr));
  memset(entry.trsvcid, '4', sizeof(entry.trsvcid));
  const pollux_nvme_discovery_entry decoded = DecodeDiscoveryEntry(entry);
  EXPECT_EQ(strlen(decoded.subnqn), sizeof(entry.subnqn));
  EXPECT_EQ(strlen(decoded.traddr), sizeof(entry.traddr));
  EXPECT_EQ(strlen(decoded.trsvcid), sizeof(entry.trsvcid));
  EXPECT_NE(decoded.unusable, nullptr);
}

TEST_F(DiscoveryLogTest, EntriesThatCannotBeAttachedToSayWhy) {
  const std::string nqn = "nqn.2024-01.io.example:a";
  EXPECT_EQ(Unusable(Entry(nqn)), "");
  for (const int trtype : {0, 1, 2, 4, 0xfe}) {
    DiscoveryLogEntry other = Entry(nqn);
    other.trtype = static_cast<uint8_t>(trtype);
    EXPECT_THAT(Unusable(other), HasSubstr("transport"));
  }
  for (const int subtype : {0, 4, 0xff}) {
    EXPECT_THAT(Unusable(Entry(nqn, "192.0.2.1", "4420", static_cast<uint8_t>(subtype))),
                HasSubstr("type"));
  }
  for (const char* port : {"", "0", "65536", "nvme", "44 20", "-1", "4420x"}) {
    EXPECT_THAT(Unusable(Entry(nqn, "192.0.2.1", port)), HasSubstr("port")) << port;
  }
  for (const char* address : {"", "target.example", "192.0.2", "192.0.2.1 ;reboot"}) {
    EXPECT_THAT(Unusable(Entry(nqn, address)), HasSubstr("address")) << address;
  }
  EXPECT_THAT(Unusable(Entry(nqn, "0.0.0.0")), HasSubstr("connect to"));
  EXPECT_THAT(Unusable(Entry(nqn, "::")), HasSubstr("connect to"));
  for (const char* name : {"", "nqn.", "disks", "nqn.2024-01.io.example:\x1b[2J"}) {
    EXPECT_THAT(Unusable(Entry(name)), HasSubstr("NQN")) << name;
  }
  DiscoveryLogEntry family = Entry(nqn);
  family.adrfam = kAdrfamIpv6;
  EXPECT_THAT(Unusable(family), HasSubstr("family"));
}

}  // namespace
}  // namespace pollux::nvme
