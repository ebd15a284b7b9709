#include "core/accel/dualcast.h"

#include <algorithm>
#include <cstring>

namespace pollux {
namespace {

// The second copy finds its source in the first cache. And up to here memcpy uses vectors; what is
// longer it leaves to the CPU's string instruction, which starts slowly.
constexpr size_t kPiece = 2048;

}  // namespace

void Dualcast(std::byte* first, std::byte* second, std::span<const std::byte> from) {
  while (!from.empty()) {
    const size_t piece = std::min(from.size(), kPiece);
    std::memcpy(first, from.data(), piece);
    std::memcpy(second, from.data(), piece);
    first += piece;
    second += piece;
    from = from.subspan(piece);
  }
}

}  // namespace pollux
