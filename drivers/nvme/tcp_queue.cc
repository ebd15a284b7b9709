#include "drivers/nvme/tcp_queue.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>
#include <variant>

#include "core/accel/crc32c.h"
#include "core/check.h"

namespace pollux::nvme {
namespace {

using nvme_tcp::CapsuleCmd;
using nvme_tcp::CapsuleResp;
using nvme_tcp::CommonHeader;
using nvme_tcp::DataPdu;
using nvme_tcp::kDigestBytes;
using nvme_tcp::Pdu;
using nvme_tcp::PduReader;
using nvme_tcp::PduType;
using nvme_tcp::Violation;
namespace fes = nvme_tcp::fes;

// Read ahead: headers, and data that comes with them.
constexpr size_t kReadAheadBytes = 64 << 10;
// Of one PDU that a target may send: the data of the largest command, and its header.
constexpr uint32_t kPlenMax = (256u << 20) + 128;
// System calls of one turn, so that a quick target does not hold the owner.
constexpr int kReceivesMax = 8, kSendsMax = 8;
constexpr size_t kSendPartsMax = 256, kReceivePartsMax = 64;
constexpr uint16_t kConnectCid = 0xffff;
constexpr uint32_t kMaxH2CDataUnit = 4;

constexpr uint8_t kToController = 1, kFromController = 2;  // Opcode, bits 1:0. Base figure 87.

// Where an entry has its SGL descriptor.
struct DataPointer {
  Le64 first, second;
};

uint32_t Commands(uint16_t depth) { return 1u << std::bit_width(depth); }

SglDescriptor TransportBlock(uint8_t type, uint64_t address, uint32_t length) {
  SglDescriptor descriptor{};
  descriptor.address = address;
  descriptor.length = length;
  descriptor.type = type;
  return descriptor;
}

template <typename T>
std::span<const std::byte> BytesOf(const T& object) {
  return std::as_bytes(std::span(&object, 1));
}

std::byte* At(const SglDescriptor& piece) {
  return reinterpret_cast<std::byte*>(uint64_t{piece.address});
}

// Terminate requests, in words. §3.6.2.5.
const char* FesText(uint16_t status) {
  switch (status) {
    case fes::kInvalidHeaderField:
      return "invalid PDU header field";
    case fes::kSequenceError:
      return "PDU sequence error";
    case fes::kHeaderDigestError:
      return "header digest error";
    case fes::kDataTransferOutOfRange:
      return "data transfer out of range";
    case fes::kDataTransferLimitExceeded:
      return "data transfer limit exceeded";
    case fes::kUnsupportedParameter:
      return "unsupported parameter";
    default:
      return "an error of an unknown kind";
  }
}

}  // namespace

TcpQueue::TcpQueue(const Parts& parts)
    : parts_(parts),
      commands_mask_(Commands(parts.depth) - 1),
      commands_(std::make_unique<Command[]>(Commands(parts.depth))) {}

// --- Opening.

Status TcpQueue::Open(const Joining& joining) {
  Close();
  joining_ = joining;
  UniqueFd fd(socket(joining.address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrorOfErrno(errno, "no socket");
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (joining.user_timeout_ms > 0) {
    setsockopt(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &joining.user_timeout_ms,
               sizeof(joining.user_timeout_ms));
  }
  if (joining.source.has_value() &&
      bind(fd.get(), joining.source->address(), joining.source->length()) != 0) {
    return ErrorOfErrno(errno, absl::StrFormat("the host address %s cannot be used: %s",
                                               joining.source->ToString(), strerror(errno)));
  }
  if (connect(fd.get(), joining.address.address(), joining.address.length()) != 0 &&
      errno != EINPROGRESS) {
    const int error = errno;
    return ErrorOfErrno(error, absl::StrFormat("%s cannot be connected to: %s",
                                               joining.address.ToString(), strerror(error)));
  }
  if (parts_.event_set >= 0) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd.get();
    if (epoll_ctl(parts_.event_set, EPOLL_CTL_ADD, fd.get(), &event) != 0) {
      return ErrorOfErrno(errno, "a socket cannot be waited for");
    }
  }
  socket_ = std::move(fd);
  reader_.emplace(PduReader::End::kHost, kReadAheadBytes, kPlenMax);
  Enter(State::kConnecting);
  return OkStatus();
}

void TcpQueue::Close() {
  socket_.Reset();
  for (uint32_t i = 0; i <= commands_mask_; ++i) commands_[i].busy = commands_[i].queued = false;
  first_ = last_ = streaming_ = nullptr;
  blocked_ = hears_writable_ = false;
  header_digest_ = data_digest_ = false;
  sq_head_ = cq_tail_ = 0;
  cq_phase_ = 1;
  failure_ = OkStatus();
  broken_.store(false, std::memory_order_relaxed);
  Enter(State::kClosed);
}

bool TcpQueue::holds_changes() const {
  for (uint32_t i = 0; i <= commands_mask_; ++i) {
    const Command& command = commands_[i];
    if (command.busy && !command.reads && command.opc != io::kFlush) return true;
  }
  return false;
}

void TcpQueue::Cut() {
  if (socket_.valid()) shutdown(socket_.get(), SHUT_RDWR);
}

TcpQueue::State TcpQueue::Step() {
  if (state_ == State::kConnecting) {
    pollfd poll_fd = {socket_.get(), POLLOUT, 0};
    if (poll(&poll_fd, 1, 0) > 0) OnConnected();
  }
  if (state_ == State::kNegotiating || state_ == State::kJoining) {
    Flush();
    Receive();
    Flush();
  }
  return state_;
}

void TcpQueue::OnConnected() {
  int error = 0;
  socklen_t bytes = sizeof(error);
  getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &bytes);
  if (error != 0) {
    return Break(
        ErrorOfErrno(error, absl::StrFormat("%s cannot be connected to: %s",
                                            joining_.address.ToString(), strerror(error))));
  }
  SendIcReq();
  Enter(State::kNegotiating);
}

void TcpQueue::SendIcReq() {
  Command& command = commands_[0];
  nvme_tcp::ICReq request{};
  request.ch.type = PduType::kICReq;
  request.ch.hlen = sizeof(request);
  request.ch.plen = sizeof(request);
  request.dgst = static_cast<uint8_t>((joining_.header_digest ? nvme_tcp::kHdgstEnable : 0) |
                                      (joining_.data_digest ? nvme_tcp::kDdgstEnable : 0));
  static_assert(sizeof(request) == sizeof(command.header));
  std::memcpy(command.header.data(), &request, sizeof(request));
  command.header_bytes = sizeof(request);
  command.data_bytes = 0;
  command.digested = false;
  Enqueue(command);
}

void TcpQueue::OnIcResp(const Pdu& pdu) {
  const auto& response = *reinterpret_cast<const nvme_tcp::ICResp*>(pdu.header);
  if (response.pfv != 0) {
    return Refuse(fes::kUnsupportedParameter, offsetof(nvme_tcp::ICResp, pfv),
                  "the target speaks another version of NVMe/TCP", pdu);
  }
  if (response.cpda > nvme_tcp::kPdaMax) {
    return Refuse(fes::kInvalidHeaderField, offsetof(nvme_tcp::ICResp, cpda),
                  "CPDA is more than 31", pdu);
  }
  const uint32_t most = response.maxh2cdata;
  if (most < nvme_tcp::kMaxH2CDataMin || most % kMaxH2CDataUnit != 0) {
    return Refuse(fes::kInvalidHeaderField, offsetof(nvme_tcp::ICResp, maxh2cdata),
                  "MAXH2CDATA is less than 4096, or no multiple of 4", pdu);
  }
  const bool header = (response.dgst & nvme_tcp::kHdgstEnable) != 0;
  const bool data = (response.dgst & nvme_tcp::kDdgstEnable) != 0;
  if ((header && !joining_.header_digest) || (data && !joining_.data_digest)) {
    return Refuse(fes::kInvalidHeaderField, offsetof(nvme_tcp::ICResp, dgst),
                  "the target enables a digest that was not asked for", pdu);
  }
  // Who asks for digests does not trust the network: going on without would be no service.
  if (header != joining_.header_digest || data != joining_.data_digest) {
    return Break(NotSupported("the target does not use the digests that were asked for"));
  }
  header_digest_ = header;
  data_digest_ = data;
  cpda_ = response.cpda;
  maxh2cdata_ = most;
  reader_->Agree({.header_digest = header, .data_digest = data, .pda = 0});
  Enter(State::kJoining);
  SendConnect();
}

void TcpQueue::SendConnect() {
  static_assert(sizeof(SubmissionEntry) == sizeof(ConnectCommand));
  auto entry = std::bit_cast<SubmissionEntry>(joining_.command);
  entry.opc = admin::kFabrics;
  entry.flags = kPsdtSgl;
  entry.cid = kConnectCid;
  entry.prp1 = reinterpret_cast<uint64_t>(&joining_.data);
  entry.prp2 = sizeof(joining_.data);
  Take(entry);
}

// --- Ending.

void TcpQueue::Break(Status why) {
  if (state_ == State::kBroken) return;
  Enter(State::kBroken);
  // The socket stays open, as a name: the control thread may cut it at any time.
  shutdown(socket_.get(), SHUT_RDWR);
  first_ = last_ = streaming_ = nullptr;
  failure_ = std::move(why);
  broken_.store(true, std::memory_order_release);
  if (parts_.notice < 0) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(parts_.notice, &one, sizeof(one));
}

void TcpQueue::Refuse(uint16_t fes, uint32_t fei, const char* reason, const Pdu& pdu) {
  const auto* header = reinterpret_cast<const std::byte*>(pdu.header);
  Violate({fes, fei, reason, {header, pdu.header->hlen}});
}

void TcpQueue::Violate(const Violation& violation) {
  SendTermReq(violation);
  Break(DataLoss("queue %u: the target broke the protocol: %s", parts_.id, violation.reason));
}

// As far as it goes: whoever broke the protocol need not be waited for. In the midst of a PDU of
// ours it would be taken for data.
void TcpQueue::SendTermReq(const Violation& violation) {
  if (first_ != nullptr && first_->sent > 0) return;
  const size_t quoted = std::min(violation.header.size(), nvme_tcp::kTermReqDataMax);
  nvme_tcp::TermReq request{};
  request.ch.type = PduType::kH2CTermReq;
  request.ch.hlen = sizeof(request);
  request.ch.plen = static_cast<uint32_t>(sizeof(request) + quoted);
  request.fes = violation.fes;
  request.fei = violation.fei;
  std::array<std::byte, sizeof(request) + nvme_tcp::kTermReqDataMax> bytes;
  std::memcpy(bytes.data(), &request, sizeof(request));
  if (quoted > 0) {
    std::memcpy(bytes.data() + sizeof(request), violation.header.data(), quoted);
  }
  (void)send(socket_.get(), bytes.data(), sizeof(request) + quoted, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// --- Sending.

template <typename Visit>
void TcpQueue::ForPieces(const Command& command, uint32_t at, uint32_t bytes, Visit visit) {
  for (uint32_t i = 0; i < command.piece_count && bytes > 0; ++i) {
    const uint32_t length = command.pieces[i].length;
    if (at >= length) {
      at -= length;
      continue;
    }
    const uint32_t taken = std::min(bytes, length - at);
    if (!visit(At(command.pieces[i]) + at, taken)) return;
    bytes -= taken;
    at = 0;
  }
}

void TcpQueue::OnDoorbell(uint16_t tail) {
  if (state_ != State::kReady) return;
  while (sq_head_ != tail) {
    Take(parts_.sq[sq_head_]);
    if (++sq_head_ == parts_.depth) sq_head_ = 0;
  }
  if (!blocked_) Flush();
}

void TcpQueue::Take(const SubmissionEntry& entry) {
  const uint16_t cid = entry.cid;
  Command& command = commands_[cid & commands_mask_];
  CHECK(!command.busy);
  command.cid = cid;
  command.opc = entry.opc;
  command.busy = true;
  command.last_came = command.damaged = command.asked = false;
  command.received = command.given = 0;

  // One descriptor in the entry, or a segment of them in the slot's list: addresses are ours.
  command.one = std::bit_cast<SglDescriptor>(DataPointer{entry.prp1, entry.prp2});
  command.bytes = 0;
  if (command.one.type == kSglLastSegment) {
    command.pieces = reinterpret_cast<const SglDescriptor*>(At(command.one));
    command.piece_count = command.one.length / static_cast<uint32_t>(sizeof(SglDescriptor));
    for (uint32_t i = 0; i < command.piece_count; ++i) command.bytes += command.pieces[i].length;
  } else {
    command.pieces = &command.one;
    command.piece_count = 1;
    command.bytes = command.one.length;
  }
  const uint8_t direction =
      (entry.opc == admin::kFabrics ? static_cast<uint8_t>(entry.nsid) : entry.opc) & 3;
  command.writes = command.bytes > 0 && direction == kToController;
  command.reads = command.bytes > 0 && direction == kFromController;
  if (command.bytes > 0 && !command.writes && !command.reads) {
    // Both ways at once, or an opcode that has no data: there is no way to say it.
    return Complete(command, {0, 0, status::kInvalidField});
  }
  BuildCapsule(command, entry);
  Enqueue(command);
}

void TcpQueue::BuildCapsule(Command& command, const SubmissionEntry& entry) {
  auto& capsule = *reinterpret_cast<CapsuleCmd*>(command.header.data());
  capsule.ch.type = PduType::kCapsuleCmd;
  capsule.sqe = entry;
  capsule.sqe.flags = static_cast<uint8_t>((entry.flags & (kFuseFirst | kFuseSecond)) | kPsdtSgl);
  // Every command of a fabric may carry as much on the admin queue, and Connect everywhere.
  const bool in_capsule =
      command.writes &&
      command.bytes <= (command.cid == kConnectCid ? sizeof(ConnectData) : in_capsule_bytes_);
  const SglDescriptor where = in_capsule ? TransportBlock(kSglDataBlockOffset, 0, command.bytes)
                                         : TransportBlock(kSglTransportDataBlock, 0, command.bytes);
  const auto pointer = std::bit_cast<DataPointer>(where);
  capsule.sqe.prp1 = pointer.first;
  capsule.sqe.prp2 = pointer.second;
  command.data_at = 0;
  command.data_bytes = in_capsule ? command.bytes : 0;
  command.given = command.data_bytes;
  FinishHeader(command, sizeof(CapsuleCmd), 0);
}

// As much as one PDU may carry of what the R2T asked for.
void TcpQueue::BuildData(Command& command) {
  auto& header = *reinterpret_cast<DataPdu*>(command.header.data());
  const uint32_t bytes = std::min(maxh2cdata_, command.asked_until - command.given);
  header = DataPdu{};
  header.ch.type = PduType::kH2CData;
  header.cccid = command.cid;
  header.ttag = command.ttag;
  header.datao = command.given;
  header.datal = bytes;
  command.data_at = command.given;
  command.data_bytes = bytes;
  command.given += bytes;
  const bool last = command.given == command.asked_until;
  FinishHeader(command, sizeof(DataPdu), last ? nvme_tcp::kLastPdu : uint8_t{0});
}

// Lengths, digests and what lies before the data.
void TcpQueue::FinishHeader(Command& command, size_t hlen, uint8_t flags) {
  auto& header = *reinterpret_cast<CommonHeader*>(command.header.data());
  const bool has_data = command.data_bytes > 0;
  command.digested = has_data && data_digest_;
  header.flags = static_cast<uint8_t>(flags | (header_digest_ ? nvme_tcp::kHdgstf : 0) |
                                      (command.digested ? nvme_tcp::kDdgstf : 0));
  header.hlen = static_cast<uint8_t>(hlen);
  const size_t digested_hlen = hlen + (header_digest_ ? kDigestBytes : 0);
  size_t begin = digested_hlen;
  if (has_data) {
    const size_t unit = (cpda_ + 1u) * 4;
    begin = (digested_hlen + unit - 1) / unit * unit;
    std::memset(command.header.data() + digested_hlen, 0, begin - digested_hlen);
  }
  header.pdo = has_data ? static_cast<uint8_t>(begin) : uint8_t{0};
  header.plen = static_cast<uint32_t>(begin + command.data_bytes) +
                (command.digested ? static_cast<uint32_t>(kDigestBytes) : 0);
  if (header_digest_) {
    const Le32 digest = Crc32c({command.header.data(), hlen});
    std::memcpy(command.header.data() + hlen, &digest, sizeof(digest));
  }
  if (command.digested) {
    uint32_t crc = 0;
    ForPieces(command, command.data_at, command.data_bytes,
              [&crc](const std::byte* at, uint32_t bytes) {
                crc = Crc32c({at, bytes}, crc);
                return true;
              });
    command.digest = crc;
  }
  command.header_bytes = static_cast<uint32_t>(begin);
}

void TcpQueue::Enqueue(Command& command) {
  command.sent = 0;
  command.queued = true;
  command.next = nullptr;
  (last_ == nullptr ? first_ : last_->next) = &command;
  last_ = &command;
}

// What is to be sent, as far as there is room for its parts.
size_t TcpQueue::Gather(std::span<iovec> parts) const {
  size_t count = 0;
  for (const Command* command = first_; command != nullptr && count < parts.size();
       command = command->next) {
    uint32_t skip = command->sent;
    if (skip < command->header_bytes) {
      parts[count++] = {const_cast<std::byte*>(command->header.data()) + skip,
                        command->header_bytes - skip};
      skip = 0;
    } else {
      skip -= command->header_bytes;
    }
    if (skip < command->data_bytes) {
      uint32_t gathered = 0;
      ForPieces(*command, command->data_at + skip, command->data_bytes - skip,
                [&](std::byte* at, uint32_t bytes) {
                  if (count == parts.size()) return false;
                  parts[count++] = {at, bytes};
                  gathered += bytes;
                  return true;
                });
      if (gathered < command->data_bytes - skip) return count;
      skip = 0;
    } else {
      skip -= command->data_bytes;
    }
    if (command->digested && count < parts.size()) {
      parts[count++] = {
          const_cast<std::byte*>(reinterpret_cast<const std::byte*>(&command->digest)) + skip,
          kDigestBytes - skip};
    } else if (command->digested) {
      return count;
    }
  }
  return count;
}

void TcpQueue::Flush() {
  blocked_ = false;
  for (int i = 0; i < kSendsMax && first_ != nullptr && state_ != State::kBroken; ++i) {
    std::array<iovec, kSendPartsMax> parts;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = Gather(parts);
    const ssize_t sent = sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        blocked_ = true;
        return;
      }
      const int error = errno;
      Receive();  // What the target said last may lie in the socket still, and says more.
      return Break(ErrorOfErrno(error, absl::StrFormat("queue %u: the connection failed: %s",
                                                       parts_.id, strerror(error))));
    }
    Sent(static_cast<size_t>(sent));
  }
}

void TcpQueue::Sent(size_t bytes) {
  while (bytes > 0) {
    Command& command = *first_;
    const size_t whole =
        size_t{command.header_bytes} + command.data_bytes + (command.digested ? kDigestBytes : 0);
    const size_t taken = std::min(bytes, whole - command.sent);
    command.sent += static_cast<uint32_t>(taken);
    bytes -= taken;
    if (command.sent < whole) return;
    first_ = command.next;
    if (first_ == nullptr) last_ = nullptr;
    command.queued = false;
    WholePduSent(command);
  }
}

void TcpQueue::WholePduSent(Command& command) {
  if (!command.asked) return;
  if (command.given == command.asked_until) {
    command.asked = false;
    return;
  }
  // Behind what others have to send.
  BuildData(command);
  Enqueue(command);
}

// --- Receiving.

void TcpQueue::Work() {
  if (state_ != State::kReady) return;
  if (first_ != nullptr) Flush();
  Receive();
  if (first_ != nullptr && !blocked_) Flush();
}

bool TcpQueue::PrepareSleep() {
  if (state_ != State::kReady) return true;
  const bool wants_writable = first_ != nullptr;
  if (wants_writable && !blocked_) return false;
  if (wants_writable != hears_writable_ && parts_.event_set >= 0) {
    epoll_event event{};
    event.events = EPOLLIN | (wants_writable ? EPOLLOUT : 0u);
    event.data.fd = socket_.get();
    epoll_ctl(parts_.event_set, EPOLL_CTL_MOD, socket_.get(), &event);
    hears_writable_ = wants_writable;
  }
  return true;
}

void TcpQueue::Receive() {
  for (int i = 0; i < kReceivesMax; ++i) {
    if (state_ == State::kBroken || !ReceiveOnce()) return;
  }
}

bool TcpQueue::ReceiveOnce() {
  std::array<iovec, kReceivePartsMax> parts;
  size_t count = 0, wanted = 0;
  uint32_t direct = 0;
  if (reader_->streaming() > 0) {
    ForPieces(*streaming_, streaming_->received, reader_->streaming(),
              [&](std::byte* at, uint32_t bytes) {
                if (count == parts.size() - 1) return false;
                parts[count++] = {at, bytes};
                direct += bytes;
                return true;
              });
  }
  const size_t direct_parts = count;
  wanted = direct;
  if (direct == reader_->streaming()) {
    const std::span<std::byte> space = reader_->Space();
    parts[count++] = {space.data(), space.size()};
    wanted += space.size();
  }
  const ssize_t result = readv(socket_.get(), parts.data(), static_cast<int>(count));
  if (result < 0) {
    if (errno == EINTR) return true;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      Break(ErrorOfErrno(errno, absl::StrFormat("queue %u: the connection failed: %s", parts_.id,
                                                strerror(errno))));
    }
    return false;
  }
  if (result == 0) {
    Break(ErrorOfErrno(ECONNRESET,
                       absl::StrFormat("queue %u: the target closed the connection", parts_.id)));
    return false;
  }
  const auto got = static_cast<size_t>(result);
  size_t left = got;
  for (size_t i = 0; i < direct_parts && left > 0; ++i) {
    const size_t here = std::min(left, parts[i].iov_len);
    reader_->Streamed({static_cast<const std::byte*>(parts[i].iov_base), here});
    streaming_->received += static_cast<uint32_t>(here);
    left -= here;
  }
  if (left > 0) reader_->Received(left);
  HandleAll();
  return got == wanted;
}

