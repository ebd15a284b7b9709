#include <map>

#include "core/block/uuid.h"
#include "scsi_fixture.h"
#include "targets/scsi/command_table.h"
#include "targets/scsi/reservation_store.h"
#include "targets/scsi/transport_id.h"

// Reservations as initiators on two reactors see them.

namespace pollux::scsi {
namespace {

constexpr SenseCode kReservationsPreempted{0x6, 0x2a, 0x03};
constexpr SenseCode kReservationsReleased{0x6, 0x2a, 0x04};
constexpr SenseCode kRegistrationsPreempted{0x6, 0x2a, 0x05};
constexpr int kGood = 0x00, kConflict = 0x18, kCheck = 0x02, kAborted = 0x40;
const Bytes kTestReady{0, 0, 0, 0, 0, 0};
const Bytes kRead1{0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0};
const Bytes kWrite1{0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0};

enum Action { kRegister, kReserve, kRelease, kClear, kPreempt, kPreemptAbort, kIgnore, kMove };

class TestStore final : public ReservationStore {
 public:
  Task<Status> Keep(std::string name, std::string text) override {
    if (fails) co_return InternalError("the disk is full");
    kept[name] = std::move(text);
    co_return OkStatus();
  }
  std::string Kept(const std::string& name) const override {
    const auto found = kept.find(name);
    return found == kept.end() ? "" : found->second;
  }
  std::map<std::string, std::string> kept;
  bool fails = false;
};

void Put(Bytes& bytes, size_t at, uint64_t value, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    bytes[at + i] = static_cast<uint8_t>(value >> (8 * (count - 1 - i)));
  }
}

class ReservationsTest : public ScsiTest {
 protected:
  ReservationsTest() : ScsiTest(2) {
    target_ = std::make_unique<TargetDevice>(kTargetName, *registry_, &store_);
  }
  ~ReservationsTest() override {
    Spin();
    for (auto& [name, host] : hosts_) {
      RunIn((*reactors_)[host.reactor], [&h = host] { h.nexus.reset(); });
    }
    Spin();
  }

  struct Host {
    std::unique_ptr<Nexus> nexus;
    size_t reactor;
  };
  // a on reactor 0, b on reactor 1, and so on in turn.
  Nexus& Login(char name, uint16_t port = 1) {
    Host& host = hosts_[name];
    host.reactor = static_cast<size_t>(name - 'a') % 2;
    RunIn((*reactors_)[host.reactor], [&] {
      host.nexus =
          std::make_unique<Nexus>(target_->view(host.reactor), *pools_[host.reactor],
                                  Nexus::Identity{.initiator_port = PortOf(name),
                                                  .target_port = "iqn.2024-01.test:disk,t,0x0001",
                                                  .relative_target_port = port});
    });
    for (int i = 0; i < 5 && SenseOf(Do(name, kTestReady)).key == 6; ++i) {
    }
    return *host.nexus;
  }
  void Logout(char name) {
    Host& host = hosts_[name];
    RunIn((*reactors_)[host.reactor], [&] { host.nexus.reset(); });
    hosts_.erase(name);
    Spin();
  }
  static std::string PortOf(char name) {
    return std::string("iqn.2024-01.test:") + name + ",i,0x00023d000001";
  }
  TestDisk& SetUpThree(TestDisk::Options options = {}) {
    TestDisk& disk = AddDisk("disk", options);
    AddLun(0);
    for (const char name : {'a', 'b', 'c'}) Login(name);
    return disk;
  }

  TestCommand& Begin(char name, const Bytes& cdb, Bytes out = {}, bool waits = false) {
    Host& host = hosts_.at(name);
    TestCommand& command = commands_.emplace_back();
    std::copy_n(cdb.begin(), std::min(cdb.size(), command.cdb.size()), command.cdb.begin());
    command.data_in_max = 1 << 16;
    command.data_out_max = static_cast<uint32_t>(out.size());
    command.out = std::move(out);
    command.waits = waits;
    RunIn((*reactors_)[host.reactor], [&] {
      command.in_call = true;
      host.nexus->Start(command);
      command.in_call = false;
    });
    return command;
  }
  TestCommand& Do(char name, const Bytes& cdb, Bytes out = {}) {
    TestCommand& command = Begin(name, cdb, std::move(out));
    Spin();
    EXPECT_TRUE(command.ended);
    return command;
  }
  int StatusOf(char name, const Bytes& cdb, Bytes out = {}) {
    return static_cast<int>(Do(name, cdb, std::move(out)).status);
  }
  int Read(char name) { return StatusOf(name, kRead1); }
  int Write(char name) { return StatusOf(name, kWrite1, Bytes(512)); }
  SenseCode Attention(char name) { return SenseOf(Do(name, kTestReady)); }

