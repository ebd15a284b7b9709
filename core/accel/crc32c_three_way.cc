#include <wmmintrin.h>

#include "core/accel/crc32c_forms.h"
#include "core/accel/crc32c_math.h"

#define POLLUX_PCLMUL [[gnu::target("sse4.2,pclmul")]]

namespace pollux::crc32c {
namespace {

POLLUX_PCLMUL inline uint64_t Multiply(uint64_t remainder, uint32_t power) {
  const __m128i product =
      _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<int64_t>(remainder)),
                           _mm_cvtsi64_si128(static_cast<int64_t>(uint64_t{power})), 0);
  return static_cast<uint64_t>(_mm_cvtsi128_si64(product));
}

// As often as three pieces of kPiece bytes fit.
template <size_t kPiece, bool kCopy>
POLLUX_PCLMUL inline uint64_t ThreePieces(std::byte*& to, const std::byte*& from, size_t& bytes,
                                          uint64_t first) {
  static_assert(kPiece % 8 == 0);
  for (; bytes >= 3 * kPiece; bytes -= 3 * kPiece) {
    uint64_t second = 0, third = 0;
    for (const std::byte* const end = from + kPiece; from < end; from += 8) {
      const uint64_t words[] = {Load<uint64_t>(from), Load<uint64_t>(from + kPiece),
                                Load<uint64_t>(from + 2 * kPiece)};
      first = _mm_crc32_u64(first, words[0]);
      second = _mm_crc32_u64(second, words[1]);
      third = _mm_crc32_u64(third, words[2]);
      if constexpr (kCopy) {
        for (size_t i = 0; i < 3; ++i) std::memcpy(to + i * kPiece, &words[i], 8);
        to += 8;
      }
    }
    constexpr uint32_t kPastTwo = PastBytes(2 * kPiece), kPastOne = PastBytes(kPiece);
    first = third ^ _mm_crc32_u64(0, Multiply(first, kPastTwo) ^ Multiply(second, kPastOne));
    from += 2 * kPiece;
    if constexpr (kCopy) to += 2 * kPiece;
  }
  return first;
}

template <bool kCopy>
POLLUX_PCLMUL inline uint32_t Run(std::byte* to, const std::byte* from, size_t bytes,
                                  uint32_t remainder) {
  uint64_t wide = ThreePieces<1360, kCopy>(to, from, bytes, remainder);
  wide = ThreePieces<168, kCopy>(to, from, bytes, wide);
  if constexpr (kCopy) std::memcpy(to, from, bytes);
  return OneWay(from, bytes, static_cast<uint32_t>(wide));
}

}  // namespace

bool HasThreeWay() { return __builtin_cpu_supports("pclmul") != 0; }

POLLUX_PCLMUL uint32_t ThreeWay(const std::byte* from, size_t bytes, uint32_t remainder) {
  return Run<false>(nullptr, from, bytes, remainder);
}

POLLUX_PCLMUL uint32_t CopyThreeWay(std::byte* to, const std::byte* from, size_t bytes,
                                    uint32_t remainder) {
  return Run<true>(to, from, bytes, remainder);
}

}  // namespace pollux::crc32c
