#include <random>

#include "scsi_fixture.h"

// Random CDBs and parameter lists, from fixed seeds. Each command ends once, with a defined status,
// and sends no byte that somebody left in a buffer.

namespace pollux::scsi {
namespace {

class FuzzTest : public ScsiTest {
 protected:
  FuzzTest() : ScsiTest(1, 1, 4096) {}

  void RunRandom(const Bytes& cdb, std::mt19937& random) {
    std::fill(memory_[0].begin(), memory_[0].end(), std::byte{0xa5});
    Bytes out(random() % 3 == 0 ? 0 : random() % 6000);
    for (uint8_t& byte : out) byte = static_cast<uint8_t>(random() % 5 == 0 ? random() : 0);
    for (uint8_t& byte : out) byte = byte == 0xa5 ? 0 : byte;
    const uint32_t in_max = random() % 3 == 0 ? static_cast<uint32_t>(random() % 8) : 1 << 18;
    const int lun = random() % 16 == 0 ? 1 : 0;
    TestCommand& command = Start(*nexus_, cdb, in_max, std::move(out), lun);
    Spin();
    ASSERT_TRUE(command.ended) << "opcode " << int{cdb[0]};
    ASSERT_EQ(nexus_->in_flight(), 0u);
    ASSERT_EQ(pools_[0]->available(), 1u);
    ASSERT_LE(command.statuses, 1);
    if (command.status == ScsiStatus::kCheckCondition) {
      const SenseCode sense = SenseOf(command);
      EXPECT_TRUE(sense.key == 0x5 || sense.key == 0xe) << sense;
    } else {
      EXPECT_EQ(command.status, ScsiStatus::kGood);
      EXPECT_EQ(std::count(command.in.begin(), command.in.end(), 0xa5), 0)
          << "opcode " << int{cdb[0]};
    }
    commands_.clear();
  }
};

TEST_F(FuzzTest, EveryOpcodeWithRandomBits) {
  SetUp0({.blocks = 300});
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    std::mt19937 random(1000 + opcode);
    for (int round = 0; round < 60; ++round) {
      Bytes cdb(16);
      cdb[0] = static_cast<uint8_t>(opcode);
      // Sparse bits reach further than dense ones.
      const unsigned density = random() % 8 + 1;
      for (size_t i = 1; i < 16; ++i) {
        cdb[i] = static_cast<uint8_t>(random() % density == 0 ? random() : 0);
      }
      if (round % 3 == 0) cdb[1] &= 0x1f;
      RunRandom(cdb, random);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(FuzzTest, ServiceActionsAndAllocationLengths) {
  SetUp0({.blocks = 300});
  std::mt19937 random(7);
  for (const uint8_t opcode : Bytes{0x9e, 0xa3, 0xa0, 0x12, 0x1a, 0x5a, 0x03}) {
    for (unsigned action = 0; action < 32; ++action) {
      for (const uint32_t length : {0u, 1u, 3u, 7u, 8u, 255u, 256u, 65535u, 65536u, 0xffffffffu}) {
        Bytes cdb(16);
        cdb[0] = opcode;
        cdb[1] = static_cast<uint8_t>(action);
        cdb[2] = static_cast<uint8_t>(random() % 4 == 0 ? random() : 0);
        for (const size_t at : {size_t{6}, size_t{10}, size_t{3}}) {
          if (random() % 2 == 0 && at != 10) continue;
          for (size_t b = 0; b < 4; ++b) cdb[at + b] = static_cast<uint8_t>(length >> (24 - 8 * b));
        }
        cdb[5] = cdb[9] = cdb[11] = cdb[15] = 0;
        RunRandom(cdb, random);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(FuzzTest, RandomAbortsLeaveNothingBehind) {
  TestDisk& disk = SetUp0({.blocks = 300});
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    disk.lends = random() % 2 == 0;
    disk.holds = random() % 4 == 0;
    std::vector<TestCommand*> started;
    for (unsigned i = 0; i < 6; ++i) {
      const auto blocks = static_cast<uint16_t>(random() % 40);
      const bool write = random() % 2 == 0;
      started.push_back(
          &Start(*nexus_, Cdb10(write ? 0x2a : 0x28, static_cast<uint32_t>(random() % 200), blocks),
                 write ? 0 : 40 * 512, write ? Bytes(40 * 512) : Bytes{}, 0,
                 /*waits=*/random() % 2 == 0));
      for (auto turn = random() % 3; turn > 0; --turn) (*reactors_)[0].RunTurn();
    }
    RunIn((*reactors_)[0], [&] { nexus_->AbortAll(); });
    Spin();
    disk.holds = false;
    disk.ReleaseHeld();
    Spin();
    ASSERT_EQ(nexus_->in_flight(), 0u);
    ASSERT_EQ(pools_[0]->available(), 1u);
    for (TestCommand* command : started) ASSERT_LE(command->statuses, 1);
    commands_.clear();
  }
}

}  // namespace
}  // namespace pollux::scsi
