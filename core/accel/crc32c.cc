#include "core/accel/crc32c.h"

#include <isa-l/crc.h>

namespace pollux {

// ISA-L chooses among its forms by CPU, once; it wants neither the initial nor the final inversion.
uint32_t Crc32c(std::span<const std::byte> data, uint32_t before) {
  // Its prototype lacks a const.
  auto* const bytes =
      reinterpret_cast<unsigned char*>(const_cast<std::byte*>(data.data()));  // NOLINT
  return ~crc32_iscsi(bytes, static_cast<int>(data.size()), ~before);
}

}  // namespace pollux
