#include "core/accel/dualcast.h"

#include <emmintrin.h>

namespace pollux {
namespace {

__m128i* Vector(std::byte* at) { return reinterpret_cast<__m128i*>(at); }

}  // namespace

void Dualcast(std::byte* first, std::byte* second, std::span<const std::byte> from) {
  constexpr size_t kVectors = 4, kStep = kVectors * sizeof(__m128i);
  size_t at = 0;
  for (; at + kStep <= from.size(); at += kStep) {
    const auto* const source = reinterpret_cast<const __m128i*>(from.data() + at);
    __m128i vectors[kVectors];
    for (size_t i = 0; i < kVectors; ++i) vectors[i] = _mm_loadu_si128(source + i);
    for (size_t i = 0; i < kVectors; ++i) _mm_storeu_si128(Vector(first + at) + i, vectors[i]);
    for (size_t i = 0; i < kVectors; ++i) _mm_storeu_si128(Vector(second + at) + i, vectors[i]);
  }
  for (; at < from.size(); ++at) first[at] = second[at] = from[at];
}

}  // namespace pollux
