#include "core/accel/xor.h"

#include <emmintrin.h>
#include <isa-l/raid.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/check.h"

namespace pollux {
namespace {

// ISA-L uses wider vectors than every CPU has, but wants two sources or more, all of it aligned,
// and its lengths in an int.
constexpr size_t kIsaLSourcesMax = 32, kIsaLBytesMax = 1 << 30;
constexpr uintptr_t kIsaLAlignment = 32;

bool Aligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % kIsaLAlignment == 0;
}

bool IsaLTakes(std::byte* to, std::span<const std::byte* const> sources, size_t bytes) {
  return sources.size() >= 2 && sources.size() <= kIsaLSourcesMax && bytes <= kIsaLBytesMax &&
         Aligned(to) && std::all_of(sources.begin(), sources.end(), Aligned);
}

void ByIsaL(std::byte* to, std::span<const std::byte* const> sources, size_t bytes) {
  std::array<void*, kIsaLSourcesMax + 1> addresses;
  for (size_t i = 0; i < sources.size(); ++i) {
    addresses[i] = const_cast<std::byte*>(sources[i]);  // NOLINT: it reads them.
  }
  addresses[sources.size()] = to;
  const int failed =
      xor_gen(static_cast<int>(sources.size() + 1), static_cast<int>(bytes), addresses.data());
  CHECK(failed == 0);
}

__m128i* Vector(std::byte* at) { return reinterpret_cast<__m128i*>(at); }
const __m128i* Vector(const std::byte* at) { return reinterpret_cast<const __m128i*>(at); }

// Four vectors at a time, through all sources.
void ByVectors(std::byte* to, std::span<const std::byte* const> sources, size_t bytes) {
  constexpr size_t kVectors = 4, kStep = kVectors * sizeof(__m128i);
  size_t at = 0;
  for (; at + kStep <= bytes; at += kStep) {
    __m128i sum[kVectors];
    for (size_t i = 0; i < kVectors; ++i) sum[i] = _mm_loadu_si128(Vector(sources[0] + at) + i);
    for (const std::byte* source : sources.subspan(1)) {
      for (size_t i = 0; i < kVectors; ++i) {
        sum[i] = _mm_xor_si128(sum[i], _mm_loadu_si128(Vector(source + at) + i));
      }
    }
    for (size_t i = 0; i < kVectors; ++i) _mm_storeu_si128(Vector(to + at) + i, sum[i]);
  }
  for (; at < bytes; ++at) {
    std::byte sum = sources[0][at];
    for (const std::byte* source : sources.subspan(1)) sum ^= source[at];
    to[at] = sum;
  }
}

}  // namespace

void XorInto(std::byte* to, std::span<const std::byte* const> sources, size_t bytes) {
  CHECK(!sources.empty());
  if (IsaLTakes(to, sources, bytes)) return ByIsaL(to, sources, bytes);
  ByVectors(to, sources, bytes);
}

}  // namespace pollux
