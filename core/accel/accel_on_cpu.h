#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/accel/accel_operation.h"

namespace pollux {

// Operations as the CPU executes them: the pure functions of this folder, over lists of pieces.

// Whether the operation says what it should, and its lengths agree, and what it writes overlaps
// nothing else.
bool IsValid(const AccelOperation& operation);
// What is counted as the operation's size: of its source, or of what a fill writes.
uint64_t BytesOf(const AccelOperation& operation);
// Of an operation that is valid.
AccelStatus ExecuteOnCpu(AccelOperation& operation);

// Both lists have the same length. Returns the CRC of what is copied, behind `before`.
uint32_t CopyPiecesCrc32c(std::span<const iovec> to, std::span<const iovec> from, uint32_t before);

// Whether two pieces of the same length, of one byte at least, have nothing in common.
inline bool AreApart(const void* a, const void* b, size_t bytes) {
  const uintptr_t distance = reinterpret_cast<uintptr_t>(a) - reinterpret_cast<uintptr_t>(b);
  return distance + bytes - 1 >= 2 * bytes - 1;
}

}  // namespace pollux
