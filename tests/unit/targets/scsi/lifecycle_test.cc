#include <optional>

#include "scsi_fixture.h"

// Unit attentions, aborts, task management, and devices that come and go.

namespace pollux::scsi {
namespace {

constexpr SenseCode kPowerOn{0x6, 0x29, 0x00};
constexpr SenseCode kReset{0x6, 0x29, 0x03};
constexpr SenseCode kLunsChanged{0x6, 0x3f, 0x0e};
constexpr SenseCode kCapacityChanged{0x6, 0x2a, 0x09};
const Bytes kTestReady{0, 0, 0, 0, 0, 0};
const Bytes kRead1{0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0};

class LifecycleTest : public ScsiTest {
 protected:
  explicit LifecycleTest(size_t reactors = 1, size_t buffers = 1)
      : ScsiTest(reactors, buffers, 4096) {}

  // A task that cannot end yet.
  void Begin(Task<Status> task) {
    pending_.emplace(std::move(task));
    StartOnControl(*pending_);
    Spin();
  }
  void ExpectPendingEnds() {
    Spin();
    ASSERT_TRUE(pending_->done());
    const Status status = pending_->TakeResult();
    EXPECT_TRUE(status.ok()) << status;
    pending_.reset();
  }
  TestCommand& StartWaiting(const Bytes& cdb, Bytes out = {}) {
    TestCommand& command = Start(*nexus_, cdb, 1 << 16, std::move(out), 0, /*waits=*/true);
    Spin();
    EXPECT_FALSE(command.ended);
    return command;
  }
  std::optional<TaskFunctionResult> Manage(Nexus& nexus, TaskFunction function, int lun = 0,
                                           TestCommand* task = nullptr) {
    result_.reset();
    RunIn((*reactors_)[0], [&] {
      nexus.Manage(function, static_cast<uint64_t>(lun) << 48, task,
                   [this](TaskFunctionResult r) { result_ = r; });
      EXPECT_FALSE(result_.has_value()) << "done from within the call";
    });
    Spin();
    return result_;
  }
  SenseCode TestReady(Nexus& nexus, int lun = 0) {
    TestCommand& command = Start(nexus, kTestReady, 0, {}, lun);
    Spin();
    return SenseOf(command);
  }

