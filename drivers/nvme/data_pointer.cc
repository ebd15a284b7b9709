#include "drivers/nvme/data_pointer.h"

#include <algorithm>
#include <cerrno>

namespace pollux::nvme {
namespace {

// What the device finds in one piece.
struct Extent {
  uint64_t iova = 0;
  uint64_t bytes = 0;
};

// Goes over the caller's pieces as the device sees them: cut where its addresses jump, joined where
// they do not.
class Extents {
 public:
  Extents(pci::DmaView& view, const iovec* pieces, uint32_t count)
      : view_(view), piece_(pieces), end_(pieces + count) {}

  // False at the end, and at unknown memory.
  bool Next(Extent& extent) {
    extent = {};
    while (bytes_ > 0 || NextPiece()) {
      const pci::DmaView::Piece found = view_.Translate(at_);
      if (found.bytes == 0) {
        unknown_ = true;
        return false;
      }
      if (extent.bytes > 0 && found.iova != extent.iova + extent.bytes) return true;
      if (extent.bytes == 0) extent.iova = found.iova;
      const uint64_t taken = std::min<uint64_t>(found.bytes, bytes_);
      extent.bytes += taken;
      at_ += taken;
      bytes_ -= taken;
    }
    return extent.bytes > 0;
  }
  bool unknown() const { return unknown_; }

 private:
  bool NextPiece() {
    while (piece_ != end_) {
      at_ = static_cast<const std::byte*>(piece_->iov_base);
      bytes_ = piece_->iov_len;
      ++piece_;
      if (bytes_ > 0) return true;
    }
    return false;
  }

  pci::DmaView& view_;
  const iovec* piece_;
  const iovec* const end_;
  const std::byte* at_ = nullptr;
  uint64_t bytes_ = 0;  // Left of the piece, from at_ on.
  bool unknown_ = false;
};

// What telling some data takes.
struct Survey {
  uint64_t extents = 0;
  uint64_t prp_entries = 0;
  bool prp = true;  // Begins at a dword, and all inner borders are page borders. Base §4.1.1.
  bool dwords = true;
  bool sgl = true;  // No extent is longer than a descriptor can say.

  // 0: the entry itself has room.
  uint64_t prp_list_bytes() const {
    return prp_entries <= 2 ? 0 : (prp_entries - 1) * sizeof(Le64);
  }
  uint64_t sgl_bytes() const { return extents <= 1 ? 0 : extents * sizeof(SglDescriptor); }
};

Survey Look(Extents extents, uint32_t page_bytes, bool& unknown) {
  const uint64_t in_page = page_bytes - 1;
  Survey survey;
  uint64_t end = 0;
  Extent extent;
  while (extents.Next(extent)) {
    const uint64_t border = survey.extents == 0 ? extent.iova & 3 : (extent.iova | end) & in_page;
    if (border != 0) survey.prp = false;
    if (((extent.iova | extent.bytes) & 3) != 0) survey.dwords = false;
    if (extent.bytes > UINT32_MAX) survey.sgl = false;
    ++survey.extents;
    survey.prp_entries += ((extent.iova & in_page) + extent.bytes + in_page) / page_bytes;
    end = extent.iova + extent.bytes;
  }
  unknown = extents.unknown();
  return survey;
}

void WritePrp(SubmissionEntry& entry, Extents extents, const Survey& survey, uint32_t page_bytes,
              const PointerList& list) {
  auto* const in_list = reinterpret_cast<Le64*>(list.memory);
  uint64_t written = 0;
  const auto write = [&](uint64_t iova) {
    if (written == 0) {
      entry.prp1 = iova;
    } else if (survey.prp_entries == 2) {
      entry.prp2 = iova;
    } else {
      in_list[written - 1] = iova;
    }
    ++written;
  };
  entry.prp1 = 0;
  entry.prp2 = survey.prp_entries > 2 ? list.iova : 0;
  Extent extent;
  while (extents.Next(extent)) {
    const uint64_t end = extent.iova + extent.bytes;
    write(extent.iova);
    for (uint64_t page = (extent.iova | (page_bytes - 1)) + 1; page < end; page += page_bytes) {
      write(page);
    }
  }
}

SglDescriptor Describe(uint8_t type, uint64_t iova, uint64_t bytes) {
  SglDescriptor descriptor{};
  descriptor.address = iova;
  descriptor.length = static_cast<uint32_t>(bytes);
  descriptor.type = type;
  return descriptor;
}

void WriteSgl(SubmissionEntry& entry, Extents extents, const Survey& survey,
              const PointerList& list) {
  auto* const in_list = reinterpret_cast<SglDescriptor*>(list.memory);
  SglDescriptor first = Describe(kSglLastSegment, list.iova, survey.sgl_bytes());
  Extent extent;
  for (uint64_t written = 0; extents.Next(extent); ++written) {
    const SglDescriptor block = Describe(kSglDataBlock, extent.iova, extent.bytes);
    if (survey.extents == 1) {
      first = block;
    } else {
      in_list[written] = block;
    }
  }
  entry.flags = static_cast<uint8_t>(entry.flags | kPsdtSgl);
  entry.prp1 = uint64_t{first.address};
  entry.prp2 = uint64_t{first.length} | uint64_t{first.type} << 56;
}

}  // namespace

int PointToPieces(SubmissionEntry& entry, pci::DmaView& view, const PointerRules& rules,
                  const PointerList& list, const iovec* pieces, uint32_t count) {
  const Extents extents(view, pieces, count);
  bool unknown = false;
  const Survey survey = Look(extents, rules.page_bytes, unknown);
  if (unknown) return -EFAULT;

  const bool sgl = rules.sgl && survey.sgl && (survey.dwords || !rules.sgl_dword_aligned);
  if ((!survey.prp || rules.only_sgl) && !sgl) return -EFAULT;
  const bool prp_fits = survey.prp && !rules.only_sgl && survey.prp_list_bytes() <= list.bytes;
  const bool sgl_fits = sgl && survey.sgl_bytes() <= list.bytes;
  if (!prp_fits && !sgl_fits) return -E2BIG;

  if (prp_fits && (!sgl_fits || survey.prp_list_bytes() <= survey.sgl_bytes())) {
    WritePrp(entry, extents, survey, rules.page_bytes, list);
  } else {
    WriteSgl(entry, extents, survey, list);
  }
  return 0;
}

int PointToMetadata(SubmissionEntry& entry, pci::DmaView& view, const void* metadata,
                    uint64_t bytes) {
  const pci::DmaView::Piece piece = view.Translate(metadata);
  if (piece.bytes < bytes || piece.bytes == 0 || (piece.iova & 3) != 0) return -EFAULT;
  entry.mptr = piece.iova;
  return 0;
}

}  // namespace pollux::nvme
