#include "core/accel/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

#include "core/accel/crc32c_forms.h"

namespace pollux {
namespace crc32c {

constexpr size_t kIsaLBytesMax = 1 << 30;  // It counts them in an int.

uint32_t IsaL(const std::byte* from, size_t bytes, uint32_t remainder) {
  // Its prototype lacks a const.
  auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(from));  // NOLINT
  while (bytes > 0) {
    const size_t piece = std::min(bytes, kIsaLBytesMax);
    remainder = crc32_iscsi(data, static_cast<int>(piece), remainder);
    data += piece;
    bytes -= piece;
  }
  return remainder;
}

}  // namespace crc32c

namespace {

// Up to here a chain is done before a vector is.
constexpr size_t kOneWayMax = 96;

}  // namespace

uint32_t Crc32c(std::span<const std::byte> data, uint32_t before) {
  if (data.size() <= kOneWayMax) {
    return ~crc32c::OneWay(data.data(), data.size(), ~before);
  }
  static const crc32c::Form form = crc32c::HasFolding() ? crc32c::Folding : crc32c::IsaL;
  return ~form(data.data(), data.size(), ~before);
}

}  // namespace pollux
