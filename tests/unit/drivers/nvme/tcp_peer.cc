#include "tests/unit/drivers/nvme/tcp_peer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/accel/crc32c.h"
#include "core/check.h"

namespace pollux::nvme {
namespace {

using nvme_tcp::CapsuleCmd;
using nvme_tcp::CapsuleResp;
using nvme_tcp::CommonHeader;
using nvme_tcp::DataPdu;
using nvme_tcp::PduType;

constexpr uint8_t kFes = sizeof(CommonHeader);

template <typename T>
T Load(const std::byte* from) {
  T object;
  memcpy(static_cast<void*>(&object), from, sizeof(object));
  return object;
}

uint32_t LengthOf(const SubmissionEntry& sqe) { return static_cast<uint32_t>(sqe.prp2); }

void SetText(char* into, size_t bytes, const char* text) {
  memset(into, ' ', bytes);
  memcpy(into, text, strlen(text));
}

template <typename T>
std::vector<std::byte> Page(const T& object) {
  std::vector<std::byte> page(4096);
  memcpy(page.data(), &object, sizeof(object));
  return page;
}

}  // namespace

TcpPeer::TcpPeer(Options options) : options_(options), disk_(kDiskBytes) { Listen(); }

void TcpPeer::Listen() {
  listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port_);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  CHECK(listen(listener_.get(), 64) == 0);
  socklen_t bytes = sizeof(address);
  CHECK(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &bytes) == 0);
  port_ = ntohs(address.sin_port);
}

bool TcpPeer::Step() {
  bool something = false;
  for (;;) {
    if (!listener_.valid()) break;
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) break;
    const int on = 1;
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connections_.push_back(std::make_unique<Connection>(*this, std::move(fd)));
    ++connections_accepted;
    something = true;
  }
  for (size_t i = 0; i < connections_.size(); ++i) {
    if (!connections_[i]->closed()) something |= connections_[i]->Step();
  }
  return something;
}

TcpPeer::Connection* TcpPeer::OfQueue(int qid) {
  for (auto at = connections_.rbegin(); at != connections_.rend(); ++at) {
    if ((*at)->qid() == qid && !(*at)->closed()) return at->get();
  }
  return nullptr;
}

void TcpPeer::CloseAll() {
  for (const auto& connection : connections_) connection->Close();
}

// --- A connection.

