#include "tests/unit/targets/nvmf/tcp/tcp_fixture.h"

#include <sys/socket.h>

#include <algorithm>

#include "core/accel/crc32c.h"
#include "core/run_on.h"

namespace pollux::nvmf {
namespace {

uint32_t DigestOf(const Bytes& bytes, size_t from, size_t count) {
  return Crc32c(std::as_bytes(std::span(bytes)).subspan(from, count));
}

struct Step final : Message {
  explicit Step(std::function<void()> a) : action(std::move(a)) {}
  void Run() override { action(); }
  std::function<void()> action;
};

}  // namespace

TcpTest::TcpTest() : reactors_(*Reactors::MakeStill({}, clock_)) {
  if (kind_ == StreamKind::kUring) ring_ = *ReactorRing::Make(reactor(), {});
  const Worker::Environment environment{.reactor = (*reactors_)[0],
                                        .control = (*reactors_)[0],
                                        .control_side = *this,
                                        .small_buffers = buffers_,
                                        .large_buffers = buffers_};
  worker_ = std::make_unique<Worker>(environment);
}

TcpTest::~TcpTest() {
  HangUp();
  if (group_ != nullptr) {
    Settle();
    // Some tests leave it half open.
    Step close([this] { group_->CloseAll(0, "the test ends"); });
    reactor().Post(close);
    Settle();
  }
}

void TcpTest::Open() {
  if (group_ == nullptr) group_ = std::make_unique<ConnectionGroup>(*worker_, kind_, options_);
  HangUp();
  Settle();
  gone_ = connected_ = 0;
  shaken_ = false;
  received_.clear();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  host_.Reset(ends[0]);
  Arrival arrival{.home = this,
                  .id = next_id_++,
                  .listener_id = 1,
                  .socket = UniqueFd(ends[1]),
                  .peer = *SocketAddress::Parse("127.0.0.1", 4711)};
  Step adopt([&] { group_->Adopt(std::move(arrival)); });
  reactor().Post(adopt);
  Settle();
}

void TcpTest::Shake() {
  Send(IcReq());
  const Bytes response = ReceiveOne();
  ASSERT_EQ(response.size(), 128u);
  EXPECT_EQ(response[0], kIcRespType);
  shaken_ = true;
}

void TcpTest::Connect(uint16_t qid) {
  CapsuleSpec spec{.opcode = 0x7f, .cid = 0};
  Bytes capsule = Capsule(spec);
  capsule[8 + 4] = 0x01;  // FCTYPE
  PutLe16(capsule, 8 + 42, qid);
  Seal(capsule, 0);
  Send(capsule);
  ExpectResponse(ReceiveOne(), 0);
}

// --- PDUs.

Bytes TcpTest::IcReq() const {
  Bytes pdu(128);
  pdu[0] = kIcReqType;
  pdu[2] = 128;
  PutLe32(pdu, 4, 128);
  pdu[10] = hpda_;
  pdu[11] = static_cast<uint8_t>((header_digest_ ? 1 : 0) | (data_digest_ ? 2 : 0));
  return pdu;
}

Bytes TcpTest::Capsule(const CapsuleSpec& spec) const {
  Bytes pdu(72);
  pdu[0] = kCapsuleType;
  pdu[2] = 72;
  const size_t head = 72 + (header_digest_ && shaken_ ? 4u : 0);
  pdu.resize(head);
  pdu[3] = spec.data.empty() ? uint8_t{0} : static_cast<uint8_t>(head);
  pdu[8] = spec.opcode;
  pdu[9] = spec.flags;
  PutLe16(pdu, 10, spec.cid);
  for (size_t i = 0; i < 8; ++i) {
    pdu[32 + i] = static_cast<uint8_t>(spec.sgl_address >> 8 * i);
  }
  PutLe32(pdu, 40, spec.sgl_bytes);
  pdu[47] = spec.sgl_type;
  pdu.insert(pdu.end(), spec.data.begin(), spec.data.end());
  Seal(pdu, spec.data.size());
  return pdu;
}

Bytes TcpTest::H2CData(uint16_t cid, uint16_t ttag, uint32_t offset, const Bytes& data,
                       uint8_t flags) const {
  const size_t head = 24 + (header_digest_ ? 4u : 0);
  Bytes pdu(head);
  pdu[0] = kH2CDataType;
  pdu[1] = flags;
  pdu[2] = 24;
  pdu[3] = static_cast<uint8_t>(head);
  PutLe16(pdu, 8, cid);
  PutLe16(pdu, 10, ttag);
  PutLe32(pdu, 12, offset);
  PutLe32(pdu, 16, static_cast<uint32_t>(data.size()));
  pdu.insert(pdu.end(), data.begin(), data.end());
  Seal(pdu, data.size());
  return pdu;
}

// Its PLEN, too. A sealed PDU may be sealed again.
void TcpTest::Seal(Bytes& pdu, size_t data_bytes) const {
  const size_t hlen = pdu[2];
  const bool header_digest = header_digest_ && shaken_;
  const bool data_digest = data_digest_ && shaken_ && data_bytes > 0;
  const size_t head = hlen + (header_digest ? 4u : 0);
  pdu.resize(head + data_bytes + (data_digest ? 4u : 0));
  pdu[1] = static_cast<uint8_t>((pdu[1] & 0xfc) | (header_digest ? 1 : 0) | (data_digest ? 2 : 0));
  PutLe32(pdu, 4, static_cast<uint32_t>(pdu.size()));
  if (header_digest) PutLe32(pdu, hlen, DigestOf(pdu, 0, hlen));
  if (data_digest) PutLe32(pdu, head + data_bytes, DigestOf(pdu, head, data_bytes));
}

// --- What it does.

void TcpTest::Send(const Bytes& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t now =
        send(host_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (now < 0 && errno != EAGAIN) break;  // The target has closed: the test sees that.
    if (now > 0) sent += static_cast<size_t>(now);
    if (sent < bytes.size()) reactor().RunTurn();
  }
  Settle();
}

void TcpTest::SendAll(std::initializer_list<Bytes> pdus) {
  Bytes together;
  for (const Bytes& pdu : pdus) together.insert(together.end(), pdu.begin(), pdu.end());
  Send(together);
}

void TcpTest::Settle() {
  for (int quiet = 0; quiet < 4;) {
    bool busy = reactor().RunTurn() > 0;
    uint8_t buffer[65536];
    while (host_.valid()) {
      const ssize_t bytes = recv(host_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
      if (bytes <= 0) break;
      received_.insert(received_.end(), buffer, buffer + bytes);
      busy = true;
    }
    quiet = busy ? 0 : quiet + 1;
  }
}

std::vector<Bytes> TcpTest::Receive() {
  Settle();
  std::vector<Bytes> pdus;
  size_t at = 0;
  while (received_.size() - at >= 8) {
    const Bytes rest(received_.begin() + static_cast<ptrdiff_t>(at), received_.end());
    const size_t plen = Le32At(rest, 4);
    EXPECT_GE(plen, 8u);
    EXPECT_LE(plen, rest.size()) << "a PDU that was cut";
    if (plen < 8 || plen > rest.size()) break;
    Bytes pdu(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(plen));
    at += plen;
    if ((pdu[1] & 2) != 0) {
      EXPECT_EQ(Le32At(pdu, plen - 4), DigestOf(pdu, pdu[3], plen - 4 - pdu[3]));
      pdu.resize(plen - 4);
    }
    const bool digests = pdu[0] >= kCapsuleType;
    EXPECT_EQ((pdu[1] & 1) != 0, digests && header_digest_) << "type " << int{pdu[0]};
    if ((pdu[1] & 1) != 0) {
      EXPECT_EQ(Le32At(pdu, pdu[2]), DigestOf(pdu, 0, pdu[2]));
      if (pdu[0] != kC2HDataType) pdu.resize(pdu[2]);
    }
    pdus.push_back(pdu);
  }
  received_.erase(received_.begin(), received_.begin() + static_cast<ptrdiff_t>(at));
  uint8_t byte;
  if (host_.valid() && recv(host_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
    pdus.push_back({});
  }
  return pdus;
}

Bytes TcpTest::ReceiveOne() {
  const std::vector<Bytes> pdus = Receive();
  EXPECT_EQ(pdus.size(), 1u);
  return pdus.empty() ? Bytes(128) : pdus[0];
}

// --- What the PDUs say.

void TcpTest::PutLe16(Bytes& pdu, size_t at, uint32_t value) {
  pdu[at] = static_cast<uint8_t>(value);
  pdu[at + 1] = static_cast<uint8_t>(value >> 8);
}
void TcpTest::PutLe32(Bytes& pdu, size_t at, uint32_t value) {
  PutLe16(pdu, at, value);
  PutLe16(pdu, at + 2, value >> 16);
}

void TcpTest::ExpectResponse(const Bytes& pdu, uint16_t cid, uint16_t status) {
  ASSERT_EQ(pdu.size(), 24u);
  EXPECT_EQ(pdu[0], kResponseType);
  EXPECT_EQ(pdu[2], 24);
  EXPECT_EQ(CidOf(pdu), cid);
  EXPECT_EQ(StatusOf(pdu), status);
}

void TcpTest::ExpectTermination(uint16_t fes, uint32_t fei, const Bytes& at_fault) {
  const std::vector<Bytes> pdus = Receive();
  ASSERT_EQ(pdus.size(), 2u) << "a terminate request, and the end";
  const Bytes& request = pdus[0];
  ASSERT_GE(request.size(), 24u + 8);
  EXPECT_EQ(request[0], kC2HTermType);
  EXPECT_EQ(request[1], 0);
  EXPECT_EQ(request[2], 24);
  EXPECT_EQ(Le16At(request, 8), fes);
  EXPECT_EQ(Le32At(request, 10), fei);
  ASSERT_LE(request.size() - 24, at_fault.size());
  EXPECT_LE(request.size(), 152u);
  EXPECT_TRUE(std::equal(request.begin() + 24, request.end(), at_fault.begin()));
  EXPECT_TRUE(pdus[1].empty());
  EXPECT_TRUE(HasEnded());
}

void TcpTest::ExpectEndWithoutAnswer() {
  const std::vector<Bytes> pdus = Receive();
  ASSERT_EQ(pdus.size(), 1u);
  EXPECT_TRUE(pdus[0].empty());
  EXPECT_TRUE(HasEnded());
}

Bytes TcpTest::Pattern(size_t bytes, uint8_t seed) {
  Bytes pattern(bytes);
  for (size_t i = 0; i < bytes; ++i) pattern[i] = static_cast<uint8_t>(seed * 13 + i + i / 251);
  return pattern;
}

}  // namespace pollux::nvmf
