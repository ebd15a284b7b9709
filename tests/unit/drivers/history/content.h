#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace pollux::history {

// What a block holds, as one number: which write, of which block. Every write of a run has a number
// of its own, so what is read says where it comes from.
using Value = uint64_t;
inline constexpr Value kZeroes = 0;
inline constexpr Value kTorn = UINT64_MAX;  // No write leaves this: parts of several, or rubbish.

constexpr uint64_t kLbasMax = 1 << 16;
constexpr Value ValueOf(uint64_t write, uint64_t lba) { return write * kLbasMax + lba; }

// `bytes` is a multiple of 8. No two values agree in any word.
void FillBlock(std::byte* block, size_t bytes, Value value);
Value ReadBlock(const std::byte* block, size_t bytes);

// "write 7 of block 3"
std::string Describe(Value value);

}  // namespace pollux::history
