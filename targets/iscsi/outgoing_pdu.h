#pragma once
#include <cstddef>

#include "core/net/byte_stream.h"
#include "targets/iscsi/digests.h"
#include "targets/iscsi/iscsi_spec.h"

namespace pollux::iscsi {

// A PDU to be sent: its header, and room for what goes around its data segment. The data lies where
// its owner has it.
//
//   header | header digest | data (parts 1 to part_count - 1) | padding | data digest
class OutgoingPdu : public SendItem {
 public:
  // As many parts of data as there may be.
  static constexpr size_t kDataPartsMax = kPartsMax - 2;

  ResponsePdu& header() { return frame_.header; }
  // The header as what its opcode says it is.
  template <typename T>
  T& HeaderAs() {
    static_assert(sizeof(T) == sizeof(ResponsePdu) && alignof(T) == 1);
    return reinterpret_cast<T&>(frame_.header);
  }

  // Begins anew, without data: a header of zeroes.
  void Begin();
  // One more part of the data segment. It stays there until OnSent.
  void AddData(const void* data, size_t bytes);
  // Last, when header and data are what they shall be: padding and digests.
  void Seal(Digests digests);

 protected:
  ~OutgoingPdu() = default;

 private:
  struct Frame {
    ResponsePdu header{};
    Le32 header_digest{};
    std::byte padding[3]{};
    Le32 data_digest{};
  };
  static_assert(offsetof(Frame, header_digest) == kHeaderBytes);
  static_assert(offsetof(Frame, data_digest) == offsetof(Frame, padding) + 3);
  Frame frame_;
};

}  // namespace pollux::iscsi
