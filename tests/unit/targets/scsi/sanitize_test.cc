#include "scsi_fixture.h"

// SANITIZE: what it leaves on the medium, and what other commands see meanwhile.

namespace pollux::scsi {
namespace {

constexpr SenseCode kSanitizing{0x2, 0x04, 0x1b};
constexpr SenseCode kFailed{0x3, 0x31, 0x03};
constexpr uint8_t kImmed = 0x80, kAuse = 0x20;
const Bytes kReady{0x00, 0, 0, 0, 0, 0};

Bytes Overwrite(size_t list_bytes, uint8_t flags = 0) {
  return {0x48,
          static_cast<uint8_t>(0x01 | flags),
          0,
          0,
          0,
          0,
          0,
          static_cast<uint8_t>(list_bytes >> 8),
          static_cast<uint8_t>(list_bytes),
          0};
}
Bytes List(const Bytes& pattern, uint8_t flags0 = 1) {
  Bytes list(4 + pattern.size());
  list[0] = flags0;
  list[2] = static_cast<uint8_t>(pattern.size() >> 8);
  list[3] = static_cast<uint8_t>(pattern.size());
  std::copy(pattern.begin(), pattern.end(), list.begin() + 4);
  return list;
}

class SanitizeTest : public ScsiTest {
 protected:
  explicit SanitizeTest(size_t reactors = 1) : ScsiTest(reactors) {}

