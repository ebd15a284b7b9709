#include "drivers/null/null_disk.h"

#include <cstring>
#include <limits>
#include <utility>

#include "core/block/disk_format.h"

namespace pollux {
namespace {

constexpr uint64_t kMib = 1 << 20;

class NullChannel final : public BlockChannel {
 public:
  NullChannel(BlockDevice& device, Reactor& reactor)
      : BlockChannel(device, reactor), metadata_bytes_(device.geometry().metadata_bytes) {}

 private:
  void DoSubmit(IoRequest& request) override {
    if (request.type == IoType::kRead) {
      // The buffer may hold what another host read before.
      for (const iovec& part : request.data) memset(part.iov_base, 0, part.iov_len);
      if (request.metadata != nullptr) {
        memset(request.metadata, 0, request.blocks * metadata_bytes_);
      }
    }
    Complete(request, IoStatus::kSuccess);
  }

  const uint32_t metadata_bytes_;
};

class NullDisk final : public BlockDevice {
 public:
  NullDisk(const NullDiskOptions& options, const Geometry& geometry, Uuid uuid)
      : BlockDevice(options.name, kNullDiskProduct, geometry, uuid) {
    limits_.preferred_write_granularity_blocks = options.preferred_write_granularity.value_or(0);
    limits_.preferred_write_alignment_blocks = options.preferred_write_alignment.value_or(0);
    limits_.optimal_write_blocks = options.optimal_write_size.value_or(0);
    limits_.preferred_unmap_granularity_blocks = options.preferred_unmap_granularity.value_or(0);
    limits_.preferred_unmap_alignment_blocks = options.preferred_unmap_alignment.value_or(0);
    limits_.unmapped_reads_zero = true;
    for (const IoType type :
         {IoType::kRead, IoType::kWrite, IoType::kUnmap, IoType::kWriteZeroes}) {
      executes_.set(static_cast<size_t>(type));
    }
  }

 private:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    return std::make_unique<NullChannel>(*this, reactor);
  }
  Status CheckResize(uint64_t blocks) const override {
    if (blocks >= geometry().blocks || users().empty()) return OkStatus();
    return ErrorOfField(EBUSY, "new_size", std::to_string(blocks * geometry().block_bytes / kMib),
                        absl::StrFormat("it has %u MiB and is used by %s",
                                        geometry().blocks * geometry().block_bytes / kMib,
                                        users().front()->description()));
  }
};

}  // namespace

Result<std::unique_ptr<BlockDevice>> MakeNullDisk(NullDiskOptions options) {
  const DiskFormat format{.name = options.name,
                          .block_size = options.block_size,
                          .num_blocks = options.num_blocks,
                          .md_size = options.md_size,
                          .md_interleave = true,  // As SPDK's null disk has it.
                          .dif_type = options.dif_type,
                          .dif_is_head_of_md = options.dif_is_head_of_md,
                          .physical_block_size = options.physical_block_size};
  ASSIGN_OR_RETURN(const Geometry geometry, GeometryOf(format));
  ASSIGN_OR_RETURN(const Uuid uuid, Uuid::ParseOrRandom("uuid", options.uuid));
  return std::make_unique<NullDisk>(options, geometry, uuid);
}

Task<Status> ResizeNullDisk(DeviceRegistry& devices, std::string name, uint64_t new_size) {
  ASSIGN_OR_CO_RETURN(BlockDevice * device, devices.FindKind(name, kNullDiskProduct));
  const uint32_t block_bytes = device->geometry().block_bytes;
  constexpr uint64_t kMibMax = std::numeric_limits<int64_t>::max() / kMib / 2;
  if (new_size == 0 || new_size > kMibMax) {
    co_return InvalidField("new_size", new_size, "must be from 1 to %u MiB", kMibMax);
  }
  co_return co_await devices.Resize(*device, new_size * kMib / block_bytes);
}

}  // namespace pollux
