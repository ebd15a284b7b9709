#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux {

// Between a scatter list, from `offset` on, and a buffer.
void Gather(std::span<const iovec> from, uint64_t offset, std::byte* to, size_t bytes);
void Scatter(const std::byte* from, std::span<const iovec> to, uint64_t offset, size_t bytes);
// Where the buffer first differs from the scatter list, or `bytes`.
size_t Difference(const std::byte* buffer, std::span<const iovec> with, uint64_t offset,
                  size_t bytes);

}  // namespace pollux
