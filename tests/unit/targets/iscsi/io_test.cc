// Reads and writes of a session, over a socket.
#include "tests/unit/targets/iscsi/iscsi_fixture.h"

namespace pollux::iscsi {
namespace {

class IoTest : public IscsiTest {
 protected:
  IoTest() { Start(); }
  Bytes OnDisk(uint32_t lba, size_t bytes) {
    const auto* at = reinterpret_cast<const uint8_t*>(disk_->data.data()) + size_t{lba} * 512;
    return Bytes(at, at + bytes);
  }
  void PutOnDisk(uint32_t lba, const Bytes& data) {
    std::memcpy(disk_->data.data() + size_t{lba} * 512, data.data(), data.size());
  }
};

TEST_F(IoTest, AReadComesInOneDataInThatCarriesTheStatus) {
  const auto initiator = LogIn();
  PutOnDisk(8, Pattern(4096, 3));
  for (const bool lends : {false, true}) {
    disk_->lends = lends;
    const auto answer = initiator->Read(Read10(8, 8), 4096);
    EXPECT_EQ(answer.status, 0);
    EXPECT_EQ(answer.data, Pattern(4096, 3));
    EXPECT_EQ(answer.data_in_pdus, 1);
    EXPECT_TRUE(answer.collapsed);
    EXPECT_EQ(answer.residual_flags, 0);
  }
}

TEST_F(IoTest, ALargeReadIsCutAtWhatTheInitiatorTakes) {
  TestInitiator::LoginOptions options;
  options.keys = {"MaxRecvDataSegmentLength=512", "MaxBurstLength=1536", "FirstBurstLength=1024"};
  const auto initiator = LogIn(options);
  const Bytes data = Pattern(20 * 512, 9);
  PutOnDisk(0, data);
  const Wire command = initiator->Command(Read10(0, 20), 0xc1, 20 * 512);
  initiator->Send(command);
  Bytes got;
  for (uint32_t n = 0; n < 20; ++n) {
    const Wire pdu = initiator->Receive();
    ASSERT_EQ(pdu.opcode(), 0x25);
    EXPECT_EQ(pdu.data.size(), 512u);
    EXPECT_EQ(pdu.Get32(36), n);
    // A sequence ends after MaxBurstLength, and at the end.
    EXPECT_EQ((pdu.flags() & 0x80) != 0, n % 3 == 2 || n == 19) << n;
    EXPECT_EQ((pdu.flags() & 0x01) != 0, n == 19);
    got.insert(got.end(), pdu.data.begin(), pdu.data.end());
  }
  EXPECT_EQ(got, data);
}

TEST_F(IoTest, AReadOfManyBurstsIsWhole) {
  const auto initiator = LogIn();
  const Bytes data = Pattern(2048 * 512, 1);
  PutOnDisk(0, data);
  for (const bool lends : {false, true}) {
    disk_->lends = lends;
    const auto answer = initiator->Read(Read10(0, 2048), 2048 * 512);
    EXPECT_EQ(answer.status, 0);
    EXPECT_EQ(answer.data, data);
  }
}

TEST_F(IoTest, ImmediateDataNeedsNoR2t) {
  const auto initiator = LogIn();
  for (const bool lends : {false, true}) {
    disk_->lends = lends;
    const Bytes data = Pattern(8192, lends ? 5 : 6);
    const auto answer = initiator->Write(Write10(4, 16), data, 8192);
    EXPECT_EQ(answer.status, 0);
    EXPECT_EQ(answer.r2ts, 0);
    EXPECT_EQ(OnDisk(4, 8192), data);
  }
}

TEST_F(IoTest, WhatDoesNotComeUnaskedIsAskedFor) {
  const auto initiator = LogIn();
  for (const size_t immediate : {0u, 512u, 4096u, 8192u}) {
    const Bytes data = Pattern(64 * 512, static_cast<uint8_t>(immediate / 512));
    const auto answer = initiator->Write(Write10(0, 64), data, immediate);
    EXPECT_EQ(answer.status, 0);
    EXPECT_EQ(answer.r2ts, 1);
    EXPECT_EQ(OnDisk(0, data.size()), data);
  }
}

TEST_F(IoTest, ALargeWriteIsAskedForBurstByBurst) {
  const auto initiator = LogIn();
  for (const bool lends : {false, true}) {
    disk_->lends = lends;
    const Bytes data = Pattern(2048 * 512, 77);
    const auto answer = initiator->Write(Write10(0, 2048), data, 8192);
    EXPECT_EQ(answer.status, 0);
    EXPECT_GE(answer.r2ts, 1);
    EXPECT_EQ(OnDisk(0, data.size()), data);
  }
}

TEST_F(IoTest, MaxBurstLengthBoundsEachR2t) {
  TestInitiator::LoginOptions options;
  options.keys = {"MaxBurstLength=1024", "FirstBurstLength=512"};
  const auto initiator = LogIn(options);
  const Bytes data = Pattern(5 * 512, 4);
  const auto answer = initiator->Write(Write10(0, 5), data);
  EXPECT_EQ(answer.r2ts, 3);
  EXPECT_EQ(OnDisk(0, data.size()), data);
}

TEST_F(IoTest, UnsolicitedDataOutFollowsTheCommand) {
  TestInitiator::LoginOptions options;
  options.keys = {"InitialR2T=No", "ImmediateData=Yes", "FirstBurstLength=8192"};
  const auto initiator = LogIn(options);
  ASSERT_EQ(initiator->negotiated["InitialR2T"], "No");
  for (const size_t immediate : {size_t{0}, size_t{1024}}) {
    const Bytes data = Pattern(32 * 512, static_cast<uint8_t>(immediate));
    Wire command = initiator->Command(Write10(16, 32), 0x21, 32 * 512);  // W without F.
    const uint32_t itt = command.Get32(16);
    command.data.assign(data.begin(), data.begin() + static_cast<ptrdiff_t>(immediate));
    initiator->Send(command);
    uint32_t sn = 0;
    for (size_t at = immediate; at < 8192; at += 1024) {
      const auto from = data.begin() + static_cast<ptrdiff_t>(at);
      initiator->Send(initiator->DataOut(itt, 0xffffffff, sn++, static_cast<uint32_t>(at),
                                         Bytes(from, from + 1024), at + 1024 == 8192));
      if (at == 4096) Turns(3);
    }
    const auto answer = initiator->Finish(itt, data);
    EXPECT_EQ(answer.status, 0);
    EXPECT_EQ(answer.r2ts, 1) << "for what is beyond FirstBurstLength";
    EXPECT_EQ(OnDisk(16, data.size()), data);
  }
}

TEST_F(IoTest, ManyCommandsLeaveAndArriveInFewSystemCalls) {
  const auto initiator = LogIn();
  disk_->lends = true;
  Bytes batch;
  std::vector<uint32_t> tags;
  for (uint32_t i = 0; i < 32; ++i) {
    const Wire command = initiator->Command(Read10(8 * i, 8), 0xc1, 4096);
    tags.push_back(command.Get32(16));
    const Bytes bytes = command.Encode();
    batch.insert(batch.end(), bytes.begin(), bytes.end());
  }
  initiator->SendRaw(batch);
  for (const uint32_t tag : tags) EXPECT_EQ(initiator->Finish(tag).status, 0);
}

TEST_F(IoTest, ManyWritesThatCameTogetherAreAllRight) {
  const auto initiator = LogIn();
  Bytes batch;
  std::vector<uint32_t> tags;
  for (uint32_t i = 0; i < 60; ++i) {
    Wire command = initiator->Command(Write10(8 * i, 8), 0xa1, 4096);
    command.data = Pattern(4096, static_cast<uint8_t>(i));
    tags.push_back(command.Get32(16));
    const Bytes bytes = command.Encode();
    batch.insert(batch.end(), bytes.begin(), bytes.end());
  }
  initiator->SendRaw(batch);  // 240 KiB: several fillings of the read-ahead.
  for (const uint32_t tag : tags) EXPECT_EQ(initiator->Finish(tag).status, 0);
  for (uint32_t i = 0; i < 60; ++i) {
    EXPECT_EQ(OnDisk(8 * i, 4096), Pattern(4096, static_cast<uint8_t>(i))) << i;
  }
}

TEST_F(IoTest, CuttingTheStreamAnywhereMakesNoDifference) {
  const auto initiator = LogIn();
  Wire write = initiator->Command(Write10(0, 2), 0xa1, 1024);
  write.data = Pattern(1024, 42);
  const Wire read = initiator->Command(Read10(0, 2), 0xc1, 1024);
  Bytes stream = write.Encode();
  const Bytes second = read.Encode();
  stream.insert(stream.end(), second.begin(), second.end());
  for (const uint8_t byte : stream) {
    initiator->SendRaw({byte});
    Turns(1);
  }
  EXPECT_EQ(initiator->Finish(write.Get32(16)).status, 0);
  const auto answer = initiator->Finish(read.Get32(16));
  EXPECT_EQ(answer.data, Pattern(1024, 42));
}

TEST_F(IoTest, ResidualsSayWhatIsTooMuchAndTooLittle) {
  const auto initiator = LogIn();
  const auto more = initiator->Read(Read10(0, 1), 1024);
  EXPECT_EQ(more.residual_flags, 0x02);
  EXPECT_EQ(more.residual, 512u);
  EXPECT_EQ(more.data.size(), 512u);
  const auto less = initiator->Read(Read10(0, 2), 512);
  EXPECT_EQ(less.residual_flags, 0x04);
  EXPECT_EQ(less.residual, 512u);
  EXPECT_EQ(less.data.size(), 512u);
  const auto underflow = initiator->Write(Write10(0, 1), Pattern(1024, 1));
  EXPECT_EQ(underflow.residual_flags, 0x02);
  EXPECT_EQ(underflow.residual, 512u);
}

TEST_F(IoTest, AnErrorBringsSenseData) {
  const auto initiator = LogIn();
  const auto answer = initiator->Read(Read10(4096, 1), 512);
  EXPECT_EQ(answer.status, 0x02);
  EXPECT_EQ(answer.key, 5);
  EXPECT_EQ(answer.asc, 0x21);
  EXPECT_EQ(answer.residual_flags, 0x02);
  EXPECT_EQ(answer.residual, 512u);
}

TEST_F(IoTest, AnErrorWaitsForTheDataThatWasAnnounced) {
  TestInitiator::LoginOptions options;
  options.keys = {"InitialR2T=No", "FirstBurstLength=8192"};
  const auto initiator = LogIn(options);
  const Wire command = initiator->Command(Write10(4096, 2), 0x21, 1024);
  initiator->Send(command);
  EXPECT_TRUE(initiator->IsQuiet());
  initiator->Send(initiator->DataOut(command.Get32(16), 0xffffffff, 0, 0, Bytes(1024), true));
  EXPECT_EQ(initiator->Finish(command.Get32(16)).asc, 0x21);
}

TEST_F(IoTest, AnUnknownLunIsTheScsiLayersToAnswer) {
  const auto initiator = LogIn();
  for (const int lun : {0x0001, 0x00ff, 0x4100, 0x8000, 0xffff}) {
    initiator->lun = static_cast<uint16_t>(lun);
    EXPECT_EQ(initiator->NoData(TestUnitReady()).asc, 0x25) << lun;
  }
}

TEST_F(IoTest, WritesBeyondTheR2tLimitWaitForTheirTurn) {
  const auto initiator = LogIn();
  std::vector<Wire> commands;
  for (uint32_t i = 0; i < 16; ++i) {
    commands.push_back(initiator->Command(Write10(i * 64, 64), 0xa1, 64 * 512));
    initiator->Send(commands.back());
  }
  Turns(20);
  // max_r2t_per_connection is 4; the others ask when those are done.
  std::vector<Wire> r2ts;
  for (int i = 0; i < 4; ++i) r2ts.push_back(initiator->Receive());
  EXPECT_TRUE(initiator->IsQuiet());
  initiator->kept = r2ts;
  for (size_t i = 0; i < commands.size(); ++i) {
    const auto answer =
        initiator->Finish(commands[i].Get32(16), Pattern(64 * 512, static_cast<uint8_t>(i)));
    EXPECT_EQ(answer.status, 0);
    EXPECT_EQ(OnDisk(static_cast<uint32_t>(i * 64), 64 * 512),
              Pattern(64 * 512, static_cast<uint8_t>(i)));
  }
}

TEST_F(IoTest, WithoutRoomForUnaskedDataACommandGetsTaskSetFull) {
  disk_->holds = true;
  // 64 in the pool; each session may have 64 commands.
  const auto first = LogIn();
  TestInitiator::LoginOptions options;
  options.isid = 2;
  const auto second = LogIn(options);
  int full = 0;
  for (auto* initiator : {first.get(), second.get()}) {
    for (int i = 0; i < 40; ++i) {
      Wire command = initiator->Command(Write10(0, 1), 0xa1, 512);
      command.data = Bytes(512);
      initiator->Send(command);
    }
    initiator->IsQuiet();
    while (const std::optional<Wire> pdu = initiator->TryReceive()) {
      if (pdu->opcode() == 0x21 && pdu->header[3] == 0x28) ++full;
    }
  }
  EXPECT_EQ(full, 80 - 64);
  world_.On(0, [this] { disk_->Release(); });
  ExpectServing();
}

}  // namespace
}  // namespace pollux::iscsi