  static Bytes OutCdb(int action, int type = 0, uint32_t bytes = 24) {
    Bytes cdb{0x5f, static_cast<uint8_t>(action), static_cast<uint8_t>(type), 0, 0, 0, 0, 0, 0, 0};
    Put(cdb, 5, bytes, 4);
    return cdb;
  }
  static Bytes List(uint64_t key, uint64_t service_key, uint8_t flags = 0) {
    Bytes list(24);
    Put(list, 0, key, 8);
    Put(list, 8, service_key, 8);
    list[20] = flags;
    return list;
  }
  int Out(char name, int action, uint64_t key, uint64_t service_key, int type = 0,
          uint8_t flags = 0) {
    return StatusOf(name, OutCdb(action, type), List(key, service_key, flags));
  }
  Bytes In(char name, int action, uint16_t bytes = 8192) {
    Bytes cdb{0x5e, static_cast<uint8_t>(action), 0, 0, 0, 0, 0, 0, 0, 0};
    Put(cdb, 7, bytes, 2);
    TestCommand& command = Do(name, cdb);
    EXPECT_GOOD(command);
    return command.in;
  }
  void RegisterAll() {
    EXPECT_EQ(Out('a', kRegister, 0, 0xa), kGood);
    EXPECT_EQ(Out('b', kRegister, 0, 0xb), kGood);
    EXPECT_EQ(Out('c', kRegister, 0, 0xc), kGood);
  }

