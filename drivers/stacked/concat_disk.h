#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "drivers/stacked/stacked_disk.h"

namespace pollux {

inline constexpr char kRaidProduct[] = "Raid Volume";

// The parameters of bdev_raid_create with the level "concat", under their names there.
struct ConcatOptions {
  std::string name;
  std::string uuid;            // Empty: one that follows from the bases'.
  uint32_t strip_size_kb = 0;  // A power of two: each base counts with a multiple of it.
};

// What bdev_raid_get_bdevs shows of it.
struct ConcatMember {
  std::string name, uuid;
  uint64_t data_blocks = 0;
};

// One disk behind the other. It keeps its size.
class ConcatDisk : public StackedDisk {
 public:
  using StackedDisk::StackedDisk;
  virtual uint32_t strip_size_kb() const = 0;
  virtual std::vector<ConcatMember> members() const = 0;
};

// EINVAL names what is wrong with the parameters, whatever the bases.
Status CheckConcat(const ConcatOptions& options);
Result<std::unique_ptr<StackedDisk>> MakeConcatDisk(const ConcatOptions& options,
                                                    const std::vector<BlockDevice*>& bases);

}  // namespace pollux
