#include "core/accel/xor.h"

#include "core/check.h"

namespace pollux {

void XorInto(std::byte* to, std::span<const std::byte* const> sources, size_t bytes) {
  CHECK(!sources.empty());
  for (size_t i = 0; i < bytes; ++i) {
    std::byte sum = sources[0][i];
    for (const std::byte* source : sources.subspan(1)) sum ^= source[i];
    to[i] = sum;
  }
}

}  // namespace pollux