  TestStore store_;
  std::map<char, Host> hosts_;
};

TEST_F(ReservationsTest, EveryReactorSeesAReservationAtOnce) {
  SetUpThree();
  EXPECT_EQ(Out('a', kReserve, 0, 0, 1), kConflict);
  EXPECT_EQ(Out('a', kRegister, 0, 0xa), kGood);
  EXPECT_EQ(Out('a', kReserve, 0xa, 0, 3), kGood);
  for (const char other : {'b', 'c'}) {
    EXPECT_EQ(Read(other), kConflict);
    EXPECT_EQ(Write(other), kConflict);
    EXPECT_EQ(StatusOf(other, kTestReady), kGood);
  }
  EXPECT_EQ(Write('a'), kGood);
  EXPECT_EQ(Out('a', kRelease, 0xa, 0, 1), kCheck);
  EXPECT_EQ(SenseOf(commands_.back()), (SenseCode{0x5, 0x26, 0x04}));
  EXPECT_EQ(Out('a', kRelease, 0xa, 0, 3), kGood);
  EXPECT_EQ(Write('b'), kGood);
}

// The table of SPC-4 and SBC-3, written down here anew: what each command may do when another nexus
// holds Write Exclusive, Exclusive Access, or RESERVE(6).
struct Allowed {
  Bytes cdb;
  bool write_exclusive, exclusive_access, reserve;
};
const Allowed kAllowed[] = {
    {{0x00}, true, true, false},                   // TEST UNIT READY
    {{0x03}, true, true, true},                    // REQUEST SENSE
    {{0x08}, true, false, false},                  // READ(6)
    {{0x0a}, false, false, false},                 // WRITE(6)
    {{0x12}, true, true, true},                    // INQUIRY
    {{0x15}, false, false, false},                 // MODE SELECT(6)
    {{0x1a}, true, false, false},                  // MODE SENSE(6)
    {{0x1b, 0, 0, 0, 1}, true, true, true},        // START STOP UNIT, start
    {{0x1b, 0, 0, 0, 0}, false, false, false},     // stop
    {{0x1b, 0, 0, 0, 0x11}, false, false, false},  // with a power condition
    {{0x1d}, false, false, false},                 // SEND DIAGNOSTIC
    {{0x1e, 0, 0, 0, 0}, true, true, true},        // PREVENT ALLOW, allow
    {{0x1e, 0, 0, 0, 1}, false, false, false},     // prevent
    {{0x25}, true, true, true},                    // READ CAPACITY(10)
    {{0x28}, true, false, false},                  // READ(10)
    {{0x2a}, false, false, false},                 // WRITE(10)
    {{0x2f}, true, false, false},                  // VERIFY(10)
    {{0x35}, false, false, false},                 // SYNCHRONIZE CACHE(10)
    {{0x41}, false, false, false},                 // WRITE SAME(10)
    {{0x42}, false, false, false},                 // UNMAP
    {{0x48, 0x01}, false, false, false},           // SANITIZE, overwrite
    {{0x48, 0x1f}, false, false, false},           // exit failure mode
    {{0x55}, false, false, false},                 // MODE SELECT(10)
    {{0x5a}, true, false, false},                  // MODE SENSE(10)
    {{0x5e, 0}, true, true, false},                // PERSISTENT RESERVE IN
    {{0x5e, 1}, true, true, false},
    {{0x5e, 2}, true, true, false},
    {{0x5e, 3}, true, true, false},
    {{0x83}, false, false, false},        // EXTENDED COPY
    {{0x84, 0x00}, false, false, false},  // RECEIVE COPY RESULTS
    {{0x84, 0x03}, false, false, false},
    {{0x84, 0x04}, false, false, false},
    {{0x88}, true, false, false},                            // READ(16)
    {{0x89}, false, false, false},                           // COMPARE AND WRITE
    {{0x8a}, false, false, false},                           // WRITE(16)
    {{0x2e}, false, false, false},                           // WRITE AND VERIFY(10)
    {{0x8e}, false, false, false},                           // WRITE AND VERIFY(16)
    {{0xae}, false, false, false},                           // WRITE AND VERIFY(12)
    {{0x8b}, false, false, false},                           // ORWRITE(16)
    {{0x34}, true, false, false},                            // PRE-FETCH(10)
    {{0x90}, true, false, false},                            // PRE-FETCH(16)
    {{0x37}, true, false, false},                            // READ DEFECT DATA(10)
    {{0xb7}, true, false, false},                            // READ DEFECT DATA(12)
    {{0x8f}, true, false, false},                            // VERIFY(16)
    {{0x91}, false, false, false},                           // SYNCHRONIZE CACHE(16)
    {{0x93}, false, false, false},                           // WRITE SAME(16)
    {{0x9e, 0x10}, true, true, true},                        // READ CAPACITY(16)
    {{0x9e, 0x12}, true, false, false},                      // GET LBA STATUS
    {{0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16}, true, true, true},  // REPORT LUNS
    {{0xa3, 0x0a}, true, true, true},                        // REPORT TARGET PORT GROUPS
    {{0xa3, 0x0c}, true, false, false},                      // REPORT SUPPORTED OPERATION CODES
    {{0xa3, 0x0d}, true, false, false},                      // REPORT SUPPORTED TASK MANAGEMENT
    {{0xa8}, true, false, false},                            // READ(12)
    {{0xaa}, false, false, false},                           // WRITE(12)
    {{0xaf}, true, false, false},                            // VERIFY(12)
};

TEST_F(ReservationsTest, EveryCommandByEveryTypeAndRoleIsAsTheTableSays) {
  SetUpThree();
  for (const int type : {1, 3, 5, 6, 7, 8}) {
    EXPECT_EQ(Out('a', kRegister, 0, 0xa), kGood);
    EXPECT_EQ(Out('b', kRegister, 0, 0xb), kGood);
    EXPECT_EQ(Out('a', kReserve, 0xa, 0, type), kGood);
    const bool write_exclusive = type == 1 || type == 5 || type == 7;
    for (const Allowed& one : kAllowed) {
      Bytes cdb = one.cdb;
      cdb.resize(16);
      const bool harmless = write_exclusive ? one.write_exclusive : one.exclusive_access;
      const auto message = testing::Message()
                           << "type " << type << " opcode " << std::hex << int{cdb[0]} << " "
                           << int{cdb[1]} << " " << int{cdb[4]};
      EXPECT_NE(StatusOf('a', cdb), kConflict) << message;
      EXPECT_EQ(StatusOf('b', cdb) == kConflict, type < 5 && !harmless) << message;
      EXPECT_EQ(StatusOf('c', cdb) == kConflict, !harmless) << message;
    }
    EXPECT_EQ(Out('a', kClear, 0xa, 0), kGood);
    EXPECT_EQ(Attention('b'), kReservationsPreempted);
  }
  EXPECT_EQ(StatusOf('a', {0x16, 0, 0, 0, 0, 0}), kGood);
  for (const Allowed& one : kAllowed) {
    Bytes cdb = one.cdb;
    cdb.resize(16);
    EXPECT_EQ(StatusOf('b', cdb) == kConflict, !one.reserve) << std::hex << int{cdb[0]};
    // PERSISTENT RESERVE conflicts with the nexus's own RESERVE too.
    EXPECT_EQ(StatusOf('a', cdb) == kConflict, cdb[0] == 0x5e) << std::hex << int{cdb[0]};
  }
}

TEST_F(ReservationsTest, TheTestsTableHasEveryCommand) {
  for (const CommandInfo& info : AllCommands()) {
    const bool here =
        std::any_of(std::begin(kAllowed), std::end(kAllowed), [&info](const Allowed& one) {
          const int action = one.cdb.size() > 1 ? one.cdb[1] : 0;
          return one.cdb[0] == info.opcode &&
                 (info.service_action == CommandInfo::kNoServiceAction ||
                  info.service_action == action);
        });
    // These have tests of their own.
    const bool elsewhere = info.opcode == 0x5f || info.opcode == 0x16 || info.opcode == 0x17 ||
                           info.opcode == 0x56 || info.opcode == 0x57;
    EXPECT_TRUE(here || elsewhere) << std::hex << int{info.opcode} << " " << info.service_action;
  }
}

TEST_F(ReservationsTest, AReserveEndsWithItsNexusAtOnceOnItsReactor) {
  SetUpThree();
  EXPECT_EQ(StatusOf('a', {0x16, 0, 0, 0, 0, 0}), kGood);
  EXPECT_EQ(Write('c'), kConflict);
  // Both are on reactor 0, which hears nothing of the control loop in between.
  RunIn((*reactors_)[0], [&] { hosts_['a'].nexus.reset(); });
  TestCommand& write = Begin('c', kWrite1, Bytes(512));
  Spin();
  EXPECT_GOOD(write);
  EXPECT_EQ(Write('b'), kGood);
  hosts_.erase('a');
}

TEST_F(ReservationsTest, TheOthersHearWhatHappened) {
  SetUpThree();
  RegisterAll();
  EXPECT_EQ(Out('a', kReserve, 0xa, 0, 5), kGood);
  EXPECT_EQ(Out('a', kRelease, 0xa, 0, 5), kGood);
  EXPECT_EQ(Attention('a'), SenseCode{});
  EXPECT_EQ(Attention('b'), kReservationsReleased);
  EXPECT_EQ(Attention('c'), kReservationsReleased);
  EXPECT_EQ(Attention('c'), SenseCode{});
  EXPECT_EQ(Out('a', kReserve, 0xa, 0, 1), kGood);
  EXPECT_EQ(Out('b', kPreempt, 0xb, 0xa, 1), kGood);
  EXPECT_EQ(Attention('a'), kRegistrationsPreempted);
  EXPECT_EQ(Attention('b'), SenseCode{});
  EXPECT_EQ(Attention('c'), SenseCode{});
  EXPECT_EQ(Write('a'), kConflict);
  EXPECT_EQ(Write('b'), kGood);
  EXPECT_EQ(Out('c', kClear, 0xc, 0), kGood);
  EXPECT_EQ(Attention('b'), kReservationsPreempted);
  EXPECT_EQ(Write('a'), kGood);
}

TEST_F(ReservationsTest, WhatIsReadIsWhatIsThere) {
  SetUpThree();
  EXPECT_EQ(In('a', 0), Bytes(8));
  EXPECT_EQ(In('a', 1), Bytes(8));
  EXPECT_EQ(In('a', 2), (Bytes{0, 8, 0x0d, 0x80, 0xea, 0x01, 0, 0}));
  RegisterAll();
  EXPECT_EQ(Out('b', kReserve, 0xb, 0, 6), kGood);
  const Bytes keys = In('a', 0);
  ASSERT_EQ(keys.size(), 32u);
  EXPECT_EQ(BigEndian(keys, 0, 4), 3u);
  EXPECT_EQ(BigEndian(keys, 4, 4), 24u);
  EXPECT_EQ(BigEndian(keys, 8, 8), 0xau);
  EXPECT_EQ(BigEndian(keys, 24, 8), 0xcu);
  EXPECT_EQ(In('a', 1),
            (Bytes{0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0xb, 0, 0, 0, 0, 0, 6, 0, 0}));
  const Bytes full = In('a', 3);
  ASSERT_EQ(full.size(), 8 + BigEndian(full, 4, 4));
  size_t at = 8;
  for (const char name : {'a', 'b', 'c'}) {
    EXPECT_EQ(BigEndian(full, at, 8), static_cast<uint64_t>(name - 'a' + 0xa));
    EXPECT_EQ(full[at + 12], name == 'b' ? 0x01 : 0x00);
    EXPECT_EQ(full[at + 13], name == 'b' ? 0x06 : 0x00);
    EXPECT_EQ(BigEndian(full, at + 18, 2), 1u);
    const size_t length = BigEndian(full, at + 20, 4);
    const auto parsed = ParseTransportId(std::span(full).subspan(at + 24, length));
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->initiator_port, PortOf(name));
    at += 24 + length;
  }
  EXPECT_EQ(at, full.size());
  // Cut at every byte, the lengths stay.
  for (uint16_t cut = 0; cut <= full.size(); ++cut) {
    EXPECT_EQ(In('a', 3, cut), Bytes(full.begin(), full.begin() + cut));
  }
}

