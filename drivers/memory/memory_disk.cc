#include "drivers/memory/memory_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/block/disk_format.h"
#include "core/memory/memory.h"

namespace pollux {
namespace {

// How much of a huge unmap or write zeroes is done before others have their turn.
constexpr uint64_t kZeroBytesMax = 64 << 20;

// How the pages of a disk are used: first all blocks, then their metadata where it is separate.
struct Layout {
  uint32_t block_bytes = 0;     // In the pages and in buffers: with interleaved metadata.
  uint32_t metadata_bytes = 0;  // Per block, where it is separate.
  uint64_t blocks = 0;
};

class MemoryChannel final : public BlockChannel {
 public:
  MemoryChannel(BlockDevice& device, Reactor& reactor, SharedPages& pages, const Layout& layout)
      : BlockChannel(device, reactor), pages_(pages), layout_(layout) {}

 private:
  void DoSubmit(IoRequest& request) override { Complete(request, Execute(request)); }

  IoStatus Execute(IoRequest& request) {
    switch (request.type) {
      case IoType::kRead:
        return Read(request);
      case IoType::kWrite:
        return Write(request);
      case IoType::kUnmap:
      case IoType::kWriteZeroes:
        return Zero(request);
      case IoType::kCompare:
        return Compare(request);
      default:
        return IoStatus::kNotSupported;
    }
  }

  std::byte* BlockAt(uint64_t lba) const { return pages_.address() + lba * layout_.block_bytes; }
  uint64_t MetadataOffset(uint64_t lba) const {
    return layout_.blocks * layout_.block_bytes + lba * layout_.metadata_bytes;
  }
  std::byte* MetadataOf(uint64_t lba) const { return pages_.address() + MetadataOffset(lba); }

  IoStatus Read(const IoRequest& request) {
    const std::byte* from = BlockAt(request.lba);
    for (const iovec& part : request.data) {
      if (part.iov_len == 0) continue;  // It may be null.
      memcpy(part.iov_base, from, part.iov_len);
      from += part.iov_len;
    }
    if (request.metadata != nullptr) {
      memcpy(request.metadata, MetadataOf(request.lba), request.blocks * layout_.metadata_bytes);
    }
    return IoStatus::kSuccess;
  }

  IoStatus Write(const IoRequest& request) {
    std::byte* to = BlockAt(request.lba);
    for (const iovec& part : request.data) {
      if (part.iov_len == 0) continue;
      memcpy(to, part.iov_base, part.iov_len);
      to += part.iov_len;
    }
    if (request.metadata != nullptr) {
      memcpy(MetadataOf(request.lba), request.metadata, request.blocks * layout_.metadata_bytes);
    }
    return IoStatus::kSuccess;
  }

  IoStatus Zero(const IoRequest& request) {
    pages_.Zero(request.lba * layout_.block_bytes, request.blocks * layout_.block_bytes);
    if (layout_.metadata_bytes > 0) {
      pages_.Zero(MetadataOffset(request.lba), request.blocks * layout_.metadata_bytes);
    }
    return IoStatus::kSuccess;
  }

  IoStatus Compare(IoRequest& request) {
    const std::byte* const begin = BlockAt(request.lba);
    const std::byte* at = begin;
    for (const iovec& part : request.data) {
      if (part.iov_len == 0) continue;
      const auto* expected = static_cast<const std::byte*>(part.iov_base);
      if (memcmp(at, expected, part.iov_len) != 0) {
        const auto [found, want] = std::mismatch(at, at + part.iov_len, expected);
        request.miscompare_offset = static_cast<uint64_t>(found - begin);
        return IoStatus::kMiscompare;
      }
      at += part.iov_len;
    }
    if (request.metadata != nullptr && memcmp(MetadataOf(request.lba), request.metadata,
                                              request.blocks * layout_.metadata_bytes) != 0) {
      request.miscompare_offset = static_cast<uint64_t>(at - begin);
      return IoStatus::kMiscompare;
    }
    return IoStatus::kSuccess;
  }

  bool DoLend(Loan& loan) override {
    // A borrower knows nothing of separate metadata, which would then not match the data.
    if (layout_.metadata_bytes > 0) return false;
    loan.parts[0] = {BlockAt(loan.lba), loan.blocks * layout_.block_bytes};
    loan.part_count = 1;
    return true;
  }

  SharedPages& pages_;
  const Layout layout_;
};

class MemoryDisk final : public BlockDevice {
 public:
  MemoryDisk(const MemoryDiskOptions& options, const Geometry& geometry, Uuid uuid,
             std::unique_ptr<SharedPages> pages)
      : BlockDevice(options.name, kMemoryDiskProduct, geometry, uuid),
        pages_(std::move(pages)),
        layout_{.block_bytes = geometry.data_block_bytes(),
                .metadata_bytes = geometry.metadata_interleaved ? 0 : geometry.metadata_bytes,
                .blocks = geometry.blocks} {
    limits_.unmap_blocks_max = kZeroBytesMax / layout_.block_bytes;
    limits_.write_zeroes_blocks_max = kZeroBytesMax / layout_.block_bytes;
    limits_.unmapped_reads_zero = true;
    numa_node_ = options.numa_id;
    for (const IoType type :
         {IoType::kRead, IoType::kWrite, IoType::kUnmap, IoType::kWriteZeroes, IoType::kCompare}) {
      executes_.set(static_cast<size_t>(type));
    }
  }

 private:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    return std::make_unique<MemoryChannel>(*this, reactor, *pages_, layout_);
  }

  const std::unique_ptr<SharedPages> pages_;
  const Layout layout_;
};

}  // namespace

Result<std::unique_ptr<BlockDevice>> MakeMemoryDisk(MemoryDiskOptions options,
                                                    RegionRegistry& registry) {
  const DiskFormat format{.name = options.name,
                          .block_size = options.block_size,
                          .num_blocks = options.num_blocks,
                          .md_size = options.md_size,
                          .md_interleave = options.md_interleave,
                          .dif_type = options.dif_type,
                          .dif_is_head_of_md = options.dif_is_head_of_md,
                          .physical_block_size = options.physical_block_size};
  ASSIGN_OR_RETURN(Geometry geometry, GeometryOf(format));
  geometry.optimal_boundary_blocks = options.optimal_io_boundary;
  if (options.numa_id < -1) {
    return InvalidField("numa_id", options.numa_id, "must be -1 (any) or the number of a node");
  }
  ASSIGN_OR_RETURN(const Uuid uuid, Uuid::ParseOrRandom("uuid", options.uuid));
  const uint64_t bytes = geometry.blocks * (geometry.block_bytes + geometry.metadata_bytes);
  ASSIGN_OR_RETURN(
      std::unique_ptr<SharedPages> pages,
      SharedPages::Map(absl::StrFormat("bdev %s", options.name), bytes, options.huge, registry));
  return std::make_unique<MemoryDisk>(options, geometry, uuid, std::move(pages));
}

}  // namespace pollux
