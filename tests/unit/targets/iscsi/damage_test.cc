// What a hostile or broken initiator may send. After each: the target lives, the answer is defined,
// another session works, and nothing is left behind.
#include <functional>

#include "tests/unit/targets/iscsi/iscsi_fixture.h"

namespace pollux::iscsi {
namespace {

using namespace std::string_literals;

class DamageTest : public IscsiTest {
 protected:
  DamageTest() {
    options_.max_sessions = 64;
    Start();
  }
  ~DamageTest() override {
    ExpectServing();
    ExpectNobody();
  }
  // A well-formed request of the opcode, for an initiator that has logged in.
  static Wire RequestOf(TestInitiator& initiator, uint8_t opcode) {
    Wire pdu(static_cast<uint8_t>(opcode | 0x40));
    pdu.Put32(16, 0x5000u + opcode).Put32(20, 0xffffffff).Put32(24, initiator.cmd_sn);
    return pdu;
  }
};

// T-1: a data segment of length 0 where data is expected.
TEST_F(DamageTest, NoDataWhereDataIsExpected) {
  const auto initiator = LogIn();
  EXPECT_EQ(initiator->Write(Write10(0, 1), Pattern(512, 1)).status, 0) << "write: asked for";

  initiator->Send(initiator->NopOut());
  EXPECT_EQ(initiator->Receive().opcode(), 0x20);
  initiator->Send(initiator->TextRequest({}));
  const Wire text = initiator->Receive();
  EXPECT_EQ(text.opcode(), 0x24);
  EXPECT_TRUE(text.data.empty());

  // A Data-Out without data moves nothing; as the last one of a sequence it breaks the sequence.
  const Wire write = initiator->Command(Write10(0, 1), 0xa1, 512);
  initiator->Send(write);
  initiator->exp_stat_sn = text.Get32(24) + 1;
  const Wire r2t = initiator->Receive();
  ASSERT_EQ(r2t.opcode(), 0x31);
  initiator->Send(initiator->DataOut(write.Get32(16), r2t.Get32(20), 0, 0, {}, false));
  EXPECT_TRUE(initiator->IsQuiet());
  initiator->Send(initiator->DataOut(write.Get32(16), r2t.Get32(20), 1, 0, {}, true));
  EXPECT_EQ(initiator->Receive().opcode(), 0x3f);
  EXPECT_TRUE(initiator->IsClosed());

  const auto login = Connect();
  Wire request(0x43, 0x81);
  login->Send(request);
  EXPECT_EQ(login->Receive().Get16(36), 0x0207);
  EXPECT_TRUE(login->IsClosed());
}

// T-9: keys of all lengths, and ten thousand of them.
TEST_F(DamageTest, UnknownLoginKeysOfAnyLength) {
  for (const size_t bytes : {1u, 63u, 64u, 255u, 1024u, 4096u, 8000u}) {
    const auto login = Connect();
    Wire request(0x43, 0x81);
    request.Text({"InitiatorName=iqn.2001-04.com.example:host", "SessionType=Discovery",
                  std::string(bytes, 'k') + "=v"});
    login->Send(request);
    const Wire answer = login->Receive();
    EXPECT_EQ(answer.Get16(36), bytes <= 63 ? 0 : 0x0200) << bytes;
    EXPECT_LE(answer.data.size(), 8192u);
  }
  const auto login = Connect();
  int sent = 0;
  for (int i = 0; i < 20 && !login->SeesEnd(); ++i) {
    Wire request(0x43, 0x40);
    std::vector<std::string> keys;
    for (int k = 0; k < 500; ++k) keys.push_back("X-" + std::to_string(sent++) + "=1");
    login->Send(request.Text(keys));
  }
  EXPECT_TRUE(login->IsClosed());
}

// T-13: frames shorter than their header, in every phase.
TEST_F(DamageTest, LessThanAHeaderAndThenNothing) {
  for (const size_t bytes : {0u, 1u, 4u, 8u, 47u}) {
    const auto login = Connect();
    login->SendRaw(Bytes(bytes, 0x43));
    Turns(3);
    login->Disconnect();
    const auto initiator = LogIn();
    initiator->SendRaw(Bytes(bytes, 0x01));
    Turns(3);
    initiator->Disconnect();
    Turns(10);
  }
}

TEST_F(DamageTest, LengthsThatLie) {
  for (const uint32_t bytes : {8193u, 65536u, 0xffffffu}) {
    const auto login = Connect();
    Wire request(0x43, 0x81);
    Bytes raw = request.Encode();
    raw[5] = static_cast<uint8_t>(bytes >> 16);
    raw[6] = static_cast<uint8_t>(bytes >> 8);
    raw[7] = static_cast<uint8_t>(bytes);
    login->SendRaw(raw);
    EXPECT_TRUE(login->IsClosed()) << bytes;
  }
  for (const int opcode : {0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x10, 0x3f}) {
    const auto initiator = LogIn();
    Bytes raw = RequestOf(*initiator, static_cast<uint8_t>(opcode)).Encode();
    raw[5] = raw[6] = raw[7] = 0xff;
    initiator->SendRaw(raw);
    EXPECT_TRUE(initiator->IsClosed()) << opcode;
  }
}

// T-15: a login that ends after each PDU, and after each byte.
TEST_F(DamageTest, ALoginThatEndsAnywhere) {
  Wire first(0x43, 0x81);
  first.Text({"InitiatorName=iqn.2001-04.com.example:host", "SessionType=Normal",
              "TargetName="s + kTargetName});
  Wire second(0x43, 0x87);
  second.Text({"MaxRecvDataSegmentLength=8192", "FirstBurstLength=512"});
  Bytes stream = first.Encode();
  const Bytes rest = second.Encode();
  stream.insert(stream.end(), rest.begin(), rest.end());
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    const auto login = Connect();
    login->SendRaw(Bytes(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(cut)));
    Turns(static_cast<int>(cut % 4));
    login->Disconnect();
    Turns(4);
  }
}

// T-16: long names, and format strings, wherever a text may reach the log.
TEST_F(DamageTest, NamesMadeForTheLog) {
  for (const std::string& name : {"%n%s%s%s"s, "iqn.2001-04.com.example:%n%s"s,
                                  "iqn.2001-04.com.example:"s + std::string(7000, 'x'),
                                  "iqn.2001-04.com.example:a\nFAKE LOG LINE"s, "\x1b[2J"s}) {
    TestInitiator::LoginOptions options;
    options.initiator = name;
    EXPECT_EQ(Connect()->Login(options), 0x0200);
    options = {};
    options.target = name;
    EXPECT_EQ(Connect()->Login(options), 0x0200);
    options = {};
    options.keys = {"InitiatorAlias=" + name.substr(0, 200)};
    EXPECT_EQ(Connect()->Login(options), 0);
  }
  const auto initiator = LogIn();
  initiator->Send(initiator->TextRequest({"SendTargets=%n%s"}));
  EXPECT_EQ(initiator->Receive().opcode(), 0x24);
}

// T-38: additional header segments, and LUNs, at their bounds.
TEST_F(DamageTest, AdditionalHeaderSegmentsOfEveryShape) {
  struct Case {
    Bytes ahs;
    bool is_well_formed;
  };
  Bytes full(1020);
  full[0] = static_cast<uint8_t>((1020 - 3) >> 8);
  full[1] = static_cast<uint8_t>(1020 - 3);
  full[2] = 1;
  Bytes too_long = full;
  too_long[1] = static_cast<uint8_t>(1020 - 3 + 4);
  for (const Case& c : std::vector<Case>{{{0, 5, 2, 0, 0, 0, 2, 0}, true},
                                         {{0, 1, 1, 0}, true},
                                         {{0, 0, 1, 0}, false},
                                         {{0, 2, 1, 0}, false},
                                         {{0xff, 0xff, 1, 0}, false},
                                         {{0, 1, 1, 0, 0, 9, 1, 0}, false},
                                         {full, true},
                                         {too_long, false}}) {
    const auto initiator = LogIn();
    Wire command = initiator->Command(TestUnitReady(), 0x81, 0);
    command.ahs = c.ahs;
    initiator->Send(command);
    const Wire answer = initiator->Receive();
    EXPECT_EQ(answer.opcode(), c.is_well_formed ? 0x21 : 0x3f) << c.ahs.size();
    initiator->exp_stat_sn = answer.Get32(24) + 1;
    EXPECT_EQ(initiator->NoData(TestUnitReady()).status, 0) << "its CmdSN counts all the same";
  }
}

// T-39: the connection ends in the middle of a text negotiation.
TEST_F(DamageTest, AConnectionThatEndsWithinATextNegotiation) {
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(AddTarget("t" + std::to_string(i)).ok());
  for (int turns = 0; turns < 4; ++turns) {
    TestInitiator::LoginOptions options;
    options.discovery = true;
    options.keys = {"MaxRecvDataSegmentLength=512"};
    const auto asking = LogIn(options);
    asking->Send(asking->TextRequest({"SendTargets=All"}));
    Turns(turns);
    asking->Disconnect();
    Turns(10);

    const auto normal = LogIn();
    normal->Send(normal->TextRequest({"SendTargets="}));
    Turns(turns);
    normal->Disconnect();
    Turns(10);

    const auto part = LogIn(options);
    Wire request = part->TextRequest({"SendTargets=All"});
    request.header[1] = 0x40;  // C
    part->Send(request);
    Turns(turns);
    part->Disconnect();
    Turns(10);
  }
}

TEST_F(DamageTest, TextWithoutEndIsRejected) {
  const auto initiator = LogIn();
  uint32_t ttt = 0xffffffff;
  for (int i = 0; i < 20; ++i) {
    Wire request = initiator->TextRequest({});
    request.header[1] = 0x40;
    request.Put32(20, ttt);
    request.data = Bytes(8192, 'A');
    initiator->Send(request);
    const Wire answer = initiator->Receive();
    if (answer.opcode() == 0x3f) {
      EXPECT_EQ(i, 8);
      return;
    }
    ASSERT_EQ(answer.opcode(), 0x24);
    ttt = answer.Get32(20);
  }
  FAIL() << "it was never rejected";
}

// Every opcode, with every combination of flags, with and without data.
TEST_F(DamageTest, EveryOpcodeAndEveryFlag) {
  for (int opcode = 0; opcode < 0x40; ++opcode) {
    for (int flags = 0; flags < 0x100; flags += 15) {
      TestInitiator::LoginOptions options;
      options.isid = static_cast<uint16_t>(opcode + 1);
      const auto initiator = Connect();
      ASSERT_EQ(initiator->Login(options), 0);
      for (const int immediate : {0x00, 0x40}) {
        for (const size_t bytes : {0u, 48u, 600u}) {
          Wire pdu(static_cast<uint8_t>(opcode | immediate), static_cast<uint8_t>(flags));
          pdu.Put32(16, initiator->itt++).Put32(20, flags % 2 == 0 ? 0xffffffff : 512u);
          pdu.Put32(24, initiator->cmd_sn).Put32(32, 0x2a000000);
          if (immediate == 0) ++initiator->cmd_sn;
          pdu.data = Bytes(bytes, 'x');
          initiator->Send(pdu);
        }
      }
      Turns(3);
    }
  }
}

TEST_F(DamageTest, AReservedOpcodeIsRejectedWithItsHeader) {
  const auto initiator = LogIn();
  Wire pdu = RequestOf(*initiator, 0x1f);
  pdu.data = Bytes(20000);
  initiator->Send(pdu);
  const Wire reject = initiator->Receive();
  EXPECT_EQ(reject.opcode(), 0x3f);
  EXPECT_EQ(reject.header[2], 0x05);
  EXPECT_EQ(reject.Get32(16), 0xffffffff);
  ASSERT_EQ(reject.data.size(), 48u);
  EXPECT_EQ(Bytes(reject.data.begin() + 16, reject.data.end()),
            Bytes(pdu.header.begin() + 16, pdu.header.end()));
  initiator->exp_stat_sn = reject.Get32(24) + 1;
  EXPECT_EQ(initiator->NoData(TestUnitReady()).status, 0);
}

TEST_F(DamageTest, DataOutThatNobodyAskedFor) {
  const auto initiator = LogIn();
  // Before any R2T: no such transfer tag was ever given out.
  initiator->Send(initiator->DataOut(1, 0x00010000, 0, 0, Bytes(512), true));
  const Wire reject = initiator->Receive();
  EXPECT_EQ(reject.opcode(), 0x3f);
  EXPECT_EQ(reject.header[2], 0x09);
  // For a command that is not there any more: silently.
  initiator->Send(initiator->DataOut(1, 0xffffffff, 0, 0, Bytes(20000), true));
  EXPECT_TRUE(initiator->IsQuiet());
  initiator->exp_stat_sn = reject.Get32(24) + 1;
  EXPECT_EQ(initiator->NoData(TestUnitReady()).status, 0);
}

TEST_F(DamageTest, DataOutThatBreaksItsSequence) {
  struct Case {
    const char* what;
    std::function<void(Wire&)> damage;
  };
  for (const Case& c : std::vector<Case>{
           {"beyond the R2T", [](Wire& w) { w.data.resize(1024); }},
           {"at another offset", [](Wire& w) { w.Put32(40, 4); }},
           {"at an offset that wraps", [](Wire& w) { w.Put32(40, 0xfffffff0); }},
           {"too short", [](Wire& w) { w.data.resize(100); }},
       }) {
    const auto initiator = LogIn();
    const Wire write = initiator->Command(Write10(0, 1), 0xa1, 512);
    initiator->Send(write);
    const Wire r2t = initiator->Receive();
    Wire data = initiator->DataOut(write.Get32(16), r2t.Get32(20), 0, 0, Bytes(512), true);
    c.damage(data);
    initiator->Send(data);
    EXPECT_EQ(initiator->Receive().opcode(), 0x3f) << c.what;
    EXPECT_TRUE(initiator->IsClosed()) << c.what;
  }
}

// As if one before it had been lost: RFC 7143 §7.9.
TEST_F(DamageTest, DataOutWithAnotherDataSnFailsItsCommandAlone) {
  const auto initiator = LogIn();
  for (const std::vector<uint32_t>& numbers :
       {std::vector<uint32_t>{0, 0}, {1, 0}, {27, 28}, {0, 0xffffffff}, {0xffffffff, 0}}) {
    const Wire write = initiator->Command(Write10(0, 2), 0xa1, 1024);
    const uint32_t itt = write.Get32(16);
    initiator->Send(write);
    const uint32_t ttt = initiator->Receive().Get32(20);
    initiator->Send(initiator->DataOut(itt, ttt, numbers[0], 0, Bytes(512, 0xee), false));
    EXPECT_TRUE(initiator->IsQuiet()) << "the rest is on its way";
    initiator->Send(initiator->DataOut(itt, ttt, numbers[1], 512, Bytes(512, 0xee), true));
    const auto answer = initiator->Finish(itt);
    EXPECT_EQ(answer.status, 2);
    EXPECT_EQ(answer.key, 0xb) << "ABORTED COMMAND";
    EXPECT_EQ(answer.asc, 0x47) << "protocol service CRC error";
  }
  // The session is as it was, and what comes now is taken.
  const Wire write = initiator->Command(Write10(0, 1), 0xa1, 512);
  initiator->Send(write);
  const Wire r2t = initiator->Receive();
  initiator->Send(initiator->DataOut(write.Get32(16), r2t.Get32(20), 0, 0, Bytes(512), true));
  EXPECT_EQ(initiator->Finish(write.Get32(16)).status, 0);
}

TEST_F(DamageTest, UnsolicitedDataOfWhichSomeIsLost) {
  TestInitiator::LoginOptions options;
  options.keys = {"InitialR2T=No", "ImmediateData=No", "FirstBurstLength=8192"};
  const auto initiator = LogIn(options);
  const Wire write = initiator->Command(Write10(0, 2), 0x21, 1024);
  const uint32_t itt = write.Get32(16);
  initiator->Send(write);
  initiator->Send(initiator->DataOut(itt, 0xffffffff, 1, 512, Bytes(512), true));
  EXPECT_EQ(initiator->Finish(itt).status, 2);
  EXPECT_EQ(initiator->NoData(TestUnitReady()).status, 0);
}

TEST_F(DamageTest, UnsolicitedDataBeyondFirstBurstLength) {
  TestInitiator::LoginOptions options;
  options.keys = {"InitialR2T=No", "FirstBurstLength=512"};
  const auto initiator = LogIn(options);
  const Wire write = initiator->Command(Write10(0, 2), 0x21, 1024);
  initiator->Send(write);
  initiator->Send(initiator->DataOut(write.Get32(16), 0xffffffff, 0, 0, Bytes(1024), true));
  EXPECT_EQ(initiator->Receive().opcode(), 0x3f);
  EXPECT_TRUE(initiator->IsClosed());
}

TEST_F(DamageTest, TheSameDataTwice) {
  const auto initiator = LogIn();
  const Wire write = initiator->Command(Write10(0, 1), 0xa1, 512);
  initiator->Send(write);
  const Wire r2t = initiator->Receive();
  const Wire data = initiator->DataOut(write.Get32(16), r2t.Get32(20), 0, 0, Bytes(512), true);
  initiator->Send(data);
  initiator->Send(data);
  EXPECT_EQ(initiator->Finish(write.Get32(16)).status, 0);
  EXPECT_TRUE(initiator->IsQuiet()) << "the second one is late, and thrown away";
}

TEST_F(DamageTest, DataForAReadOrForAnotherTask) {
  const auto initiator = LogIn();
  disk_->holds = true;
  const Wire read = initiator->Command(Read10(0, 1), 0xc1, 512);
  const Wire write = initiator->Command(Write10(0, 64), 0xa1, 64 * 512);
  initiator->Send(read);
  initiator->Send(write);
  const Wire r2t = initiator->Receive();
  initiator->Send(initiator->DataOut(read.Get32(16), r2t.Get32(20), 0, 0, Bytes(512), false));
  EXPECT_EQ(initiator->Receive().header[2], 0x09);
  initiator->Send(initiator->DataOut(read.Get32(16), 0xffffffff, 0, 0, Bytes(512), true));
  EXPECT_EQ(initiator->Receive().opcode(), 0x3f);
  EXPECT_TRUE(initiator->IsClosed());
  world_.On(0, [this] { disk_->Release(); });
}

TEST_F(DamageTest, ImmediateDataThatIsNotAllowed) {
  struct Case {
    const char* what;
    std::vector<std::string> keys;
    uint8_t flags;
    uint32_t expected;
    size_t bytes;
    int reason;
  };
  const std::vector<std::string> usual = {"ImmediateData=Yes", "InitialR2T=Yes",
                                          "FirstBurstLength=8192"};
  for (const Case& c : std::vector<Case>{
           {"none was agreed upon",
            {"ImmediateData=No", "FirstBurstLength=512"},
            0xa1,
            512,
            512,
            0x04},
           {"with a read", usual, 0xc1, 512, 512, 0x04},
           {"more than expected", usual, 0xa1, 512, 1024, 0x09},
           {"more than FirstBurstLength", usual, 0xa1, 65536, 8196, 0x09},
           {"unsolicited data to follow", usual, 0x21, 1024, 512, 0x09},
           {"read and write", usual, 0xe1, 512, 512, 0x05},
       }) {
    TestInitiator::LoginOptions options;
    options.keys = c.keys;
    const auto initiator = LogIn(options);
    Wire command = initiator->Command(Write10(0, 1), c.flags, c.expected);
    command.data = Bytes(c.bytes);
    initiator->Send(command);
    const Wire reject = initiator->Receive();
    EXPECT_EQ(reject.opcode(), 0x3f) << c.what;
    EXPECT_EQ(reject.header[2], c.reason) << c.what;
    initiator->exp_stat_sn = reject.Get32(24) + 1;
    EXPECT_EQ(initiator->NoData(TestUnitReady()).status, 0) << c.what;
  }
}

TEST_F(DamageTest, ImmediateDataByTheDefaultsOfALoginWithoutItsOperationalStage) {
  const auto initiator = Connect();
  Wire login(0x43, 0x83);  // From the security stage straight to full feature phase.
  login.Put16(12, 5).Put16(20, 1).Put32(24, initiator->cmd_sn);
  login.Text({"InitiatorName=iqn.2001-04.com.example:host", "TargetName="s + kTargetName});
  initiator->Send(login);
  const Wire response = initiator->Receive();
  ASSERT_EQ(response.Get16(36), 0);
  initiator->exp_stat_sn = response.Get32(24) + 1;
  initiator->NoData(TestUnitReady());
  EXPECT_EQ(initiator->Write(Write10(0, 16), Bytes(8192), 8192).status, 0);
  Wire command = initiator->Command(Write10(0, 128), 0xa1, 65536);
  command.data = Bytes(65536);
  initiator->Send(command);
  EXPECT_EQ(initiator->Receive().opcode(), 0x3f);
}

TEST_F(DamageTest, ATaskTagThatIsInUse) {
  const auto initiator = LogIn();
  disk_->holds = true;
  const Wire read = initiator->Command(Read10(0, 1), 0xc1, 512);
  initiator->Send(read);
  Wire again = initiator->Command(Read10(0, 1), 0xc1, 512);
  again.Put32(16, read.Get32(16));
  initiator->Send(again);
  const Wire reject = initiator->Receive();
  EXPECT_EQ(reject.opcode(), 0x3f);
  EXPECT_EQ(reject.header[2], 0x07);
  world_.On(0, [this] { disk_->Release(); });
  initiator->exp_stat_sn = reject.Get32(24) + 1;
  EXPECT_EQ(initiator->Finish(read.Get32(16)).status, 0);
}

TEST_F(DamageTest, ALoginInFullFeaturePhase) {
  const auto initiator = LogIn();
  initiator->Send(Wire(0x43, 0x87));
  EXPECT_EQ(initiator->Receive().opcode(), 0x3f);
  EXPECT_TRUE(initiator->IsClosed());
}

TEST_F(DamageTest, AnythingButALoginInLoginPhase) {
  for (int opcode = 0; opcode < 0x40; ++opcode) {
    if (opcode == 0x03) continue;
    const auto login = Connect();
    login->Send(Wire(static_cast<uint8_t>(opcode)));
    const Wire answer = login->Receive();
    EXPECT_EQ(answer.opcode(), 0x23);
    EXPECT_EQ(answer.Get16(36), 0x020b);
    EXPECT_TRUE(login->IsClosed());
  }
}

// --- Resource abuse.

TEST_F(DamageTest, DataOutByteByByte) {
  const auto initiator = LogIn();
  const Wire write = initiator->Command(Write10(0, 8), 0xa1, 4096);
  initiator->Send(write);
  const Wire r2t = initiator->Receive();
  const Bytes data = Pattern(4096, 3);
  for (uint32_t i = 0; i < 4096; ++i) {
    initiator->Send(initiator->DataOut(write.Get32(16), r2t.Get32(20), i, i, {data[i]}, i == 4095));
  }
  EXPECT_EQ(initiator->Finish(write.Get32(16)).status, 0);
  EXPECT_EQ(std::memcmp(disk_->data.data(), data.data(), data.size()), 0);
}

TEST_F(DamageTest, MoreImmediateCommandsThanThereIsRoomFor) {
  const auto initiator = LogIn();
  disk_->holds = true;
  for (int i = 0; i < 20; ++i) {
    Wire command = initiator->Command(Read10(0, 1), 0xc1, 512);
    command.header[0] |= 0x40;
    initiator->Send(command);
  }
  int rejects = 0;
  initiator->IsQuiet();
  while (const std::optional<Wire> pdu = initiator->TryReceive()) {
    EXPECT_EQ(pdu->opcode(), 0x3f);
    EXPECT_EQ(pdu->header[2], 0x06);
    ++rejects;
  }
  EXPECT_EQ(rejects, 12);
  world_.On(0, [this] { disk_->Release(); });
}

TEST_F(DamageTest, PingsWhoseAnswersNobodyReads) {
  const auto initiator = LogIn();
  initiator->StopReading(4096);
  Bytes flood;
  const Bytes ping = initiator->NopOut(Bytes(4096)).Encode();
  for (int i = 0; i < 8; ++i) flood.insert(flood.end(), ping.begin(), ping.end());
  for (int i = 0; i < 3; ++i) initiator->SendRaw(flood);
  Turns(100);
  ExpectServing();
  initiator->Disconnect();
}

TEST_F(DamageTest, ReadsWhoseDataNobodyReads) {
  TestInitiator::LoginOptions options;
  options.isid = 77;
  const auto initiator = LogIn(options);
  initiator->StopReading(4096);
  for (int i = 0; i < 60; ++i) initiator->Send(initiator->Command(Read10(0, 2048), 0xc1, 1 << 20));
  Turns(200);
  ExpectServing();
  // Nor does it answer pings: it is given up.
  Advance(200);
  EXPECT_EQ(Connections().size(), 0u);
}

TEST_F(DamageTest, WritesWhoseDataNeverComes) {
  std::vector<std::unique_ptr<TestInitiator>> all;
  TestInitiator::LoginOptions options;
  // Each may hold four of the 32 buffers; the seventh session still writes.
  for (options.isid = 1; options.isid <= 6; ++options.isid) {
    all.push_back(LogIn(options));
    for (uint32_t i = 0; i < 40; ++i) {
      all.back()->Send(all.back()->Command(Write10(0, 64), 0xa1, 64 * 512));
    }
  }
  Turns(50);
  const auto good = LogIn(options);
  EXPECT_EQ(good->Write(Write10(0, 64), Bytes(64 * 512), 8192).status, 0);
}

TEST_F(DamageTest, AStormOfAborts) {
  const auto initiator = LogIn();
  disk_->holds = true;
  std::vector<Wire> commands;
  for (int i = 0; i < 60; ++i) {
    commands.push_back(i % 2 == 0 ? initiator->Command(Read10(0, 8), 0xc1, 4096)
                                  : initiator->Command(Write10(0, 64), 0xa1, 64 * 512));
    initiator->Send(commands.back());
  }
  int answers = 0;
  for (int round = 0; round < 3; ++round) {
    for (const Wire& command : commands) {
      initiator->Send(initiator->TaskManagement(1, command.Get32(16)));
    }
  }
  for (int i = 0; i < 1000 && answers < 180; ++i) {
    initiator->IsQuiet();
    while (const std::optional<Wire> pdu = initiator->TryReceive()) {
      if (pdu->opcode() == 0x22) ++answers;
    }
  }
  EXPECT_EQ(answers, 180);
  disk_->holds = false;
}

TEST_F(DamageTest, AThousandConnectionsThatNeverLogIn) {
  std::vector<std::unique_ptr<TestInitiator>> idle;
  for (int i = 0; i < 400; ++i) {
    idle.push_back(Connect());
    idle.back()->SendRaw({0x43});
    Turns(1);
  }
  ExpectServing();
  Advance(32);
  for (const auto& connection : idle) EXPECT_TRUE(connection->IsClosed());
}

TEST_F(DamageTest, AConnectionThatEndsAtEveryTurnOfItsWork) {
  for (const bool lends : {false, true}) {
    disk_->lends = lends;
    for (int turns = 0; turns < 12; ++turns) {
      const auto initiator = LogIn();
      initiator->Send(initiator->Command(Read10(0, 256), 0xc1, 256 * 512));
      const Wire write = initiator->Command(Write10(0, 64), 0xa1, 64 * 512);
      initiator->Send(write);
      Wire immediate = initiator->Command(Write10(0, 8), 0xa1, 4096);
      immediate.data = Bytes(4096);
      initiator->Send(immediate);
      initiator->Send(initiator->NopOut(Bytes(100)));
      initiator->Send(initiator->TaskManagement(2));
      Turns(turns);
      initiator->Disconnect();
      Turns(30);
    }
  }
}

TEST_F(DamageTest, AConnectionThatEndsWithinADataSegment) {
  for (const size_t sent : {0u, 1u, 5000u, 9000u, 20000u, 32767u}) {
    const auto initiator = LogIn();
    const Wire write = initiator->Command(Write10(0, 64), 0xa1, 64 * 512);
    initiator->Send(write);
    const Wire r2t = initiator->Receive();
    Bytes raw =
        initiator->DataOut(write.Get32(16), r2t.Get32(20), 0, 0, Bytes(64 * 512), true).Encode();
    raw.resize(48 + sent);
    initiator->SendRaw(raw);
    Turns(5);
    initiator->Disconnect();
    Turns(20);
  }
}

}  // namespace
}  // namespace pollux::iscsi
