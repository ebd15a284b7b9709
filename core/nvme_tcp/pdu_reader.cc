#include "core/nvme_tcp/pdu_reader.h"

#include <algorithm>
#include <cstring>

#include "core/accel/crc32c.h"
#include "core/check.h"

namespace pollux::nvme_tcp {
namespace {

// What PDUs of a type look like. §3.6.2
struct Shape {
  uint8_t hlen = 0;  // 0: there is no such type.
  PduReader::End reader = PduReader::End::kController;
  bool digests = false;  // As agreed; the others bear none.
  enum class Tail : uint8_t { kNone, kHeader, kData } tail = Tail::kNone;
};

constexpr Shape ShapeOf(PduType type) {
  constexpr auto kController = PduReader::End::kController;
  constexpr auto kHost = PduReader::End::kHost;
  switch (type) {
    case PduType::kCapsuleCmd:
      return {sizeof(CapsuleCmd), kController, true, Shape::Tail::kData};
    case PduType::kH2CData:
      return {sizeof(DataPdu), kController, true, Shape::Tail::kData};
    case PduType::kC2HData:
      return {sizeof(DataPdu), kHost, true, Shape::Tail::kData};
    case PduType::kCapsuleResp:
      return {sizeof(CapsuleResp), kHost, true, Shape::Tail::kNone};
    case PduType::kR2T:
      return {sizeof(R2T), kHost, true, Shape::Tail::kNone};
    case PduType::kICReq:
      return {sizeof(ICReq), kController, false, Shape::Tail::kNone};
    case PduType::kICResp:
      return {sizeof(ICResp), kHost, false, Shape::Tail::kNone};
    case PduType::kH2CTermReq:
      return {sizeof(TermReq), kController, false, Shape::Tail::kHeader};
    case PduType::kC2HTermReq:
      return {sizeof(TermReq), kHost, false, Shape::Tail::kHeader};
  }
  return {};
}

// Where the data begins for an end that aligns as coarsely as it may.
constexpr size_t kPdoMax = (kPdaMax + 1u) * 4;

uint32_t DigestAt(const std::byte* place) {
  Le32 digest;
  std::memcpy(&digest, place, sizeof(digest));
  return digest;
}

Violation WrongField(uint32_t offset, const char* reason, std::span<const std::byte> header) {
  return {fes::kInvalidHeaderField, offset, reason, header};
}

}  // namespace

PduReader::PduReader(End end, size_t buffer_bytes, uint32_t plen_max)
    : side_(end),
      capacity_(buffer_bytes),
      plen_max_(plen_max),
      // The digest behind data that fills the buffer: see Space().
      buffer_(std::make_unique_for_overwrite<std::byte[]>(buffer_bytes + kDigestBytes)) {
  CHECK(buffer_bytes >= kBufferBytesMin);
}

void PduReader::Agree(Agreed agreed) { agreed_ = agreed; }

std::span<std::byte> PduReader::Space() {
  if (begin_ > 0) {
    // What is left is less than one whole PDU.
    if (end_ > begin_) std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  // Only data that is all here, and waits for its digest, can fill the buffer.
  const size_t limit = end_ < capacity_ ? capacity_ : capacity_ + kDigestBytes;
  CHECK(end_ < limit);
  return {buffer_.get() + end_, limit - end_};
}

void PduReader::Received(size_t bytes) {
  CHECK(streaming_ == 0 && bytes <= capacity_ + kDigestBytes - end_);
  end_ += bytes;
}

void PduReader::Streamed(std::span<const std::byte> where) {
  CHECK(where.size() <= streaming_);
  streaming_ -= static_cast<uint32_t>(where.size());
  if (agreed_.data_digest) crc_ = Crc32c(where, crc_);
}

std::variant<NeedMore, Pdu, PduReader::DataEnd, Violation> PduReader::Next() {
  if (streaming_ > 0) return NeedMore{};
  if (data_ends_) return EndOfData();

  const std::span<const std::byte> received{buffer_.get() + begin_, end_ - begin_};
  if (received.size() < sizeof(CommonHeader)) return NeedMore{};
  const auto& header = *reinterpret_cast<const CommonHeader*>(received.data());

  const Shape shape = ShapeOf(header.type);
  const std::span<const std::byte> common = received.first(sizeof(CommonHeader));
  if (shape.hlen == 0) {
    return WrongField(offsetof(CommonHeader, type), "there is no such PDU type", common);
  }
  if (shape.reader != side_) {
    return Violation{fes::kSequenceError, 0, "a PDU that only the other end may send", common};
  }
  if (header.hlen != shape.hlen) {
    return WrongField(offsetof(CommonHeader, hlen), "HLEN is not that of the PDU type", common);
  }

  // A header digest tells whether the other fields are worth looking at. Without it all of them
  // are checked at once: a damaged PLEN must not make us wait for what never comes.
  const bool header_digest = shape.digests && agreed_.header_digest;
  const size_t head_bytes = shape.hlen + (header_digest ? kDigestBytes : 0);
  const bool head_is_here = received.size() >= head_bytes;
  const auto head = received.first(std::min<size_t>(received.size(), shape.hlen));
  if (((header.flags & kHdgstf) != 0) != header_digest ||
      (!shape.digests && (header.flags & kDdgstf) != 0)) {
    return WrongField(offsetof(CommonHeader, flags), "a digest that was not agreed, or none", head);
  }
  if (header_digest && head_is_here) {
    const uint32_t digest = DigestAt(received.data() + shape.hlen);
    if (Crc32c(head) != digest) {
      return Violation{fes::kHeaderDigestError, digest, "the header digest is wrong", head};
    }
  }

  const uint32_t plen = header.plen;
  if (plen < head_bytes) {
    return WrongField(offsetof(CommonHeader, plen), "PLEN is less than the header's", head);
  }
  if (plen > plen_max_) {
    return WrongField(offsetof(CommonHeader, plen), "PLEN is larger than any PDU's", head);
  }
  size_t data_begin = head_bytes, digest_bytes = 0;
  switch (shape.tail) {
    case Shape::Tail::kNone:
      if (plen == head_bytes) break;
      return WrongField(offsetof(CommonHeader, plen), "PLEN of a PDU without data", head);
    case Shape::Tail::kHeader:
      if (plen <= head_bytes + kTermReqDataMax) break;
      return WrongField(offsetof(CommonHeader, plen), "PLEN of a terminate request", head);
    case Shape::Tail::kData: {
      const bool has_data = plen > head_bytes;
      const bool flagged = (header.flags & kDdgstf) != 0;
      if (flagged ? !agreed_.data_digest : has_data && agreed_.data_digest) {
        return WrongField(offsetof(CommonHeader, flags), "DDGSTF is not as agreed", head);
      }
      if (!has_data) break;
      data_begin = header.pdo;
      if (data_begin < head_bytes || data_begin > kPdoMax ||
          data_begin % ((agreed_.pda + 1u) * 4) != 0) {
        return WrongField(offsetof(CommonHeader, pdo),
                          "PDO is in the header, not aligned, or beyond any alignment", head);
      }
      if (agreed_.data_digest) digest_bytes = kDigestBytes;
      if (plen > data_begin + digest_bytes) break;
      return WrongField(offsetof(CommonHeader, plen), "PLEN leaves no data behind PDO", head);
    }
  }
  if (!head_is_here) return NeedMore{};
  const auto data_bytes = static_cast<uint32_t>(plen - data_begin - digest_bytes);
  if ((header.type == PduType::kH2CData || header.type == PduType::kC2HData) &&
      reinterpret_cast<const DataPdu&>(header).datal != data_bytes) {
    return WrongField(offsetof(CommonHeader, plen), "PLEN does not go with DATAL", head);
  }

  Pdu pdu{.header = &header, .data = {}};
  if (received.size() >= plen) {
    pdu.data = received.subspan(data_begin, data_bytes);
    if (digest_bytes > 0) {
      pdu.digest_ok = Crc32c(pdu.data) == DigestAt(pdu.data.data() + data_bytes);
    }
    begin_ += plen;
    return pdu;
  }
  // Not even PDO reached, data to be had in one piece, or only its digest is missing.
  if (received.size() < data_begin || data_bytes <= kWholeBytesMax ||
      received.size() - data_begin >= data_bytes) {
    return NeedMore{};
  }
  pdu.data = received.subspan(data_begin);
  pdu.rest = streaming_ = data_bytes - static_cast<uint32_t>(pdu.data.size());
  data_ends_ = true;
  crc_ = agreed_.data_digest ? Crc32c(pdu.data) : 0;
  begin_ = end_;
  return pdu;
}

std::variant<NeedMore, Pdu, PduReader::DataEnd, Violation> PduReader::EndOfData() {
  bool digest_ok = true;
  if (agreed_.data_digest) {
    if (end_ - begin_ < kDigestBytes) return NeedMore{};
    digest_ok = crc_ == DigestAt(buffer_.get() + begin_);
    begin_ += kDigestBytes;
  }
  data_ends_ = false;
  return DataEnd{digest_ok};
}

}  // namespace pollux::nvme_tcp
