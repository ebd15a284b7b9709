#include "core/accel/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <cstring>

namespace pollux {

// ISA-L chooses among its forms by CPU, once; it wants neither the initial nor the final inversion.
uint32_t Crc32c(std::span<const std::byte> data, uint32_t before) {
  // Its prototype lacks a const.
  auto* const bytes =
      reinterpret_cast<unsigned char*>(const_cast<std::byte*>(data.data()));  // NOLINT
  return ~crc32_iscsi(bytes, static_cast<int>(data.size()), ~before);
}

uint32_t CopyCrc32c(std::byte* to, std::span<const std::byte> from, uint32_t before) {
  // Pieces that stay in the first-level cache between the copy and the checksum.
  constexpr size_t kPieceBytes = 4096;
  while (!from.empty()) {
    const size_t piece = std::min(from.size(), kPieceBytes);
    std::memcpy(to, from.data(), piece);
    before = Crc32c({to, piece}, before);
    to += piece;
    from = from.subspan(piece);
  }
  return before;
}

}  // namespace pollux
