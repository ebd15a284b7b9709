#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux {

// Copies `from` to `to`, which does not overlap it, and gives what Crc32c(from, before) gives: in
// one pass over the memory.
uint32_t CopyCrc32c(std::byte* to, std::span<const std::byte> from, uint32_t before = 0);

}  // namespace pollux
