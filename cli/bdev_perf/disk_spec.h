#pragma once
#include <cstdint>
#include <string>

#include "core/status.h"

namespace pollux::cli {

// What the command line says about a disk.
struct DiskSpec {
  enum class Kind { kNull, kMemory, kFile, kNvme };

  std::string text;  // As it was written.
  Kind kind = Kind::kNull;
  uint64_t bytes = 0;  // Of null and memory disks.
  std::string place;   // A file's path, or where an NVMe controller is.
};

// null[:SIZE], memory[:SIZE], file:PATH, nvme:CONTROLLER.
Result<DiskSpec> ParseDiskSpec(const std::string& text);

}  // namespace pollux::cli
