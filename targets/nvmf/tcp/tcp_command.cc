#include "targets/nvmf/tcp/tcp_command.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/accel/crc32c.h"
#include "core/check.h"
#include "targets/nvmf/tcp/tcp_connection.h"

namespace pollux::nvmf {
namespace {

using namespace nvme_tcp;

template <typename T>
std::span<const std::byte> BytesOf(const T& object) {
  return std::as_bytes(std::span(&object, 1));
}

}  // namespace

void TcpCommand::Begin(const nvme::SubmissionEntry& sqe, const DataPlan& plan,
                       std::span<const std::byte> capsule_data, bool digest_ok) {
  entry = sqe;
  data_bytes = plan.bytes;
  in_capsule_ = plan.way == DataPlan::Way::kInCapsule;
  data_fault_ = plan.fault;
  if (!digest_ok && data_fault_ == 0) data_fault_ = nvme::status::kTransientTransportError;
  has_response_ = ends_with_data_ = false;
  capsule_data_ = {};
  if (in_capsule_ && data_fault_ == 0) {
    capsule_data_ = capsule_data.subspan(plan.capsule_offset, plan.bytes);
  }
  cost_ = in_capsule_ || plan.fault != 0 ? 0 : plan.bytes;
}

void TcpCommand::SetAside() {
  if (capsule_data_.empty()) return;  // It was taken meanwhile.
  if (set_aside_ == nullptr) {
    set_aside_ = std::make_unique_for_overwrite<std::byte[]>(PduReader::kWholeBytesMax);
  }
  std::memcpy(set_aside_.get(), capsule_data_.data(), capsule_data_.size());
  capsule_data_ = {set_aside_.get(), capsule_data_.size()};
}

// --- Data from the host.

void TcpCommand::OnDataWanted(uint32_t offset, std::span<const iovec> places) {
  if (data_fault_ != 0) [[unlikely]]
    return DataDropped(data_fault_);
  if (in_capsule_) {
    size_t at = offset;
    for (const iovec& place : places) {
      CHECK(at + place.iov_len <= capsule_data_.size());
      std::memcpy(place.iov_base, capsule_data_.data() + at, place.iov_len);
      at += place.iov_len;
    }
    // Nothing more of it is wanted, so it need not be set aside.
    if (at == capsule_data_.size()) capsule_data_ = {};
    return DataArrived();
  }
  const size_t bytes = nvmf::BytesOf(places);
  CHECK(bytes > 0 && bytes <= data_bytes && offset <= data_bytes - bytes);
  landing_ = PartCursor(places);
  r2t_next_ = offset;
  r2t_left_ = static_cast<uint32_t>(bytes);
  data_bad_ = false;
  // Never 0, and another one each time: a tag that was not issued, or is spent, is found out.
  ttag_round_ = (ttag_round_ + 1) & 0x1f;
  ttag_ = static_cast<uint16_t>(ttag_round_ << kTtagIndexBits | (index_ + 1));
  r2t_is_large_ = bytes > PduReader::kWholeBytesMax;
  if (r2t_is_large_) ++connection_.large_r2ts_;
  if (output_ == Output::kNone) return SendR2T();
  r2t_waits_ = true;
}

void TcpCommand::SendR2T() {
  r2t_waits_ = false;
  auto& r2t = *new (head_.data()) R2T{};
  const bool digest = connection_.agreed().header_digest;
  const size_t bytes = sizeof(R2T) + (digest ? kDigestBytes : 0);
  r2t.ch = {PduType::kR2T, digest ? kHdgstf : uint8_t{0}, sizeof(R2T), 0,
            static_cast<uint32_t>(bytes)};
  r2t.cccid = cid();
  r2t.ttag = ttag_;
  r2t.r2to = r2t_next_;
  r2t.r2tl = r2t_left_;
  if (digest) new (head_.data() + sizeof(R2T)) Le32(Crc32c(BytesOf(r2t)));
  parts[0] = {head_.data(), bytes};
  part_count = 1;
  output_ = Output::kR2T;
  connection_.Send(*this);
}

void TcpCommand::TakeData(std::span<const std::byte> data) {
  if (!sinking_) landing_.Put(data);
  r2t_next_ += static_cast<uint32_t>(data.size());
  r2t_left_ -= static_cast<uint32_t>(data.size());
}

size_t TcpCommand::ListPlaces(std::span<iovec> places, size_t bytes,
                              std::span<std::byte> scrap) const {
  if (!sinking_) return landing_.List(places, bytes);
  places[0] = {scrap.data(), std::min(bytes, scrap.size())};
  return 1;
}

void TcpCommand::Landed(uint32_t bytes) {
  if (!sinking_) landing_.Advance(bytes);
  r2t_next_ += bytes;
  r2t_left_ -= bytes;
}

void TcpCommand::EndPdu(bool digest_ok) {
  if (!digest_ok) data_bad_ = true;
  if (r2t_left_ > 0) return;
  ttag_ = 0;
  if (std::exchange(r2t_is_large_, false)) --connection_.large_r2ts_;
  if (!std::exchange(sinking_, false)) {
    if (data_bad_) return DataDropped(nvme::status::kTransientTransportError);
    return DataArrived();
  }
  if (has_response_ && output_ == Output::kNone) SendResponse();
}

void TcpCommand::OnDataUnwanted() {
  if (ttag_ == 0 || sinking_) return;
  // io_uring may be writing there this moment.
  drop_wanted_ = connection_.IsReceivingInto(*this);
  if (!drop_wanted_) Drop();
}

void TcpCommand::Drop() {
  drop_wanted_ = false;
  sinking_ = true;
  DataDropped(nvme::status::kAbortRequested);
}

// --- Data for the host, and the end.

void TcpCommand::OnDataReady(uint32_t offset, std::span<const iovec> ready,
                             const nvme::CompletionEntry* last) {
  CHECK(output_ == Output::kNone);
  out_offset_ = offset;
  out_parts_ = ready;
  ends_with_data_ = last != nullptr;
  if (ends_with_data_) {
    tail_.response.cqe = *last;
    // A response that says more than success has to be sent.
    has_response_ = !connection_.c2h_success() || last->dw0 != 0 || last->dw1 != 0;
  }
  SendData();
}

// As much of the burst as goes into one piece of output, in one PDU: nearly always all of it.
void TcpCommand::SendData() {
  const TcpConnection::Agreed& agreed = connection_.agreed();
  const auto now = out_parts_.first(std::min(out_parts_.size(), kDataPartsMax));
  out_parts_ = out_parts_.subspan(now.size());
  const auto bytes = static_cast<uint32_t>(nvmf::BytesOf(now));
  const bool last = ends_with_data_ && out_parts_.empty();

  uint8_t flags = 0;
  if (last) flags |= has_response_ ? kLastPdu : kLastPdu | kSuccess;
  if (agreed.header_digest) flags |= kHdgstf;
  if (agreed.data_digest) flags |= kDdgstf;
  const uint8_t pdo = agreed.c2h_pdo;
  auto& pdu = *new (head_.data()) DataPdu{};
  pdu.ch = {PduType::kC2HData, flags, sizeof(DataPdu), pdo,
            pdo + bytes + (agreed.data_digest ? uint32_t{kDigestBytes} : 0)};
  pdu.cccid = cid();
  pdu.datao = out_offset_;
  pdu.datal = bytes;
  if (agreed.header_digest) new (head_.data() + sizeof(DataPdu)) Le32(Crc32c(BytesOf(pdu)));
  out_offset_ += bytes;

  parts[0] = {head_.data(), pdo};
  size_t count = 1;
  uint32_t crc = 0;
  for (const iovec& part : now) {
    parts[count++] = part;
    if (agreed.data_digest)
      crc = Crc32c({static_cast<std::byte*>(part.iov_base), part.iov_len}, crc);
  }
  size_t tail_bytes = 0;
  if (last && has_response_) tail_bytes = FillResponse();
  if (agreed.data_digest) {
    tail_.data_digest = crc;
    parts[count++] = {&tail_, sizeof(tail_.data_digest) + tail_bytes};
  } else if (tail_bytes > 0) {
    parts[count++] = {&tail_.response, tail_bytes};
  }
  part_count = count;
  output_ = Output::kData;
  connection_.Send(*this);
}

void TcpCommand::OnDataSent(bool ok) {
  if (ok && !out_parts_.empty()) return SendData();
  // Of a connection that is lost, all hear when it has closed.
  if (!ok && !ends_with_data_) return;
  const bool ended = ends_with_data_;
  DataSent();
  if (ended) connection_.Release(*this);
}

void TcpCommand::OnCompletion(const nvme::CompletionEntry& completion) {
  capsule_data_ = {};
  if (!connection_.can_send()) return connection_.Release(*this);
  tail_.response.cqe = completion;
  has_response_ = true;
  // A response now would let the host use the CID again, for which data is still to come.
  if (ttag_ == 0 && output_ == Output::kNone) SendResponse();
}

void TcpCommand::SendResponse() {
  parts[0] = {&tail_.response, FillResponse()};
  part_count = 1;
  output_ = Output::kResponse;
  connection_.Send(*this);
}

size_t TcpCommand::FillResponse() {
  const bool digest = connection_.agreed().header_digest;
  const size_t bytes = sizeof(CapsuleResp) + (digest ? kDigestBytes : 0);
  tail_.response.ch = {PduType::kCapsuleResp, digest ? kHdgstf : uint8_t{0}, sizeof(CapsuleResp), 0,
                       static_cast<uint32_t>(bytes)};
  if (digest) tail_.response_digest = Crc32c(BytesOf(tail_.response));
  return bytes;
}

void TcpCommand::OnSent(bool ok) {
  switch (std::exchange(output_, Output::kNone)) {
    case Output::kData:
      return OnDataSent(ok);
    case Output::kResponse:
      return connection_.Release(*this);
    case Output::kR2T:
      if (!ok) return;
      if (r2t_waits_) return SendR2T();
      if (has_response_ && ttag_ == 0) SendResponse();
      return;
    case Output::kNone:
      break;
  }
  CHECK(false, "something was sent that was not queued");
}

}  // namespace pollux::nvmf
