#include "targets/iscsi/pdu_reader.h"

#include <algorithm>
#include <cstring>

#include "core/accel/crc32c.h"
#include "core/check.h"

namespace pollux::iscsi {
namespace {

uint32_t DigestAt(const std::byte* place) {
  Le32 digest;
  std::memcpy(&digest, place, sizeof(digest));
  return digest;
}

}  // namespace

PduReader::PduReader(size_t buffer_bytes, uint32_t data_bytes_max, Digests digests)
    : capacity_(buffer_bytes),
      data_bytes_max_(data_bytes_max),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(buffer_bytes)),
      digests_(digests) {
  CHECK(buffer_bytes >= kBufferBytesMin);
}

std::span<std::byte> PduReader::Space() {
  if (begin_ > 0) {
    // What is left is less than one whole PDU.
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  CHECK(end_ < capacity_);
  return {buffer_.get() + end_, capacity_ - end_};
}

void PduReader::Received(size_t bytes) {
  CHECK(streaming_ == 0 && bytes <= capacity_ - end_);
  end_ += bytes;
}

void PduReader::Streamed(std::span<const std::byte> where) {
  CHECK(where.size() <= streaming_);
  streaming_ -= static_cast<uint32_t>(where.size());
  if (digests_.data) crc_ = Crc32c(where, crc_);
}

std::optional<bool> PduReader::EndOfData() {
  if (!data_ends_ || streaming_ > 0) return std::nullopt;
  if (!digests_.data) {
    data_ends_ = false;
    return true;  // Its padding is skipped when it comes.
  }
  if (end_ - begin_ < padding_ + kDigestBytes) return std::nullopt;
  const std::byte* const start = buffer_.get() + begin_;
  const bool ok = Crc32c({start, padding_}, crc_) == DigestAt(start + padding_);
  begin_ += padding_ + kDigestBytes;
  padding_ = 0;
  data_ends_ = false;
  return ok;
}

std::variant<NeedMore, Pdu, Violation> PduReader::Next() {
  if (data_ends_) return NeedMore{};
  if (padding_ > 0) {
    const size_t skipped = std::min<size_t>(padding_, end_ - begin_);
    begin_ += skipped;
    padding_ -= static_cast<uint32_t>(skipped);
    if (padding_ > 0) return NeedMore{};
  }

  const size_t received = end_ - begin_;
  if (received < kHeaderBytes) return NeedMore{};
  const std::byte* const start = buffer_.get() + begin_;
  const auto* const header = reinterpret_cast<const BasicHeader*>(start);
  const uint32_t data_bytes = header->data_segment_length;
  const size_t header_bytes = kHeaderBytes + size_t{header->total_ahs_length} * 4;
  const size_t head_bytes = header_bytes + (digests_.header ? kDigestBytes : 0);
  if (digests_.header) {
    if (received < head_bytes) return NeedMore{};
    if (Crc32c({start, header_bytes}) != DigestAt(start + header_bytes)) [[unlikely]] {
      return Violation{"a header digest is wrong"};
    }
  }
  if (data_bytes > data_bytes_max_) {
    return Violation{"a data segment is larger than our MaxRecvDataSegmentLength"};
  }
  if (received < head_bytes) return NeedMore{};

  Pdu pdu{.header = header, .ahs = {start + kHeaderBytes, header_bytes - kHeaderBytes}, .data = {}};
  const uint32_t padded = PaddedTo4(data_bytes);
  const size_t digest_bytes = digests_.data && data_bytes > 0 ? kDigestBytes : 0;
  if (received >= head_bytes + padded + digest_bytes) {
    pdu.data = {start + head_bytes, data_bytes};
    if (digest_bytes > 0) {
      const std::byte* const data = start + head_bytes;
      pdu.digest_ok = Crc32c({data, padded}) == DigestAt(data + padded);
    }
    begin_ += head_bytes + padded + digest_bytes;
    return pdu;
  }
  if (data_bytes <= kWholeBytesMax) return NeedMore{};
  const size_t here = std::min<size_t>(received - head_bytes, data_bytes);
  pdu.data = {start + head_bytes, here};
  pdu.rest = streaming_ = data_bytes - static_cast<uint32_t>(here);
  pdu.whole = streaming_ == 0 && !digests_.data;
  data_ends_ = !pdu.whole;
  padding_ = padded - data_bytes;
  if (digests_.data) crc_ = Crc32c(pdu.data);
  begin_ += head_bytes + here;
  return pdu;
}

}  // namespace pollux::iscsi
