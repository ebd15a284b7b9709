#include "targets/iscsi/outgoing_pdu.h"

#include <span>

#include "core/accel/crc32c.h"
#include "core/check.h"

namespace pollux::iscsi {

void OutgoingPdu::Begin() {
  frame_.header = {};
  part_count = 1;
}

void OutgoingPdu::AddData(const void* data, size_t bytes) {
  CHECK(part_count <= kDataPartsMax);
  parts[part_count++] = {const_cast<void*>(data), bytes};
}

void OutgoingPdu::Seal(Digests digests) {
  parts[0] = {&frame_, kHeaderBytes};
  if (digests.header) {
    frame_.header_digest = Crc32c(std::as_bytes(std::span(&frame_.header, 1)));
    parts[0].iov_len += kDigestBytes;
  }
  if (part_count == 1) return;  // No data has no digest either.

  const uint32_t length = frame_.header.data_segment_length;
  const uint32_t padding = PaddedTo4(length) - length;
  size_t tail_bytes = padding;
  if (digests.data) {
    uint32_t crc = 0;
    for (size_t i = 1; i < part_count; ++i) {
      crc = Crc32c({static_cast<const std::byte*>(parts[i].iov_base), parts[i].iov_len}, crc);
    }
    frame_.data_digest = Crc32c({frame_.padding, padding}, crc);
    tail_bytes += kDigestBytes;
  }
  std::byte* const begin = reinterpret_cast<std::byte*>(&frame_) + offsetof(Frame, data_digest);
  if (tail_bytes > 0) parts[part_count++] = {begin - padding, tail_bytes};
}

}  // namespace pollux::iscsi
