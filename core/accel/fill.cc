#include "core/accel/fill.h"

#include <algorithm>
#include <cstring>

#include "core/wire_int.h"

namespace pollux {
namespace {

// What is written already is copied on, and doubles; in pieces that stay in the first cache.
constexpr size_t kSeed = 64, kPieceMax = 2048;

}  // namespace

void FillWithPattern(std::span<std::byte> to, uint64_t pattern) {
  if (to.empty()) return;  // It may be null.
  const Le64 bytes = pattern;
  if (pattern == (pattern & 0xff) * 0x0101010101010101) {
    std::memset(to.data(), static_cast<int>(pattern & 0xff), to.size());
    return;
  }
  size_t done = 0;
  for (const size_t seed = std::min(to.size(), kSeed); done < seed;) {
    const size_t piece = std::min(sizeof(bytes), seed - done);
    std::memcpy(to.data() + done, &bytes, piece);
    done += piece;
  }
  while (done < to.size()) {
    const size_t piece = std::min({done, kPieceMax, to.size() - done});
    std::memcpy(to.data() + done, to.data(), piece);
    done += piece;
  }
}

}  // namespace pollux