TEST_F(ReservationsTest, MoreThanFitsIsCounted) {
  SetUpThree();
  Bytes list = List(0, 1, 0x08);
  list.resize(28);
  for (int i = 0; i < 110; ++i) {
    const auto id = EncodeTransportId("iqn.2024-01.test:a-longer-name-" + std::to_string(100 + i) +
                                      ",i,0x00023d000001");
    list.insert(list.end(), id.begin(), id.end());
  }
  Put(list, 24, list.size() - 28, 4);
  EXPECT_EQ(StatusOf('a', OutCdb(kRegister, 0, static_cast<uint32_t>(list.size())), list), kGood);
  EXPECT_EQ(BigEndian(In('b', 0), 4, 4), 111u * 8);
  const Bytes full = In('b', 3, 0xffff);
  EXPECT_GT(8 + BigEndian(full, 4, 4), full.size());
  EXPECT_LE(full.size(), 8192u);
}

TEST_F(ReservationsTest, RegistrationsOutliveTheSession) {
  SetUpThree();
  EXPECT_EQ(Out('a', kRegister, 0, 0xa), kGood);
  EXPECT_EQ(Out('a', kReserve, 0xa, 0, 1), kGood);
  Logout('a');
  EXPECT_EQ(Write('b'), kConflict);
  Login('a');
  EXPECT_EQ(Write('a'), kGood);
  // Through another target port it is another nexus.
  Logout('a');
  Login('a', 2);
  EXPECT_EQ(Write('a'), kConflict);
}

