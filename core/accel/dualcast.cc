#include "core/accel/dualcast.h"

#include <cstring>

namespace pollux {

void Dualcast(std::byte* first, std::byte* second, std::span<const std::byte> from) {
  if (from.empty()) return;  // The pointers may be null.
  std::memcpy(first, from.data(), from.size());
  std::memcpy(second, from.data(), from.size());
}

}  // namespace pollux
