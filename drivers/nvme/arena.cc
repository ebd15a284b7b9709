#include "drivers/nvme/arena.h"

#include <cstdint>
#include <cstring>
#include <iterator>

#include "core/check.h"

namespace pollux::nvme {
namespace {

constexpr size_t kHugepageBytes = 2 << 20;
constexpr size_t kUnit = 64;  // A cache line: pieces of two owners share none.

size_t RoundUp(size_t value, size_t unit) { return (value + unit - 1) & ~(unit - 1); }

// Where a piece may begin that lies at `address` or above it.
uintptr_t PlaceOf(uintptr_t address, size_t bytes, size_t alignment) {
  const uintptr_t place = RoundUp(address, alignment);
  const bool crosses = place / kHugepageBytes != (place + bytes - 1) / kHugepageBytes;
  return crosses && bytes <= kHugepageBytes ? RoundUp(place, kHugepageBytes) : place;
}

}  // namespace

Arena::Arena(std::byte* memory, size_t bytes) : total_bytes_(bytes), free_bytes_(bytes) {
  if (bytes > 0) free_.emplace(memory, bytes);
}

std::byte* Arena::Allocate(size_t bytes, size_t alignment) {
  if (bytes == 0 || bytes > total_bytes_ || alignment > kHugepageBytes) return nullptr;
  CHECK(alignment > 0 && (alignment & (alignment - 1)) == 0);
  bytes = RoundUp(bytes, kUnit);
  if (alignment < kUnit) alignment = kUnit;
  for (auto extent = free_.begin(); extent != free_.end(); ++extent) {
    const auto begin = reinterpret_cast<uintptr_t>(extent->first);
    const uintptr_t end = begin + extent->second;
    const uintptr_t place = PlaceOf(begin, bytes, alignment);
    if (place >= end || end - place < bytes) continue;

    std::byte* const piece = extent->first + (place - begin);
    free_.erase(extent);
    if (place > begin) free_.emplace(piece - (place - begin), place - begin);
    if (end > place + bytes) free_.emplace(piece + bytes, end - place - bytes);
    used_.emplace(piece, bytes);
    free_bytes_ -= bytes;
    memset(piece, 0, bytes);
    return piece;
  }
  return nullptr;
}

bool Arena::Free(std::byte* memory) {
  const auto used = used_.find(memory);
  if (used == used_.end()) return false;
  size_t bytes = used->second;
  free_bytes_ += bytes;
  used_.erase(used);

  auto behind = free_.upper_bound(memory);
  if (behind != free_.end() && memory + bytes == behind->first) {
    bytes += behind->second;
    behind = free_.erase(behind);
  }
  if (behind != free_.begin()) {
    const auto before = std::prev(behind);
    if (before->first + before->second == memory) {
      before->second += bytes;
      return true;
    }
  }
  free_.emplace(memory, bytes);
  return true;
}

}  // namespace pollux::nvme