TEST_F(ReservationsTest, AllPortsMeansAllPorts) {
  SetUpThree();
  EXPECT_EQ(Out('a', kRegister, 0, 0xa, 0, 0x04), kGood);
  EXPECT_EQ(Out('a', kReserve, 0xa, 0, 5), kGood);
  EXPECT_EQ(In('b', 3)[8 + 12], 0x03);
  Logout('a');
  Login('a', 2);
  EXPECT_EQ(Write('a'), kGood);
  EXPECT_EQ(Write('b'), kConflict);
}

TEST_F(ReservationsTest, ReserveSixEndsWithItsNexusOrAReset) {
  SetUpThree();
  const Bytes reserve{0x16, 0, 0, 0, 0, 0}, release{0x17, 0, 0, 0, 0, 0};
  EXPECT_EQ(StatusOf('a', reserve), kGood);
  EXPECT_EQ(StatusOf('a', reserve), kGood);
  EXPECT_EQ(StatusOf('b', reserve), kConflict);
  EXPECT_EQ(StatusOf('b', release), kGood);
  EXPECT_EQ(Out('b', kRegister, 0, 1), kConflict);
  EXPECT_EQ(Out('a', kRegister, 0, 1), kConflict);
  EXPECT_EQ(Read('b'), kConflict);
  EXPECT_EQ(StatusOf('a', release), kGood);
  EXPECT_EQ(Read('b'), kGood);
  EXPECT_EQ(StatusOf('b', {0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0}), kGood);
  EXPECT_EQ(Read('a'), kConflict);
  Logout('b');
  EXPECT_EQ(Read('a'), kGood);
  EXPECT_EQ(StatusOf('a', reserve), kGood);
  bool done = false;
  RunIn((*reactors_)[0], [&] {
    hosts_.at('c').nexus->Manage(TaskFunction::kLogicalUnitReset, 0, nullptr,
                                 [&done](TaskFunctionResult) { done = true; });
  });
  Spin();
  EXPECT_TRUE(done);
  EXPECT_EQ(Attention('c'), (SenseCode{0x6, 0x29, 0x03}));
  EXPECT_EQ(Read('c'), kGood);
  EXPECT_EQ(Attention('a'), (SenseCode{0x6, 0x29, 0x03}));
  EXPECT_EQ(Out('a', kRegister, 0, 1), kGood);
  EXPECT_EQ(StatusOf('a', reserve), kConflict);
  EXPECT_EQ(StatusOf('a', release), kConflict);
  for (const uint8_t flag : Bytes{0x10, 0x02, 0x01}) {
    EXPECT_EQ(StatusOf('a', {0x56, flag, 0, 0, 0, 0, 0, 0, 0, 0}), kCheck);
  }
}

