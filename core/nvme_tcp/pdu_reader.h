#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>

#include "core/spec/nvme_tcp_spec.h"

namespace pollux::nvme_tcp {

struct NeedMore {};
// The stream cannot be followed any more: what a terminate request says of it.
struct Violation {
  uint16_t fes;
  uint32_t fei;
  const char* reason;                 // In words, for the log.
  std::span<const std::byte> header;  // Of the PDU at fault, as far as it is there.
};
// Valid until the next Space().
struct Pdu {
  const CommonHeader* header;  // hlen bytes, of the type's size.
  // Of the data, what has arrived: all of it, unless `rest` says otherwise.
  std::span<const std::byte> data;
  // How much follows, directly to where the reader's owner wants it.
  uint32_t rest = 0;
  uint32_t data_bytes() const { return static_cast<uint32_t>(data.size()) + rest; }
  // Of a PDU that is whole here: false when its data digest is wrong. Otherwise the owner learns
  // that from DataEnd.
  bool digest_ok = true;
};

// Cuts a byte stream into PDUs: one end of a connection, target's or host's. It does no I/O, so a
// test feeds it from an array.
//
// Bytes are received into a read-ahead buffer, so that one system call brings many PDUs, and
// headers and short data are used where they lie. Data of more than `whole_bytes_max` that is not
// all there comes in two pieces: what was read ahead, then `rest` bytes that the owner receives
// straight to their place (streaming() > 0 until Streamed() has counted them), then a DataEnd.
//
// It checks what is so for every PDU of its type: PDU types for this end, HLEN, PDO and its
// alignment, PLEN against HLEN, PDO, data and digests, DATAL against PLEN, flags that go with the
// digests agreed, and the digests themselves. Reserved bits and fields are not looked at.
//
// Invariant: begin_ <= end_; [begin_, end_) is received and not yet returned.
class PduReader {
 public:
  static constexpr size_t kWholeBytesMax = 8192;
  static constexpr size_t kBufferBytesMin = 2 * kWholeBytesMax;
  enum class End { kController, kHost };  // Whose reader it is.

  // `plen_max` bounds every PDU: more is a violation. `whole_bytes_max` is kWholeBytesMax at most.
  PduReader(End end, size_t buffer_bytes, uint32_t plen_max,
            size_t whole_bytes_max = kWholeBytesMax);

  // From the first PDU after ICReq and ICResp on.
  struct Agreed {
    bool header_digest = false;
    bool data_digest = false;
    uint8_t pda = 0;  // Alignment of the data that this end receives: 0's based, in dwords.
  };
  void Agree(Agreed agreed);

  // Where to receive next, never empty; behind the streamed bytes, if there are some. The owner has
  // called Next() until it wanted more.
  std::span<std::byte> Space();
  void Received(size_t bytes);

  // `bytes` of the data under way have arrived at `where`, in order. Their digest is computed here,
  // when there is one.
  uint32_t streaming() const { return streaming_; }
  void Streamed(std::span<const std::byte> where);

  // The next PDU. NeedMore while streaming, and until the digest behind streamed data is there.
  // After a violation there is nothing more to be had.
  struct DataEnd {
    bool digest_ok;
  };  // Comes once after the `rest` of a PDU, before the next one.
  std::variant<NeedMore, Pdu, DataEnd, Violation> Next();

 private:
  // Any PDU, and none. Next() itself knows those that are most.
  std::variant<NeedMore, Pdu, DataEnd, Violation> NextOther();
  Violation Fault(uint16_t fes, uint32_t fei, const char* reason) const;
  Violation WrongField(uint32_t offset, const char* reason) const;
  std::variant<NeedMore, Pdu, DataEnd, Violation> EndOfData();

  const End side_;
  const size_t capacity_;
  const uint32_t plen_max_;
  const size_t whole_bytes_max_;
  const std::unique_ptr<std::byte[]> buffer_;
  Agreed agreed_;
  bool plain_ = true;  // Neither digests nor alignment were agreed.
  size_t begin_ = 0, end_ = 0;
  uint32_t streaming_ = 0;
  bool data_ends_ = false;  // Streamed data is owed its DataEnd.
  uint32_t crc_ = 0;        // Of the data streamed so far.
};

}  // namespace pollux::nvme_tcp
