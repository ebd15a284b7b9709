#include "core/memory/registered_memory.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

namespace pollux {

RegisteredMemory::RegisteredMemory(RegionRegistry& registry, std::string name)
    : registry_(registry), name_(std::move(name)) {}

RegisteredMemory::~RegisteredMemory() {
  for (const std::byte* memory : pieces_) registry_.Remove(memory);
}

Status RegisteredMemory::Add(std::byte* memory, size_t bytes, int fd, uint64_t fd_offset) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(memory);
  if (memory == nullptr || bytes == 0 || address % page != 0 || bytes % page != 0 ||
      address + bytes < address || fd_offset % page != 0) {
    return InvalidArgument("memory to register is not of whole pages");
  }
  Region region;
  region.address = memory;
  region.bytes = bytes;
  region.fd = fd;
  region.offset = fd_offset;
  region.name = name_;
  RETURN_IF_ERROR(registry_.Add(region));
  pieces_.push_back(memory);
  return OkStatus();
}

Status RegisteredMemory::Remove(const std::byte* memory) {
  const auto found = std::find(pieces_.begin(), pieces_.end(), memory);
  if (found == pieces_.end()) return NotFound("this memory was not registered");
  pieces_.erase(found);
  registry_.Remove(memory);
  return OkStatus();
}

}  // namespace pollux