TEST_F(ReservationsTest, PreemptAndAbortEndsWhatTheOtherHasUnderWay) {
  TestDisk& disk = SetUpThree();
  RegisterAll();
  EXPECT_EQ(Out('b', kReserve, 0xb, 0, 5), kGood);
  disk.holds = true;
  TestCommand& theirs = Begin('b', kWrite1, Bytes(512, 1));
  TestCommand& mine = Begin('c', kWrite1, Bytes(512, 1));
  Spin();
  EXPECT_EQ(Out('a', kPreemptAbort, 0xa, 0xb, 5), kGood);
  EXPECT_TRUE(theirs.ended);
  EXPECT_EQ(static_cast<int>(theirs.status), kAborted);
  EXPECT_FALSE(mine.ended);
  EXPECT_EQ(Attention('b'), kRegistrationsPreempted);
  EXPECT_EQ(Write('b'), kConflict);
  disk.holds = false;
  RunIn((*reactors_)[0], [&] { disk.ReleaseHeld(); });
  Spin();
  EXPECT_GOOD(mine);
}

// Two that preempt each other must not wait for each other.
TEST_F(ReservationsTest, OfTwoThatPreemptEachOtherOneWins) {
  SetUpThree();
  RegisterAll();
  EXPECT_EQ(Out('c', kReserve, 0xc, 0, 5), kGood);
  TestCommand& first = Begin('a', OutCdb(kPreemptAbort, 5), List(0xa, 0xb));
  TestCommand& second = Begin('b', OutCdb(kPreemptAbort, 5), List(0xb, 0xa));
  Spin();
  ASSERT_TRUE(first.ended && second.ended);
  const bool first_won = first.status == ScsiStatus::kGood;
  const TestCommand& loser = first_won ? second : first;
  EXPECT_NE(first_won, second.status == ScsiStatus::kGood);
  EXPECT_TRUE(loser.status == ScsiStatus::kTaskAborted ||
              loser.status == ScsiStatus::kReservationConflict);
  EXPECT_EQ(BigEndian(In('c', 0), 4, 4), 16u);
}

