#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux {

// Writes the pattern's eight bytes over and over, its low byte first, beginning with the low byte
// at to[0] whatever that one's alignment is. The last repetition may be cut.
void FillWithPattern(std::span<std::byte> to, uint64_t pattern);

}  // namespace pollux
