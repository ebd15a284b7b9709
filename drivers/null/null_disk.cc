#include "drivers/null/null_disk.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "core/block/disk_format.h"

namespace pollux {
namespace {

constexpr uint64_t kMib = 1 << 20;

// Zeroes to lend: nobody writes them.
constexpr size_t kZeroesBytes = 64 << 10;
alignas(4096) constexpr std::byte kZeroes[kZeroesBytes] = {};

class NullChannel final : public BlockChannel {
 public:
  NullChannel(BlockDevice& device, Reactor& reactor)
      : BlockChannel(device, reactor), metadata_bytes_(device.geometry().metadata_bytes) {}

 private:
  void DoSubmit(IoRequest& request) override {
    if (request.type == IoType::kRead) Zero(request);
    Complete(request, IoStatus::kSuccess);
  }

  // The buffers may hold what another host read before.
  void Zero(IoRequest& request) {
    for (const iovec& part : request.data) {
      if (part.iov_len > 0) memset(part.iov_base, 0, part.iov_len);
    }
    if (request.metadata != nullptr) memset(request.metadata, 0, request.blocks * metadata_bytes_);
  }

  bool DoLend(Loan& loan) override {
    uint64_t left = loan.blocks * data_block_bytes();
    if (loan.write || left > std::size(loan.parts) * kZeroesBytes) return false;
    for (; left > 0; left -= loan.parts[loan.part_count++].iov_len) {
      // The borrower only reads: an iovec has no const.
      loan.parts[loan.part_count] = {const_cast<std::byte*>(kZeroes),
                                     static_cast<size_t>(std::min<uint64_t>(left, kZeroesBytes))};
    }
    return true;
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
