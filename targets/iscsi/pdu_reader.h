#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <variant>

#include "targets/iscsi/digests.h"
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
  // The segment ends here; else EndOfData() tells when.
  bool whole = true;
  // Of a whole segment: its digest, if there is one, is right.
  bool digest_ok = true;
};

// Cuts a byte stream into PDUs. It does no I/O, so a test feeds it from an array.
//
// Bytes are received into a read-ahead buffer, so that one system call brings many PDUs, and
// headers and short data segments are used where they lie. A data segment of more than
// kWholeBytesMax comes in two pieces: what was read ahead, then `rest` bytes that the owner
// receives straight to their place (streaming() > 0 until Streamed() has counted them). Its digest
// comes behind that: EndOfData() says when, and whether it is right.
//
// With header digests nothing of a header is believed, not even its lengths, before its digest was
// compared; a wrong one is a violation, since where the next PDU begins is unknown. §7.8
//
// Invariant: begin_ <= end_ <= capacity_; [begin_, end_) is received and not yet returned.
class PduReader {
 public:
  static constexpr size_t kWholeBytesMax = 8192;
  static constexpr size_t kBufferBytesMin =
      kHeaderBytes + kAhsBytesMax + kWholeBytesMax + kHeaderBytes;

  // `data_bytes_max` is our MaxRecvDataSegmentLength: more is a violation.
  PduReader(size_t buffer_bytes, uint32_t data_bytes_max, Digests digests = {});

  // Where to receive next, never empty; behind the streamed bytes, if there are some.
  std::span<std::byte> Space();
  void Received(size_t bytes);

  uint32_t streaming() const { return streaming_; }
  // The next bytes of the data segment are there: `where`.
  void Streamed(std::span<const std::byte> where);
  // Once for each PDU that was not whole: nothing until all of its data segment has come, and then
  // whether its digest is right.
  std::optional<bool> EndOfData();

  // The next PDU. NeedMore while one has not come to its end.
  std::variant<NeedMore, Pdu, Violation> Next();

  // What was received and not returned: for the reader that follows this one.
  std::span<const std::byte> leftover() const { return {buffer_.get() + begin_, end_ - begin_}; }

 private:
  const size_t capacity_;
  const uint32_t data_bytes_max_;
  const std::unique_ptr<std::byte[]> buffer_;
  size_t begin_ = 0, end_ = 0;
  const Digests digests_;
  uint32_t streaming_ = 0;
  uint32_t padding_ = 0;    // To be skipped before the next header, or the digest.
  bool data_ends_ = false;  // EndOfData() is owed.
  uint32_t crc_ = 0;        // Of the data segment that is not whole, so far.
};

}  // namespace pollux::iscsi
