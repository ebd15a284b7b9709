#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/memory/region_registry.h"
#include "core/status.h"

namespace pollux {

// Memory that a program gives to a driver to reach: each piece is a region of the registry, until
// it is taken back or this ends. Control loop only.
class RegisteredMemory {
 public:
  // `name` is that of the regions. The registry outlives it.
  RegisteredMemory(RegionRegistry& registry, std::string name);
  ~RegisteredMemory();
  RegisteredMemory(const RegisteredMemory&) = delete;
  RegisteredMemory& operator=(const RegisteredMemory&) = delete;

  // Whole pages. `fd` (borrowed) at `fd_offset` is the file behind them, or -1.
  Status Add(std::byte* memory, size_t bytes, int fd, uint64_t fd_offset);
  Status Remove(const std::byte* memory);

 private:
  RegionRegistry& registry_;
  const std::string name_;
  std::vector<const std::byte*> pieces_;
};

}  // namespace pollux
