#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "core/status.h"

namespace pollux::pci {

struct IovaRange {
  uint64_t first = 0;
  uint64_t last = 0;  // Inclusive, as the kernel tells it.
};

// The addresses that an IOMMU can translate, and which of them are taken.
class IovaSpace {
 public:
  // `page_bytes` is the smallest page of the IOMMU, a power of two.
  IovaSpace(std::vector<IovaRange> ranges, size_t page_bytes);

  // Room for `bytes`, whole pages, to stand for memory at `address`. As far as the size allows it
  // lies to its alignment as the memory does, so that large pages stay large in the IOMMU.
  // Addresses come into use again as late as possible: whoever still knows an old one hits nothing.
  Result<uint64_t> Allocate(size_t bytes, uintptr_t address);
  void Free(uint64_t iova);

  // The ranges are smaller now: another device joined. What is allocated stays.
  void SetRanges(std::vector<IovaRange> ranges) { ranges_ = std::move(ranges); }
  size_t page_bytes() const { return page_bytes_; }

 private:
  // The lowest fitting address from `from` on within a range, or 0: there is none.
  uint64_t FindIn(const IovaRange& range, uint64_t from, size_t bytes, uint64_t alignment,
                  uint64_t phase) const;

  std::vector<IovaRange> ranges_;
  size_t page_bytes_;
  std::map<uint64_t, uint64_t> taken_;  // First to last.
  uint64_t next_;                       // Where the last allocation ended.
};

}  // namespace pollux::pci
