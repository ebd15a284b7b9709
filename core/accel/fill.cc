#include "core/accel/fill.h"

#include <emmintrin.h>

#include <algorithm>
#include <cstring>

#include "core/wire_int.h"

namespace pollux {
void FillWithPattern(std::span<std::byte> to, uint64_t pattern) {
  if (to.empty()) return;  // It may be null.
  const Le64 bytes = pattern;
  if (pattern == (pattern & 0xff) * 0x0101010101010101) {
    std::memset(to.data(), static_cast<int>(pattern & 0xff), to.size());
    return;
  }
  size_t at = 0;
  const __m128i vector = _mm_set1_epi64x(static_cast<int64_t>(pattern));
  constexpr size_t kVectors = 4, kStep = kVectors * sizeof(vector);
  for (; at + kStep <= to.size(); at += kStep) {
    auto* const target = reinterpret_cast<__m128i*>(to.data() + at);
    for (size_t i = 0; i < kVectors; ++i) _mm_storeu_si128(target + i, vector);
  }
  for (; at < to.size(); at += std::min(sizeof(bytes), to.size() - at)) {
    std::memcpy(to.data() + at, &bytes, std::min(sizeof(bytes), to.size() - at));
  }
}

}  // namespace pollux
