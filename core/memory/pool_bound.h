#pragma once
#include <cstddef>

namespace pollux {

// How many elements a pool of `count` has: as many, unless POLLUX_POOL_SIZE in the environment
// bounds all pools. So tests see to it that whatever waits for a pool gets its turn, and that
// nothing keeps one element while it waits for another.
size_t BoundedPool(size_t count);

}  // namespace pollux
