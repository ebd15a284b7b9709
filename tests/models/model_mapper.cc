#include "tests/models/model_mapper.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace pollux::models {
namespace {

constexpr uint64_t kGap = 1 << 20;  // Between regions, and between pages.

}  // namespace

std::unique_ptr<pci::DmaMap> ModelMapper::Start(RegionRegistry& registry) {
  Result<std::unique_ptr<pci::DmaMap>> map = pci::DmaMap::Start(registry, *this);
  CHECK(map.ok());
  return *std::move(map);
}

Result<pci::DmaMapper::Mapping> ModelMapper::Map(const Region& region) {
  Mapping mapping;
  if (page_bytes_ == 0) {
    const uint64_t in_page = reinterpret_cast<uintptr_t>(region.address) % 4096;
    const uint64_t iova = next_ + in_page;
    pieces_[iova] = {region.address, region.bytes};
    mapping.page_iova = {iova};
    next_ += (region.bytes + in_page + 2 * kGap) / kGap * kGap;
    return mapping;
  }
  mapping.page_bytes = page_bytes_;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(region.address);
  const uintptr_t end = begin + region.bytes;
  const uint64_t stride = (page_bytes_ + 2 * kGap) / kGap * kGap;
  for (uintptr_t page = begin / page_bytes_ * page_bytes_; page < end; page += page_bytes_) {
    const uint64_t iova = (next_ + page_bytes_ - 1) / page_bytes_ * page_bytes_;
    next_ = iova + stride;
    const uintptr_t from = std::max(page, begin);
    pieces_[iova + (from - page)] = {reinterpret_cast<std::byte*>(from),
                                     std::min(page + page_bytes_, end) - from};
    mapping.page_iova.push_back(iova);
  }
  // Later pages come first, so that not even the order is right.
  std::map<uint64_t, Piece> moved;
  for (size_t i = 0, j = mapping.page_iova.size() - 1; i < j; ++i, --j) {
    std::swap(mapping.page_iova[i], mapping.page_iova[j]);
  }
  uintptr_t page = begin / page_bytes_ * page_bytes_;
  for (uint64_t iova : mapping.page_iova) {
    const uintptr_t from = std::max(page, begin);
    pieces_.erase(pieces_.lower_bound(iova));
    moved[iova + (from - page)] = {reinterpret_cast<std::byte*>(from),
                                   std::min(page + page_bytes_, end) - from};
    page += page_bytes_;
  }
  pieces_.merge(moved);
  return mapping;
}

void ModelMapper::Unmap(const Region& region, const Mapping& /*mapping*/) {
  std::erase_if(pieces_, [&region](const auto& entry) {
    return entry.second.address >= region.address &&
           entry.second.address < region.address + region.bytes;
  });
}

std::byte* ModelMapper::At(uint64_t iova, uint64_t bytes, bool /*write*/) {
  auto found = pieces_.upper_bound(iova);
  if (found == pieces_.begin()) return nullptr;
  --found;
  const uint64_t offset = iova - found->first;
  const Piece& piece = found->second;
  if (offset >= piece.bytes || bytes > piece.bytes - offset) return nullptr;
  return piece.address + offset;
}

}  // namespace pollux::models
