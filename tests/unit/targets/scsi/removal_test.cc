#include "scsi_fixture.h"

// LUNs whose medium is removable, and LUNs that are read only by their own option.

namespace pollux::scsi {
namespace {

constexpr SenseCode kNoMedium{0x2, 0x3a, 0x00};
constexpr SenseCode kPrevented{0x5, 0x53, 0x02};
constexpr SenseCode kReadyAgain{0x6, 0x28, 0x00};
const Bytes kReady{0x00, 0, 0, 0, 0, 0};
const Bytes kEject{0x1b, 0, 0, 0, 0x02, 0}, kLoad{0x1b, 0, 0, 0, 0x03, 0};
const Bytes kPrevent{0x1e, 0, 0, 0, 1, 0}, kAllow{0x1e, 0, 0, 0, 0, 0};

class RemovalTest : public ScsiTest {
 protected:
  RemovalTest() : ScsiTest(2) {}

  TestDisk& SetUpLun(LunOptions options = {.read_only = false, .removable = true}) {
    TestDisk& disk = AddDisk();
    EXPECT_TRUE(Await(target_->AddLun(0, "disk", false, options)).ok());
    nexus_ = MakeNexus();
    ReadUnitAttentions(*nexus_);
    other_ = MakeNexus(1);
    ReadUnitAttentions(*other_);
    return disk;
  }
  void TearDown() override { EndOther(); }
  void EndOther() {
    RunIn((*reactors_)[1], [&] { other_.reset(); });
    Spin();
  }
  TestCommand& Do(Nexus& nexus, const Bytes& cdb, Bytes out = {}) {
    TestCommand& command = Start(nexus, cdb, 4096, std::move(out));
    Spin();
    EXPECT_TRUE(command.ended);
    return command;
  }
  std::optional<TaskFunctionResult> Manage(TaskFunction function) {
    std::optional<TaskFunctionResult> result;
    RunIn((*reactors_)[0], [&] {
      nexus_->Manage(function, 0, nullptr, [&result](TaskFunctionResult r) { result = r; });
    });
    Spin();
    return result;
  }

