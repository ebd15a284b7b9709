#include "scsi_fixture.h"

// Asymmetric access: what nexuses see through target port groups in their states.

namespace pollux::scsi {
namespace {

constexpr SenseCode kStandby{0x2, 0x04, 0x0b};
constexpr SenseCode kUnavailable{0x2, 0x04, 0x0c};
constexpr SenseCode kChanged{0x6, 0x2a, 0x06};
const Bytes kReady{0x00, 0, 0, 0, 0, 0};
const Bytes kReport{0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0};

class PortGroupsTest : public ScsiTest {
 protected:
  // One nexus through group 1 on reactor 0, `other_` through group 2 on reactor 1.
  PortGroupsTest() : ScsiTest(2) {
    Set(AccessState::kOptimized, AccessState::kOptimized);
    disk_ = &SetUp0();
    RunIn((*reactors_)[1], [&] {
      other_ = std::make_unique<Nexus>(
          target_->view(1), *pools_[1],
          Nexus::Identity{.initiator_port = "iqn.2024-01.test:host,i,0x00023d000002",
                          .target_port = "iqn.2024-01.test:disk,t,0x0002",
                          .relative_target_port = 2,
                          .target_port_group = 2});
    });
    ReadUnitAttentions(*other_);
  }
  void TearDown() override {
    RunIn((*reactors_)[1], [&] { other_.reset(); });
    Spin();
  }
  void Set(AccessState first, AccessState second, bool preferred = false) {
    RunIn(*control_, [&] {
      target_->SetPortGroups(
          {{.tag = 1, .state = first},
           {.tag = 2, .state = second, .preferred = preferred, .changed = true}});
    });
    Spin();
  }
  TestCommand& Do(const Bytes& cdb, Bytes out = {}) {
    TestCommand& command = Start(*other_, cdb, 4096, std::move(out));
    Spin();
    EXPECT_TRUE(command.ended);
    return command;
  }
  SenseCode Ready() { return SenseOf(Do(kReady)); }

