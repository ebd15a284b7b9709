#include "core/accel/fill.h"

#include <algorithm>
#include <cstring>

#include "core/wire_int.h"

namespace pollux {

void FillWithPattern(std::span<std::byte> to, uint64_t pattern) {
  const Le64 bytes = pattern;
  for (; !to.empty(); to = to.subspan(std::min(to.size(), sizeof(bytes)))) {
    std::memcpy(to.data(), &bytes, std::min(to.size(), sizeof(bytes)));
  }
}

}  // namespace pollux
