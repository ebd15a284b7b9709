// Aborts and resets.
#include <algorithm>

#include "tests/unit/targets/iscsi/iscsi_fixture.h"

namespace pollux::iscsi {
namespace {

class TaskManagementTest : public IscsiTest {
 protected:
  TaskManagementTest() { Start(); }
};

TEST_F(TaskManagementTest, AnAbortedTaskIsNotAnswered) {
  const auto initiator = LogIn();
  disk_->holds = true;
  const Wire read = initiator->Command(Read10(0, 1), 0xc1, 512);
  initiator->Send(read);
  Turns(5);
  initiator->Send(initiator->TaskManagement(1, read.Get32(16)));
  const Wire response = initiator->Receive();
  EXPECT_EQ(response.opcode(), 0x22);
  EXPECT_EQ(response.header[2], 0);
  world_.On(0, [this] { disk_->Release(); });
  EXPECT_TRUE(initiator->IsQuiet());
  initiator->exp_stat_sn = response.Get32(24) + 1;
  EXPECT_EQ(initiator->NoData(TestUnitReady()).status, 0);
}

TEST_F(TaskManagementTest, ATaskThatEndsWhileItIsAbortedIsNotAnswered) {
  const auto initiator = LogIn();
  disk_->holds = true;
  disk_->aborts = false;
  Wire write = initiator->Command(Write10(0, 1), 0xa1, 512);
  write.data = Bytes(512);
  initiator->Send(write);
  Turns(5);
  initiator->Send(initiator->TaskManagement(1, write.Get32(16)));
  EXPECT_TRUE(initiator->IsQuiet());
  world_.On(0, [this] { disk_->Release(); });
  const Wire response = initiator->Receive();
  EXPECT_EQ(response.opcode(), 0x22);
  EXPECT_EQ(response.header[2], 0);
  EXPECT_TRUE(initiator->IsQuiet());
}

TEST_F(TaskManagementTest, ATaskWhoseStatusIsOnItsWayCannotBeAborted) {
  const auto initiator = LogIn();
  for (int i = 0; i < 60; ++i) initiator->Send(initiator->Command(Read10(0, 2048), 0xc1, 1 << 20));
  Turns(200);  // Nobody reads: what comes now waits in the send queue.
  Wire ready = initiator->Command(TestUnitReady(), 0x81, 0);
  ready.header[0] |= 0x40;  // It waits for none of the reads.
  --initiator->cmd_sn;
  initiator->Send(ready);
  Turns(5);
  initiator->Send(initiator->TaskManagement(1, ready.Get32(16)));
  bool answered = false;
  for (;;) {
    const Wire pdu = initiator->Receive();
    answered |= pdu.Get32(16) == ready.Get32(16);
    if (pdu.opcode() == 0x25 || pdu.opcode() == 0x21) continue;
    EXPECT_EQ(pdu.opcode(), 0x22);
    EXPECT_EQ(pdu.header[2], 1) << "task does not exist";
    break;
  }
  EXPECT_TRUE(answered);
}

TEST_F(TaskManagementTest, AWriteThatWaitsForDataCanBeAborted) {
  const auto initiator = LogIn();
  const Wire write = initiator->Command(Write10(0, 64), 0xa1, 64 * 512);
  initiator->Send(write);
  const Wire r2t = initiator->Receive();
  ASSERT_EQ(r2t.opcode(), 0x31);
  initiator->Send(initiator->TaskManagement(1, write.Get32(16)));
  EXPECT_EQ(initiator->Receive().header[2], 0);
  // Its data comes all the same, and is thrown away.
  initiator->Send(initiator->DataOut(write.Get32(16), r2t.Get32(20), 0, 0, Bytes(64 * 512), true));
  EXPECT_TRUE(initiator->IsQuiet());
  ExpectServing();
}

TEST_F(TaskManagementTest, EachTaskManagementFunctionHasItsAnswer) {
  const auto initiator = LogIn();
  struct Case {
    uint8_t function;
    int lun;
    int result;
  };
  for (const Case& c : {Case{1, 0, 1}, Case{2, 0, 0}, Case{3, 0, 5}, Case{4, 0, 0}, Case{5, 0, 0},
                        Case{6, 0, 0}, Case{8, 0, 4}, Case{9, 0, 5}, Case{0, 0, 5}, Case{127, 0, 5},
                        Case{2, 9, 2}, Case{5, 0xffff, 2}}) {
    initiator->lun = static_cast<uint16_t>(c.lun);
    initiator->Send(initiator->TaskManagement(c.function, 0xdead));
    const Wire response = initiator->Receive();
    EXPECT_EQ(response.opcode(), 0x22);
    EXPECT_EQ(response.header[2], c.result) << int{c.function};
  }
}

TEST_F(TaskManagementTest, AnAbortOfATaskSetLeavesOtherLunsAlone) {
  AddDisk("disk2").holds = true;
  ASSERT_TRUE(Run(target_->AddLun("disk1", {.bdev_name = "disk2", .lun_id = 1}, false)).ok());
  const auto initiator = LogIn();
  initiator->NoData(TestUnitReady());
  initiator->lun = 1;
  initiator->NoData(TestUnitReady());
  const Wire there = initiator->Command(Write10(0, 64), 0xa1, 64 * 512);
  initiator->Send(there);
  const Wire r2t = initiator->Receive();
  ASSERT_EQ(r2t.opcode(), 0x31);
  initiator->lun = 0;
  const Wire here = initiator->Command(Write10(0, 64), 0xa1, 64 * 512);
  initiator->Send(here);
  ASSERT_EQ(initiator->Receive().opcode(), 0x31);
  initiator->Send(initiator->TaskManagement(2));
  const Wire response = initiator->Receive();
  EXPECT_EQ(response.opcode(), 0x22);
  initiator->exp_stat_sn = response.Get32(24) + 1;
  static_cast<TestDisk*>(*world_.devices.Find("disk2"))->holds = false;
  initiator->kept.push_back(r2t);
  EXPECT_EQ(initiator->Finish(there.Get32(16), Bytes(64 * 512)).status, 0);
  EXPECT_TRUE(initiator->IsQuiet());
}

// What waits to be sent lies in buffers that must not be given to somebody else.
TEST_F(TaskManagementTest, AnAbortedReadStillSendsOnlyItsOwnData) {
  const Bytes own = Pattern(2048 * 512, 3);
  std::memcpy(disk_->data.data(), own.data(), own.size());
  std::fill(disk_->data.begin() + 2048 * 512, disk_->data.end(), std::byte{0xbd});
  const auto initiator = LogIn();
  // More than the kernel takes while nobody reads.
  for (int i = 0; i < 60; ++i) initiator->Send(initiator->Command(Read10(0, 2048), 0xc1, 1 << 20));
  Turns(200);
  const Wire abort = initiator->TaskManagement(2);
  initiator->Send(abort);
  Turns(20);
  TestInitiator::LoginOptions options;
  options.isid = 2;
  const auto other = LogIn(options);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(other->Read(Read10(2048, 2048), 1 << 20).data, Bytes(1 << 20, 0xbd));
  }
  size_t data_pdus = 0;
  for (;;) {
    const Wire pdu = initiator->Receive();
    if (pdu.opcode() == 0x22) break;
    ASSERT_EQ(pdu.opcode(), 0x25);
    ++data_pdus;
    const auto from = own.begin() + static_cast<ptrdiff_t>(pdu.Get32(40));
    ASSERT_TRUE(std::equal(pdu.data.begin(), pdu.data.end(), from)) << pdu.Get32(40);
  }
  EXPECT_GT(data_pdus, 16u);
}

TEST_F(TaskManagementTest, ALunResetEndsTheTasksOfAllSessions) {
  const auto first = LogIn();
  TestInitiator::LoginOptions options;
  options.isid = 2;
  const auto second = LogIn(options);
  disk_->holds = true;
  const Wire of_first = first->Command(Read10(0, 1), 0xc1, 512);
  const Wire of_second = second->Command(Read10(0, 1), 0xc1, 512);
  first->Send(of_first);
  second->Send(of_second);
  Turns(5);
  disk_->holds = false;
  first->Send(first->TaskManagement(5));
  EXPECT_EQ(first->Receive().opcode(), 0x22);
  EXPECT_EQ(second->Finish(of_second.Get32(16)).status, 0x40) << "TASK ABORTED";
  EXPECT_EQ(second->NoData(TestUnitReady()).asc, 0x29) << "a reset occurred";
}

TEST_F(TaskManagementTest, AColdResetClosesTheSessionsOfTheTarget) {
  const auto first = LogIn();
  TestInitiator::LoginOptions options;
  options.isid = 2;
  const auto second = LogIn(options);
  first->Send(first->TaskManagement(7));
  EXPECT_EQ(first->Receive().header[2], 0);
  EXPECT_TRUE(first->IsClosed());
  EXPECT_TRUE(second->IsClosed());
  ExpectServing();
}

}  // namespace
}  // namespace pollux::iscsi
