#include "drivers/nvme/tcp_queue.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

namespace pollux::nvme {
namespace {

using nvme_tcp::Pdu;
using nvme_tcp::PduType;
using nvme_tcp::Violation;
namespace fes = nvme_tcp::fes;

uint32_t Commands(uint16_t depth) { return 1u << std::bit_width(depth); }

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
      commands_(std::make_unique<TcpCommand[]>(Commands(parts.depth))) {}

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
    const TcpCommand& command = commands_[i];
    if (command.busy && !command.reads && command.opc != io::kFlush) return true;
  }
  return false;
}

void TcpQueue::Cut() {
  if (socket_.valid()) shutdown(socket_.get(), SHUT_RDWR);
}

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

void TcpQueue::OnTermReq(const Pdu& pdu) {
  const auto& request = *reinterpret_cast<const nvme_tcp::TermReq*>(pdu.header);
  Break(ErrorOfErrno(ECONNRESET,
                     absl::StrFormat("queue %u: the target ended the connection: %s (FES 0x%x, "
                                     "FEI 0x%x)",
                                     parts_.id, FesText(request.fes), uint16_t{request.fes},
                                     uint32_t{request.fei})));
}

}  // namespace pollux::nvme
