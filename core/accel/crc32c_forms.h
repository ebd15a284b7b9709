#pragma once
#include <cstddef>
#include <cstdint>

// The ways to a CRC32C, one for each kind of CPU. Crc32c() and CopyCrc32c() choose among them;
// tests and benchmarks take each by itself. All of them give the bare remainder: neither the
// initial nor the final inversion is done.

namespace pollux::crc32c {

using Form = uint32_t (*)(const std::byte* from, size_t bytes, uint32_t remainder);
using CopyForm = uint32_t (*)(std::byte* to, const std::byte* from, size_t bytes,
                              uint32_t remainder);

// The instruction of SSE4.2, eight bytes after the other, each waiting for the one before. For a
// header nothing is faster.
uint32_t OneWay(const std::byte* from, size_t bytes, uint32_t remainder);

// The classic loop: three such chains at a time, joined by carry-less multiplication.
bool HasThreeWay();
uint32_t ThreeWay(const std::byte* from, size_t bytes, uint32_t remainder);
uint32_t CopyThreeWay(std::byte* to, const std::byte* from, size_t bytes, uint32_t remainder);

// Vectors of 512 bits folded over each other, and eight chains of SSE4.2 beside them: on the CPUs
// that have both, these are different execution units.
bool HasFolding();
uint32_t Folding(const std::byte* from, size_t bytes, uint32_t remainder);
uint32_t CopyFolding(std::byte* to, const std::byte* from, size_t bytes, uint32_t remainder);

// What ISA-L chooses. It has no copy: that is pieces which are still in the first cache.
uint32_t IsaL(const std::byte* from, size_t bytes, uint32_t remainder);
uint32_t CopyByPieces(std::byte* to, const std::byte* from, size_t bytes, uint32_t remainder);

}  // namespace pollux::crc32c
