#include "tests/models/nvme_transfer.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"

namespace pollux::models {
namespace {

using nvme::SglDescriptor;
namespace status = nvme::status;

constexpr uint16_t kSglGranularityInvalid = 0x01e;  // Base figure 94.
constexpr uint32_t kSegmentDescriptorsMax = 256 * 1024;

// Fields of SGLS, Base figure 275.
bool SglSupported(uint32_t sgls) { return (sgls & 3) != 0; }
bool SglNeedsDwords(uint32_t sgls) { return (sgls & 3) == 2; }
bool BitBucketSupported(uint32_t sgls) { return (sgls & 1 << 16) != 0; }
bool LongerSglAllowed(uint32_t sgls) { return (sgls & 1 << 18) != 0; }
bool MetadataSglSupported(uint32_t sgls) { return (sgls & 1 << 19) != 0; }

}  // namespace

struct Transfer::Walk {
  const Rules& rules;
  DmaSpace& dma;
  uint64_t left;  // Bytes of data that have no place yet.
  bool device_writes;
  std::string& why;

  template <typename... Args>
  uint16_t Refuse(uint16_t code, const absl::FormatSpec<Args...>& format, const Args&... args) {
    why = absl::StrFormat(format, args...);
    return code;
  }
};

uint16_t Transfer::Map(const Rules& rules, DmaSpace& dma, const nvme::SubmissionEntry& sqe,
                       uint64_t bytes, bool device_writes, std::string& why) {
  pieces_.clear();
  bytes_ = bytes;
  if (bytes == 0) return status::kSuccess;
  Walk walk{rules, dma, bytes, device_writes, why};
  const uint8_t psdt = sqe.flags & 0xc0;
  if (psdt == nvme::kPsdtPrp) return MapPrp(walk, sqe);
  if (psdt == 0xc0) return walk.Refuse(status::kInvalidField, "PSDT 3 is reserved");
  if (!SglSupported(rules.sgls)) {
    return walk.Refuse(status::kInvalidField, "an SGL, which this controller does not support");
  }
  SglDescriptor first;
  std::memcpy(&first, reinterpret_cast<const std::byte*>(&sqe) + 24, sizeof first);  // DPTR.
  return MapSgl(walk, first);
}

uint16_t Transfer::MapMetadata(const Rules& rules, DmaSpace& dma, const nvme::SubmissionEntry& sqe,
                               uint64_t bytes, bool device_writes, std::string& why) {
  pieces_.clear();
  bytes_ = bytes;
  if (bytes == 0) return status::kSuccess;
  Walk walk{rules, dma, bytes, device_writes, why};
  const uint64_t mptr = sqe.mptr;
  if ((sqe.flags & 0xc0) != nvme::kPsdtSglMetadata) {
    // Dword-aligned with PRPs, byte-aligned with an SGL for the data. Base figure 87.
    if ((sqe.flags & 0xc0) == nvme::kPsdtPrp && mptr % 4 != 0) {
      return walk.Refuse(status::kInvalidField, "MPTR %#x is not dword aligned", mptr);
    }
    return Add(walk, mptr, bytes);
  }
  if (!MetadataSglSupported(rules.sgls)) {
    return walk.Refuse(status::kInvalidField, "an SGL for metadata, which is not supported");
  }
  if (mptr % 8 != 0) return walk.Refuse(status::kInvalidField, "MPTR %#x: not a qword", mptr);
  const std::byte* at = dma.At(mptr, sizeof(SglDescriptor), false);
  if (at == nullptr) return walk.Refuse(status::kDataTransferError, "MPTR %#x: no memory", mptr);
  SglDescriptor first;
  std::memcpy(&first, at, sizeof first);
  const uint16_t code = MapSgl(walk, first);
  return code == status::kSglDataLengthInvalid ? status::kSglMetadataLengthInvalid : code;
}

// Base §4.1.1.
uint16_t Transfer::MapPrp(Walk& walk, const nvme::SubmissionEntry& sqe) {
  const uint64_t page = walk.rules.page_bytes;
  const uint64_t prp1 = sqe.prp1;
  const uint64_t prp2 = sqe.prp2;
  if (prp1 % 4 != 0) {
    return walk.Refuse(status::kInvalidPrpOffset, "PRP1 %#x is not dword aligned", prp1);
  }
  if (uint16_t code = Add(walk, prp1, std::min(walk.left, page - prp1 % page)); code != 0) {
    return code;
  }
  if (walk.left == 0) return status::kSuccess;
  if (walk.left <= page) {
    if (prp2 % page != 0) {
      return walk.Refuse(status::kInvalidPrpOffset, "PRP2 %#x is not a page", prp2);
    }
    return Add(walk, prp2, walk.left);
  }

  if (prp2 % 8 != 0) {
    return walk.Refuse(status::kInvalidPrpOffset, "PRP list %#x is not qword aligned", prp2);
  }
  uint64_t list = prp2;
  while (walk.left != 0) {
    const uint64_t entries = (page - list % page) / 8;
    const uint64_t wanted = (walk.left + page - 1) / page;
    // The last entry of a page is a pointer to the next list where more are wanted than fit.
    const uint64_t here = wanted > entries ? entries - 1 : wanted;
    const std::byte* at = walk.dma.At(list, (wanted > entries ? entries : wanted) * 8, false);
    if (at == nullptr) return walk.Refuse(status::kDataTransferError, "PRP list %#x", list);
    Le64 entry;
    for (uint64_t i = 0; i < here; ++i) {
      std::memcpy(&entry, at + i * 8, 8);
      if (entry % page != 0) {
        return walk.Refuse(status::kInvalidPrpOffset, "PRP list entry %#x is not a page",
                           uint64_t{entry});
      }
      if (uint16_t code = Add(walk, entry, std::min(walk.left, page)); code != 0) return code;
    }
    if (walk.left == 0) break;
    std::memcpy(&entry, at + here * 8, 8);
    if (entry % page != 0) {
      return walk.Refuse(status::kInvalidPrpOffset, "PRP list %#x is not a page", uint64_t{entry});
    }
    list = entry;
  }
  return status::kSuccess;
}

// Base §4.1.2.
uint16_t Transfer::MapSgl(Walk& walk, const SglDescriptor& first) {
  SglDescriptor segment = first;
  if (segment.type != nvme::kSglSegment && segment.type != nvme::kSglLastSegment) {
    if (uint16_t code = AddDescriptor(walk, segment); code != 0) return code;
  } else {
    for (uint32_t seen = 0;;) {
      const uint64_t bytes = uint32_t{segment.length};
      const uint64_t address = segment.address;
      const bool last = segment.type == nvme::kSglLastSegment;
      if (bytes == 0 || bytes % sizeof(SglDescriptor) != 0) {
        return walk.Refuse(status::kInvalidSglSegment, "an SGL segment of %u bytes", bytes);
      }
      if (SglNeedsDwords(walk.rules.sgls) && address % 4 != 0) {
        return walk.Refuse(kSglGranularityInvalid, "SGL segment %#x", address);
      }
      const std::byte* at = walk.dma.At(address, bytes, false);
      if (at == nullptr) return walk.Refuse(status::kDataTransferError, "SGL segment %#x", address);
      const auto count = static_cast<uint32_t>(bytes / sizeof(SglDescriptor));
      seen += count;
      if (seen > kSegmentDescriptorsMax) {
        return walk.Refuse(status::kInvalidSglCount, "%u SGL descriptors", seen);
      }
      // A segment other than the last ends with the descriptor of the next.
      for (uint32_t i = 0; i < count - (last ? 0 : 1); ++i) {
        SglDescriptor descriptor;
        std::memcpy(&descriptor, at + i * sizeof descriptor, sizeof descriptor);
        if (uint16_t code = AddDescriptor(walk, descriptor); code != 0) return code;
      }
      if (last) break;
      std::memcpy(&segment, at + (count - 1) * sizeof segment, sizeof segment);
      if (segment.type != nvme::kSglSegment && segment.type != nvme::kSglLastSegment) {
        return walk.Refuse(status::kInvalidSglSegment, "the last descriptor of a segment: %#x",
                           segment.type);
      }
    }
  }
  if (walk.left != 0) {
    return walk.Refuse(status::kSglDataLengthInvalid, "an SGL %u bytes too short", walk.left);
  }
  return status::kSuccess;
}

uint16_t Transfer::AddDescriptor(Walk& walk, const SglDescriptor& descriptor) {
  const uint64_t bytes = uint32_t{descriptor.length};
  const uint64_t used = std::min(bytes, walk.left);
  if (used < bytes && !LongerSglAllowed(walk.rules.sgls)) {
    return walk.Refuse(status::kSglDataLengthInvalid, "an SGL %u bytes too long", bytes - used);
  }
  if (descriptor.reserved[0] != 0 || descriptor.reserved[1] != 0 || descriptor.reserved[2] != 0) {
    return walk.Refuse(status::kInvalidField, "reserved bytes of an SGL descriptor are set");
  }
  switch (descriptor.type) {
    case nvme::kSglDataBlock:
      if (SglNeedsDwords(walk.rules.sgls) && (descriptor.address % 4 != 0 || bytes % 4 != 0)) {
        return walk.Refuse(kSglGranularityInvalid, "SGL data block %#x, %u bytes",
                           uint64_t{descriptor.address}, bytes);
      }
      return Add(walk, descriptor.address, used);
    case nvme::kSglBitBucket:
      if (!BitBucketSupported(walk.rules.sgls)) {
        return walk.Refuse(status::kSglTypeInvalid, "a bit bucket, which is not supported");
      }
      if (walk.device_writes) {  // Ignored in a write to the device.
        pieces_.push_back({nullptr, used});
        walk.left -= used;
      }
      return status::kSuccess;
    case nvme::kSglSegment:
    case nvme::kSglLastSegment:
      return walk.Refuse(status::kInvalidSglSegment, "a segment descriptor that is not the last");
    default:
      return walk.Refuse(status::kSglTypeInvalid, "SGL descriptor type %#x", descriptor.type);
  }
}

uint16_t Transfer::Add(Walk& walk, uint64_t iova, uint64_t bytes) {
  if (bytes == 0) return status::kSuccess;
  std::byte* memory = walk.dma.At(iova, bytes, walk.device_writes);
  if (memory == nullptr) {
    return walk.Refuse(status::kDataTransferError, "no memory at %#x, %u bytes", iova, bytes);
  }
  walk.left -= bytes;
  if (!pieces_.empty() && pieces_.back().memory != nullptr &&
      pieces_.back().memory + pieces_.back().bytes == memory) {
    pieces_.back().bytes += bytes;
  } else {
    pieces_.push_back({memory, bytes});
  }
  return status::kSuccess;
}

template <typename Visit>
void Transfer::ForEach(uint64_t offset, uint64_t bytes, Visit visit) const {
  uint64_t done = 0;
  for (const Piece& piece : pieces_) {
    if (done == bytes) return;
    if (offset >= piece.bytes) {
      offset -= piece.bytes;
      continue;
    }
    const uint64_t step = std::min(bytes - done, piece.bytes - offset);
    if (piece.memory != nullptr) visit(piece.memory + offset, done, step);
    done += step;
    offset = 0;
  }
}

void Transfer::ToHost(uint64_t offset, std::span<const std::byte> from) const {
  ForEach(offset, from.size(), [from](std::byte* memory, uint64_t done, uint64_t bytes) {
    std::memcpy(memory, from.data() + done, bytes);
  });
}

void Transfer::FromHost(uint64_t offset, std::span<std::byte> to) const {
  ForEach(offset, to.size(), [to](const std::byte* memory, uint64_t done, uint64_t bytes) {
    std::memcpy(to.data() + done, memory, bytes);
  });
}

}  // namespace pollux::models
