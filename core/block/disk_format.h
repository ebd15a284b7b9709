#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "core/block/block_device.h"
#include "core/status.h"

namespace pollux {

// The parameters by which bdev_malloc_create and bdev_null_create say what their blocks are like.
struct DiskFormat {
  std::string name;
  uint32_t block_size = 0;
  uint64_t num_blocks = 0;
  uint32_t md_size = 0;
  bool md_interleave = false;
  int32_t dif_type = 0;
  bool dif_is_head_of_md = false;
  std::optional<uint32_t> dif_pi_format;
  std::optional<uint32_t> physical_block_size;
  bool keeps_protection = false;  // Not a parameter: this kind of disk has protection information.
};

// EINVAL names the parameter at fault, its value and what it must be.
Result<Geometry> GeometryOf(const DiskFormat& format);

// The block sizes that disks may have.
bool IsBlockSize(uint32_t bytes);

}  // namespace pollux
