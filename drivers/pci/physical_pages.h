#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/memory/region_registry.h"
#include "core/status.h"
#include "drivers/pci/dma_map.h"
#include "drivers/pci/host_files.h"

namespace pollux::pci {

// Where a region lies in physical memory: what a device without an IOMMU is told. Makes its pages
// resident first. Only hugepages are taken: the kernel neither swaps nor moves them as it pleases.
Result<DmaMapper::Mapping> FindPhysicalPages(const HostFiles& files, const Region& region);

// The size of the pages behind an address, from the text of /proc/self/smaps, and whether they are
// hugepages. 0: nothing is mapped there.
struct PageKind {
  size_t page_bytes = 0;
  bool huge = false;
};
PageKind FindPageKind(std::string_view smaps, uintptr_t address);

}  // namespace pollux::pci
