#pragma once
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace pollux {

// An integer exactly as it lies on the wire or in device memory. It is stored as bytes, so its
// alignment is 1: a struct of wire integers has no padding, needs no packing attribute, and may sit
// at any address.
template <std::unsigned_integral T, std::endian kOrder>
class WireInt {
 public:
  constexpr WireInt() = default;
  constexpr WireInt(T value) : bytes_(std::bit_cast<Bytes>(Convert(value))) {}
  constexpr operator T() const { return Convert(std::bit_cast<T>(bytes_)); }

 private:
  using Bytes = std::array<std::byte, sizeof(T)>;

  static constexpr T Convert(T value) {
    if constexpr (kOrder == std::endian::native || sizeof(T) == 1) return value;
    if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
    if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
  }

  Bytes bytes_{};
};

using Le16 = WireInt<uint16_t, std::endian::little>;
using Le32 = WireInt<uint32_t, std::endian::little>;
using Le64 = WireInt<uint64_t, std::endian::little>;
using Be16 = WireInt<uint16_t, std::endian::big>;
using Be32 = WireInt<uint32_t, std::endian::big>;
using Be64 = WireInt<uint64_t, std::endian::big>;
static_assert(alignof(Le64) == 1 && sizeof(Le64) == 8);

// Three bytes, most significant first: DataSegmentLength of iSCSI (RFC 7143 §11.2.1), LBAs of the
// six-byte SCSI commands.
class Be24 {
 public:
  constexpr Be24() = default;
  // Only the low 24 bits are kept.
  constexpr Be24(uint32_t value)
      : bytes_{static_cast<uint8_t>(value >> 16), static_cast<uint8_t>(value >> 8),
               static_cast<uint8_t>(value)} {}
  constexpr operator uint32_t() const {
    return uint32_t{bytes_[0]} << 16 | uint32_t{bytes_[1]} << 8 | bytes_[2];
  }

 private:
  std::array<uint8_t, 3> bytes_{};
};
static_assert(sizeof(Be24) == 3);

}  // namespace pollux
