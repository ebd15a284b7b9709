// What a host must not send once it is connected, and commands that end before their data has come.
#include <algorithm>

#include "core/spec/nvme_tcp_spec.h"
#include "tests/unit/targets/nvmf/tcp/tcp_fixture.h"

namespace pollux::nvmf {
namespace {

namespace fes = nvme_tcp::fes;
using namespace nvme::status;

class TcpDamageTest : public TcpTest {
 protected:
  static constexpr uint32_t kBytes = 10'000;

  // A write of kBytes that has asked for all of them.
  void BeginWrite(uint16_t cid = 3) {
    store_.assign(kBytes, 0xee);
    part_ = {store_.data(), store_.size()};
    Send(WriteCapsule(cid, kBytes));
    command_ = target_.started.back();
    target_.Want(*command_, 0, {&part_, 1});
    const Bytes r2t = ReceiveOne();
    ASSERT_EQ(r2t[0], kR2tType);
    ttag_ = Le16At(r2t, 10);
  }
  void OpenWithWrite() {
    OpenQueue();
    BeginWrite();
  }
  Bytes Data(size_t bytes = kBytes) { return Pattern(bytes); }
  bool store_untouched() const {
    return std::all_of(store_.begin(), store_.end(), [](uint8_t b) { return b == 0xee; });
  }

