#include "core/memory/pool_bound.h"

#include <algorithm>
#include <cstdlib>

namespace pollux {

size_t BoundedPool(size_t count) {
  const char* const text = getenv("POLLUX_POOL_SIZE");
  if (text == nullptr || *text == '\0') return count;
  return std::min<size_t>(count, std::max(1ul, strtoul(text, nullptr, 10)));
}

}  // namespace pollux
