// How a queue receives: many PDUs to a system call, and long data straight to its place.
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <variant>

#include "drivers/nvme/tcp_queue.h"

namespace pollux::nvme {
namespace {

using nvme_tcp::Pdu;
using nvme_tcp::PduReader;
using nvme_tcp::PduType;
using nvme_tcp::Violation;
namespace fes = nvme_tcp::fes;

// System calls of one turn, so that a quick target does not hold the owner.
constexpr int kReceivesMax = 8;
constexpr size_t kReceivePartsMax = 64;

}  // namespace

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
    streaming_->ForPieces(streaming_->received, reader_->streaming(),
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
  if (state_ == State::kReady) [[likely]] {
    if (type == PduType::kC2HData) return OnData(pdu);
    if (type == PduType::kCapsuleResp) return OnResponse(pdu);
  }
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

}  // namespace pollux::nvme