  Bytes store_;
  iovec part_{};
  Command* command_ = nullptr;
  uint16_t ttag_ = 0;
};

// --- H2CData. T-5, T-6, T-43.

TEST_F(TcpDamageTest, RefusesDataBeforeAnyCommand) {
  for (const uint16_t ttag : {uint16_t{0}, uint16_t{1}, uint16_t{0x800}, uint16_t{0xffff}}) {
    OpenQueue();
    const Bytes pdu = H2CData(1, ttag, 0, Data(512));
    Send(pdu);
    ExpectTermination(fes::kInvalidHeaderField, 10, pdu);
  }
}

TEST_F(TcpDamageTest, RefusesEveryTransferTagButTheOneIssued) {
  OpenWithWrite();
  // All of them are too many for a connection each: those around the right one, and the ends.
  std::vector<uint16_t> wrong = {0, 1, 2, 0x7ff, 0x800, 0x801, 0x7fff, 0x8000, 0xffff};
  for (int bit = 0; bit < 16; ++bit) wrong.push_back(static_cast<uint16_t>(ttag_ ^ 1 << bit));
  for (const uint16_t ttag : wrong) {
    OpenWithWrite();
    if (ttag == ttag_) continue;
    const Bytes pdu = H2CData(3, ttag, 0, Data());
    Send(pdu);
    ExpectTermination(fes::kInvalidHeaderField, 10, pdu);
    EXPECT_TRUE(store_untouched());
  }
}

TEST_F(TcpDamageTest, RefusesDataOfAnotherCommand) {
  OpenWithWrite();
  const Bytes pdu = H2CData(4, ttag_, 0, Data());
  Send(pdu);
  ExpectTermination(fes::kInvalidHeaderField, 8, pdu);
  EXPECT_TRUE(store_untouched());
}

TEST_F(TcpDamageTest, RefusesDataForARead) {
  OpenQueue();
  Send(ReadCapsule(1, 4096));
  const Bytes pdu = H2CData(1, 1 << 11 | 2, 0, Data(4096));
  Send(pdu);
  ExpectTermination(fes::kInvalidHeaderField, 10, pdu);
}

TEST_F(TcpDamageTest, RefusesDataForAWriteThatHasNotAsked) {
  OpenQueue();
  Send(WriteCapsule(1, 4096));
  const Bytes pdu = H2CData(1, 1 << 11 | 2, 0, Data(4096));
  Send(pdu);
  ExpectTermination(fes::kInvalidHeaderField, 10, pdu);
}

TEST_F(TcpDamageTest, RefusesDataTwiceForOneR2T) {
  OpenWithWrite();
  const Bytes pdu = H2CData(3, ttag_, 0, Data());
  Send(pdu);
  EXPECT_EQ(target_.heard[command_].arrived, 1);
  EXPECT_EQ(store_, Data());
  Send(pdu);
  ExpectTermination(fes::kInvalidHeaderField, 10, pdu);
  EXPECT_EQ(target_.heard[command_].arrived, 1);
}

TEST_F(TcpDamageTest, RefusesOffsetsAndLengthsOutOfTheR2T) {
  struct Case {
    uint32_t offset, bytes;
    uint16_t fes;
  };
  for (const Case& c : {
           Case{1, kBytes - 1, fes::kDataTransferOutOfRange},
           Case{0, kBytes + 1, fes::kDataTransferOutOfRange},
           Case{kBytes, 1, fes::kDataTransferOutOfRange},
           Case{kBytes - 1, 2, fes::kDataTransferOutOfRange},
           Case{0xffffffff, 1, fes::kDataTransferOutOfRange},
           Case{0xffffffff, 512, fes::kDataTransferOutOfRange},
           Case{0xfffffe00, 512, fes::kDataTransferOutOfRange},
           Case{0x80000000, 512, fes::kDataTransferOutOfRange},
       }) {
    OpenWithWrite();
    const Bytes pdu = H2CData(3, ttag_, c.offset, Data(c.bytes));
    Send(pdu);
    ExpectTermination(c.fes, 0, pdu);
    EXPECT_TRUE(store_untouched()) << c.offset << " " << c.bytes;
  }
}

TEST_F(TcpDamageTest, RefusesLengthsThatPlenDoesNotHave) {
  for (const uint32_t datal :
       {0u, 1u, kBytes - 1, kBytes + 1, 0x80000000u, 0xffffffffu, 0xffffffffu - kBytes}) {
    OpenWithWrite();
    Bytes pdu = H2CData(3, ttag_, 0, Data());
    PutLe32(pdu, 16, datal);
    Send(pdu);
    ExpectTermination(fes::kInvalidHeaderField, 4, pdu);
    EXPECT_TRUE(store_untouched());
  }
}

TEST_F(TcpDamageTest, RefusesAHugePduByItsHeaderAlone) {
  for (const uint32_t datal : {128u * 1024 + 1, 0x7fffffffu, 0xffffffe7u}) {
    OpenWithWrite();
    Bytes pdu = H2CData(3, ttag_, 0, {});
    pdu[3] = 24;
    PutLe32(pdu, 4, 24 + datal);
    PutLe32(pdu, 16, datal);
    Send(pdu);
    if (24 + datal < 24) {
      ExpectTermination(fes::kInvalidHeaderField, 4, pdu);
    } else {
      ExpectTermination(fes::kDataTransferLimitExceeded, 0, pdu);
    }
  }
}

TEST_F(TcpDamageTest, RefusesDataWithoutData) {
  OpenWithWrite();
  const Bytes pdu = H2CData(3, ttag_, 0, {});
  Send(pdu);
  ExpectTermination(fes::kInvalidHeaderField, 16, pdu);
}

TEST_F(TcpDamageTest, RefusesPiecesThatOverlapOrComeOutOfOrder) {
  for (const uint32_t second : {0u, 999u, 1001u, 2000u}) {
    OpenWithWrite();
    Send(H2CData(3, ttag_, 0, Data(1000), 0));
    const Bytes pdu = H2CData(3, ttag_, second, Data(1000), 0);
    Send(pdu);
    ExpectTermination(fes::kDataTransferOutOfRange, 0, pdu);
  }
}

TEST_F(TcpDamageTest, RefusesALastPduThatIsNotOrIsNotSaidToBe) {
  OpenWithWrite();
  Bytes pdu = H2CData(3, ttag_, 0, Data(1000), kLast);
  Send(pdu);
  ExpectTermination(fes::kInvalidHeaderField, 1, pdu);
  OpenWithWrite();
  pdu = H2CData(3, ttag_, 0, Data(), 0);
  Send(pdu);
  ExpectTermination(fes::kInvalidHeaderField, 1, pdu);
}

TEST_F(TcpDamageTest, OutlivesAHostThatClosesAtAnyByteOfItsData) {
  for (const bool digests : {false, true}) {
    header_digest_ = data_digest_ = digests;
    OpenWithWrite();
    const size_t size = H2CData(3, ttag_, 0, Data()).size();
    for (size_t bytes = 0; bytes < size; bytes += bytes < 100 ? 1 : 997) {
      OpenWithWrite();
      const Bytes pdu = H2CData(3, ttag_, 0, Data());
      Send(Bytes(pdu.begin(), pdu.begin() + static_cast<ptrdiff_t>(bytes)));
      EXPECT_TRUE(target_.heard[command_].arrived == 0);
      HangUp();
      Settle();
      ASSERT_TRUE(HasEnded()) << bytes;
      EXPECT_TRUE(target_.heard[command_].abandoned);
    }
  }
}

// --- Data digests cost the command, not the connection.

TEST_F(TcpDamageTest, EndsACommandWhoseCapsuleDataIsDamaged) {
  data_digest_ = true;
  for (const bool header_digest : {false, true}) {
    header_digest_ = header_digest;
    OpenQueue();
    Bytes pdu = InCapsule(5, Data(4096));
    pdu[pdu.size() - 100] ^= 1;
    Bytes store(4096, 0xee);
    const iovec part{store.data(), store.size()};
    target_.on_start = [&](Command& c) {
      if (c.data_bytes > 0) target_.Want(c, 0, {&part, 1});
    };
    SendAll({pdu, Capsule({.opcode = kFlush, .cid = 6})});
    target_.on_start = {};
    ExpectResponse(ReceiveOne(), 5, kTransientTransportError);
    EXPECT_EQ(store, Bytes(4096, 0xee)) << "damaged data reached the disk";
    target_.End(Started());
    ExpectResponse(ReceiveOne(), 6);
  }
}

TEST_F(TcpDamageTest, EndsACommandWhoseDataIsDamaged) {
  data_digest_ = true;
  for (const uint32_t piece : {kBytes, 5'000u}) {
    for (uint32_t damaged = 0; damaged < kBytes; damaged += piece) {
      OpenWithWrite();
      for (uint32_t at = 0; at < kBytes; at += piece) {
        Bytes pdu = H2CData(3, ttag_, at, Data(piece), at + piece == kBytes ? kLast : uint8_t{0});
        if (at == damaged) pdu.back() ^= 0x80;
        Send(pdu);
      }
      EXPECT_EQ(target_.heard[command_].arrived, 0);
      EXPECT_EQ(target_.heard[command_].dropped, 1);
      ExpectResponse(ReceiveOne(), 3, kTransientTransportError);
      BeginWrite(4);
      target_.on_arrived = [&](Command& c) { target_.End(c); };
      Send(H2CData(4, ttag_, 0, Data()));
      ExpectResponse(ReceiveOne(), 4);
      target_.on_arrived = {};
    }
  }
}

// --- Descriptors.

TEST_F(TcpDamageTest, AnswersEveryWrongDescriptorType) {
  OpenQueue();
  for (unsigned type = 0; type < 256; ++type) {
    const auto sgl = static_cast<uint8_t>(type);
    if (sgl == kTransportSgl) continue;
    Send(Capsule({.opcode = kRead, .cid = 8, .sgl_type = sgl, .sgl_bytes = 512}));
    ExpectResponse(ReceiveOne(), 8, kSglTypeInvalid | kDnrBit);
    EXPECT_TRUE(target_.started.empty());
    if (sgl == kOffsetSgl) continue;
    Send(Capsule({.opcode = kWrite, .cid = 8, .sgl_type = sgl, .sgl_bytes = 512}));
    store_.resize(512);
    const iovec part{store_.data(), store_.size()};
    target_.Want(Started(), 0, {&part, 1});
    ExpectResponse(ReceiveOne(), 8, kSglTypeInvalid | kDnrBit);
  }
}

TEST_F(TcpDamageTest, AnswersDescriptorsThatPointOutOfTheCapsule) {
  OpenQueue();
  store_.resize(8192);
  struct Case {
    uint64_t address;
    uint32_t bytes;
    uint16_t status;
  };
  for (const Case& c : {
           Case{0, 513, kSglDataLengthInvalid},
           Case{1, 512, kSglDataLengthInvalid},
           Case{512, 1, kSglDataLengthInvalid},
           Case{513, 1, kSglOffsetInvalid},
           Case{0xffffffff, 512, kSglOffsetInvalid},
           Case{~uint64_t{0}, 1, kSglOffsetInvalid},
           Case{~uint64_t{0} - 511, 512, kSglOffsetInvalid},
           Case{0, 0xffffffff, kSglDataLengthInvalid},
           Case{512, 0xffffffff, kSglDataLengthInvalid},
       }) {
    Send(Capsule({.opcode = kWrite,
                  .cid = 8,
                  .sgl_type = kOffsetSgl,
                  .sgl_address = c.address,
                  .sgl_bytes = c.bytes,
                  .data = Data(512)}));
    const iovec part{store_.data(), std::min<size_t>(c.bytes, store_.size())};
    target_.Want(Started(), 0, {&part, 1});
    ExpectResponse(ReceiveOne(), 8, c.status | kDnrBit);
  }
}

TEST_F(TcpDamageTest, TakesNoMoreInCapsuleDataThanItsQueueAllows) {
  options_.in_capsule_data_size = 4096;
  for (const uint16_t qid : {uint16_t{0}, uint16_t{1}}) {
    OpenQueue(qid);
    Send(InCapsule(8, Data(8192)));
    store_.resize(8192);
    const iovec part{store_.data(), store_.size()};
    if (qid == 0) target_.on_arrived = [&](Command& c) { target_.End(c); };
    target_.Want(Started(), 0, {&part, 1});
    target_.on_arrived = {};
    ExpectResponse(ReceiveOne(), 8, qid == 0 ? uint16_t{0} : kSglDataLengthInvalid | kDnrBit);
  }
}

TEST_F(TcpDamageTest, RefusesACapsuleOfMoreThanAnyQueueTakes) {
  for (const size_t bytes : {size_t{8193}, size_t{100'000}}) {
    OpenQueue();
    const Bytes pdu = InCapsule(8, Data(bytes));
    Send(pdu);
    ExpectTermination(fes::kDataTransferLimitExceeded, 0, pdu);
    EXPECT_TRUE(target_.started.empty());
  }
}

TEST_F(TcpDamageTest, AnswersPrpsAndMetadataDescriptors) {
  OpenQueue();
  for (const uint8_t psdt : {uint8_t{0x00}, uint8_t{0x80}, uint8_t{0xc0}}) {
    Send(Capsule({.opcode = kRead, .cid = 8, .sgl_bytes = 512, .flags = psdt}));
    ExpectResponse(ReceiveOne(), 8, kInvalidField | kDnrBit);
  }
}

TEST_F(TcpDamageTest, IgnoresTheDescriptorOfACommandWithoutData) {
  OpenQueue();
  Send(
      Capsule({.opcode = kFlush, .cid = 8, .sgl_type = 0xff, .sgl_bytes = 0xffffffff, .flags = 0}));
  EXPECT_EQ(Started().data_bytes, 0u);
  Send(Capsule({.opcode = kRead, .cid = 9, .sgl_type = 0xff, .sgl_bytes = 0, .flags = 0}));
  EXPECT_EQ(Started(1).data_bytes, 0u);
}

// --- Commands that end before their data has come.

TEST_F(TcpDamageTest, ThrowsAwayWhatAnEndedCommandAskedFor) {
  for (const bool digests : {false, true}) {
    header_digest_ = data_digest_ = digests;
    OpenWithWrite();
    command_->OnDataUnwanted();
    EXPECT_EQ(target_.heard[command_].dropped, 1) << "at once";
    EXPECT_TRUE(Receive().empty()) << "the host would use the CID again";
    store_.assign(kBytes, 0xee);
    Send(H2CData(3, ttag_, 0, Data()));
    ExpectResponse(ReceiveOne(), 3, kAbortRequested);
    EXPECT_TRUE(store_untouched());
    BeginWrite(3);
    target_.on_arrived = [&](Command& c) { target_.End(c); };
    Send(H2CData(3, ttag_, 0, Data()));
    ExpectResponse(ReceiveOne(), 3);
    target_.on_arrived = {};
  }
}

TEST_F(TcpDamageTest, ThrowsAwayTheRestOfWhatIsBeingReceived) {
  // A ring has the place already: what comes next still goes there.
  const bool at_once = kind_ == StreamKind::kEpoll;
  OpenWithWrite();
  const Bytes pdu = H2CData(3, ttag_, 0, Data());
  Send(Bytes(pdu.begin(), pdu.begin() + 9'000));
  command_->OnDataUnwanted();
  command_->OnDataUnwanted();
  EXPECT_EQ(target_.heard[command_].dropped, at_once ? 1 : 0);
  store_.assign(kBytes, 0xee);
  Send(Bytes(pdu.begin() + 9'000, pdu.end()));
  EXPECT_EQ(target_.heard[command_].dropped, 1);
  ExpectResponse(ReceiveOne(), 3, kAbortRequested);
  EXPECT_TRUE(store_untouched() || !at_once);
}

TEST_F(TcpDamageTest, StillChecksWhatItThrowsAway) {
  OpenWithWrite();
  command_->OnDataUnwanted();
  const Bytes pdu = H2CData(3, ttag_, 1, Data());
  Send(pdu);
  ExpectTermination(fes::kDataTransferOutOfRange, 0, pdu);
}

TEST_F(TcpDamageTest, SendsWhatIsBeingSentAlthoughItIsUnwanted) {
  OpenQueue();
  Send(ReadCapsule(1, 4096));
  Bytes data = Data(4096);
  const iovec part{data.data(), data.size()};
  Command& command = Started();
  target_.Give(command, 0, {&part, 1});
  command.OnDataUnwanted();
  EXPECT_EQ(target_.heard[&command].dropped, 0);
  EXPECT_EQ(DataOf(ReceiveOne()), data);
}

TEST_F(TcpDamageTest, OutlivesAHostThatIsGoneWhileAnythingIsUnderWay) {
  OpenWithWrite();
  Send(ReadCapsule(10, 4096));
  Send(ReadCapsule(11, 4096));
  Send(InCapsule(12, Data(4096)));
  Send(Capsule({.opcode = kFlush, .cid = 13}));
  for (uint16_t cid = 20; cid < 40; ++cid) Send(ReadCapsule(cid, 128 * 1024));
  Bytes data = Data(4096);
  const iovec part{data.data(), data.size()};
  HangUp();
  Command& burst = *target_.started[1];
  Command& whole = *target_.started[2];
  target_.Give(burst, 0, {&part, 1}, /*last=*/false);
  target_.Give(whole, 0, {&part, 1});
  Settle();
  EXPECT_TRUE(HasEnded());
  EXPECT_EQ(target_.heard[&burst].sent, 0);
  EXPECT_TRUE(target_.heard[&burst].abandoned);
  EXPECT_TRUE(target_.started.empty());
}

TEST_F(TcpDamageTest, EndsWhenTheTargetWantsIt) {
  for (const bool when_sent : {false, true}) {
    OpenQueue();
    Send(Capsule({.opcode = kFlush, .cid = 1}));
    target_.End(Started());
    target_.queue->carrier().OnEndWanted("a test wants it", when_sent);
    target_.queue->carrier().OnEndWanted("a test wants it twice", when_sent);
    const std::vector<Bytes> pdus = Receive();
    ASSERT_EQ(pdus.size(), when_sent ? 2u : 1u);
    EXPECT_TRUE(pdus.back().empty());
    EXPECT_TRUE(HasEnded());
  }
}

}  // namespace
}  // namespace pollux::nvmf
