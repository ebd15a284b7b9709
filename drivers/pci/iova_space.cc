#include "drivers/pci/iova_space.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/check.h"

namespace pollux::pci {
namespace {

// No device is told an address below, where a lost zero, or the like, would point.
constexpr uint64_t kFirst = 1 << 20;
constexpr size_t kAlignmentMax = 1 << 30;  // The largest page of any IOMMU we know.

}  // namespace

IovaSpace::IovaSpace(std::vector<IovaRange> ranges, size_t page_bytes)
    : ranges_(std::move(ranges)), page_bytes_(page_bytes), next_(kFirst) {
  CHECK(std::has_single_bit(page_bytes));
}

Result<uint64_t> IovaSpace::Allocate(size_t bytes, uintptr_t address) {
  CHECK(bytes > 0 && bytes % page_bytes_ == 0 && address % page_bytes_ == 0);
  const uint64_t alignment =
      std::clamp(std::bit_floor(bytes), page_bytes_, std::max(page_bytes_, kAlignmentMax));
  const uint64_t phase = address & (alignment - 1);
  for (const uint64_t from : {next_, kFirst}) {
    for (const IovaRange& range : ranges_) {
      const uint64_t iova = FindIn(range, from, bytes, alignment, phase);
      if (iova == 0) continue;
      taken_.emplace(iova, iova + bytes - 1);
      next_ = iova + bytes;
      return iova;
    }
  }
  return NoSpace("no %d KiB of the IOMMU's address space are left in one piece", bytes >> 10);
}

uint64_t IovaSpace::FindIn(const IovaRange& range, uint64_t from, size_t bytes, uint64_t alignment,
                           uint64_t phase) const {
  uint64_t at = std::max(range.first, from);
  for (;;) {
    const uint64_t aligned = at + ((phase - at) & (alignment - 1));
    if (aligned < at || aligned > range.last || bytes - 1 > range.last - aligned) return 0;
    // The last one that begins before our end is the only one that can be in the way.
    auto behind = taken_.upper_bound(aligned + bytes - 1);
    if (behind == taken_.begin()) return aligned;
    const uint64_t taken_last = std::prev(behind)->second;
    if (taken_last < aligned) return aligned;
    if (taken_last >= range.last) return 0;
    at = taken_last + 1;
  }
}

void IovaSpace::Free(uint64_t iova) {
  const size_t erased = taken_.erase(iova);
  CHECK(erased == 1, "an IOVA was freed that was not allocated");
}

}  // namespace pollux::pci
