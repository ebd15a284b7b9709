#include "core/nvme_tcp/pdu_reader.h"

#include <algorithm>
#include <array>
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
  bool has_datal = false;
};

constexpr size_t kTypeCount = 10;
constexpr std::array<Shape, kTypeCount> kShapes = [] {
  constexpr auto kController = PduReader::End::kController;
  constexpr auto kHost = PduReader::End::kHost;
  std::array<Shape, kTypeCount> shapes{};
  const auto at = [&](PduType type) -> Shape& { return shapes[static_cast<size_t>(type)]; };
  at(PduType::kICReq) = {sizeof(ICReq), kController, false, Shape::Tail::kNone};
  at(PduType::kICResp) = {sizeof(ICResp), kHost, false, Shape::Tail::kNone};
  at(PduType::kH2CTermReq) = {sizeof(TermReq), kController, false, Shape::Tail::kHeader};
  at(PduType::kC2HTermReq) = {sizeof(TermReq), kHost, false, Shape::Tail::kHeader};
  at(PduType::kCapsuleCmd) = {sizeof(CapsuleCmd), kController, true, Shape::Tail::kData};
  at(PduType::kCapsuleResp) = {sizeof(CapsuleResp), kHost, true, Shape::Tail::kNone};
  at(PduType::kH2CData) = {sizeof(DataPdu), kController, true, Shape::Tail::kData, true};
  at(PduType::kC2HData) = {sizeof(DataPdu), kHost, true, Shape::Tail::kData, true};
  at(PduType::kR2T) = {sizeof(R2T), kHost, true, Shape::Tail::kNone};
  return shapes;
}();

constexpr const Shape& ShapeOf(PduType type) {
  constexpr size_t kNoType = 8;
  static_assert(kShapes[kNoType].hlen == 0);
  return kShapes[static_cast<size_t>(type) < kTypeCount ? static_cast<size_t>(type) : kNoType];
}

// Where the data begins for an end that aligns as coarsely as it may.
constexpr size_t kPdoMax = (kPdaMax + 1u) * 4;

uint32_t DigestAt(const std::byte* place) {
  Le32 digest;
  std::memcpy(&digest, place, sizeof(digest));
  return digest;
}

}  // namespace

PduReader::PduReader(End end, size_t buffer_bytes, uint32_t plen_max, size_t whole_bytes_max)
    : side_(end),
      capacity_(buffer_bytes),
      plen_max_(plen_max),
      whole_bytes_max_(whole_bytes_max),
      // The digest behind data that fills the buffer: see Space().
      buffer_(std::make_unique_for_overwrite<std::byte[]>(buffer_bytes + kDigestBytes)) {
  CHECK(buffer_bytes >= kBufferBytesMin && whole_bytes_max <= kWholeBytesMax);
}

void PduReader::Agree(Agreed agreed) {
  agreed_ = agreed;
  plain_ = !agreed.header_digest && !agreed.data_digest && agreed.pda == 0;
}

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

// What is at fault is the PDU at begin_.
Violation PduReader::Fault(uint16_t fes, uint32_t fei, const char* reason) const {
  const Shape& shape = ShapeOf(reinterpret_cast<const CommonHeader*>(&buffer_[begin_])->type);
  const size_t header_bytes = std::max<size_t>(shape.hlen, sizeof(CommonHeader));
  return {fes, fei, reason, {&buffer_[begin_], std::min(end_ - begin_, header_bytes)}};
}
Violation PduReader::WrongField(uint32_t offset, const char* reason) const {
  return Fault(fes::kInvalidHeaderField, offset, reason);
}

// A PDU that is all here and has no digests, with its data right behind the header or none. Each
// check is one of NextOther(), which says what is wrong where one fails.
std::variant<NeedMore, Pdu, PduReader::DataEnd, Violation> PduReader::Next() {
  const std::byte* const start = buffer_.get() + begin_;
  const size_t received = end_ - begin_;
  if (!plain_ || streaming_ > 0 || data_ends_ || received < sizeof(CommonHeader)) {
    return NextOther();
  }
  const auto& header = *reinterpret_cast<const CommonHeader*>(start);
  const Shape& shape = ShapeOf(header.type);
  const uint32_t plen = header.plen, hlen = shape.hlen;
  if (header.hlen != hlen || hlen == 0 || shape.reader != side_ || plen < hlen || plen > received ||
      plen > plen_max_ || (header.flags & (kHdgstf | kDdgstf)) != 0) {
    return NextOther();
  }
  const uint32_t data_bytes = plen - hlen;
  if (data_bytes > 0 && (shape.tail != Shape::Tail::kData || header.pdo != hlen)) {
    return NextOther();
  }
  if (shape.has_datal && reinterpret_cast<const DataPdu&>(header).datal != data_bytes) {
    return NextOther();
  }
  begin_ += plen;
  return Pdu{.header = &header, .data = {start + hlen, data_bytes}};
}