TEST_F(ReservationsTest, AReserveWaitsForTheIoOfOthersThatIsUnderWay) {
  TestDisk& disk = SetUpThree();
  EXPECT_EQ(Out('a', kRegister, 0, 0xa), kGood);
  disk.holds = true;
  TestCommand& theirs = Begin('b', kWrite1, Bytes(512, 7));
  TestCommand& reading = Begin('c', kRead1);
  Spin();
  TestCommand& reserve = Begin('a', OutCdb(kReserve, 1), List(0xa, 0));
  Spin();
  EXPECT_FALSE(reserve.ended);
  // It is in force already.
  EXPECT_EQ(StatusOf('c', kWrite1, Bytes(512)), kConflict);
  disk.holds = false;
  RunIn((*reactors_)[0], [&] { disk.ReleaseHeld(); });
  Spin();
  EXPECT_TRUE(reserve.ended);
  EXPECT_GOOD(reserve);
  EXPECT_GOOD(theirs);
  EXPECT_GOOD(reading);
}

TEST_F(ReservationsTest, WritesWhoseDataComesTooLateConflict) {
  for (const bool lends : {false, true}) {
    TestDisk& disk = SetUpThree({.lends = lends});
    EXPECT_EQ(Out('a', kRegister, 0, 0xa), kGood);
    TestCommand& theirs = Begin('b', kWrite1, Bytes(512, 7), /*waits=*/true);
    Spin();
    EXPECT_EQ(theirs.wanted, 1);
    TestCommand& reserve = Begin('a', OutCdb(kReserve, 1), List(0xa, 0));
    Spin();
    EXPECT_EQ(theirs.end_wanted, 1);
    EXPECT_EQ(reserve.ended, !lends);  // The disk's own memory is with the transport.
    RunIn((*reactors_)[1], [&] { theirs.SendWanted(); });
    Spin();
    EXPECT_TRUE(theirs.ended);
    EXPECT_EQ(static_cast<int>(theirs.status), kConflict);
    EXPECT_GOOD(reserve);
    EXPECT_EQ(disk.writes, 0);
    for (const char name : {'a', 'b', 'c'}) Logout(name);
    EXPECT_TRUE(Await(target_->RemoveLun(0)).ok());
    RemoveDisk();
  }
}

TEST_F(ReservationsTest, WhatIsKeptIsThereAgain) {
  SetUpThree();
  EXPECT_EQ(Out('a', kRegister, 0, 0xa, 0, 0x01), kGood);
  EXPECT_EQ(In('a', 2)[3], 0x81);
  EXPECT_EQ(Out('a', kReserve, 0xa, 0, 1), kGood);
  EXPECT_EQ(Out('b', kRegister, 0, 0xb), kGood);  // The last one without APTPL counts for all.
  EXPECT_EQ(store_.kept.at(std::string(kTargetName) + "/0"), "");
  EXPECT_EQ(Out('b', kIgnore, 0, 0xb, 0, 0x01), kGood);
  for (const char name : {'a', 'b', 'c'}) Logout(name);
  Await(target_->Shutdown());
  target_ = std::make_unique<TargetDevice>(kTargetName, *registry_, &store_);
  AddLun(0);
  for (const char name : {'a', 'b', 'c'}) Login(name);
  EXPECT_EQ(BigEndian(In('c', 0), 0, 4), 0u);
  EXPECT_EQ(BigEndian(In('c', 0), 4, 4), 16u);
  EXPECT_EQ(Write('b'), kConflict);
  EXPECT_EQ(Write('a'), kGood);
  // Removed for good, it is forgotten.
  EXPECT_TRUE(Await(target_->RemoveLun(0)).ok());
  EXPECT_EQ(store_.kept.at(std::string(kTargetName) + "/0"), "");
}

TEST_F(ReservationsTest, AnotherMediumHasNoReservations) {
  AddDisk("other");
  AddLun(0, "other");
  for (const char name : {'a', 'b'}) Login(name);
  EXPECT_EQ(Out('a', kRegister, 0, 0xa, 0, 0x01), kGood);
  EXPECT_EQ(Out('a', kReserve, 0xa, 0, 1), kGood);
  RemoveDisk("other");
  AddDisk("other");  // Of the same name, with another UUID.
  Spin();
  for (int i = 0; i < 3; ++i) Attention('b');
  EXPECT_EQ(Write('b'), kGood);
}

