#include "core/accel/copy_crc32c.h"

#include <cstring>

#include "core/accel/crc32c.h"

namespace pollux {

uint32_t CopyCrc32c(std::byte* to, std::span<const std::byte> from, uint32_t before) {
  if (from.empty()) return before;  // The pointers may be null.
  std::memcpy(to, from.data(), from.size());
  return Crc32c({to, from.size()}, before);
}

}  // namespace pollux
