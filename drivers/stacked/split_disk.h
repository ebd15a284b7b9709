#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "drivers/stacked/stacked_disk.h"

namespace pollux {

inline constexpr char kSplitProduct[] = "Split Disk";
inline constexpr uint32_t kSplitCountMax = 1024;

// The parameters of bdev_split_create, under their names there.
struct SplitOptions {
  uint32_t split_count = 0;
  uint64_t split_size_mb = 0;  // In MiB. 0: equal shares of the whole base.
};

// EINVAL names what is wrong with the parameters, whatever the base.
Status CheckSplit(const SplitOptions& options);
// Parts of the base, one behind the other: <base>p0, <base>p1, ... As many as there is room for,
// up to split_count. A reset of one leaves the I/O of the others alone.
Result<std::vector<std::unique_ptr<StackedDisk>>> MakeSplitDisks(const SplitOptions& options,
                                                                 BlockDevice& base);

}  // namespace pollux
