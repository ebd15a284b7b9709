#include "core/accel/copy_crc32c.h"

#include <algorithm>
#include <cstring>

#include "core/accel/crc32c_forms.h"

namespace pollux {
namespace crc32c {

uint32_t CopyByPieces(std::byte* to, const std::byte* from, size_t bytes, uint32_t remainder) {
  constexpr size_t kPiece = 4096;
  for (size_t at = 0; at < bytes; at += kPiece) {
    const size_t piece = std::min(kPiece, bytes - at);
    std::memcpy(to + at, from + at, piece);
    remainder = IsaL(to + at, piece, remainder);
  }
  return remainder;
}

}  // namespace crc32c

namespace {

crc32c::CopyForm Choose() {
  if (crc32c::HasFolding()) return crc32c::CopyFolding;
  return crc32c::HasThreeWay() ? crc32c::CopyThreeWay : crc32c::CopyByPieces;
}

}  // namespace

uint32_t CopyCrc32c(std::byte* to, std::span<const std::byte> from, uint32_t before) {
  if (from.empty()) return before;  // The pointers may be null.
  static const crc32c::CopyForm form = Choose();
  return ~form(to, from.data(), from.size(), ~before);
}

}  // namespace pollux
