#pragma once
#include <cstddef>
#include <span>

namespace pollux {

// to[i] = sources[0][i] ^ sources[1][i] ^ ... for `bytes` bytes of at least one source. There is no
// limit to their number, any alignment will do, and `to` may be one of them; otherwise it overlaps
// none.
void XorInto(std::byte* to, std::span<const std::byte* const> sources, size_t bytes);

}  // namespace pollux
