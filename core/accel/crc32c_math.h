#pragma once
#include <nmmintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

// What the forms of CRC32C compute with: remainders of powers of x, most significant coefficient in
// the lowest bit ("reflected"), as the SSE4.2 instruction has them.
//
// A carry-less product of two reflected numbers is the product of the polynomials times x, and the
// SSE4.2 instruction multiplies what it takes by x^32; both are made up for in the exponents.

namespace pollux::crc32c {

// x^exponent modulo the Castagnoli polynomial.
constexpr uint32_t PowerOfX(size_t exponent) {
  uint32_t power = 0x80000000;
  for (; exponent > 0; --exponent) power = power >> 1 ^ ((power & 1) != 0 ? 0x82f63b78 : 0);
  return power;
}

// Times this, a remainder is one of a message that goes on for so many bytes, once the product has
// been through the instruction; until then it may be added to the last eight bytes of a message.
constexpr uint32_t PastBytes(size_t bytes) { return PowerOfX(8 * bytes - 33); }

// Times these, the two halves of 16 bytes are the same value that many bytes further on.
constexpr uint64_t FoldLow(size_t bytes) { return uint64_t{PowerOfX(8 * bytes + 63)} << 32; }
constexpr uint64_t FoldHigh(size_t bytes) { return uint64_t{PowerOfX(8 * bytes - 1)} << 32; }

template <typename T>
inline T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

inline uint64_t Next(uint64_t remainder, const std::byte* from) {
  return _mm_crc32_u64(remainder, Load<uint64_t>(from));
}

}  // namespace pollux::crc32c
