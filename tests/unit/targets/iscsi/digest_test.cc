// Header and data digests of a session. RFC 7143 §7.8, §11.2.3, §13.1
#include <algorithm>
#include <cstring>

#include "tests/unit/targets/iscsi/iscsi_fixture.h"

namespace pollux::iscsi {
namespace {

constexpr int kCheckCondition = 2, kAbortedCommand = 0xb, kProtocolServiceCrcError = 0x47;
constexpr uint8_t kReject = 0x3f, kDataDigestError = 0x02;

class DigestTest : public IscsiTest {
 protected:
  DigestTest() { Start(); }
  ~DigestTest() override {
    ExpectServing();
    ExpectNobody();
  }

  std::unique_ptr<TestInitiator> LogInWith(const std::string& header, const std::string& data,
                                           const std::string& initial_r2t = "Yes") {
    TestInitiator::LoginOptions options;
    options.isid = next_isid_++;
    options.keys = {"InitialR2T=" + initial_r2t, "ImmediateData=Yes",
                    "FirstBurstLength=8192",     "MaxRecvDataSegmentLength=16384",
                    "HeaderDigest=" + header,    "DataDigest=" + data};
    return LogIn(options);
  }
  std::unique_ptr<TestInitiator> LogInWithBoth(const std::string& initial_r2t = "Yes") {
    return LogInWith("CRC32C", "CRC32C", initial_r2t);
  }
  // Sends `pdu` with a bit of its data segment flipped on the way.
  static void SendDamaged(TestInitiator& initiator, const Wire& pdu, size_t byte = 0) {
    Bytes bytes = pdu.Encode(initiator.header_digest, initiator.data_digest);
    bytes[48 + (initiator.header_digest ? 4 : 0) + byte] ^= 0x40;
    initiator.SendRaw(bytes);
  }
  static void ExpectReject(TestInitiator& initiator, const Wire& of) {
    const Wire reject = initiator.Receive();
    ASSERT_EQ(reject.opcode(), kReject);
    EXPECT_EQ(reject.header[2], kDataDigestError);
    ASSERT_EQ(reject.data.size(), 48u);
    EXPECT_TRUE(std::equal(of.header.begin() + 8, of.header.end(), reject.data.begin() + 8));
    initiator.exp_stat_sn = reject.Get32(24) + 1;
  }
  // Neither now, nor with what came before.
  static void ExpectNothing(TestInitiator& initiator) {
    EXPECT_TRUE(initiator.IsQuiet());
    EXPECT_FALSE(initiator.TryReceive());
  }
  static void ExpectCrcError(const TestInitiator::Answer& answer) {
    EXPECT_EQ(answer.status, kCheckCondition);
    EXPECT_EQ(answer.key, kAbortedCommand);
    EXPECT_EQ(answer.asc, kProtocolServiceCrcError);
  }
  static void ExpectGoesOn(TestInitiator& initiator) {
    const Bytes data = Pattern(3000 / 512 * 512, 77);
    EXPECT_EQ(initiator.Write(Write10(100, 5), data, 512).status, 0);
    EXPECT_EQ(initiator.Read(Read10(100, 5), 2560).data, data);
  }
};

TEST_F(DigestTest, EveryKindOfPduBearsWhatWasAgreed) {
  for (const std::string header : {"None", "CRC32C"}) {
    for (const std::string data : {"None", "CRC32C"}) {
      for (const bool lends : {false, true}) {
        disk_->lends = lends;
        const auto initiator = LogInWith(header, data);
        EXPECT_EQ(initiator->header_digest, header == "CRC32C");
        EXPECT_EQ(initiator->data_digest, data == "CRC32C");

        const Bytes large = Pattern(300 * 512, 3);
        EXPECT_EQ(initiator->Write(Write10(8, 300), large, 4096).status, 0);
        const auto read = initiator->Read(Read10(8, 300), 300 * 512);
        EXPECT_EQ(read.data, large);
        EXPECT_GT(read.data_in_pdus, 1);
        EXPECT_EQ(initiator->Read({0x12, 0, 0, 0, 37, 0}, 37).data.size(), 37u);  // Padding of 3.
        EXPECT_EQ(initiator->Read(Read10(100000, 1), 512).status, kCheckCondition);

        for (const size_t bytes : {0u, 1u, 2u, 3u, 4u, 9000u}) {
          const Bytes ping = Pattern(bytes, 9);
          initiator->Send(initiator->NopOut(ping));
          EXPECT_EQ(initiator->Receive().data, ping);
        }
        initiator->Send(initiator->TextRequest({"SendTargets="}));
        EXPECT_EQ(initiator->Receive().opcode(), 0x24);
        initiator->Send(initiator->TaskManagement(5));
        EXPECT_EQ(initiator->Receive().opcode(), 0x22);
        Wire snack(0x10, 0x80);
        initiator->Send(snack);
        EXPECT_EQ(initiator->Receive().opcode(), kReject);
        initiator->Send(initiator->Logout(0));
        EXPECT_EQ(initiator->Receive().opcode(), 0x26);
        EXPECT_TRUE(initiator->IsClosed());
      }
    }
  }
}

TEST_F(DigestTest, DiscoverySessionsMayHaveThem) {
  TestInitiator::LoginOptions options;
  options.discovery = true;
  options.keys = {"HeaderDigest=CRC32C", "DataDigest=CRC32C"};
  const auto initiator = LogIn(options);
  initiator->Send(initiator->TextRequest({"SendTargets=All"}));
  EXPECT_NE(initiator->Receive().text().find(kTargetName), std::string::npos);
}

TEST_F(DigestTest, AnAdditionalHeaderSegmentIsUnderTheHeaderDigest) {
  const auto initiator = LogInWithBoth();
  Wire read = initiator->Command(Read10(0, 1), 0xc1, 512);
  read.ahs = {0, 5, 2, 0, 0, 0, 2, 0};
  initiator->Send(read);
  EXPECT_EQ(initiator->Finish(read.Get32(16)).status, 0);
}

TEST_F(DigestTest, AWrongHeaderDigestEndsTheConnectionWithoutAnAnswer) {
  for (const size_t byte : {0u, 1u, 4u, 7u, 16u, 24u, 32u, 47u, 48u, 51u}) {
    const auto initiator = LogInWithBoth();
    Bytes bytes = initiator->Command(Read10(0, 1), 0xc1, 512).Encode(true, true);
    bytes[byte] ^= 1;
    if (byte == 4) bytes.resize(bytes.size() + 4);  // What it claims is to come.
    initiator->SendRaw(bytes);
    EXPECT_TRUE(initiator->IsClosed()) << byte;
    EXPECT_FALSE(initiator->TryReceive()) << byte;
  }
}

TEST_F(DigestTest, DamagedImmediateDataFailsTheCommand) {
  for (const size_t bytes : {512u, 8192u}) {
    const auto initiator = LogInWithBoth();
    const std::vector<std::byte> before = disk_->data;
    Wire write = initiator->Command(Write10(0, static_cast<uint16_t>(bytes / 512)), 0xa1,
                                    static_cast<uint32_t>(bytes));
    write.data = Pattern(bytes, 5);
    SendDamaged(*initiator, write, bytes - 1);
    ExpectReject(*initiator, write);
    const auto answer = initiator->Finish(write.Get32(16));
    ExpectCrcError(answer);
    EXPECT_EQ(answer.residual_flags, 2);
    EXPECT_EQ(answer.residual, bytes);
    EXPECT_EQ(disk_->data, before);
    ExpectGoesOn(*initiator);
  }
}

// What was announced is still taken, and thrown away, before the command ends. §11.17.1
TEST_F(DigestTest, TheCommandEndsWhenAllAnnouncedDataHasCome) {
  const auto initiator = LogInWithBoth("No");
  const std::vector<std::byte> before = disk_->data;
  Wire write = initiator->Command(Write10(0, 4), 0x21, 2048);  // Without F.
  write.data = Pattern(512, 5);
  SendDamaged(*initiator, write);
  ExpectReject(*initiator, write);
  ExpectNothing(*initiator);
  const uint32_t itt = write.Get32(16);
  initiator->Send(initiator->DataOut(itt, 0xffffffff, 0, 512, Pattern(512, 6), false));
  ExpectNothing(*initiator);
  initiator->Send(initiator->DataOut(itt, 0xffffffff, 1, 1024, Pattern(1024, 7), true));
  ExpectCrcError(initiator->Finish(itt));
  EXPECT_EQ(disk_->data, before);
  ExpectGoesOn(*initiator);
}

TEST_F(DigestTest, DamagedUnsolicitedDataFailsTheCommand) {
  const auto initiator = LogInWithBoth("No");
  const std::vector<std::byte> before = disk_->data;
  for (const bool last : {false, true}) {
    const Wire write = initiator->Command(Write10(0, 4), 0x21, 2048);
    const uint32_t itt = write.Get32(16);
    initiator->Send(write);
    Wire data = initiator->DataOut(itt, 0xffffffff, 0, 0, Pattern(1024, 6), false);
    Wire rest = initiator->DataOut(itt, 0xffffffff, 1, 1024, Pattern(1024, 7), true);
    if (last) {
      initiator->Send(data);
      SendDamaged(*initiator, rest);
    } else {
      SendDamaged(*initiator, data);
      initiator->Send(rest);
    }
    ExpectReject(*initiator, last ? rest : data);
    ExpectCrcError(initiator->Finish(itt));
  }
  EXPECT_EQ(disk_->data, before);
  ExpectGoesOn(*initiator);
}

// Each piece of a burst in turn; large ones are received into the burst, also into lent pages.
TEST_F(DigestTest, DamagedSolicitedDataFailsTheCommandAtTheEndOfItsSequence) {
  constexpr uint32_t kBytes = 128 * 512;
  for (const bool lends : {false, true}) {
    disk_->lends = lends;
    for (const uint32_t piece : {4096u, 32768u, kBytes}) {
      for (uint32_t bad = 0; bad < kBytes; bad += piece) {
        const auto initiator = LogInWithBoth();
        const Bytes data = Pattern(kBytes, 5);
        const Wire write = initiator->Command(Write10(0, 128), 0xa1, kBytes);
        initiator->Send(write);
        const Wire r2t = initiator->Receive();
        ASSERT_EQ(r2t.opcode(), 0x31);
        ASSERT_EQ(r2t.Get32(44), kBytes);
        uint32_t sn = 0;
        for (uint32_t at = 0; at < kBytes; at += piece) {
          const auto begin = data.begin() + static_cast<ptrdiff_t>(at);
          const Wire out = initiator->DataOut(write.Get32(16), r2t.Get32(20), sn++, at,
                                              Bytes(begin, begin + piece), at + piece == kBytes);
          if (at != bad) {
            initiator->Send(out);
            continue;
          }
          SendDamaged(*initiator, out, piece - 1);
          ExpectReject(*initiator, out);
          if (at + piece < kBytes) ExpectNothing(*initiator);
        }
        ExpectCrcError(initiator->Finish(write.Get32(16)));
        ExpectGoesOn(*initiator);
      }
    }
  }
}

TEST_F(DigestTest, AWriteThatWaitsForItsTurnMayBeDamaged) {
  const auto initiator = LogInWithBoth();
  disk_->holds = true;
  // As many as may wait for data at a time, and one more.
  std::vector<Wire> writes;
  for (uint32_t i = 0; i <= options_.max_r2t_per_connection; ++i) {
    writes.push_back(initiator->Command(Write10(8 * i, 2), 0xa1, 1024));
    Wire& write = writes.back();
    write.data = Pattern(512, 1);
    if (i < options_.max_r2t_per_connection) {
      initiator->Send(write);
      EXPECT_EQ(initiator->Receive().opcode(), 0x31);
    } else {
      SendDamaged(*initiator, write);
    }
  }
  ExpectReject(*initiator, writes.back());
  ExpectCrcError(initiator->Finish(writes.back().Get32(16)));
  OnControl([this] { disk_->holds = false; });
}

TEST_F(DigestTest, ADamagedCommandMayBeAborted) {
  const auto initiator = LogInWithBoth("No");
  Wire write = initiator->Command(Write10(0, 4), 0x21, 2048);
  write.data = Pattern(512, 5);
  SendDamaged(*initiator, write);
  ExpectReject(*initiator, write);
  initiator->Send(initiator->TaskManagement(1, write.Get32(16)));
  const Wire answer = initiator->Receive();
  EXPECT_EQ(answer.opcode(), 0x22);
  EXPECT_EQ(answer.header[2], 0);
  initiator->exp_stat_sn = answer.Get32(24) + 1;
  ExpectGoesOn(*initiator);
}

TEST_F(DigestTest, OtherPdusWithDamagedDataAreRejectedAndTheSessionGoesOn) {
  const auto initiator = LogInWithBoth();
  for (const size_t bytes : {1u, 100u, 9000u}) {
    const Wire ping = initiator->NopOut(Pattern(bytes, 1));
    SendDamaged(*initiator, ping, bytes - 1);
    ExpectReject(*initiator, ping);
  }
  const Wire text = initiator->TextRequest({"SendTargets="});
  SendDamaged(*initiator, text);
  ExpectReject(*initiator, text);
  ExpectGoesOn(*initiator);
}

TEST_F(DigestTest, WhatIsDiscardedMayBeDamaged) {
  const auto initiator = LogInWithBoth();
  // Outside of the window: silently ignored.
  Wire write = initiator->Command(Write10(0, 1), 0xa1, 512);
  initiator->cmd_sn--;
  write.Put32(24, initiator->cmd_sn + 100000);
  write.data = Pattern(512, 1);
  SendDamaged(*initiator, write);
  EXPECT_TRUE(initiator->IsQuiet());
  ExpectGoesOn(*initiator);
}

TEST_F(DigestTest, TheConnectionMayEndBeforeADigestCame) {
  const auto initiator = LogInWithBoth();
  const Wire write = initiator->Command(Write10(0, 64), 0xa1, 32768);
  initiator->Send(write);
  const Wire r2t = initiator->Receive();
  Bytes bytes = initiator->DataOut(write.Get32(16), r2t.Get32(20), 0, 0, Pattern(32768, 2), true)
                    .Encode(true, true);
  for (int i = 0; i < 3; ++i) bytes.pop_back();
  initiator->SendRaw(bytes);
  EXPECT_TRUE(initiator->IsQuiet());
  initiator->Disconnect();
}

TEST_F(DigestTest, ATargetMayRequireThem) {
  TargetNode node{.name = "strict",
                  .maps = {{1, 1}},
                  .luns = {{.bdev_name = "disk", .lun_id = 0}},
                  .header_digest = true,
                  .data_digest = true};
  ASSERT_TRUE(Run(target_->CreateTargetNode(std::move(node), false)).ok());
  TestInitiator::LoginOptions options;
  options.target = "iqn.2016-06.io.spdk:strict";
  options.keys = {"HeaderDigest=None,CRC32C", "DataDigest=CRC32C,None", "FirstBurstLength=8192"};
  const auto initiator = LogIn(options);
  EXPECT_TRUE(initiator->header_digest && initiator->data_digest);
  ExpectGoesOn(*initiator);
  options.keys[0] = "HeaderDigest=None";
  EXPECT_EQ(Connect()->Login(options), 0x0200);
}

}  // namespace
}  // namespace pollux::iscsi