void TcpQueue::HandleAll() {
  while (state_ != State::kBroken) {
    auto next = reader_->Next();
    if (const auto* pdu = std::get_if<Pdu>(&next)) {
      Handle(*pdu);
    } else if (const auto* end = std::get_if<PduReader::DataEnd>(&next)) {
      OnDataEnd(end->digest_ok);
    } else if (const auto* violation = std::get_if<Violation>(&next)) {
      return Violate(*violation);
    } else {
      return;
    }
  }
}

void TcpQueue::Handle(const Pdu& pdu) {
  const PduType type = pdu.header->type;
  if (type == PduType::kC2HTermReq) return OnTermReq(pdu);
  const bool negotiating = state_ == State::kNegotiating;
  if (negotiating != (type == PduType::kICResp)) {
    return Refuse(fes::kSequenceError, 0, negotiating ? "a PDU before ICResp" : "a second ICResp",
                  pdu);
  }
  switch (type) {
    case PduType::kICResp:
      return OnIcResp(pdu);
    case PduType::kCapsuleResp:
      return OnResponse(pdu);
    case PduType::kC2HData:
      return OnData(pdu);
    case PduType::kR2T:
      return OnR2T(pdu);
    case PduType::kC2HTermReq:
    case PduType::kICReq:
    case PduType::kH2CTermReq:
    case PduType::kCapsuleCmd:
    case PduType::kH2CData:
      break;  // The reader knows whose they are.
  }
}