  std::optional<Task<Status>> pending_;
  std::optional<TaskFunctionResult> result_;
};

TEST_F(LifecycleTest, NewNexusHearsOfPowerOnOncePerLun) {
  AddDisk();
  AddLun(0);
  AddLun(3);
  nexus_ = MakeNexus();
  EXPECT_GOOD(Run({0x12, 0, 0, 0, 96, 0}));
  EXPECT_GOOD(Run({0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(TestReady(*nexus_), kPowerOn);
  EXPECT_EQ(TestReady(*nexus_), SenseCode{});
  EXPECT_EQ(Run({0x03, 1, 0, 0, 252, 0}, 252, {}, 3).in, (Bytes{0x72, 6, 0x29, 0, 0, 0, 0, 0}));
  EXPECT_EQ(TestReady(*nexus_, 3), SenseCode{});
}

TEST_F(LifecycleTest, LunAddressesThatWeDoNotReportAreNoLuns) {
  SetUp0();
  for (const uint64_t lun : {0xc101000000000000ull, 0x0100000000000000ull, 0x0000000000000001ull,
                             0x4100000000000000ull, 0x8000000000000000ull}) {
    TestCommand& command = commands_.emplace_back();
    command.lun = lun;
    RunIn((*reactors_)[0], [&] { nexus_->Start(command); });
    Spin();
    EXPECT_EQ(SenseOf(command), kNoUnit) << std::hex << lun;
  }
  TestCommand& flat = commands_.emplace_back();
  flat.lun = 0x4000000000000000ull;
  RunIn((*reactors_)[0], [&] { nexus_->Start(flat); });
  Spin();
  EXPECT_GOOD(flat);
}

TEST_F(LifecycleTest, ResizeIsHeardAndSeen) {
  TestDisk& disk = SetUp0();
  EXPECT_TRUE(Await(registry_->Resize(disk, 2048)).ok());
  EXPECT_EQ(TestReady(*nexus_), kCapacityChanged);
  EXPECT_EQ(BigEndian(Run({0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}).in, 0, 4), 2047u);
  EXPECT_GOOD(Run(Cdb10(0x28, 2047, 1)));
}

TEST_F(LifecycleTest, LunGoesPendingWithItsDiskAndComesBack) {
  SetUp0();
  AddDisk("other");
  AddLun(1, "other");
  ReadUnitAttentions(*nexus_);
  ReadUnitAttentions(*nexus_, 1);
  RemoveDisk();
  ASSERT_EQ(target_->luns().size(), 2u);
  EXPECT_TRUE(target_->luns()[0].pending);
  EXPECT_NE(target_->luns()[0].reason, "");
  EXPECT_EQ(TestReady(*nexus_), kNoUnit);
  EXPECT_EQ(SenseOf(Run(kRead1)), kNoUnit);
  EXPECT_EQ(TestReady(*nexus_, 1), kLunsChanged);
  EXPECT_EQ(TestReady(*nexus_, 1), SenseCode{});

  AddDisk();
  EXPECT_FALSE(target_->luns()[0].pending);
  EXPECT_EQ(TestReady(*nexus_), kPowerOn);
  EXPECT_EQ(TestReady(*nexus_), kLunsChanged);
  EXPECT_EQ(TestReady(*nexus_, 1), SenseCode{});  // Reported once per nexus.
  EXPECT_GOOD(Run(kRead1));
}

TEST_F(LifecycleTest, LunsAreAddedAndRemovedByTheRules) {
  EXPECT_EQ(ErrnoOf(Await(target_->AddLun(0, "disk", false)).status()), ENODEV);
  EXPECT_TRUE(target_->luns().empty());
  EXPECT_EQ(*Await(target_->AddLun(std::nullopt, "disk", true)), 0);
  EXPECT_TRUE(target_->luns()[0].pending);
  EXPECT_EQ(ErrnoOf(Await(target_->AddLun(0, "disk", true)).status()), EEXIST);
  EXPECT_EQ(ErrnoOf(Await(target_->AddLun(256, "disk", true)).status()), EINVAL);
  EXPECT_EQ(*Await(target_->AddLun(2, "disk", true)), 2);
  EXPECT_EQ(*Await(target_->AddLun(std::nullopt, "disk", true)), 1);
  EXPECT_EQ(ErrnoOf(Await(target_->RemoveLun(9))), ENOENT);
  EXPECT_TRUE(Await(target_->RemoveLun(1)).ok());
  AddDisk();
  EXPECT_FALSE(target_->luns()[0].pending);
  EXPECT_FALSE(target_->luns()[1].pending);
}

// The disk goes at each step of a command. `let_go` is what the transport does then.
TEST_F(LifecycleTest, RemovalWaitsForTheTransportsBuffers) {
  for (const bool lends : {false, true}) {
    for (const bool aborts : {false, true}) {
      for (const bool write : {false, true}) {
        SetUp0({.lends = lends});
        TestCommand& command = write ? StartWaiting(Cdb10(0x2a, 0, 16), Bytes(8192))
                                     : StartWaiting(Cdb10(0x28, 0, 16));
        Begin(registry_->Unregister("disk"));
        EXPECT_FALSE(pending_->done());
        EXPECT_EQ(command.end_wanted, 1);
        EXPECT_FALSE(command.ended);
        if (aborts) {
          Abort(command);
        } else if (write) {
          command.SendWanted();
        } else {
          RunIn((*reactors_)[0], [&] { command.AnswerDataIn(); });
        }
        ExpectPendingEnds();
        // A read whose last burst was sent had ended well.
        EXPECT_EQ(SenseOf(command), lends && !write && !aborts ? SenseCode{} : kNoUnit);
        EXPECT_EQ(nexus_->in_flight(), 0u);
        Destroy(nexus_);
        EXPECT_TRUE(Await(target_->RemoveLun(0)).ok());
      }
    }
  }
}

TEST_F(LifecycleTest, RemovalWaitsForTheDisksIo) {
  TestDisk& disk = SetUp0();
  disk.holds = true;
  TestCommand& command = StartWaiting(kRead1);
  Begin(registry_->Unregister("disk"));
  EXPECT_FALSE(pending_->done());
  EXPECT_EQ(command.end_wanted, 0);
  EXPECT_EQ(TestReady(*nexus_), kNoUnit);  // A new command finds no LUN.
  disk.ReleaseHeld();
  ExpectPendingEnds();
  EXPECT_EQ(SenseOf(command), kNoUnit);
}

TEST_F(LifecycleTest, RemovalEndsWhatWaitsForABuffer) {
  SetUp0();
  std::byte* taken = pools_[0]->TryTake();
  TestCommand& command = StartWaiting(kRead1);
  RemoveDisk();
  EXPECT_EQ(SenseOf(command), kNoUnit);
  pools_[0]->Give(taken);
}

TEST_F(LifecycleTest, LunIsRemovedUnderIo) {
  TestDisk& disk = SetUp0();
  disk.holds = true;
  TestCommand& command = StartWaiting(kRead1);
  Begin(target_->RemoveLun(0));
  EXPECT_FALSE(pending_->done());
  disk.ReleaseHeld();
  ExpectPendingEnds();
  EXPECT_EQ(SenseOf(command), kNoUnit);
  EXPECT_TRUE(disk.users().empty());
}

TEST_F(LifecycleTest, AbortEndsACommandAtEachStep) {
  TestDisk& disk = SetUp0();
  const auto expect_aborted = [this](TestCommand& command) {
    Abort(command);
    Abort(command);  // Twice is once.
    Spin();
    EXPECT_EQ(command.statuses, 1);
    EXPECT_EQ(command.status, ScsiStatus::kTaskAborted);
    EXPECT_EQ(nexus_->in_flight(), 0u);
    EXPECT_EQ(pools_[0]->available(), 1u);
  };
  TestCommand& early = commands_.emplace_back();
  std::copy(kRead1.begin(), kRead1.end(), early.cdb.begin());
  early.data_in_max = 512;
  RunIn((*reactors_)[0], [&] {
    nexus_->Start(early);
    nexus_->Abort(early);
  });
  Spin();
  EXPECT_EQ(early.status, ScsiStatus::kTaskAborted);
  expect_aborted(StartWaiting(kRead1));
  expect_aborted(StartWaiting(Cdb10(0x28, 0, 100)));
  TestCommand& write = StartWaiting(Cdb10(0x2a, 0, 1), Bytes(512));
  expect_aborted(write);
  write.SendWanted();  // Too late: nothing happens.
  Spin();
  EXPECT_EQ(write.statuses, 1);
  EXPECT_EQ(disk.writes, 0);

  disk.holds = true;
  expect_aborted(StartWaiting(kRead1));
  EXPECT_TRUE(disk.held.empty());
  disk.holds = false;

  std::byte* taken = pools_[0]->TryTake();
  TestCommand& in_line = StartWaiting(kRead1);
  Abort(in_line);
  Spin();
  EXPECT_EQ(in_line.status, ScsiStatus::kTaskAborted);
  pools_[0]->Give(taken);
}

TEST_F(LifecycleTest, AbortedLoanGoesBack) {
  SetUp0({.lends = true});
  for (const bool write : {false, true}) {
    TestCommand& command =
        write ? StartWaiting(Cdb10(0x2a, 0, 2), Bytes(1024)) : StartWaiting(Cdb10(0x28, 0, 2));
    RunIn((*reactors_)[0], [&] { nexus_->AbortAll(); });
    Spin();
    EXPECT_EQ(command.status, ScsiStatus::kTaskAborted);
  }
  RemoveDisk();  // Would wait for a loan.
}

TEST_F(LifecycleTest, ManyCommandsShareOneBuffer) {
  TestDisk& disk = SetUp0();
  std::vector<TestCommand*> all;
  for (uint32_t i = 0; i < 50; ++i) {
    all.push_back(&Start(*nexus_, Cdb10(0x2a, i * 20, 20), 0, Bytes(10240, uint8_t(i + 1))));
    all.push_back(&Start(*nexus_, Cdb10(0x28, i, 20), 10240));
    all.push_back(&Start(*nexus_, {0x12, 0, 0, 0, 96, 0}, 96));
  }
  Spin();
  for (TestCommand* command : all) EXPECT_TRUE(command->ended);
  for (size_t i = 0; i < 50; ++i) EXPECT_EQ(static_cast<size_t>(disk.data[i * 10240]), i + 1);
}

TEST_F(LifecycleTest, TaskManagementOfOneNexus) {
  SetUp0();
  TestCommand& first = StartWaiting(kRead1);
  EXPECT_EQ(Manage(*nexus_, TaskFunction::kAbortTask, 0, &first), TaskFunctionResult::kComplete);
  EXPECT_EQ(first.status, ScsiStatus::kTaskAborted);
  EXPECT_EQ(Manage(*nexus_, TaskFunction::kAbortTask), TaskFunctionResult::kComplete);
  EXPECT_EQ(Manage(*nexus_, TaskFunction::kAbortTaskSet, 77), TaskFunctionResult::kNoSuchLun);
  TestCommand& second = StartWaiting(kRead1);
  EXPECT_EQ(Manage(*nexus_, TaskFunction::kAbortTaskSet), TaskFunctionResult::kComplete);
  EXPECT_EQ(second.status, ScsiStatus::kTaskAborted);
  EXPECT_EQ(TestReady(*nexus_), SenseCode{});
}

TEST_F(LifecycleTest, ManagementOfANexusThatGoesTellsNobody) {
  SetUp0();
  RunIn((*reactors_)[0], [&] {
    nexus_->Manage(TaskFunction::kLogicalUnitReset, 0, nullptr,
                   [](TaskFunctionResult) { ADD_FAILURE(); });
    nexus_.reset();
  });
  Spin();
}

class TwoReactorsTest : public LifecycleTest {
 protected:
  TwoReactorsTest() : LifecycleTest(2, 2) {}
};

TEST_F(TwoReactorsTest, ModeParametersAreThoseOfAllReactorsUntilAReset) {
  SetUp0();
  std::unique_ptr<Nexus> other = MakeNexus(1);
  ReadUnitAttentions(*other);
  const Bytes protect{0, 0, 0, 0, 0x0a, 0x0a, 0x06, 0x10, 0x08, 0x40, 0, 0, 0xff, 0xff, 0, 0};
  EXPECT_GOOD(Run({0x15, 0x10, 0, 0, 16, 0}, 0, protect));
  EXPECT_EQ(TestReady(*other), (SenseCode{0x6, 0x2a, 0x01}));
  TestCommand& refused = Start(*other, Cdb10(0x2a, 0, 1), 0, Bytes(512));
  Spin();
  EXPECT_EQ(SenseOf(refused), (SenseCode{0x7, 0x27, 0x00}));
  EXPECT_EQ(refused.sense[0], 0x72);  // D_SENSE

  EXPECT_EQ(Manage(*nexus_, TaskFunction::kLogicalUnitReset), TaskFunctionResult::kComplete);
  EXPECT_EQ(TestReady(*other), kReset);
  TestCommand& written = Start(*other, Cdb10(0x2a, 0, 1), 0, Bytes(512));
  Spin();
  EXPECT_GOOD(written);
  ReadUnitAttentions(*nexus_);
  EXPECT_EQ(Run({0x1a, 8, 0x0a, 0, 255, 0}).in.at(6), 0x02);
  RunIn((*reactors_)[1], [&] { other.reset(); });
}

TEST_F(TwoReactorsTest, ResetReachesEveryNexus) {
  TestDisk& disk = SetUp0();
  std::unique_ptr<Nexus> other = MakeNexus(1);
  ReadUnitAttentions(*other);
  disk.holds = true;
  TestCommand& theirs = Start(*other, kRead1, 512);
  TestCommand& ours = Start(*nexus_, kRead1, 512);
  Spin();
  EXPECT_EQ(Manage(*nexus_, TaskFunction::kLogicalUnitReset), TaskFunctionResult::kComplete);
  EXPECT_EQ(ours.status, ScsiStatus::kTaskAborted);
  EXPECT_EQ(theirs.status, ScsiStatus::kTaskAborted);
  disk.holds = false;
  EXPECT_EQ(TestReady(*nexus_), kReset);
  EXPECT_EQ(TestReady(*other), kReset);

  // What the other transport has in its hands it lets go of in its own time.
  TestCommand& sent = Start(*other, kRead1, 512, {}, 0, /*waits=*/true);
  Spin();
  EXPECT_EQ(Manage(*nexus_, TaskFunction::kClearTaskSet), std::nullopt);
  EXPECT_EQ(sent.end_wanted, 1);
  RunIn((*reactors_)[1], [&] { other->Abort(sent); });
  Spin();
  EXPECT_EQ(sent.status, ScsiStatus::kTaskAborted);
  EXPECT_EQ(result_, TaskFunctionResult::kComplete);
  EXPECT_EQ(TestReady(*other), SenseCode{});
  Destroy(other);
}

TEST_F(TwoReactorsTest, RemovalReachesEveryReactor) {
  SetUp0();
  std::unique_ptr<Nexus> other = MakeNexus(1);
  TestCommand& command = Start(*other, {0x00, 0, 0, 0, 0, 0}, 0);
  Spin();
  EXPECT_EQ(SenseOf(command), kPowerOn);
  RemoveDisk();
  EXPECT_EQ(TestReady(*other), kNoUnit);
  EXPECT_EQ(TestReady(*nexus_), kNoUnit);
  Destroy(other);
}

}  // namespace
}  // namespace pollux::scsi
