#include "drivers/memory/memory_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/block/disk_format.h"
#include "core/memory/memory.h"
#include "drivers/memory/block_protection.h"

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
  MemoryChannel(BlockDevice& device, Reactor& reactor, SharedPages& pages, const Layout& layout,
                const BlockProtection* protection, AccelChannel& accel)
      : BlockChannel(device, reactor),
        pages_(pages),
        layout_(layout),
        protection_(protection),
        accel_(accel) {}

 private:
  // A request while its bytes are moved, in its device area. The metadata follows when it ends: it
  // is short.
  class Move final : public AccelOperation {
   public:
    Move(MemoryChannel& channel, IoRequest& request)
        : blocks_{channel.BlockAt(request.lba), request.blocks * channel.layout_.block_bytes},
          request_(request) {
      switch (request.type) {
        case IoType::kRead:
          opcode = AccelOpcode::kCopy;
          source = {&blocks_, 1};
          destination = request.data;
          return;
        case IoType::kWrite:
          opcode = AccelOpcode::kCopy;
          source = request.data;
          destination = {&blocks_, 1};
          return;
        case IoType::kCompare:
          opcode = AccelOpcode::kCompare;
          source = {&blocks_, 1};
          other = request.data;
          return;
        default:
          opcode = AccelOpcode::kFill;
          destination = {&blocks_, 1};
          pattern = 0;
      }
    }
    void OnComplete() override {
      IoRequest& request = request_;
      auto& channel = static_cast<MemoryChannel&>(ChannelOf(request));
      const IoStatus outcome = channel.Outcome(request, *this);
      this->~Move();
      channel.Complete(request, outcome);
    }

   private:
    iovec blocks_;
    IoRequest& request_;
  };
  static_assert(sizeof(Move) <= IoRequest::kDeviceAreaBytes);

  void DoSubmit(IoRequest& request) override {
    switch (request.type) {
      case IoType::kWrite:
        if (CarriesProtection(request) && !protection_->Verify(request)) {
          return Complete(request, IoStatus::kMediumError);
        }
        return Start(request);
      case IoType::kCompare:
        // The accel layer compares bytes as they are; the pages have them otherwise.
        if (protection_ != nullptr && protection_->interleaved()) {
          return Complete(request, OutcomeOfCompare(request, BlockAt(request.lba),
                                                    layout_.block_bytes, request.data));
        }
        return Start(request);
      case IoType::kRead:
        return Start(request);
      case IoType::kUnmap:
      case IoType::kWriteZeroes:
        if (!pages_.TryPunch(request.lba * layout_.block_bytes,
                             request.blocks * layout_.block_bytes)) {
          return Start(request);
        }
        ZeroMetadata(request);
        return Complete(request, IoStatus::kSuccess);
      default:
        return Complete(request, IoStatus::kNotSupported);
    }
  }

  void Start(IoRequest& request) {
    Move* const move = new (request.device_area) Move(*this, request);
    if (accel_.Submit(*move)) move->OnComplete();
  }

  // What became of the data, and then of the metadata, where it is separate.
  IoStatus Outcome(IoRequest& request, const AccelOperation& move) {
    if (move.status == AccelStatus::kMiscompare) {
      request.miscompare_offset = move.mismatch_offset;
      return IoStatus::kMiscompare;
    }
    if (move.status != AccelStatus::kSuccess) return IoStatus::kInternalError;
    if (protection_ != nullptr) return OutcomeOfProtected(request);
    if (layout_.metadata_bytes == 0) return IoStatus::kSuccess;
    const size_t bytes = request.blocks * layout_.metadata_bytes;
    std::byte* const metadata = MetadataOf(request.lba);
    switch (request.type) {
      case IoType::kRead:
        if (request.metadata != nullptr) memcpy(request.metadata, metadata, bytes);
        return IoStatus::kSuccess;
      case IoType::kWrite:
        if (request.metadata != nullptr) memcpy(metadata, request.metadata, bytes);
        return IoStatus::kSuccess;
      case IoType::kCompare:
        if (request.metadata == nullptr || memcmp(metadata, request.metadata, bytes) == 0) {
          return IoStatus::kSuccess;
        }
        request.miscompare_offset = request.blocks * layout_.block_bytes;
        return IoStatus::kMiscompare;
      default:
        ZeroMetadata(request);
        return IoStatus::kSuccess;
    }
  }

  // --- Protection information, which the pages have inverted: see block_protection.h.

  // Whether the user sees it at all: where it is separate, metadata may be left out.
  bool CarriesProtection(const IoRequest& request) const {
    return protection_ != nullptr && (protection_->interleaved() || request.metadata != nullptr);
  }

  IoStatus OutcomeOfProtected(IoRequest& request) {
    switch (request.type) {
      case IoType::kRead:
        return OutcomeOfProtectedRead(request);
      case IoType::kWrite:
        StoreProtection(request);
        return IoStatus::kSuccess;
      case IoType::kCompare: {  // The data is equal; the metadata is separate.
        if (request.metadata == nullptr) return IoStatus::kSuccess;
        const iovec given{request.metadata, request.blocks * layout_.metadata_bytes};
        return OutcomeOfCompare(request, MetadataOf(request.lba), layout_.metadata_bytes,
                                {&given, 1});
      }
      default:
        ZeroMetadata(request);
        return IoStatus::kSuccess;
    }
  }

  IoStatus OutcomeOfProtectedRead(IoRequest& request) {
    if (!CarriesProtection(request)) return IoStatus::kSuccess;
    if (protection_->interleaved()) {
      protection_->Invert(request.blocks, request.data);
    } else {
      const iovec metadata{request.metadata, request.blocks * layout_.metadata_bytes};
      memcpy(request.metadata, MetadataOf(request.lba), metadata.iov_len);
      protection_->Invert(request.blocks, {&metadata, 1});
    }
    return protection_->Verify(request) ? IoStatus::kSuccess : IoStatus::kMediumError;
  }

  // The data of a write is in the pages, and interleaved metadata as its writer has it.
  void StoreProtection(const IoRequest& request) {
    const iovec blocks{BlockAt(request.lba), request.blocks * layout_.block_bytes};
    if (protection_->interleaved()) return protection_->Invert(request.blocks, {&blocks, 1});
    const iovec metadata{MetadataOf(request.lba), request.blocks * layout_.metadata_bytes};
    if (request.metadata != nullptr) {
      memcpy(metadata.iov_base, request.metadata, metadata.iov_len);
    } else {
      protection_->Generate(request.lba, request.blocks, {&blocks, 1},
                            {MetadataOf(request.lba), metadata.iov_len});
    }
    protection_->Invert(request.blocks, {&metadata, 1});
  }

  // Of what the pages have at `pages`. Metadata that is separate comes after all data.
  IoStatus OutcomeOfCompare(IoRequest& request, const std::byte* pages, uint32_t bytes_of_each,
                            std::span<const iovec> given) {
    const auto differs = protection_->Compare({pages, request.blocks * bytes_of_each}, given);
    if (!differs) return IoStatus::kSuccess;
    request.miscompare_offset =
        protection_->interleaved() ? *differs : request.blocks * layout_.block_bytes;
    return IoStatus::kMiscompare;
  }

  // --- Where things are.

  std::byte* BlockAt(uint64_t lba) const { return pages_.address() + lba * layout_.block_bytes; }
  uint64_t MetadataOffset(uint64_t lba) const {
    return layout_.blocks * layout_.block_bytes + lba * layout_.metadata_bytes;
  }
  std::byte* MetadataOf(uint64_t lba) const { return pages_.address() + MetadataOffset(lba); }

  void ZeroMetadata(const IoRequest& request) {
    const size_t bytes = request.blocks * layout_.metadata_bytes;
    if (bytes == 0 || pages_.TryPunch(MetadataOffset(request.lba), bytes)) return;
    memset(MetadataOf(request.lba), 0, bytes);
  }

  bool DoLend(Loan& loan) override {
    // A borrower knows nothing of separate metadata, which would then not match the data.
    if (layout_.metadata_bytes > 0) return false;
    // Nor does it verify protection information that is interleaved, before it sends or after it
    // has received: bad blocks would get in and out by it. And the pages have it inverted.
    if (protection_ != nullptr) return false;
    loan.parts[0] = {BlockAt(loan.lba), loan.blocks * layout_.block_bytes};
    loan.part_count = 1;
    return true;
  }

  SharedPages& pages_;
  const Layout layout_;
  const BlockProtection* const protection_;  // Null: there is none.
  AccelChannel& accel_;
};

