#include "core/block/disk_format.h"

#include <bit>
#include <limits>

namespace pollux {
namespace {

constexpr uint64_t kBytesMax = std::numeric_limits<int64_t>::max();

bool IsMetadataSize(uint32_t bytes) {
  return bytes == 0 || (std::has_single_bit(bytes) && bytes >= 8 && bytes <= 128);
}

Status CheckProtection(const DiskFormat& f) {
  if (f.dif_type == 0) {
    if (!f.dif_is_head_of_md) return OkStatus();
    return InvalidField("dif_is_head_of_md", "true", "there is no protection information");
  }
  if (!f.keeps_protection) {
    return InvalidField("dif_type", f.dif_type, "protection information is not supported: only 0");
  }
  if (f.dif_type < 0 || f.dif_type > 3) {
    return InvalidField("dif_type", f.dif_type, "must be from 0 to 3");
  }
  if (f.md_size == 0) {
    return InvalidField("dif_type", f.dif_type,
                        "protection information is in metadata: see md_size");
  }
  if (const uint32_t guard = f.dif_pi_format.value_or(0); guard != 0) {
    return InvalidField("dif_pi_format", guard, "only a guard of 16 bits is supported: 0");
  }
  return OkStatus();
}

}  // namespace

bool IsBlockSize(uint32_t bytes) {
  return std::has_single_bit(bytes) && bytes >= 512 && bytes <= 65536;
}

Result<Geometry> GeometryOf(const DiskFormat& f) {
  if (f.name.empty()) return InvalidField("name", f.name, "must not be empty");
  if (!IsBlockSize(f.block_size)) {
    return InvalidField("block_size", f.block_size, "must be a power of two from 512 to 65536");
  }
  if (!IsMetadataSize(f.md_size)) {
    return InvalidField("md_size", f.md_size, "must be 0, 8, 16, 32, 64 or 128");
  }
  const uint64_t blocks_max = kBytesMax / (f.block_size + f.md_size);
  if (f.num_blocks == 0 || f.num_blocks > blocks_max) {
    return InvalidField("num_blocks", f.num_blocks, "must be from 1 to %u with blocks of %u bytes",
                        blocks_max, f.block_size + f.md_size);
  }
  const uint32_t physical = f.physical_block_size.value_or(f.block_size);
  if (physical < f.block_size || !std::has_single_bit(physical)) {
    return InvalidField("physical_block_size", physical,
                        "must be a power of two, and not below the block size of %u", f.block_size);
  }
  RETURN_IF_ERROR(CheckProtection(f));
  return Geometry{.block_bytes = f.block_size,
                  .blocks = f.num_blocks,
                  .physical_block_bytes = physical,
                  .metadata_bytes = f.md_size,
                  .metadata_interleaved = f.md_interleave && f.md_size > 0,
                  .protection_type = static_cast<uint8_t>(f.dif_type),
                  .protection_first = f.dif_is_head_of_md,
                  // Of type 3 it is the application's.
                  .checks_reference_tag = f.dif_type == 1 || f.dif_type == 2,
                  .checks_guard = f.dif_type != 0};
}

}  // namespace pollux