// The command that an identifier names, once all of it is sent.
TcpQueue::Command* TcpQueue::Find(uint16_t cid) {
  Command& command = commands_[cid & commands_mask_];
  return command.busy && command.cid == cid ? &command : nullptr;
}

void TcpQueue::OnResponse(const Pdu& pdu) {
  const CompletionEntry& entry = reinterpret_cast<const CapsuleResp*>(pdu.header)->cqe;
  Command* const command = Find(entry.cid);
  if (command == nullptr) {
    return Refuse(fes::kInvalidHeaderField,
                  offsetof(CapsuleResp, cqe) + offsetof(CompletionEntry, cid),
                  "a response to a command that the target does not have", pdu);
  }
  if (command->queued || command->asked) {
    return Refuse(fes::kSequenceError, 0, "a response to a command that is still being sent", pdu);
  }
  const auto ended = static_cast<uint16_t>(entry.status >> 1);
  const bool ok = (ended & 0x7ff) == 0;
  // Memory that the target did not fill must not pass for what was read.
  if (ok && parts_.id != 0 && command->reads && command->received < command->bytes) {
    return Refuse(fes::kDataTransferOutOfRange, 0, "a read succeeded without all of its data", pdu);
  }
  if (ok && parts_.id != 0 && command->writes && command->given < command->bytes) {
    return Refuse(fes::kSequenceError, 0, "a write succeeded without all of its data", pdu);
  }
  Complete(*command, {entry.dw0, entry.dw1, ended});
}

