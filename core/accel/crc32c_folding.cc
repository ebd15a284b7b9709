// g++ 12 warns of its own intrinsics (GCC bug 105593).
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "core/accel/crc32c_forms.h"
#include "core/accel/crc32c_math.h"

#define POLLUX_AVX512 \
  [[gnu::target("avx512f,avx512bw,avx512vl,avx512vbmi,vpclmulqdq,pclmul,sse4.2,bmi2,prfchw")]]
#define POLLUX_INLINE_AVX512 POLLUX_AVX512 [[gnu::always_inline]] inline

// A message is folded into two vectors, of which one holds what the last 64 bytes so far would have
// to be and the other the 64 before them, were all before them zero. A vector moves on by a product
// of each half of its four lanes.
//
// That keeps the vector units busy, and the SSE4.2 instruction of the integer units idle. So of a
// message of some length the chunks' first halves are cut into eight chains, which go through it,
// and the second halves are folded.

namespace pollux::crc32c {
namespace {

constexpr size_t kVector = 64, kStep = 2 * kVector;
constexpr size_t kChains = 8, kChain = 256, kFolded = 2048, kChunk = kChains * kChain + kFolded;
constexpr size_t kHalf = kChains * kChain;

struct alignas(64) Multipliers {
  uint64_t lanes[8];
};
constexpr Multipliers FoldBy(size_t bytes) {
  const uint64_t low = FoldLow(bytes), high = FoldHigh(bytes);
  return {{low, high, low, high, low, high, low, high}};
}
constexpr Multipliers kByVector = FoldBy(kVector), kByStep = FoldBy(kStep),
                      kByHalf = FoldBy(kHalf + kStep);
// All lanes to where the last one is, but for that.
constexpr Multipliers kToLast{
    {FoldLow(48), FoldHigh(48), FoldLow(32), FoldHigh(32), FoldLow(16), FoldHigh(16), 0, 0}};
constexpr Multipliers kBytesCount{{0x0706050403020100, 0x0f0e0d0c0b0a0908, 0x1716151413121110,
                                   0x1f1e1d1c1b1a1918, 0x2726252423222120, 0x2f2e2d2c2b2a2928,
                                   0x3736353433323130, 0x3f3e3d3c3b3a3938}};

// Two chains in a lane: each past the chains after it and the folded half, from where its lane is.
constexpr uint64_t ChainFold(size_t chain) {
  const size_t lane_to_end = 48 - 16 * (chain / 2);
  const size_t bytes = (kChains - 1 - chain) * kChain + kFolded - lane_to_end;
  return uint64_t{PowerOfX(8 * bytes - 65)} << 32;
}
constexpr Multipliers kChainsToEnd{{ChainFold(0), ChainFold(1), ChainFold(2), ChainFold(3),
                                    ChainFold(4), ChainFold(5), ChainFold(6), ChainFold(7)}};

POLLUX_INLINE_AVX512 __m512i LoadVector(const void* from) { return _mm512_loadu_si512(from); }

POLLUX_INLINE_AVX512 __m512i Fold(__m512i vector, __m512i by, __m512i next) {
  const __m512i low = _mm512_clmulepi64_epi128(vector, by, 0x00);
  const __m512i high = _mm512_clmulepi64_epi128(vector, by, 0x11);
  return _mm512_ternarylogic_epi64(low, high, next, 0x96);  // The sum of all three.
}

// Of what is copied from memory, the CPU's own looking ahead follows too few of the streams.
POLLUX_INLINE_AVX512 void LookAhead(std::byte* to, const std::byte* from) {
  for (size_t i = 0; i < 4 * kVector; i += kVector) {
    __builtin_prefetch(from + i);
    __builtin_prefetch(to + i, 1);
  }
}

template <bool kCopy>
POLLUX_INLINE_AVX512 __m512i Take(std::byte* to, const std::byte* from) {
  const __m512i vector = LoadVector(from);
  if constexpr (kCopy) _mm512_storeu_si512(to, vector);
  return vector;
}

POLLUX_INLINE_AVX512 __m128i Pair(uint64_t low, uint64_t high) {
  return _mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(low));
}

// What is folded of the message so far.
struct Folded {
  __m512i before_last, last;
};

// Chunks, at least one.
template <bool kCopy>
POLLUX_INLINE_AVX512 Folded Chunks(std::byte*& to, const std::byte*& from, size_t& bytes,
                                   uint32_t remainder) {
  const __m512i by_step = LoadVector(&kByStep);
  Folded folded{_mm512_setzero_si512(), _mm512_setzero_si512()};
  uint64_t c0 = remainder;
  for (;;) {
    const __m512i by_half = LoadVector(&kByHalf);
    uint64_t c1 = 0, c2 = 0, c3 = 0, c4 = 0, c5 = 0, c6 = 0, c7 = 0;
    __m512i by = by_half;
    for (size_t at = 0; at < kChain; at += 16) {
      const std::byte* const word = from + at;
      for (size_t i = 0; i < 16; i += 8) {
        c0 = Next(c0, word + i);
        c1 = Next(c1, word + i + kChain);
        c2 = Next(c2, word + i + 2 * kChain);
        c3 = Next(c3, word + i + 3 * kChain);
        c4 = Next(c4, word + i + 4 * kChain);
        c5 = Next(c5, word + i + 5 * kChain);
        c6 = Next(c6, word + i + 6 * kChain);
        c7 = Next(c7, word + i + 7 * kChain);
      }
      const std::byte* const pair = from + kHalf + 8 * at;
      std::byte* const out = to + 8 * at;
      if constexpr (kCopy) {
        if (bytes >= 2 * kChunk) LookAhead(to + kChunk + 16 * at, from + kChunk + 16 * at);
        Take<true>(out, from + 8 * at);
        Take<true>(out + kVector, from + 8 * at + kVector);
      }
      folded.before_last = Fold(folded.before_last, by, Take<kCopy>(out + kHalf, pair));
      folded.last = Fold(folded.last, by, Take<kCopy>(out + kHalf + kVector, pair + kVector));
      by = by_step;
    }
    const __m512i chains =
        _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(Pair(c2, c3), Pair(c0, c1))),
                           _mm256_set_m128i(Pair(c6, c7), Pair(c4, c5)), 1);
    folded.last = Fold(chains, LoadVector(&kChainsToEnd), folded.last);
    from += kChunk;
    to += kChunk;
    bytes -= kChunk;
    if (bytes < kChunk) return folded;
    c0 = 0;
  }
}

