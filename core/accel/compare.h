#pragma once
#include <cstddef>
#include <optional>
#include <span>

namespace pollux {

// Where the two, of the same size, differ first; nothing when they are the same.
std::optional<size_t> FirstDifference(std::span<const std::byte> a, std::span<const std::byte> b);

}  // namespace pollux