void TcpQueue::Complete(Command& command, pollux_nvme_completion completion) {
  command.busy = false;
  if (command.damaged && pollux_nvme_ok(completion)) {
    completion.status = status::kTransientTransportError;
  }
  if (command.cid != kConnectCid) return Post(command.cid, completion);
  joined_ = completion;
  if (pollux_nvme_ok(completion)) return Enter(State::kReady);
  char text[96];
  pollux_nvme_status_text(completion.status, text, sizeof(text));
  Break(InternalError("queue %u: Connect: %s (0x%x)", parts_.id, text, completion.dw0));
}

// There is room: no more are in flight than the ring has entries, and each ends once.
void TcpQueue::Post(uint16_t cid, pollux_nvme_completion completion) {
  CompletionEntry& entry = parts_.cq[cq_tail_];
  entry.dw0 = completion.dw0;
  entry.dw1 = completion.dw1;
  entry.sqhd = 0;
  entry.sqid = parts_.id;
  entry.cid = cid;
  entry.status = static_cast<uint16_t>(completion.status << 1 | cq_phase_);
  if (++cq_tail_ < parts_.depth) return;
  cq_tail_ = 0;
  cq_phase_ ^= 1;
}

void TcpQueue::OnData(const Pdu& pdu) {
  const auto& header = *reinterpret_cast<const DataPdu*>(pdu.header);
  Command* const command = Find(header.cccid);
  if (command == nullptr || !command->reads || command->queued) {
    return Refuse(fes::kInvalidHeaderField, offsetof(DataPdu, cccid),
                  "data for a command that asked for none", pdu);
  }
  const bool last = (header.ch.flags & nvme_tcp::kLastPdu) != 0;
  const bool success = (header.ch.flags & nvme_tcp::kSuccess) != 0;
  if (success && !last) {
    return Refuse(fes::kInvalidHeaderField, offsetof(CommonHeader, flags),
                  "SUCCESS before the last data", pdu);
  }
  if (command->last_came) {
    return Refuse(fes::kSequenceError, 0, "data behind the last", pdu);
  }
  const uint32_t bytes = pdu.data_bytes();
  if (bytes == 0 || header.datao != command->received ||
      bytes > command->bytes - command->received) {
    return Refuse(fes::kDataTransferOutOfRange, offsetof(DataPdu, datao),
                  "data beyond what the command reads, or not in order", pdu);
  }
  if (success && parts_.id != 0 && command->received + bytes < command->bytes) {
    return Refuse(fes::kDataTransferOutOfRange, offsetof(DataPdu, datal),
                  "a read succeeded without all of its data", pdu);
  }
  const std::byte* from = pdu.data.data();
  ForPieces(*command, command->received, static_cast<uint32_t>(pdu.data.size()),
            [&from](std::byte* at, uint32_t part) {
              std::memcpy(at, from, part);
              from += part;
              return true;
            });
  command->received += static_cast<uint32_t>(pdu.data.size());
  command->last_came = last;
  streaming_ = command;
  streaming_success_ = success;
  if (pdu.rest == 0) OnDataEnd(pdu.digest_ok);
}