std::variant<NeedMore, Pdu, PduReader::DataEnd, Violation> PduReader::NextOther() {
  if (streaming_ > 0) return NeedMore{};
  if (data_ends_) return EndOfData();

  const std::byte* const start = buffer_.get() + begin_;
  const size_t received = end_ - begin_;
  if (received < sizeof(CommonHeader)) return NeedMore{};
  const auto& header = *reinterpret_cast<const CommonHeader*>(start);

  const Shape shape = ShapeOf(header.type);
  if (shape.hlen == 0) [[unlikely]] {
    return WrongField(offsetof(CommonHeader, type), "there is no such PDU type");
  }
  if (shape.reader != side_) [[unlikely]] {
    return Fault(fes::kSequenceError, 0, "a PDU that only the other end may send");
  }
  if (header.hlen != shape.hlen) [[unlikely]] {
    return WrongField(offsetof(CommonHeader, hlen), "HLEN is not that of the PDU type");
  }

  // A header digest tells whether the other fields are worth looking at. Without it all of them
  // are checked at once: a damaged PLEN must not make us wait for what never comes.
  const bool header_digest = shape.digests && agreed_.header_digest;
  const size_t head_bytes = shape.hlen + (header_digest ? kDigestBytes : 0);
  const bool head_is_here = received >= head_bytes;
  if (((header.flags & kHdgstf) != 0) != header_digest ||
      (!shape.digests && (header.flags & kDdgstf) != 0)) [[unlikely]] {
    return WrongField(offsetof(CommonHeader, flags), "a digest that was not agreed, or none");
  }
  if (header_digest && head_is_here) {
    const uint32_t digest = DigestAt(start + shape.hlen);
    if (Crc32c({start, shape.hlen}) != digest) [[unlikely]] {
      return Fault(fes::kHeaderDigestError, digest, "the header digest is wrong");
    }
  }

  const uint32_t plen = header.plen;
  if (plen < head_bytes || plen > plen_max_) [[unlikely]] {
    return WrongField(offsetof(CommonHeader, plen), "PLEN is less than the header's, or too large");
  }
  size_t data_begin = head_bytes, digest_bytes = 0;
  if (shape.tail == Shape::Tail::kData) {
    const bool has_data = plen > head_bytes;
    const bool flagged = (header.flags & kDdgstf) != 0;
    if (flagged ? !agreed_.data_digest : has_data && agreed_.data_digest) [[unlikely]] {
      return WrongField(offsetof(CommonHeader, flags), "DDGSTF is not as agreed");
    }
    if (has_data) {
      data_begin = header.pdo;
      if (data_begin < head_bytes || data_begin > kPdoMax ||
          data_begin % ((agreed_.pda + 1u) * 4) != 0) [[unlikely]] {
        return WrongField(offsetof(CommonHeader, pdo), "PDO is in the header, or not aligned");
      }
      if (agreed_.data_digest) digest_bytes = kDigestBytes;
      if (plen <= data_begin + digest_bytes) [[unlikely]] {
        return WrongField(offsetof(CommonHeader, plen), "PLEN leaves no data behind PDO");
      }
    }
  } else if (plen > head_bytes + (shape.tail == Shape::Tail::kHeader ? kTermReqDataMax : 0))
      [[unlikely]] {
    return WrongField(offsetof(CommonHeader, plen), "PLEN is more than such a PDU has");
  }
  if (!head_is_here) return NeedMore{};
  const auto data_bytes = static_cast<uint32_t>(plen - data_begin - digest_bytes);
  if (shape.has_datal && reinterpret_cast<const DataPdu&>(header).datal != data_bytes)
      [[unlikely]] {
    return WrongField(offsetof(CommonHeader, plen), "PLEN does not go with DATAL");
  }

  Pdu pdu{.header = &header, .data = {}};
  if (received >= plen) [[likely]] {
    pdu.data = {start + data_begin, data_bytes};
    if (digest_bytes > 0) {
      pdu.digest_ok = Crc32c(pdu.data) == DigestAt(start + data_begin + data_bytes);
    }
    begin_ += plen;
    return pdu;
  }
  // Not even PDO reached, data to be had in one piece, or only its digest is missing.
  if (received < data_begin || data_bytes <= whole_bytes_max_ ||
      received - data_begin >= data_bytes) {
    return NeedMore{};
  }
  pdu.data = {start + data_begin, received - data_begin};
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
