#pragma once
#include <cstddef>
#include <cstdint>

#include "core/spec/nvme_spec.h"
#include "drivers/nvme/nvme.h"
#include "drivers/pci/dma_map.h"

// The data pointer of a command: PRP entries (Base §4.1.1) or an SGL (§4.1.2).

namespace pollux::nvme {

// How a controller may be told where data lies.
struct PointerRules {
  uint32_t page_bytes = 4096;      // CC.MPS.
  bool sgl = false;                // Else PRP only.
  bool sgl_dword_aligned = false;  // SGLS bits 1:0 are 10b.
  bool only_sgl = false;           // No PRP.
};

// Room for one command's PRP list or SGL segment. It lies within one page of the controller's.
struct PointerList {
  std::byte* memory = nullptr;
  uint64_t iova = 0;
  uint32_t bytes = 0;
};

// The common case: `bytes`, at least one, that are one piece for the device, near the last one, in
// at most two of its pages, told by PRP. False when it is another case.
inline bool PointToTwoPages(SubmissionEntry& entry, const pci::DmaView& view, uint64_t page_bytes,
                            const void* data, uint64_t bytes) {
  uint64_t iova = 0;
  if (!view.TranslateNear(data, bytes, iova) || (iova & 3) != 0) return false;
  const uint64_t second_page = (iova | (page_bytes - 1)) + 1;
  const uint64_t end = iova + bytes;
  uint64_t second = 0;
  if (end > second_page) {
    if (end - second_page > page_bytes) return false;
    second = second_page;
  }
  entry.prp1 = iova;
  entry.prp2 = second;
  return true;
}

// Any case. Chooses between PRP and SGL: PRP where the data fits in two entries, else what needs
// the shorter list. `entry.flags` gets PSDT. Returns 0 or
//   -EFAULT  memory that the view does not know, or that neither PRP nor SGL can tell
//   -E2BIG   the list is too short
int PointToPieces(SubmissionEntry& entry, pci::DmaView& view, const PointerRules& rules,
                  const PointerList& list, const iovec* pieces, uint32_t count);

// The metadata pointer: one piece for the device, dword-aligned. Returns 0 or -EFAULT.
int PointToMetadata(SubmissionEntry& entry, pci::DmaView& view, const void* metadata,
                    uint64_t bytes);

}  // namespace pollux::nvme
