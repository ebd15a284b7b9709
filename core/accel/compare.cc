#include "core/accel/compare.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace pollux {
namespace {

// What memcmp found different is looked through a second time, for where: not the whole of it.
constexpr size_t kPiece = 4096;

size_t WhereDifferent(const std::byte* a, const std::byte* b) {
  size_t at = 0;
  while (a[at] == b[at]) ++at;
  return at;
}

}  // namespace

std::optional<size_t> FirstDifference(std::span<const std::byte> a, std::span<const std::byte> b) {
  CHECK(a.size() == b.size());
  for (size_t at = 0; at < a.size(); at += kPiece) {
    const size_t piece = std::min(kPiece, a.size() - at);
    if (std::memcmp(a.data() + at, b.data() + at, piece) == 0) continue;
    constexpr size_t kFine = 64;
    size_t fine = at;
    while (std::memcmp(a.data() + fine, b.data() + fine, std::min(kFine, at + piece - fine)) == 0) {
      fine += kFine;
    }
    return fine + WhereDifferent(a.data() + fine, b.data() + fine);
  }
  return std::nullopt;
}

}  // namespace pollux
