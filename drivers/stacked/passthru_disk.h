#pragma once
#include <memory>
#include <string>

#include "drivers/stacked/stacked_disk.h"

namespace pollux {

inline constexpr char kPassthruProduct[] = "passthru";

// The parameters of bdev_passthru_create, under their names there.
struct PassthruOptions {
  std::string name;
  std::string uuid;  // Empty: one that follows from the base's.
};

// Another name, and identity, for a disk.
Result<std::unique_ptr<StackedDisk>> MakePassthruDisk(const PassthruOptions& options,
                                                      BlockDevice& base);

}  // namespace pollux
