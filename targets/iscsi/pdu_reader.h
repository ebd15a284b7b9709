#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>

#include "targets/iscsi/iscsi_spec.h"

namespace pollux::iscsi {

struct NeedMore {};
// The stream cannot be followed any more.
struct Violation {
  const char* reason;
};
// Valid until the next Space().
struct Pdu {
  const BasicHeader* header;
  std::span<const std::byte> ahs;
  // Of the data segment, what has arrived: all of it, unless `rest` says otherwise.
  std::span<const std::byte> data;
  // How much follows, directly to where the reader's owner wants it.
  uint32_t rest = 0;
};

// Cuts a byte stream into PDUs. It does no I/O, so a test feeds it from an array.
//
// Bytes are received into a read-ahead buffer, so that one system call brings many PDUs, and
// headers and short data segments are used where they lie. A data segment of more than
// kWholeBytesMax comes in two pieces: what was read ahead, then `rest` bytes that the owner
// receives straight to their place (streaming() > 0 until Streamed() has counted them).
//
// Invariant: begin_ <= end_ <= capacity_; [begin_, end_) is received and not yet returned.
class PduReader {
 public:
  static constexpr size_t kWholeBytesMax = 8192;
  static constexpr size_t kBufferBytesMin =
      kHeaderBytes + kAhsBytesMax + kWholeBytesMax + kHeaderBytes;

  // `data_bytes_max` is our MaxRecvDataSegmentLength: more is a violation.
  PduReader(size_t buffer_bytes, uint32_t data_bytes_max);

  // Where to receive next, never empty; behind the streamed bytes, if there are some.
  std::span<std::byte> Space();
  void Received(size_t bytes);

  uint32_t streaming() const { return streaming_; }
  void Streamed(size_t bytes);

  // The next PDU. NeedMore while streaming.
  std::variant<NeedMore, Pdu, Violation> Next();

  // What was received and not returned: for the reader that follows this one.
  std::span<const std::byte> leftover() const { return {buffer_.get() + begin_, end_ - begin_}; }

 private:
  const size_t capacity_;
  const uint32_t data_bytes_max_;
  const std::unique_ptr<std::byte[]> buffer_;
  size_t begin_ = 0, end_ = 0;
  uint32_t streaming_ = 0;
  uint32_t padding_ = 0;  // To be skipped before the next header.
};

}  // namespace pollux::iscsi
