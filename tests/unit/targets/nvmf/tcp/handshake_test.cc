#include "core/spec/nvme_tcp_spec.h"
#include "tests/unit/targets/nvmf/tcp/tcp_fixture.h"

namespace pollux::nvmf {
namespace {

namespace fes = nvme_tcp::fes;

class TcpHandshakeTest : public TcpTest {};

TEST_F(TcpHandshakeTest, AnswersWhatItsHostAskedFor) {
  for (int digests = 0; digests < 4; ++digests) {
    header_digest_ = (digests & 1) != 0;
    data_digest_ = (digests & 2) != 0;
    Open();
    Send(IcReq());
    const Bytes response = ReceiveOne();
    ASSERT_EQ(response.size(), 128u);
    EXPECT_EQ(response[0], kIcRespType);
    EXPECT_EQ(response[1], 0);
    EXPECT_EQ(response[2], 128);
    EXPECT_EQ(Le16At(response, 8), 0);  // PFV
    EXPECT_EQ(response[10], 0);         // CPDA
    EXPECT_EQ(response[11], digests);
    EXPECT_GE(Le32At(response, 12), 4096u);  // MAXH2CDATA
    EXPECT_TRUE(
        std::all_of(response.begin() + 16, response.end(), [](uint8_t b) { return b == 0; }));
  }
}

TEST_F(TcpHandshakeTest, TakesAnyNumberOfR2TsAndAnyAlignment) {
  for (const uint32_t maxr2t : {0u, 1u, 0x7fffffffu, 0xffffffffu}) {
    for (const uint8_t hpda : {uint8_t{0}, uint8_t{1}, uint8_t{31}}) {
      hpda_ = hpda;
      Open();
      Bytes request = IcReq();
      PutLe32(request, 12, maxr2t);
      Send(request);
      EXPECT_EQ(ReceiveOne()[0], kIcRespType);
    }
  }
}

TEST_F(TcpHandshakeTest, LooksAtNoReservedByte) {
  Open();
  Bytes request = IcReq();
  request[1] = 0xfc;
  request[3] = 0xff;
  request[11] |= 0xfc;
  std::fill(request.begin() + 16, request.end(), 0xff);
  Send(request);
  EXPECT_EQ(ReceiveOne()[11], 0);
}

TEST_F(TcpHandshakeTest, ConnectsAQueueAndTellsSo) {
  Open();
  Shake();
  EXPECT_EQ(connected_, 0);
  Connect();
  EXPECT_EQ(connected_, 1);
  EXPECT_EQ(target_.queue->state(), Queue::State::kIo);
}

TEST_F(TcpHandshakeTest, EndsWithItsHost) {
  OpenQueue();
  HangUp();
  Settle();
  EXPECT_TRUE(HasEnded());
  EXPECT_EQ(target_.queues_ended, 1);
}

TEST_F(TcpHandshakeTest, DoesNotWaitForeverForAHost) {
  Open();
  clock_.Advance(TcpConnection::kConnectNs - 1);
  Settle();
  EXPECT_FALSE(HasEnded());
  clock_.Advance(1);
  Settle();
  EXPECT_TRUE(HasEnded());

  Open();
  Shake();
  clock_.Advance(TcpConnection::kConnectNs);
  Settle();
  EXPECT_TRUE(HasEnded());

  OpenQueue();
  clock_.Advance(10 * TcpConnection::kConnectNs);
  Settle();
  EXPECT_FALSE(HasEnded());
}

TEST_F(TcpHandshakeTest, OutlivesAHostThatClosesAtAnyByte) {
  Bytes stream = IcReq();
  Open();
  shaken_ = true;
  const Bytes capsule = InCapsule(1, Pattern(64));
  stream.insert(stream.end(), capsule.begin(), capsule.end());
  for (size_t bytes = 0; bytes <= stream.size(); ++bytes) {
    Open();
    Send(Bytes(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(bytes)));
    HangUp();
    Settle();
    ASSERT_TRUE(HasEnded()) << bytes;
  }
}

// --- Damage: CVE-2023-5178 is a bad ICReq.

TEST_F(TcpHandshakeTest, RefusesAnotherVersion) {
  for (const uint32_t pfv : {1u, 0x100u, 0xffffu}) {
    Open();
    Bytes request = IcReq();
    PutLe16(request, 8, pfv);
    Send(request);
    ExpectTermination(fes::kUnsupportedParameter, 8, request);
  }
}

TEST_F(TcpHandshakeTest, RefusesAnAlignmentOutOfRange) {
  for (const uint8_t hpda : {uint8_t{32}, uint8_t{128}, uint8_t{255}}) {
    Open();
    Bytes request = IcReq();
    request[10] = hpda;
    Send(request);
    ExpectTermination(fes::kInvalidHeaderField, 10, request);
  }
}

TEST_F(TcpHandshakeTest, OutlivesAnyOneDamagedByteOfICReqWithDigestsOn) {
  header_digest_ = data_digest_ = true;
  for (size_t at = 0; at < 128; ++at) {
    for (const uint8_t flip : {uint8_t{0x01}, uint8_t{0x80}, uint8_t{0xff}}) {
      Open();
      Bytes request = IcReq();
      request[at] ^= flip;
      Send(request);
      HangUp();
      Settle();
      ASSERT_TRUE(HasEnded()) << at;
    }
  }
}

TEST_F(TcpHandshakeTest, RefusesASecondICReq) {
  for (const bool with_queue : {false, true}) {
    Open();
    Shake();
    if (with_queue) Connect();
    Send(IcReq());
    ExpectTermination(fes::kSequenceError, 0, IcReq());
  }
}

TEST_F(TcpHandshakeTest, RefusesAnythingBeforeICReq) {
  for (const Bytes& pdu : {ReadCapsule(1, 512), H2CData(1, 1, 0, Pattern(512))}) {
    Open();
    Send(pdu);
    ExpectTermination(fes::kSequenceError, 0, pdu);
    EXPECT_TRUE(target_.started.empty());
  }
}

TEST_F(TcpHandshakeTest, RefusesPdusOfATarget) {
  for (const uint8_t type : {kIcRespType, kC2HTermType, kResponseType, kC2HDataType, kR2tType}) {
    OpenQueue();
    Bytes pdu = ReadCapsule(1, 512);
    pdu[0] = type;
    pdu.resize(24);
    PutLe32(pdu, 4, 24);
    Send(pdu);
    ExpectTermination(fes::kSequenceError, 0, pdu);
  }
}

TEST_F(TcpHandshakeTest, ClosesWhenItsHostTerminates) {
  for (const bool with_queue : {false, true}) {
    Open();
    if (with_queue) Shake();
    Bytes request(24 + 8);
    request[0] = kH2CTermType;
    request[2] = 24;
    PutLe32(request, 4, 32);
    PutLe16(request, 8, 2);
    Send(request);
    ExpectEndWithoutAnswer();
  }
}

TEST_F(TcpHandshakeTest, DoesNotAnswerADamagedTerminateRequestWithAnother) {
  OpenQueue();
  Bytes request(24);
  request[0] = kH2CTermType;
  request[2] = 24;
  PutLe32(request, 4, 0xffffffff);
  Send(request);
  ExpectEndWithoutAnswer();
}

TEST_F(TcpHandshakeTest, TerminatesOnAWrongHeaderDigest) {
  header_digest_ = true;
  OpenQueue();
  Bytes pdu = ReadCapsule(1, 512);
  pdu[72] ^= 1;
  Send(pdu);
  ExpectTermination(fes::kHeaderDigestError, Le32At(pdu, 72), pdu);
  EXPECT_TRUE(target_.started.empty());
}

TEST_F(TcpHandshakeTest, DropsWhatComesBehindAViolation) {
  OpenQueue();
  const Bytes wrong = H2CData(1, 0, 0, Pattern(512));
  SendAll({wrong, ReadCapsule(1, 512)});
  ExpectTermination(fes::kInvalidHeaderField, 10, wrong);
  EXPECT_TRUE(target_.started.empty());
}

}  // namespace
}  // namespace pollux::nvmf