// The remainder of 64 bytes.
POLLUX_INLINE_AVX512 uint32_t Reduce(__m512i vector) {
  const __m512i four =
      Fold(vector, LoadVector(&kToLast), _mm512_maskz_mov_epi64(__mmask8{0xc0}, vector));
  const __m256i two =
      _mm256_xor_si256(_mm512_castsi512_si256(four), _mm512_extracti64x4_epi64(four, 1));
  const __m128i one = _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
  const uint64_t low = _mm_crc32_u64(0, static_cast<uint64_t>(_mm_cvtsi128_si64(one)));
  return static_cast<uint32_t>(
      _mm_crc32_u64(low, static_cast<uint64_t>(_mm_extract_epi64(one, 1))));
}

// `vector` and the `bytes` after it, fewer than 64.
template <bool kCopy>
POLLUX_INLINE_AVX512 __m512i FoldRest(__m512i vector, std::byte* to, const std::byte* from,
                                      size_t bytes) {
  const __m512i turned = _mm512_permutexvar_epi8(
      _mm512_add_epi8(LoadVector(&kBytesCount), _mm512_set1_epi8(static_cast<char>(bytes))),
      vector);
  const __mmask64 top = ~uint64_t{0} << (64 - bytes);
  const __m512i end = LoadVector(from + bytes - kVector);
  if constexpr (kCopy) _mm512_storeu_si512(to + bytes - kVector, end);
  return Fold(_mm512_maskz_mov_epi8(top, turned), LoadVector(&kByVector),
              _mm512_mask_blend_epi8(top, turned, end));
}

// At least one vector. Where nothing is copied, `to` goes along with `from`.
template <bool kCopy>
POLLUX_INLINE_AVX512 uint32_t Run(std::byte* to, const std::byte* from, size_t bytes,
                                  uint32_t remainder) {
  const __m512i by_vector = LoadVector(&kByVector);
  __m512i vector;
  if (bytes >= kStep) {
    Folded folded;
    if (bytes >= kChunk) {
      folded = Chunks<kCopy>(to, from, bytes, remainder);
    } else {
      folded.before_last = _mm512_xor_si512(
          Take<kCopy>(to, from),
          _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int32_t>(remainder))));
      folded.last = Take<kCopy>(to + kVector, from + kVector);
      from += kStep;
      to += kStep;
      bytes -= kStep;
    }
    const __m512i by_step = LoadVector(&kByStep);
    for (; bytes >= kStep; bytes -= kStep, from += kStep) {
      folded.before_last = Fold(folded.before_last, by_step, Take<kCopy>(to, from));
      folded.last = Fold(folded.last, by_step, Take<kCopy>(to + kVector, from + kVector));
      to += kStep;
    }
    vector = Fold(folded.before_last, by_vector, folded.last);
  } else {
    vector = _mm512_xor_si512(
        Take<kCopy>(to, from),
        _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int32_t>(remainder))));
    from += kVector;
    to += kVector;
    bytes -= kVector;
  }
  if (bytes >= kVector) {
    vector = Fold(vector, by_vector, Take<kCopy>(to, from));
    from += kVector;
    to += kVector;
    bytes -= kVector;
  }
  if (bytes > 0) vector = FoldRest<kCopy>(vector, to, from, bytes);
  return Reduce(vector);
}

}  // namespace

bool HasFolding() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("pclmul");
}

POLLUX_AVX512 uint32_t Folding(const std::byte* from, size_t bytes, uint32_t remainder) {
  if (bytes < kVector) return OneWay(from, bytes, remainder);
  return Run<false>(const_cast<std::byte*>(from), from, bytes, remainder);  // NOLINT
}

POLLUX_AVX512 uint32_t CopyFolding(std::byte* to, const std::byte* from, size_t bytes,
                                   uint32_t remainder) {
  if (bytes < kVector) {
    std::memcpy(to, from, bytes);
    return OneWay(from, bytes, remainder);
  }
  return Run<true>(to, from, bytes, remainder);
}

}  // namespace pollux::crc32c