  TestCommand& Sanitize(const Bytes& pattern, uint8_t flags0 = 1, uint8_t cdb_flags = 0) {
    const Bytes list = List(pattern, flags0);
    return Run(Overwrite(list.size(), cdb_flags), 0, list);
  }
  TestCommand& ExitFailureMode() { return Run({0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0}); }
  SenseCode Ready(Nexus& nexus) {
    TestCommand& command = Start(nexus, kReady, 0);
    Spin();
    EXPECT_TRUE(command.ended);
    return SenseOf(command);
  }
  // Each byte of the disk, when the pattern begins anew in each block.
  static void ExpectPattern(const TestDisk& disk, const Bytes& pattern, uint8_t inverted = 0) {
    for (size_t i = 0; i < disk.data.size(); ++i) {
      const auto expected = static_cast<uint8_t>(pattern[i % 512 % pattern.size()] ^ inverted);
      ASSERT_EQ(static_cast<uint8_t>(disk.data[i]), expected) << "byte " << i;
    }
  }
};

TEST_F(SanitizeTest, EveryBlockHasThePattern) {
  TestDisk& disk = SetUp0({.blocks = 1001});
  EXPECT_GOOD(Sanitize(Pattern(512, 3)));
  ExpectPattern(disk, Pattern(512, 3));
  EXPECT_EQ(disk.flushes, 1);
  EXPECT_GOOD(Sanitize({1, 2, 3}));
  ExpectPattern(disk, {1, 2, 3});
  const int writes = std::exchange(disk.writes, 0);
  EXPECT_GOOD(Sanitize({0x0f}, 4));
  ExpectPattern(disk, {0x0f});
  EXPECT_EQ(disk.writes, 2 * writes);  // Of the two before: four passes for two.
  EXPECT_GOOD(Sanitize({0x0f}, 0x80 | 3));
  ExpectPattern(disk, {0x0f});
  EXPECT_GOOD(Sanitize({0x0f}, 0x80 | 2));
  ExpectPattern(disk, {0x0f}, 0xff);
  EXPECT_GOOD(Run(kReady));
}

TEST_F(SanitizeTest, TheListIsChecked) {
  SetUp0();
  const Bytes block(512);
  EXPECT_EQ(PointerOf(Run(Overwrite(4), 0, Bytes(4))), (Pointer{7, -1}));
  EXPECT_EQ(PointerOf(Run(Overwrite(517), 0, Bytes(517))), (Pointer{7, -1}));
  EXPECT_EQ(PointerOf(Sanitize(block, 0x00)), (Pointer{0, 4, false}));  // OVERWRITE COUNT
  EXPECT_EQ(PointerOf(Sanitize(block, 0x21)), (Pointer{0, 6, false}));  // TEST
  Bytes list = List(block);
  list[2] = list[3] = 0;
  EXPECT_EQ(PointerOf(Run(Overwrite(516), 0, list)), (Pointer{2, -1, false}));
  list[2] = 2, list[3] = 1;
  EXPECT_EQ(PointerOf(Run(Overwrite(516), 0, list)), (Pointer{2, -1, false}));
  EXPECT_EQ(SenseOf(Run(Overwrite(516), 0, Bytes(100))), kListLength);
  for (const uint8_t action : Bytes{0x00, 0x02, 0x03, 0x04, 0x1e}) {
    EXPECT_EQ(PointerOf(Run({0x48, action, 0, 0, 0, 0, 0, 0, 0, 0})), (Pointer{1, 4}));
  }
  EXPECT_EQ(PointerOf(Run({0x48, 0x1f, 0, 0, 0, 0, 0, 0, 8, 0}, 0, Bytes(8))), (Pointer{7, -1}));
  for (const uint8_t byte : Bytes{2, 3, 4, 5, 6}) {
    Bytes cdb = Overwrite(516);
    cdb[byte] = 0x01;
    EXPECT_EQ(PointerOf(Run(cdb, 0, List(block))), (Pointer{byte, -1}));
  }
  EXPECT_EQ(PointerOf(Sanitize(block, 1, 0x40)), (Pointer{1, 6}));  // ZNR
  EXPECT_GOOD(ExitFailureMode());
  EXPECT_GOOD(Run(kReady));
}

TEST_F(SanitizeTest, NothingIsWrittenOnAProtectedDisk) {
  TestDisk& disk = SetUp0({.read_only = true});
  EXPECT_EQ(SenseOf(Sanitize({1})), (SenseCode{0x7, 0x27, 0x00}));
  EXPECT_EQ(disk.writes, 0);
}

class SanitizeOnTwoReactorsTest : public SanitizeTest {
 protected:
  SanitizeOnTwoReactorsTest() : SanitizeTest(2) {}
};

TEST_F(SanitizeOnTwoReactorsTest, OthersSeeThatItIsUnderWay) {
  TestDisk& disk = SetUp0();
  std::unique_ptr<Nexus> other = MakeNexus(1);
  ReadUnitAttentions(*other);
  // What was waiting for the initiator's data when it came.
  TestCommand& write = Start(*other, Cdb10(0x2a, 0, 1), 0, Bytes(512, 0x77), 0, /*waits=*/true);
  Spin();
  EXPECT_EQ(write.wanted, 1);
  disk.holds = true;
  const Bytes list = List({0xee});
  TestCommand& sanitize = Start(*nexus_, Overwrite(list.size()), 0, list);
  Spin();
  EXPECT_TRUE(disk.held.empty());  // It waits for the write, whose transport takes its time.
  EXPECT_EQ(write.end_wanted, 1);
  EXPECT_EQ(Ready(*other), kSanitizing);
  RunIn((*reactors_)[1], [&] { write.SendWanted(); });
  Spin();
  EXPECT_EQ(SenseOf(write), kSanitizing);
  ASSERT_EQ(disk.held.size(), 1u);
  EXPECT_FALSE(sanitize.ended);

  for (Nexus* nexus : {nexus_.get(), other.get()}) {
    EXPECT_EQ(Ready(*nexus), kSanitizing);
    for (const Bytes& cdb : {Cdb10(0x28, 0, 1), Cdb10(0x2a, 0, 1), Bytes{0x1b, 0, 0, 0, 1, 0},
                             Bytes{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, Overwrite(5)}) {
      TestCommand& refused = Start(*nexus, cdb, 512, Bytes(512));
      Spin();
      EXPECT_EQ(SenseOf(refused), kSanitizing) << "opcode " << int{cdb[0]};
    }
    for (const Bytes& cdb : {Bytes{0x12, 0, 0, 0, 96, 0}, Bytes{0x1a, 0, 0x3f, 0, 255, 0},
                             Bytes{0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0}}) {
      TestCommand& runs = Start(*nexus, cdb, 4096);
      Spin();
      EXPECT_GOOD(runs);
    }
  }
  // A half of the disk: of 1024 blocks, 16 at a time.
  for (int i = 0; i < 32; ++i) {
    disk.ReleaseHeld();
    Spin();
  }
  TestCommand& request_sense = Start(*nexus_, {0x03, 0, 0, 0, 252, 0}, 252);
  Spin();
  const Bytes sense = request_sense.in;
  ASSERT_EQ(sense.size(), 18u);
  EXPECT_EQ((Bytes{sense[2], sense[12], sense[13]}), (Bytes{0x02, 0x04, 0x1b}));
  EXPECT_EQ((Bytes{sense[15], sense[16], sense[17]}), (Bytes{0x80, 0x80, 0x00}));

  disk.holds = false;
  disk.ReleaseHeld();
  Spin();
  EXPECT_TRUE(sanitize.ended);
  EXPECT_GOOD(sanitize);
  ExpectPattern(disk, {0xee});
  EXPECT_EQ(Ready(*other), SenseCode{});
  EXPECT_EQ(Run({0x03, 0, 0, 0, 252, 0}).in.at(2), 0);
  RunIn((*reactors_)[1], [&] { other.reset(); });
}

TEST_F(SanitizeTest, WithImmedTheStatusComesAtOnce) {
  TestDisk& disk = SetUp0();
  disk.holds = true;
  EXPECT_GOOD(Sanitize({0x31}, 1, kImmed));
  EXPECT_EQ(Ready(*nexus_), kSanitizing);
  disk.holds = false;
  disk.ReleaseHeld();
  Spin();
  EXPECT_EQ(Ready(*nexus_), SenseCode{});
  ExpectPattern(disk, {0x31});
}

TEST_F(SanitizeTest, NoTaskManagementEndsIt) {
  TestDisk& disk = SetUp0();
  disk.holds = true;
  const Bytes list = List({0x42});
  TestCommand& sanitize = Start(*nexus_, Overwrite(list.size()), 0, list);
  Spin();
  Abort(sanitize);
  Spin();
  EXPECT_EQ(sanitize.status, ScsiStatus::kTaskAborted);
  for (const TaskFunction function :
       {TaskFunction::kLogicalUnitReset, TaskFunction::kTargetReset, TaskFunction::kClearTaskSet}) {
    bool done = false;
    RunIn((*reactors_)[0], [&] {
      nexus_->Manage(function, 0, nullptr, [&done](TaskFunctionResult) { done = true; });
    });
    Spin();
    EXPECT_TRUE(done);
  }
  // Nor the end of the session that sent it.
  Destroy(nexus_);
  nexus_ = MakeNexus();
  EXPECT_EQ(Ready(*nexus_).key, 0x6);
  EXPECT_EQ(Ready(*nexus_), kSanitizing);
  disk.holds = false;
  disk.ReleaseHeld();
  Spin();
  EXPECT_EQ(Ready(*nexus_), SenseCode{});
  ExpectPattern(disk, {0x42});
}

TEST_F(SanitizeTest, OneThatFailedLeavesAUnitThatOnlySanitizeMends) {
  TestDisk& disk = SetUp0();
  disk.bad_lba = 700;
  EXPECT_EQ(SenseOf(Sanitize({1})), kFailed);
  EXPECT_EQ(Ready(*nexus_), kFailed);
  EXPECT_EQ(SenseOf(Run(Cdb10(0x28, 0, 1))), kFailed);
  EXPECT_EQ(PointerOf(ExitFailureMode()), (Pointer{1, 4}));
  EXPECT_EQ(PointerOf(Sanitize({1}, 1, kAuse)), (Pointer{1, 5}));
  EXPECT_EQ(Ready(*nexus_), kFailed);
  EXPECT_EQ(SenseOf(Sanitize({1})), kFailed);
  disk.bad_lba = UINT64_MAX;
  EXPECT_GOOD(Sanitize({2}));
  EXPECT_EQ(Ready(*nexus_), SenseCode{});
  ExpectPattern(disk, {2});
}

TEST_F(SanitizeTest, ItWaitsForADeviceThatIsShortOfResources) {
  TestDisk& disk = SetUp0();
  disk.fails = IoStatus::kNoResources;
  const Bytes list = List({0x24});
  TestCommand& sanitize = Start(*nexus_, Overwrite(list.size()), 0, list);
  Spin();
  EXPECT_FALSE(sanitize.ended);
  EXPECT_EQ(Ready(*nexus_), kSanitizing);
  disk.fails = IoStatus::kSuccess;
  clock_.Advance(2 * kNsPerMs);
  Spin();
  EXPECT_TRUE(sanitize.ended);
  EXPECT_GOOD(sanitize);
  ExpectPattern(disk, {0x24});
}

TEST_F(SanitizeTest, AFailureIsOfOneMedium) {
  TestDisk& disk = SetUp0();
  disk.bad_lba = 3;
  EXPECT_EQ(SenseOf(Sanitize({1})), kFailed);
  for (const bool other : {false, true}) {
    RemoveDisk();
    AddDisk("disk", {.other_medium = other});
    Spin();
    SenseCode code = Ready(*nexus_);
    while (code.key == 0x6) code = Ready(*nexus_);
    EXPECT_EQ(code, other ? SenseCode{} : kFailed);
  }
}

TEST_F(SanitizeTest, WithAuseTheFailureCanBeLeft) {
  TestDisk& disk = SetUp0();
  disk.bad_lba = 0;
  EXPECT_EQ(SenseOf(Sanitize({1}, 1, kAuse)), kFailed);
  EXPECT_EQ(Ready(*nexus_), kFailed);
  EXPECT_GOOD(ExitFailureMode());
  EXPECT_EQ(Ready(*nexus_), SenseCode{});
}

TEST_F(SanitizeTest, ADiskThatGoesEndsItAsFailed) {
  TestDisk& disk = SetUp0();
  disk.holds = true;
  const Bytes list = List({0x42});
  TestCommand& sanitize = Start(*nexus_, Overwrite(list.size()), 0, list);
  Spin();
  ASSERT_EQ(disk.held.size(), 1u);
  Task<Status> removal = target_->RemoveLun(0);
  StartOnControl(removal);
  Spin();
  disk.ReleaseHeld();
  Spin();
  EXPECT_TRUE(removal.done());
  EXPECT_EQ(SenseOf(sanitize), kNoUnit);
  EXPECT_LE(disk.writes, 1);
}

}  // namespace
}  // namespace pollux::scsi