class MemoryDisk final : public BlockDevice {
 public:
  MemoryDisk(const MemoryDiskOptions& options, const Geometry& geometry, Uuid uuid,
             std::unique_ptr<SharedPages> pages, Accel& accel)
      : BlockDevice(options.name, kMemoryDiskProduct, geometry, uuid),
        accel_(accel),
        pages_(std::move(pages)),
        layout_{.block_bytes = geometry.data_block_bytes(),
                .metadata_bytes = geometry.metadata_interleaved ? 0 : geometry.metadata_bytes,
                .blocks = geometry.blocks} {
    if (geometry.protection_type != 0) protection_.emplace(geometry);
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
    const BlockProtection* const protection = protection_ ? &*protection_ : nullptr;
    return std::make_unique<MemoryChannel>(*this, reactor, *pages_, layout_, protection,
                                           accel_.channel(reactor));
  }

  Accel& accel_;
  const std::unique_ptr<SharedPages> pages_;
  const Layout layout_;
  std::optional<BlockProtection> protection_;
};

}  // namespace

Result<std::unique_ptr<BlockDevice>> MakeMemoryDisk(MemoryDiskOptions options,
                                                    RegionRegistry& registry, Accel& accel) {
  const DiskFormat format{.name = options.name,
                          .block_size = options.block_size,
                          .num_blocks = options.num_blocks,
                          .md_size = options.md_size,
                          .md_interleave = options.md_interleave,
                          .dif_type = options.dif_type,
                          .dif_is_head_of_md = options.dif_is_head_of_md,
                          .dif_pi_format = options.dif_pi_format,
                          .physical_block_size = options.physical_block_size,
                          .keeps_protection = true};
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
  return std::make_unique<MemoryDisk>(options, geometry, uuid, std::move(pages), accel);
}

}  // namespace pollux
