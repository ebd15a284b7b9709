#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/block/block_device.h"
#include "core/block/device_registry.h"
#include "core/status.h"

namespace pollux {

// The parameters of bdev_null_create, under their names there.
struct NullDiskOptions {
  std::string name;
  uint32_t block_size = 0;
  uint64_t num_blocks = 0;
  std::string uuid;  // Empty: a new one.
  std::optional<uint32_t> physical_block_size;
  uint32_t md_size = 0;
  int32_t dif_type = 0;  // Protection information is not made: only 0.
  std::optional<uint32_t> dif_pi_format;
  bool dif_is_head_of_md = false;
  std::optional<uint32_t> preferred_write_granularity;
  std::optional<uint32_t> preferred_write_alignment;
  std::optional<uint32_t> optimal_write_size;
  std::optional<uint32_t> preferred_unmap_granularity;
  std::optional<uint32_t> preferred_unmap_alignment;
};

inline constexpr char kNullDiskProduct[] = "Null disk";

// A disk that drops what is written and reads as zeroes: nobody sees memory that was another's.
Result<std::unique_ptr<BlockDevice>> MakeNullDisk(NullDiskOptions options);

// bdev_null_resize: `new_size` is in MiB. ENODEV when there is no null disk of that name.
Task<Status> ResizeNullDisk(DeviceRegistry& devices, std::string name, uint64_t new_size);

}  // namespace pollux
