#pragma once
#include <cstddef>
#include <span>

namespace pollux {

// Copies `from` to two places, which overlap neither it nor each other. Any alignment will do.
void Dualcast(std::byte* first, std::byte* second, std::span<const std::byte> from);

}  // namespace pollux