TEST_F(ReservationsTest, WhatCannotBeStoredDoesNotHappen) {
  SetUpThree();
  store_.fails = true;
  EXPECT_EQ(Out('a', kRegister, 0, 0xa, 0, 0x01), kCheck);
  EXPECT_EQ(SenseOf(commands_.back()), (SenseCode{0x4, 0x44, 0x00}));
  EXPECT_EQ(In('a', 0), Bytes(8));
}

TEST_F(ReservationsTest, DamagedParameterListsAreRefused) {
  SetUpThree();
  const auto sense = [this](int action, Bytes list, int type = 1, int scope = 0) {
    const auto bytes = static_cast<uint32_t>(list.size());
    return SenseOf(Do('a', OutCdb(action, type | scope << 4, bytes), std::move(list)));
  };
  Bytes whole = List(0, 1, 0x08);
  whole.resize(28);
  const auto id = EncodeTransportId(PortOf('b'));
  whole.insert(whole.end(), id.begin(), id.end());
  Put(whole, 24, id.size(), 4);
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    const SenseCode got =
        sense(kRegister, Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(cut)));
    EXPECT_EQ(got, cut < 28 ? kListLength : kInvalidParameter) << cut;
  }
  Bytes move(24 + id.size());
  Put(move, 8, 1, 8);
  Put(move, 18, 1, 2);
  Put(move, 20, id.size(), 4);
  std::copy(id.begin(), id.end(), move.begin() + 24);
  for (size_t cut = 0; cut < move.size(); ++cut) {
    const SenseCode got =
        sense(kMove, Bytes(move.begin(), move.begin() + static_cast<ptrdiff_t>(cut)));
    EXPECT_EQ(got, cut < 24 ? kListLength : kInvalidParameter) << cut;
  }
  for (int action = 0; action < 7; ++action) {
    for (const size_t bytes : {size_t{0}, size_t{1}, size_t{23}, size_t{25}, size_t{28}}) {
      EXPECT_EQ(sense(action, Bytes(bytes)), kListLength) << action << " " << bytes;
    }
    // Longer than a buffer, or than what the initiator has.
    for (const uint32_t bytes : {25u, 8193u, UINT32_MAX}) {
      EXPECT_EQ(SenseOf(Do('a', OutCdb(action, 1, bytes), Bytes(24))), kListLength);
    }
    if (action == kRegister) continue;
    EXPECT_EQ(sense(action, List(0, 1, 0x08)), kInvalidParameter);
  }
  for (const int action : {kReserve, kRelease}) {
    for (const int type : {0, 2, 4, 9, 15}) {
      EXPECT_EQ(sense(action, List(0, 1), type), kInvalidField) << type;
      EXPECT_EQ(PointerOf(commands_.back()), (Pointer{2, 3}));
    }
  }
  for (const int action : {kReserve, kRelease, kPreempt, kPreemptAbort}) {
    EXPECT_EQ(sense(action, List(0, 1), 1, 1), kInvalidField);
  }
  for (int action = 8; action < 32; ++action) {
    EXPECT_EQ(sense(action, List(0, 1)), kInvalidField) << action;
  }
  for (uint8_t action = 4; action < 32; ++action) {
    EXPECT_EQ(SenseOf(Do('a', {0x5e, action, 0, 0, 0, 0, 0, 1, 0, 0})), kInvalidField);
  }
  EXPECT_EQ(In('a', 0), Bytes(8));
}

class WithoutStoreTest : public ScsiTest {};

TEST_F(WithoutStoreTest, NothingCanBePersistent) {
  SetUp0();
  Bytes list(24);
  list[15] = 1;
  list[20] = 0x01;
  TestCommand& command = Run({0x5f, 0, 0, 0, 0, 0, 0, 0, 24, 0}, 0, list);
  EXPECT_EQ(SenseOf(command), kInvalidParameter);
  EXPECT_EQ(PointerOf(command), (Pointer{20, 0, false}));
  EXPECT_EQ(Run({0x5e, 2, 0, 0, 0, 0, 0, 0, 8, 0}).in[2], 0x0c);
}

}  // namespace
}  // namespace pollux::scsi