void TcpQueue::OnDataEnd(bool digest_ok) {
  Command& command = *std::exchange(streaming_, nullptr);
  if (!digest_ok) command.damaged = true;
  if (streaming_success_) Complete(command, {});
}

void TcpQueue::OnR2T(const Pdu& pdu) {
  const auto& header = *reinterpret_cast<const nvme_tcp::R2T*>(pdu.header);
  Command* const command = Find(header.cccid);
  if (command == nullptr || !command->writes || command->queued) {
    return Refuse(
        command != nullptr && command->asked ? fes::kR2TLimitExceeded : fes::kInvalidHeaderField,
        offsetof(nvme_tcp::R2T, cccid), "a request for data that no command has", pdu);
  }
  if (command->asked) {
    return Refuse(fes::kR2TLimitExceeded, 0, "a second request for data before the first is met",
                  pdu);
  }
  const uint32_t offset = header.r2to, bytes = header.r2tl;
  if (bytes == 0 || offset != command->given || bytes > command->bytes - command->given) {
    return Refuse(fes::kDataTransferOutOfRange, offsetof(nvme_tcp::R2T, r2to),
                  "a request for data beyond the command's, or not in order", pdu);
  }
  command->asked = true;
  command->ttag = header.ttag;
  command->asked_until = offset + bytes;
  BuildData(*command);
  Enqueue(*command);
}

void TcpQueue::OnTermReq(const Pdu& pdu) {
  const auto& request = *reinterpret_cast<const nvme_tcp::TermReq*>(pdu.header);
  Break(ErrorOfErrno(ECONNRESET,
                     absl::StrFormat("queue %u: the target ended the connection: %s (FES 0x%x, "
                                     "FEI 0x%x)",
                                     parts_.id, FesText(request.fes), uint16_t{request.fes},
                                     uint32_t{request.fei})));
}

}  // namespace pollux::nvme
