#pragma once
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/wire_int.h"

// Registers of a device, and memory that it writes by itself.

namespace pollux {

// A register: its offset in the BAR, and its width in the type.
template <typename T>
struct Reg {
  uint64_t offset;
};

// A named range of bits in a register, or in a field of a structure.
template <typename T>
struct Field {
  unsigned shift;
  unsigned width;

  constexpr T mask() const {
    return width == 8 * sizeof(T) ? T(~T{0}) : T(((T{1} << width) - 1) << shift);
  }
  constexpr T Get(T value) const { return T((value & mask()) >> shift); }
  constexpr T Set(T value, T field) const {
    return T((value & ~mask()) | ((field << shift) & mask()));
  }
};

// Writes a mapped register. What was written to memory before is visible to the device first.
template <typename T>
inline void MmioWrite(std::byte* address, T value) {
  std::atomic_thread_fence(std::memory_order_release);
  *reinterpret_cast<volatile T*>(address) = value;
}

template <typename T>
inline T MmioRead(const std::byte* address) {
  return *reinterpret_cast<const volatile T*>(address);
}

// Reads a field that a device writes by DMA; what the device wrote before it is visible after.
inline uint16_t LoadAcquire(const Le16& field) {
  using Raw [[gnu::may_alias]] = uint16_t;
  const uint16_t raw = __atomic_load_n(reinterpret_cast<const Raw*>(&field), __ATOMIC_ACQUIRE);
  return std::bit_cast<Le16>(raw);
}

// The same from the device's side: what was written before `value` is visible before it.
inline void StoreRelease(Le16& field, uint16_t value) {
  using Raw [[gnu::may_alias]] = uint16_t;
  const Le16 wire = value;
  __atomic_store_n(reinterpret_cast<Raw*>(&field), std::bit_cast<uint16_t>(wire), __ATOMIC_RELEASE);
}

}  // namespace pollux