bool TcpPeer::Connection::Step() {
  bool something = false, ended = false;
  std::byte buffer[65536];
  for (;;) {
    const ssize_t got = recv(fd_.get(), buffer, sizeof(buffer), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
    something = true;
    if (got <= 0) {
      ended = true;
      break;
    }
    in_.insert(in_.end(), buffer, buffer + got);
  }
  while (in_.size() >= sizeof(CommonHeader)) {
    const auto header = Load<CommonHeader>(in_.data());
    if (in_.size() < header.plen) break;
    const std::vector<std::byte> pdu(in_.begin(), in_.begin() + header.plen);
    in_.erase(in_.begin(), in_.begin() + header.plen);
    Handle(pdu.data(), pdu.size());
    something = true;
    if (closed()) return true;
  }
  if (ended) {
    Close();
    return true;
  }
  if (!out_.empty()) {
    const ssize_t sent = send(fd_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      out_.erase(out_.begin(), out_.begin() + sent);
      something = true;
    }
  }
  return something;
}

void TcpPeer::Connection::SendRaw(std::vector<std::byte> bytes) {
  out_.insert(out_.end(), bytes.begin(), bytes.end());
}

void TcpPeer::Connection::SendPdu(void* header, size_t hlen, uint8_t flags, const std::byte* data,
                                  size_t bytes, bool damage_digest) {
  auto& ch = *static_cast<CommonHeader*>(header);
  const bool digests = ch.type != PduType::kICResp && ch.type != PduType::kC2HTermReq;
  const bool hdgst = digests && header_digest_, ddgst = digests && data_digest_ && bytes > 0;
  ch.flags = static_cast<uint8_t>(flags | (hdgst ? nvme_tcp::kHdgstf : 0) |
                                  (ddgst ? nvme_tcp::kDdgstf : 0));
  ch.hlen = static_cast<uint8_t>(hlen);
  const size_t begin = hlen + (hdgst ? 4 : 0);
  ch.pdo = bytes > 0 ? static_cast<uint8_t>(begin) : uint8_t{0};
  ch.plen = static_cast<uint32_t>(begin + bytes + (ddgst ? 4 : 0));
  const auto* head = static_cast<const std::byte*>(header);
  std::vector<std::byte> pdu(head, head + hlen);
  const auto add_digest = [&pdu](uint32_t crc) {
    const Le32 digest = crc;
    const auto* at = reinterpret_cast<const std::byte*>(&digest);
    pdu.insert(pdu.end(), at, at + 4);
  };
  if (hdgst) add_digest(Crc32c({pdu.data(), hlen}));
  if (bytes > 0) pdu.insert(pdu.end(), data, data + bytes);
  if (ddgst) add_digest(Crc32c({data, bytes}) ^ (damage_digest ? 1u : 0u));
  SendRaw(std::move(pdu));
}

void TcpPeer::Connection::Respond(uint16_t cid, uint16_t status, uint32_t dw0, uint32_t dw1) {
  CapsuleResp response{};
  response.ch.type = PduType::kCapsuleResp;
  response.cqe.dw0 = dw0;
  response.cqe.dw1 = dw1;
  response.cqe.cid = cid;
  response.cqe.status = static_cast<uint16_t>(status << 1);
  SendPdu(&response, sizeof(response), 0);
}

void TcpPeer::Connection::SendData(uint16_t cid, uint32_t datao, const std::byte* data,
                                   uint32_t bytes, uint8_t flags, bool damage_digest) {
  DataPdu header{};
  header.ch.type = PduType::kC2HData;
  header.cccid = cid;
  header.datao = datao;
  header.datal = bytes;
  SendPdu(&header, sizeof(header), flags, data, bytes, damage_digest);
}

void TcpPeer::Connection::SendR2T(uint16_t cid, uint16_t ttag, uint32_t r2to, uint32_t r2tl) {
  nvme_tcp::R2T header{};
  header.ch.type = PduType::kR2T;
  header.cccid = cid;
  header.ttag = ttag;
  header.r2to = r2to;
  header.r2tl = r2tl;
  SendPdu(&header, sizeof(header), 0);
}

void TcpPeer::Connection::Deliver(uint16_t cid, const std::byte* data, uint32_t bytes) {
  for (uint32_t at = 0; at < bytes;) {
    const uint32_t part = std::min(bytes - at, peer_.options_.c2h_bytes);
    const bool last = at + part == bytes;
    const auto flags = static_cast<uint8_t>(
        last ? nvme_tcp::kLastPdu | (peer_.options_.success ? nvme_tcp::kSuccess : 0) : 0);
    SendData(cid, at, data + at, part, flags);
    at += part;
  }
  if (!peer_.options_.success) Respond(cid);
}

void TcpPeer::Connection::Handle(const std::byte* pdu, size_t bytes) {
  const auto header = Load<CommonHeader>(pdu);
  const size_t digested = size_t{header.hlen} + (header_digest_ ? 4 : 0);
  if (negotiated_ && header.type != PduType::kH2CTermReq && header_digest_) {
    CHECK(Load<Le32>(pdu + header.hlen) == Crc32c({pdu, header.hlen}), "the host's header digest");
  }
  const std::byte* data = pdu + header.pdo;
  size_t data_bytes = 0;
  if (header.pdo != 0) {
    CHECK(header.pdo >= digested && header.pdo % ((peer_.options_.cpda + 1u) * 4) == 0);
    data_bytes = bytes - header.pdo - (data_digest_ ? 4 : 0);
    if (data_digest_) {
      CHECK(Load<Le32>(data + data_bytes) == Crc32c({data, data_bytes}), "the host's data digest");
    }
  }
  switch (header.type) {
    case PduType::kICReq: {
      const auto request = Load<nvme_tcp::ICReq>(pdu);
      negotiated_ = true;
      if (peer_.on_icreq && peer_.on_icreq(*this)) return;
      nvme_tcp::ICResp response{};
      response.ch.type = PduType::kICResp;
      response.cpda = peer_.options_.cpda;
      response.maxh2cdata = peer_.options_.maxh2cdata;
      const bool hdgst = (request.dgst & 1) != 0 && peer_.options_.header_digest;
      const bool ddgst = (request.dgst & 2) != 0 && peer_.options_.data_digest;
      response.dgst = static_cast<uint8_t>((hdgst ? 1 : 0) | (ddgst ? 2 : 0));
      SendPdu(&response, sizeof(response), 0);
      header_digest_ = hdgst;
      data_digest_ = ddgst;
      return;
    }
    case PduType::kCapsuleCmd:
      return OnCapsule(Load<CapsuleCmd>(pdu).sqe, {data, data + data_bytes});
    case PduType::kH2CData:
      return OnH2CData(Load<DataPdu>(pdu), data);
    case PduType::kH2CTermReq: {
      const auto request = Load<nvme_tcp::TermReq>(pdu);
      fes_ = request.fes;
      fei_ = request.fei;
      static_assert(kFes == offsetof(nvme_tcp::TermReq, fes));
      peer_.terminations.push_back(fes_);
      return;
    }
    default:
      CHECK(false, "a PDU that no host sends");
  }
}

void TcpPeer::Connection::OnCapsule(const SubmissionEntry& sqe, std::vector<std::byte> in_capsule) {
  peer_.opcodes.push_back(sqe.opc);
  if (peer_.on_command && peer_.on_command(*this, sqe)) return;
  const uint8_t direction =
      (sqe.opc == admin::kFabrics ? static_cast<uint8_t>(sqe.nsid) : sqe.opc) & 3;
  if (direction == 1 && LengthOf(sqe) > in_capsule.size()) {
    CHECK(in_capsule.empty());
    writings_.push_back({sqe, std::vector<std::byte>(LengthOf(sqe))});
    return AskFor(writings_.back());
  }
  if (!in_capsule.empty() && sqe.opc != admin::kFabrics) ++peer_.in_capsule_writes;
  peer_.Execute(*this, sqe, in_capsule);
}

void TcpPeer::Connection::AskFor(Writing& writing) {
  const auto rest = static_cast<uint32_t>(writing.data.size()) - writing.asked;
  const uint32_t bytes = std::min(rest, peer_.options_.r2t_bytes);
  SendR2T(writing.sqe.cid, 0, writing.asked, bytes);
  writing.asked += bytes;
}

void TcpPeer::Connection::OnH2CData(const DataPdu& header, const std::byte* data) {
  peer_.h2c_bytes.push_back(header.datal);
  const auto found = std::find_if(writings_.begin(), writings_.end(), [&](const Writing& writing) {
    return writing.sqe.cid == header.cccid;
  });
  if (found == writings_.end()) return;  // The test asked.
  CHECK(header.datao == found->came && header.datao + header.datal <= found->asked);
  CHECK(header.datal <= peer_.options_.maxh2cdata);
  memcpy(found->data.data() + header.datao, data, header.datal);
  found->came += header.datal;
  const bool last = (header.ch.flags & nvme_tcp::kLastPdu) != 0;
  CHECK(last == (found->came == found->asked));
  if (!last) return;
  if (found->came < found->data.size()) return AskFor(*found);
  const Writing done = std::move(*found);
  writings_.erase(found);
  peer_.Execute(*this, done.sqe, done.data);
}

// --- Commands.

void TcpPeer::Execute(Connection& connection, const SubmissionEntry& sqe,
                      const std::vector<std::byte>& data) {
  if (sqe.opc == admin::kFabrics) return ExecuteFabrics(connection, sqe, data);
  if (connection.qid_ == 0) return ExecuteAdmin(connection, sqe);
  ExecuteIo(connection, sqe, data);
}

void TcpPeer::ExecuteFabrics(Connection& connection, const SubmissionEntry& sqe,
                             const std::vector<std::byte>& data) {
  switch (sqe.nsid) {
    case fctype::kConnect: {
      connect = std::bit_cast<ConnectCommand>(sqe);
      connected = Load<ConnectData>(data.data());
      connection.qid_ = connect.qid;
      if (connection.qid_ == 0) cc = 0;
      return connection.Respond(sqe.cid, 0, 1);  // CNTLID 1.
    }
    case fctype::kPropertySet:
      if (sqe.cdw11 == kCc.offset) cc = sqe.cdw12;
      if (cc::kShn.Get(cc) == 1) ++shutdowns;
      return connection.Respond(sqe.cid);
    case fctype::kPropertyGet: {
      // Queues of mqes + 1 entries, a time-out of 5 s, the NVM command set.
      const uint64_t cap = options_.mqes | uint64_t{10} << 24 | uint64_t{1} << 37;
      const uint32_t shst = (cc >> 14 & 3) != 0 ? 2 << 2 : 0;
      if (sqe.cdw11 == kCap.offset) {
        return connection.Respond(sqe.cid, 0, static_cast<uint32_t>(cap),
                                  static_cast<uint32_t>(cap >> 32));
      }
      if (sqe.cdw11 == kVs.offset) return connection.Respond(sqe.cid, 0, 0x020000);
      if (sqe.cdw11 == kCsts.offset) return connection.Respond(sqe.cid, 0, (cc & 1) | shst);
      return connection.Respond(sqe.cid, status::kInvalidField);
    }
    default:
      return connection.Respond(sqe.cid, status::kInvalidOpcode);
  }
}

void TcpPeer::ExecuteAdmin(Connection& connection, const SubmissionEntry& sqe) {
  switch (sqe.opc) {
    case admin::kIdentify: {
      const std::vector<std::byte> page = Identify(static_cast<uint8_t>(sqe.cdw10), sqe.nsid);
      if (page.empty()) return connection.Respond(sqe.cid, status::kInvalidField);
      return connection.Deliver(sqe.cid, page.data(), static_cast<uint32_t>(page.size()));
    }
    case admin::kSetFeatures: {
      const uint32_t most = options_.queues_max - 1u;
      const bool queues = (sqe.cdw10 & 0xff) == feature::kNumberOfQueues;
      return connection.Respond(sqe.cid, 0, queues ? most << 16 | most : 0);
    }
    case admin::kGetLogPage: {
      const std::vector<std::byte> page = LogPage(sqe);
      return connection.Deliver(sqe.cid, page.data(), static_cast<uint32_t>(page.size()));
    }
    case admin::kKeepAlive:
      ++keep_alives;
      return connection.Respond(sqe.cid);
    case admin::kAsyncEventRequest:
      held_event = sqe.cid;
      return;
    default:
      return connection.Respond(sqe.cid, status::kInvalidOpcode);
  }
}

std::vector<std::byte> TcpPeer::Identify(uint8_t cns, uint32_t nsid) const {
  switch (cns) {
    case cns::kController: {
      IdentifyController controller{};
      SetText(controller.sn, sizeof(controller.sn), "PEER0");
      SetText(controller.mn, sizeof(controller.mn), "Scripted peer");
      SetText(controller.fr, sizeof(controller.fr), "1");
      controller.cntrltype = options_.controller_type;
      controller.cntlid = 1;
      controller.ver = 0x020000;
      controller.sqes = 0x66;
      controller.cqes = 0x44;
      controller.maxcmd = 128;
      controller.nn = 1;
      controller.kas = 1;
      controller.oaes = 1u << 8 | (options_.controller_type == 2 ? 1u << 31 : 0);
      controller.oncs = oncs::kDsm | oncs::kWriteZeroes | oncs::kCompare;
      controller.sgls = 1 | 1 << 20;
      controller.ioccsz = (64 + options_.in_capsule_bytes) / 16;
      controller.iorcsz = 1;
      controller.icdoff = options_.icdoff;
      return Page(controller);
    }
    case cns::kNamespace: {
      IdentifyNamespace ns{};
      if (nsid != 1) return Page(ns);
      ns.nsze = ns.ncap = ns.nuse = kDiskBytes / kBlockBytes;
      ns.lbaf[0].lbads = 9;
      return Page(ns);
    }
    case cns::kActiveNamespaces: {
      Le32 list[2] = {nsid < 1 ? 1u : 0u, 0u};
      std::vector<std::byte> page(4096);
      memcpy(page.data(), list, sizeof(list));
      return page;
    }
    case cns::kNamespaceDescriptors:
      return std::vector<std::byte>(4096);
    default:
      return {};
  }
}

std::vector<std::byte> TcpPeer::LogPage(const SubmissionEntry& sqe) const {
  const size_t bytes = ((sqe.cdw10 >> 16 | (sqe.cdw11 & 0xffff) << 16) + 1) * size_t{4};
  const size_t offset = sqe.cdw12 | uint64_t{sqe.cdw13} << 32;
  std::vector<std::byte> page;
  if ((sqe.cdw10 & 0xff) == log_page::kDiscovery) {
    DiscoveryLogHeader header{};
    header.genctr = discovery_generation;
    header.numrec = discovery.size();
    page.resize(sizeof(header) + discovery.size() * sizeof(DiscoveryLogEntry));
    memcpy(page.data(), &header, sizeof(header));
    for (size_t i = 0; i < discovery.size(); ++i) {
      memcpy(page.data() + (i + 1) * sizeof(DiscoveryLogEntry), &discovery[i],
             sizeof(DiscoveryLogEntry));
    }
  }
  page.resize(std::max(page.size(), offset + bytes));
  return {page.begin() + static_cast<ptrdiff_t>(offset),
          page.begin() + static_cast<ptrdiff_t>(offset + bytes)};
}

void TcpPeer::ExecuteIo(Connection& connection, const SubmissionEntry& sqe,
                        const std::vector<std::byte>& data) {
  const uint64_t at = (sqe.cdw10 | uint64_t{sqe.cdw11} << 32) * kBlockBytes;
  const uint32_t bytes = ((sqe.cdw12 & 0xffff) + 1) * kBlockBytes;
  const bool moves = sqe.opc == io::kRead || sqe.opc == io::kWrite;
  if (moves && at + bytes > disk_.size())
    return connection.Respond(sqe.cid, status::kLbaOutOfRange);
  if (sqe.opc == io::kRead) return connection.Deliver(sqe.cid, disk_.data() + at, bytes);
  if (sqe.opc == io::kWrite) memcpy(disk_.data() + at, data.data(), bytes);
  connection.Respond(sqe.cid);
}

}  // namespace pollux::nvme