  std::unique_ptr<Nexus> other_;
};

TEST_F(RemovalTest, WithoutMediumNobodyReadsOrWrites) {
  TestDisk& disk = SetUpLun();
  EXPECT_EQ(Run({0x12, 0, 0, 0, 96, 0}).in.at(1), 0x80);  // RMB
  EXPECT_GOOD(Run({0x1b, 0, 0, 0, 0x12, 0}));  // With a power condition LOEJ does not count.
  EXPECT_GOOD(Run(kReady));
  EXPECT_GOOD(Run(kEject));
  EXPECT_EQ(disk.flushes, 1);
  for (Nexus* nexus : {nexus_.get(), other_.get()}) {
    for (const Bytes& cdb :
         {kReady, Cdb10(0x28, 0, 1), Cdb10(0x2a, 0, 1), Cdb10(0x35, 0, 0), Cdb10(0x2f, 0, 1),
          Cdb10(0x42, 0, 8), Cdb10(0x34, 0, 1), Bytes{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0},
          Bytes{0x48, 1, 0, 0, 0, 0, 0, 0, 5, 0}}) {
      EXPECT_EQ(SenseOf(Do(*nexus, cdb, Bytes(512))), kNoMedium) << "opcode " << int{cdb[0]};
    }
    for (const Bytes& cdb :
         {Bytes{0x12, 0, 0, 0, 96, 0}, Bytes{0x1a, 0, 0x3f, 0, 255, 0}, Bytes{0x16, 0, 0, 0, 0, 0},
          Bytes{0x17, 0, 0, 0, 0, 0}, Bytes{0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0}, kAllow,
          Bytes{0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0}}) {
      EXPECT_GOOD(Do(*nexus, cdb));
    }
    EXPECT_EQ(Do(*nexus, {0x03, 0, 0, 0, 252, 0}).in.at(12), 0x3a);
  }
  EXPECT_EQ(disk.reads + disk.writes + disk.unmaps, 0);
  EXPECT_GOOD(Run(kEject));  // Once more does no harm.
  EXPECT_GOOD(Do(*other_, kLoad));
  EXPECT_EQ(SenseOf(Do(*nexus_, kReady)), kReadyAgain);
  EXPECT_GOOD(Do(*nexus_, Cdb10(0x28, 0, 1)));
  EXPECT_GOOD(Do(*other_, Cdb10(0x2a, 0, 1), Bytes(512)));
}

TEST_F(RemovalTest, AnEjectWaitsForWhatIsUnderWay) {
  TestDisk& disk = SetUpLun();
  disk.holds = true;
  TestCommand& write = Start(*other_, Cdb10(0x2a, 0, 1), 0, Bytes(512, 0x55));
  Spin();
  TestCommand& eject = Start(*nexus_, {0x1b, 0, 0, 0, 0x06, 0}, 0);  // NO_FLUSH
  Spin();
  EXPECT_FALSE(eject.ended);
  disk.holds = false;
  disk.ReleaseHeld();
  Spin();
  EXPECT_GOOD(eject);
  EXPECT_EQ(SenseOf(write), kNoMedium);
}

TEST_F(RemovalTest, EachNexusCanPreventIt) {
  SetUpLun();
  EXPECT_GOOD(Run(kPrevent));
  EXPECT_GOOD(Run(kPrevent));
  EXPECT_EQ(SenseOf(Run(kEject)), kPrevented);
  EXPECT_EQ(SenseOf(Do(*other_, kEject)), kPrevented);
  EXPECT_GOOD(Do(*other_, kAllow));  // Of its own, not of the other's.
  EXPECT_EQ(SenseOf(Do(*other_, kEject)), kPrevented);
  EXPECT_GOOD(Run(kReady));
  EXPECT_GOOD(Do(*other_, kPrevent));
  EXPECT_GOOD(Run(kAllow));
  EXPECT_EQ(SenseOf(Run(kEject)), kPrevented);
  EXPECT_GOOD(Run(kReady));
  EndOther();  // A nexus that is lost prevents nothing any more.
  EXPECT_GOOD(Run(kEject));
  EXPECT_GOOD(Run(kPrevent));
  EXPECT_EQ(SenseOf(Run(kLoad)), kPrevented);
  EXPECT_GOOD(Run(kAllow));
  EXPECT_GOOD(Run(kLoad));
}

TEST_F(RemovalTest, AResetAllowsIt) {
  SetUpLun();
  for (const TaskFunction function :
       {TaskFunction::kLogicalUnitReset, TaskFunction::kTargetReset}) {
    EXPECT_GOOD(Do(*other_, kPrevent));
    EXPECT_EQ(SenseOf(Run(kEject)), kPrevented);
    EXPECT_EQ(Manage(function), TaskFunctionResult::kComplete);
    ReadUnitAttentions(*nexus_);
    ReadUnitAttentions(*other_);
    EXPECT_GOOD(Run(kEject));
    EXPECT_GOOD(Run(kLoad));
    EXPECT_EQ(SenseOf(Do(*other_, kReady)), kReadyAgain);
  }
}

TEST_F(RemovalTest, ADiskThatComesBackIsLoaded) {
  SetUpLun();
  EXPECT_GOOD(Run(kEject));
  RemoveDisk();
  EXPECT_EQ(SenseOf(Run(kReady)), kNoUnit);
  AddDisk();
  Spin();
  ReadUnitAttentions(*nexus_);
  EXPECT_GOOD(Run(Cdb10(0x28, 0, 1)));
}

TEST_F(RemovalTest, WhatIsNotRemovableStays) {
  SetUpLun({});
  EXPECT_EQ(Run({0x12, 0, 0, 0, 96, 0}).in.at(1), 0x00);
  EXPECT_EQ(PointerOf(Run(kEject)), (Pointer{4, 1}));
  EXPECT_EQ(PointerOf(Run(kLoad)), (Pointer{4, 1}));
  EXPECT_GOOD(Run(kPrevent));
  EXPECT_GOOD(Run(kReady));
}

TEST_F(RemovalTest, ALunIsReadOnlyThoughItsDiskIsNot) {
  TestDisk& disk = SetUpLun({.read_only = true, .removable = false});
  EXPECT_EQ(SenseOf(Run(Cdb10(0x2a, 0, 1), 0, Bytes(512))), (SenseCode{0x7, 0x27, 0x00}));
  EXPECT_EQ(Run({0x1a, 8, 0x0a, 0, 255, 0}).in.at(2), 0x90);
  EXPECT_GOOD(Run(Cdb10(0x28, 0, 1)));
  EXPECT_EQ(disk.writes, 0);
  // Another LUN of the same disk may be written.
  AddLun(1);
  ReadUnitAttentions(*nexus_, 1);
  EXPECT_GOOD(Run(Cdb10(0x2a, 0, 1), 0, Bytes(512), 1));
}

}  // namespace
}  // namespace pollux::scsi
