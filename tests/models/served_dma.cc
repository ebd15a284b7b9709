#include "tests/models/served_dma.h"

#include <algorithm>
#include <iterator>

namespace pollux::models {
namespace {

using vfio_user::DmaRegion;

// The first region that begins beyond.
auto After(const std::vector<DmaRegion>& regions, uint64_t iova) {
  return std::upper_bound(
      regions.begin(), regions.end(), iova,
      [](uint64_t wanted, const DmaRegion& region) { return wanted < region.iova; });
}

}  // namespace

void ServedDma::Add(const DmaRegion& region) {
  regions_.insert(After(regions_, region.iova), region);
  last_ = nullptr;
}

void ServedDma::Remove(const DmaRegion& region) {
  std::erase_if(regions_, [&region](const DmaRegion& other) { return other.iova == region.iova; });
  last_ = nullptr;
}

std::byte* ServedDma::At(uint64_t iova, uint64_t bytes, bool write) {
  if (last_ == nullptr || iova - last_->iova >= last_->bytes) {
    const auto after = After(regions_, iova);
    if (after == regions_.begin()) return nullptr;
    last_ = &*std::prev(after);
  }
  const uint64_t offset = iova - last_->iova;
  if (offset >= last_->bytes || bytes > last_->bytes - offset) return nullptr;
  if (last_->address == nullptr || !(write ? last_->writable : last_->readable)) return nullptr;
  return last_->address + offset;
}

}  // namespace pollux::models
