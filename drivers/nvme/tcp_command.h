#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/spec/nvme_spec.h"
#include "core/wire_int.h"

namespace pollux::nvme {

// A command that the target has, or is being sent. One for each slot of the queue pair: the low
// bits of an identifier are its number. Slot 0 and the last are not the queue pair's: they are
// ICReq's and Connect's.
struct TcpCommand {
  // Data begins at a multiple of 4 to 128 bytes behind at most 76, those of a capsule with digest:
  // multiples of 72 bring it furthest.
  static constexpr size_t kDataBeginMax = 144;

  // What is sent for it next, or being sent: a header with what follows it up to the data, then
  // [data_at, data_at + data_bytes) of its data, then a digest.
  std::array<std::byte, kDataBeginMax> header;
  uint32_t header_bytes, data_at, data_bytes;
  uint32_t sent;  // Of all that.
  Le32 digest;
  bool digested;
  TcpCommand* next;  // That is to be sent after it.

  uint16_t cid;
  uint8_t opc;
  bool busy = false;     // The target owes an answer.
  bool queued = false;   // It is in the list of what is to be sent.
  bool reads, writes;    // Its direction, when it has data.
  bool last_came;        // All data that the target means to send.
  bool damaged;          // A data digest was wrong.
  bool asked;            // An R2T is being answered.
  uint16_t ttag;         // Of the R2T.
  uint32_t bytes;        // Its data.
  uint32_t received;     // Of a read.
  uint32_t given;        // Of a write: asked for so far, or sent with the command.
  uint32_t asked_until;  // The end of what the R2T asked for.

  SglDescriptor one;  // Its data, when that is one piece.
  const SglDescriptor* pieces;
  uint32_t piece_count;

  // Of its data [at, at + count), piece by piece, until `visit` returns false.
  template <typename Visit>
  void ForPieces(uint32_t at, uint32_t count, Visit visit) const {
    for (uint32_t i = 0; i < piece_count && count > 0; ++i) {
      const uint32_t length = pieces[i].length;
      if (at >= length) {
        at -= length;
        continue;
      }
      const uint32_t taken = std::min(count, length - at);
      if (!visit(PlaceOf(pieces[i]) + at, taken)) return;
      count -= taken;
      at = 0;
    }
  }
  static std::byte* PlaceOf(const SglDescriptor& piece) {
    return reinterpret_cast<std::byte*>(uint64_t{piece.address});
  }
};

}  // namespace pollux::nvme
