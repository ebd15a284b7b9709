#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "targets/vfio_user/device.h"
#include "tests/models/nvme_dma.h"

namespace pollux::models {

// The memory that the client of a served device gives it.
class ServedDma final : public DmaSpace {
 public:
  void Add(const vfio_user::DmaRegion& region);
  void Remove(const vfio_user::DmaRegion& region);
  std::byte* At(uint64_t iova, uint64_t bytes, bool write) override;

 private:
  std::vector<vfio_user::DmaRegion> regions_;   // By IOVA.
  const vfio_user::DmaRegion* last_ = nullptr;  // The one of the last hit.
};

}  // namespace pollux::models
