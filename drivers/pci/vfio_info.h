#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/status.h"
#include "drivers/pci/iova_space.h"

// What VFIO tells about itself: fixed structures with a chain of capabilities behind them.
// <linux/vfio.h>, "struct vfio_info_cap_header".

namespace pollux::pci {

// A type 1 IOMMU. VFIO_IOMMU_GET_INFO.
struct IommuInfo {
  size_t page_bytes = 4096;  // The smallest.
  std::vector<IovaRange> ranges;
};

// A BAR or the configuration space, as a part of the device's file. VFIO_DEVICE_GET_REGION_INFO.
struct RegionInfo {
  uint64_t bytes = 0;   // 0: there is none.
  uint64_t offset = 0;  // In the file.
  bool readable = false;
  bool writable = false;
  bool mappable = false;
  bool msix_mappable = false;  // Also the pages that hold the MSI-X table.
  struct Area {
    uint64_t offset = 0;  // In the region.
    uint64_t bytes = 0;
  };
  std::optional<std::vector<Area>> sparse;  // If there, only these can be mapped.
};

Result<IommuInfo> QueryIommu(int container_fd);
Result<RegionInfo> QueryRegion(int device_fd, uint32_t index);

// The answers' bytes. Nothing in them is believed: chains end, areas lie within their region.
IommuInfo ParseIommuInfo(std::span<const std::byte> answer);
RegionInfo ParseRegionInfo(std::span<const std::byte> answer);

}  // namespace pollux::pci
