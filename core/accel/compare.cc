#include "core/accel/compare.h"

#include <algorithm>

#include "core/check.h"

namespace pollux {

std::optional<size_t> FirstDifference(std::span<const std::byte> a, std::span<const std::byte> b) {
  CHECK(a.size() == b.size());
  const auto at = std::mismatch(a.begin(), a.end(), b.begin()).first;
  if (at == a.end()) return std::nullopt;
  return static_cast<size_t>(at - a.begin());
}

}  // namespace pollux
