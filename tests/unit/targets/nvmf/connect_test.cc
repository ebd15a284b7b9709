#include <algorithm>

#include "tests/unit/targets/nvmf/controller_fixture.h"

// The Connect command, Base §6.3, and what may come on a queue before and after it.

namespace pollux::nvmf::admin_test {
namespace {

class ConnectTest : public ControllerTest {
 protected:
  ConnectTest() {
    limits_.admin_depth_max = 64;
    limits_.io_depth_max = 256;
    limits_.io_queues_max = 10;
    SetUpSubsystem();
  }
};

TEST_F(ConnectTest, MakesAnAdminQueueOfANewController) {
  const AdminCommand& command = Connect(ConnectSqe(0, 31, 15000), ConnectData());
  EXPECT_STATUS(command, kOk);
  EXPECT_EQ(command.dw0(), kCntlid);
  EXPECT_EQ(queue_->state(), Queue::State::kAdmin);
  EXPECT_EQ(queue_->depth(), 32u);
  EXPECT_NE(queue_->admin_controller(), nullptr);

  ASSERT_EQ(control_side_.admitted.size(), 1u);
  const ConnectQuery& query = control_side_.admitted[0];
  EXPECT_EQ(query.qid, 0);
  EXPECT_EQ(query.depth, 32u);
  EXPECT_EQ(query.kato_ms, 15000u);
  EXPECT_EQ(query.cntlid, 0xffff);
  EXPECT_EQ(query.hostid[0], 0xd0);
  EXPECT_EQ(query.hostid[15], 0xdf);
  EXPECT_EQ(query.subnqn, kNqn);
  EXPECT_EQ(query.hostnqn, kHost);
  EXPECT_EQ(query.listener_id, kListener);
  EXPECT_EQ(query.reactor_index, 0u);
  EXPECT_EQ(query.queue, queue_.get());
}

TEST_F(ConnectTest, MakesAnIoQueueOfAController) {
  const AdminCommand& command = Connect(ConnectSqe(3, 127), ConnectData(kCntlid));
  EXPECT_STATUS(command, kOk);
  EXPECT_EQ(command.dw0(), kCntlid);
  EXPECT_EQ(queue_->state(), Queue::State::kIo);
  EXPECT_EQ(queue_->qid(), 3);
  EXPECT_EQ(queue_->admin_controller(), nullptr);
}

TEST_F(ConnectTest, GrantsTheDeepestQueues) {
  EXPECT_STATUS(Connect(ConnectSqe(0, 63), ConnectData()), kOk);
  EXPECT_EQ(queue_->depth(), 64u);
  CloseQueue();
  MakeQueue();
  EXPECT_STATUS(Connect(ConnectSqe(10, 255), ConnectData(kCntlid)), kOk);
  EXPECT_EQ(queue_->depth(), 256u);
}

TEST_F(ConnectTest, TurnsFlowControlOffWhenAsked) {
  EXPECT_STATUS(Connect(ConnectSqe(1, 31).At(46, 0x04, 1), ConnectData(kCntlid)), kOk);
  EXPECT_FALSE(queue_->sq_flow_control());
}

TEST_F(ConnectTest, LeavesWhenTheQueueCloses) {
  Connect(ConnectSqe(2, 31), ConnectData(kCntlid));
  CloseQueue();
  EXPECT_EQ(control_side_.left, std::vector<uint16_t>{2});
}

// Which field is wrong is told by its offset, with bit 16 for one of the data. Figure 381
struct BadField {
  const char* name;
  std::function<void(Sqe&, Bytes&)> damage;
  int status;
  uint32_t dw0;
};
void PrintTo(const BadField& field, std::ostream* out) { *out << field.name; }

class BadConnectTest : public ConnectTest, public testing::WithParamInterface<BadField> {};

TEST_P(BadConnectTest, IsRefusedWithTheOffsetOfTheField) {
  Sqe sqe = ConnectSqe();
  Bytes data = ConnectData();
  GetParam().damage(sqe, data);
  const AdminCommand& command = Connect(sqe, data);
  EXPECT_STATUS(command, GetParam().status);
  EXPECT_EQ(command.dw0(), GetParam().dw0);
  EXPECT_TRUE(command.dnr());
  EXPECT_TRUE(control_side_.admitted.empty());
  // And the queue may try again.
  EXPECT_EQ(queue_->state(), Queue::State::kNew);
  EXPECT_STATUS(Connect(ConnectSqe(), ConnectData()), kOk);
}

const BadField kBadFields[] = {
    {"RecordFormat", [](Sqe& s, Bytes&) { s.At(40, 1, 2); }, kBadFormat, 0},
    {"QidAboveTheLimit", [](Sqe& s, Bytes& d) { s.At(42, 11, 2), Put(d, 16, 5, 2); }, kBadParameter,
     42},
    {"QidOfAllOnes", [](Sqe& s, Bytes& d) { s.At(42, 0xffff, 2), Put(d, 16, 5, 2); }, kBadParameter,
     42},
    {"SizeOfNothing", [](Sqe& s, Bytes&) { s.At(44, 0, 2); }, kBadParameter, 44},
    {"AdminSizeAboveTheLimit", [](Sqe& s, Bytes&) { s.At(44, 64, 2); }, kBadParameter, 44},
    {"SizeOfAllOnes", [](Sqe& s, Bytes&) { s.At(44, 0xffff, 2); }, kBadParameter, 44},
    {"IoSizeAboveTheLimit",
     [](Sqe& s, Bytes& d) { s.At(42, 1, 2).At(44, 256, 2), Put(d, 16, 5, 2); }, kBadParameter, 44},
    {"Fused", [](Sqe& s, Bytes&) { s.bytes[1] = 1; }, kBadField, 0},
    {"NoHostIdentifier", [](Sqe&, Bytes& d) { std::fill_n(d.begin(), 16, uint8_t{0}); },
     kBadParameter, 0x10000},
    {"StaticController", [](Sqe&, Bytes& d) { Put(d, 16, 1, 2); }, kBadParameter, 0x10010},
    {"AnyStaticController", [](Sqe&, Bytes& d) { Put(d, 16, 0xfffe, 2); }, kBadParameter, 0x10010},
    {"IoQueueOfNoController", [](Sqe& s, Bytes&) { s.At(42, 1, 2); }, kBadParameter, 0x10010},
    {"SubsystemNameWithoutEnd", [](Sqe&, Bytes& d) { std::fill_n(&d[256], 256, uint8_t{'a'}); },
     kBadParameter, 0x10100},
    {"NoSubsystemName", [](Sqe&, Bytes& d) { d[256] = 0; }, kBadParameter, 0x10100},
    {"SubsystemNameOf224Bytes",
     [](Sqe&, Bytes& d) { std::fill_n(&d[256], 224, uint8_t{'a'}), d[480] = 0; }, kBadParameter,
     0x10100},
    {"SubsystemNameNotUtf8", [](Sqe&, Bytes& d) { d[260] = 0xff; }, kBadParameter, 0x10100},
    {"HostNameWithoutEnd", [](Sqe&, Bytes& d) { std::fill_n(&d[512], 256, uint8_t{'a'}); },
     kBadParameter, 0x10200},
    {"NoHostName", [](Sqe&, Bytes& d) { d[512] = 0; }, kBadParameter, 0x10200},
    {"HostNameWithANewline", [](Sqe&, Bytes& d) { d[515] = '\n'; }, kBadParameter, 0x10200},
};
INSTANTIATE_TEST_SUITE_P(Fields, BadConnectTest, testing::ValuesIn(kBadFields),
                         [](const auto& field) { return std::string(field.param.name); });

TEST_F(ConnectTest, NeedsItsDataInFull) {
  for (const size_t bytes : {0u, 1u, 1023u, 1025u, 4096u, 1u << 20}) {
    Bytes data = ConnectData();
    data.resize(bytes);
    EXPECT_STATUS(Connect(ConnectSqe(), data), kBadLength) << bytes;
  }
  EXPECT_TRUE(control_side_.admitted.empty());
}

TEST_F(ConnectTest, PassesOnTheControlSidesRefusal) {
  control_side_.refusal = 0x184;
  control_side_.refusal_dw0 = 0x10200;
  const AdminCommand& command = Connect(ConnectSqe(), ConnectData());
  EXPECT_STATUS(command, kBadHost);
  EXPECT_EQ(command.dw0(), 0x10200u);
  EXPECT_EQ(queue_->state(), Queue::State::kNew);

  CloseQueue();
  EXPECT_TRUE(control_side_.left.empty()) << "it had never entered";
}

TEST_F(ConnectTest, ComesBeforeEverythingElse) {
  for (const uint8_t opcode : Bytes{0x00, 0x02, 0x06, 0x09, 0x0c, 0x18, 0xff}) {
    EXPECT_STATUS(Run(Sqe(opcode), 4096), kBadSequence) << int{opcode};
  }
  EXPECT_STATUS(PropertyGet(0x1c), kBadSequence);
  EXPECT_STATUS(Run(Sqe(0x7f).At(4, 0x08, 1)), kBadSequence) << "Disconnect";
}

TEST_F(ConnectTest, ComesOnce) {
  Connect(ConnectSqe(), ConnectData());
  EXPECT_STATUS(Connect(ConnectSqe(), ConnectData()), kBadSequence);
  CloseQueue();
  MakeQueue();
  Connect(ConnectSqe(1), ConnectData(kCntlid));
  EXPECT_STATUS(Connect(ConnectSqe(1), ConnectData(kCntlid)), kBadSequence);
}

TEST_F(ConnectTest, IsAloneWhileItIsUnderWay) {
  Completion<bool> gate;
  control_side_.gate = &gate;
  AdminCommand& first = Start(ConnectSqe(), 1024, ConnectData());
  Spin();
  EXPECT_FALSE(first.ended);
  EXPECT_STATUS(Connect(ConnectSqe(), ConnectData()), kBadSequence);
  EXPECT_STATUS(PropertyGet(0x1c), kBadSequence);

  world_.OnControl([&] { gate.Set(true); });
  Spin();
  EXPECT_STATUS(first, kOk);
}

TEST_F(ConnectTest, WhoseDataComesFirstIsTaken) {
  AdminCommand& slow = Make(ConnectSqe(), 1024, ConnectData());
  slow.holds_data = true;
  OnReactor([&] { queue_->Start(slow); });
  EXPECT_STATUS(Connect(ConnectSqe(), ConnectData()), kOk);
  OnReactor([&] { slow.DataArrived(); });
  Spin();
  EXPECT_STATUS(slow, kBadSequence);
}

TEST_F(ConnectTest, EndsAsItsDataWasLost) {
  AdminCommand& command = Make(ConnectSqe(), 1024, ConnectData());
  command.holds_data = true;
  OnReactor([&] { queue_->Start(command); });
  OnReactor([&] { command.DataDropped(0x022); });
  Spin();
  EXPECT_STATUS(command, 0x022);
  EXPECT_STATUS(Connect(ConnectSqe(), ConnectData()), kOk) << "and may be tried again";
}

TEST_F(ConnectTest, SurvivesAConnectionThatDiesBeforeItsData) {
  AdminCommand& command = Make(ConnectSqe(), 1024, ConnectData());
  command.holds_data = true;
  OnReactor([&] { queue_->Start(command); });
  CloseQueue();
  EXPECT_STATUS(command, kQueueGone);
  EXPECT_TRUE(control_side_.left.empty());
}

TEST_F(ConnectTest, LeavesWhenTheConnectionDiesBeforeTheVerdict) {
  Completion<bool> gate;
  control_side_.gate = &gate;
  AdminCommand& command = Start(ConnectSqe(), 1024, ConnectData());
  Spin();
  OnReactor([&] { queue_->Close(); });
  Spin();
  EXPECT_FALSE(carrier_.ended) << "the control side still knows the queue";

  world_.OnControl([&] { gate.Set(true); });
  Spin();
  EXPECT_TRUE(command.ended);
  EXPECT_TRUE(carrier_.ended);
  EXPECT_EQ(control_side_.left, std::vector<uint16_t>{0});
  queue_ = nullptr;
}

TEST_F(ConnectTest, DoesNotLeaveWhenRefusedAfterTheConnectionDied) {
  Completion<bool> gate;
  control_side_.gate = &gate;
  control_side_.refusal = 0x181;
  Start(ConnectSqe(), 1024, ConnectData());
  Spin();
  OnReactor([&] { queue_->Close(); });
  world_.OnControl([&] { gate.Set(true); });
  Spin();
  EXPECT_TRUE(carrier_.ended);
  EXPECT_TRUE(control_side_.left.empty());
  queue_ = nullptr;
}

// --- Disconnect. §6.4

TEST_F(ConnectTest, DisconnectEndsAnIoQueueOnceItWasAnswered) {
  Connect(ConnectSqe(1), ConnectData(kCntlid));
  EXPECT_STATUS(Run(Sqe(0x7f).At(4, 0x08, 1)), kOk);
  EXPECT_EQ(carrier_.ends_wanted, 1);
  EXPECT_TRUE(carrier_.sent_first);
}

TEST_F(ConnectTest, DisconnectOfAnotherFormatIsRefused) {
  Connect(ConnectSqe(1), ConnectData(kCntlid));
  EXPECT_STATUS(Run(Sqe(0x7f).At(4, 0x08, 1).At(40, 1, 2)), kBadFormat);
  EXPECT_EQ(carrier_.ends_wanted, 0);
}

TEST_F(ConnectTest, DisconnectIsNotForTheAdminQueue) {
  Connect(ConnectSqe(), ConnectData());
  EXPECT_STATUS(Run(Sqe(0x7f).At(4, 0x08, 1)), kWrongQueue);
  EXPECT_EQ(carrier_.ends_wanted, 0);
}

TEST_F(ConnectTest, PropertiesAreNotForIoQueues) {
  Connect(ConnectSqe(1), ConnectData(kCntlid));
  EXPECT_STATUS(PropertyGet(0x1c), kWrongQueue);
  EXPECT_STATUS(PropertySet(0x14, kEnable), kWrongQueue);
  EXPECT_STATUS(Run(Sqe(0x7f).At(4, 0x05, 1)), kBadOpcode) << "Authentication Send";
}

}  // namespace
}  // namespace pollux::nvmf::admin_test
