#include "targets/iscsi/pdu_reader.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace pollux::iscsi {

PduReader::PduReader(size_t buffer_bytes, uint32_t data_bytes_max)
    : capacity_(buffer_bytes),
      data_bytes_max_(data_bytes_max),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(buffer_bytes)) {
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

void PduReader::Streamed(size_t bytes) {
  CHECK(bytes <= streaming_);
  streaming_ -= static_cast<uint32_t>(bytes);
}

std::variant<NeedMore, Pdu, Violation> PduReader::Next() {
  if (streaming_ > 0) return NeedMore{};
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
  if (data_bytes > data_bytes_max_) {
    return Violation{"a data segment is larger than our MaxRecvDataSegmentLength"};
  }
  const size_t head_bytes = kHeaderBytes + size_t{header->total_ahs_length} * 4;
  const uint32_t padding = PaddedTo4(data_bytes) - data_bytes;
  if (received < head_bytes) return NeedMore{};

  Pdu pdu{.header = header, .ahs = {start + kHeaderBytes, head_bytes - kHeaderBytes}, .data = {}};
  if (data_bytes <= kWholeBytesMax) {
    if (received < head_bytes + data_bytes + padding) return NeedMore{};
    pdu.data = {start + head_bytes, data_bytes};
    begin_ += head_bytes + data_bytes + padding;
    return pdu;
  }
  const size_t here = std::min<size_t>(received - head_bytes, data_bytes);
  pdu.data = {start + head_bytes, here};
  pdu.rest = streaming_ = data_bytes - static_cast<uint32_t>(here);
  padding_ = padding;
  begin_ += head_bytes + here;
  return pdu;
}

}  // namespace pollux::iscsi
