#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/accel/accel.h"
#include "core/block/block_device.h"
#include "core/memory/region_registry.h"
#include "core/status.h"

namespace pollux {

// The parameters of bdev_malloc_create, under their names there.
struct MemoryDiskOptions {
  std::string name;  // Not empty: see DeviceRegistry::UnusedName for one that nobody chose.
  uint32_t block_size = 0;
  uint64_t num_blocks = 0;
  std::string uuid;  // Empty: a new one.
  uint32_t optimal_io_boundary = 0;
  uint32_t md_size = 0;
  bool md_interleave = false;
  int32_t dif_type = 0;
  bool dif_is_head_of_md = false;
  std::optional<uint32_t> physical_block_size;
  std::optional<uint32_t> dif_pi_format;  // Only a guard of 16 bits: 0.
  int32_t numa_id = -1;

  // Not a parameter of the method: hugepages, when there are enough.
  bool huge = false;
};

inline constexpr char kMemoryDiskProduct[] = "Malloc disk";

// A disk in memory of its own: zero when made, gone when deleted. It lends its pages, so that
// targets send from them and receive into them.
// With protection information (dif_type) it lends nothing: what is written is verified before it is
// stored, and what is read before it is handed out. kMediumError says that it is wrong, as a drive
// that checks on its own would. Where metadata is apart and the writer has none, it is made.
// The accel layer, which outlives it, moves what is not lent. EINVAL names the parameter; ENOMEM
// says what was wanted and what is free.
Result<std::unique_ptr<BlockDevice>> MakeMemoryDisk(MemoryDiskOptions options,
                                                    RegionRegistry& registry, Accel& accel);

}  // namespace pollux