  TestDisk* disk_;
  std::unique_ptr<Nexus> other_;
};

TEST_F(PortGroupsTest, AreReportedWithTheirStates) {
  Set(AccessState::kNonOptimized, AccessState::kOptimized, /*preferred=*/true);
  ReadUnitAttentions(*nexus_);
  const Bytes groups{0x01, 0x0f, 0, 1, 0, 0x00, 0, 1, 0, 0, 0, 1,
                     0x80, 0x0f, 0, 2, 0, 0x02, 0, 1, 0, 0, 0, 2};
  Bytes expected{0, 0, 0, 24};
  expected.insert(expected.end(), groups.begin(), groups.end());
  EXPECT_EQ(Run(kReport).in, expected);
  Bytes extended{0, 0, 0, 28, 0x10, 0, 0, 0};
  extended.insert(extended.end(), groups.begin(), groups.end());
  EXPECT_EQ(Run({0xa3, 0x2a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}).in, extended);
  EXPECT_EQ(PointerOf(Run({0xa3, 0x4a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0})), (Pointer{1, 7}));
  for (const uint8_t length : Bytes{0, 1, 4, 5, 11, 27}) {
    EXPECT_EQ(Run({0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, length, 0, 0}).in,
              Bytes(expected.begin(), expected.begin() + length));
  }
  EXPECT_EQ(BigEndian(Do({0x12, 1, 0x83, 0, 255, 0}).in, 4 + 12 + 48 + 8 + 6, 2), 2u);
}

TEST_F(PortGroupsTest, EachNexusHearsOfAChangeOnce) {
  Set(AccessState::kNonOptimized, AccessState::kOptimized);
  EXPECT_EQ(SenseOf(Run(kReady)), kChanged);
  EXPECT_GOOD(Run(kReady));
  EXPECT_EQ(Ready(), kChanged);
  EXPECT_EQ(Ready(), SenseCode{});
  Set(AccessState::kNonOptimized, AccessState::kOptimized);  // Nothing new.
  EXPECT_EQ(Ready(), SenseCode{});
  EXPECT_GOOD(Run(Cdb10(0x28, 0, 1)));
}

TEST_F(PortGroupsTest, ThroughAStandbyPortThereIsNoIo) {
  Set(AccessState::kOptimized, AccessState::kStandby);
  EXPECT_EQ(Ready(), kChanged);
  for (const Bytes& cdb : {kReady, Cdb10(0x28, 0, 1), Cdb10(0x2a, 0, 1), Cdb10(0x35, 0, 0),
                           Bytes{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, Bytes{0x16, 0, 0, 0, 0, 0},
                           Cdb10(0x42, 0, 24), Bytes{0x48, 1, 0, 0, 0, 0, 0, 0, 5, 0}}) {
    EXPECT_EQ(SenseOf(Do(cdb, Bytes(512))), kStandby) << "opcode " << int{cdb[0]};
  }
  for (const Bytes& cdb : {Bytes{0x12, 0, 0, 0, 96, 0}, Bytes{0x1a, 0, 0x3f, 0, 255, 0},
                           Bytes{0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0}, Bytes{0x03, 0, 0, 0, 18, 0},
                           Bytes{0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0}, kReport,
                           Bytes{0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0}}) {
    EXPECT_GOOD(Do(cdb));
  }
  EXPECT_EQ(disk_->reads + disk_->writes, 0);
  ReadUnitAttentions(*nexus_);
  EXPECT_GOOD(Run(Cdb10(0x2a, 0, 1), 0, Bytes(512)));  // The other path works.
  Set(AccessState::kOptimized, AccessState::kOptimized);
  EXPECT_EQ(Ready(), kChanged);
  EXPECT_GOOD(Do(Cdb10(0x28, 0, 1)));
}

TEST_F(PortGroupsTest, ThroughAnUnavailablePortThereIsNextToNothing) {
  Set(AccessState::kOptimized, AccessState::kUnavailable);
  EXPECT_EQ(Ready(), kChanged);
  for (const Bytes& cdb : {kReady, Cdb10(0x28, 0, 1), Bytes{0x1a, 0, 0x3f, 0, 255, 0},
                           Bytes{0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0},
                           Bytes{0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0}}) {
    EXPECT_EQ(SenseOf(Do(cdb)), kUnavailable) << "opcode " << int{cdb[0]};
  }
  for (const Bytes& cdb : {Bytes{0x12, 0, 0, 0, 96, 0}, Bytes{0x03, 0, 0, 0, 18, 0}, kReport,
                           Bytes{0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0}}) {
    EXPECT_GOOD(Do(cdb));
  }
}

TEST_F(PortGroupsTest, ANexusThatComesLaterFindsTheState) {
  Set(AccessState::kOptimized, AccessState::kStandby);
  RunIn((*reactors_)[1], [&] {
    const Nexus::Identity identity = other_->identity();
    other_.reset();
    other_ = std::make_unique<Nexus>(target_->view(1), *pools_[1], identity);
  });
  EXPECT_EQ(Ready().key, 0x6);
  EXPECT_EQ(Ready(), kStandby);
}

TEST_F(PortGroupsTest, WhatIsUnderWayHasEndedWhenTheChangeHas) {
  TestCommand& write = Start(*other_, Cdb10(0x2a, 0, 1), 0, Bytes(512), 0, /*waits=*/true);
  Spin();
  disk_->holds = true;
  TestCommand& read = Start(*other_, Cdb10(0x28, 8, 1), 512);
  TestCommand& theirs = Start(*nexus_, Cdb10(0x28, 8, 1), 512);
  Spin();
  RunIn(*control_, [&] {
    target_->SetPortGroups({{.tag = 1}, {.tag = 2, .state = AccessState::kStandby}});
  });
  Task<void> shown = target_->PortGroupsShown();
  StartOnControl(shown);
  Spin();
  EXPECT_EQ(write.end_wanted, 1);
  EXPECT_FALSE(shown.done());
  disk_->holds = false;
  disk_->ReleaseHeld();
  RunIn((*reactors_)[1], [&] { write.SendWanted(); });
  Spin();
  EXPECT_TRUE(shown.done());
  EXPECT_EQ(SenseOf(write), kStandby);
  EXPECT_EQ(SenseOf(read), kStandby);
  EXPECT_GOOD(theirs);
  EXPECT_EQ(disk_->writes, 0);
}

}  // namespace
}  // namespace pollux::scsi
