#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "core/memory/region_registry.h"
#include "drivers/pci/dma_map.h"
#include "tests/models/nvme_dma.h"

namespace pollux::models {

// What an in-process device is told of our memory. Its addresses differ from ours on purpose: who
// gives a device a pointer is found out.
class ModelMapper final : public pci::DmaMapper, public DmaSpace {
 public:
  // page_bytes 0: one piece per region, as with an IOMMU; else pages of that size, none of which
  // has a neighbour, as without one.
  explicit ModelMapper(size_t page_bytes) : page_bytes_(page_bytes) {}

  // The registry and this outlive the map.
  std::unique_ptr<pci::DmaMap> Start(RegionRegistry& registry);

  Result<Mapping> Map(const Region& region) override;
  void Unmap(const Region& region, const Mapping& mapping) override;
  std::byte* At(uint64_t iova, uint64_t bytes, bool write) override;

 private:
  struct Piece {
    std::byte* address;
    uint64_t bytes;
  };
  const size_t page_bytes_;
  uint64_t next_ = 0x40'0000'0000;
  std::map<uint64_t, Piece> pieces_;  // By IOVA.
};

}  // namespace pollux::models
