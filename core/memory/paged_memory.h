#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/memory/memory.h"

namespace pollux {

// Pools from ordinary shared pages, without DPDK: for programs beside polluxd, which share nothing
// with anybody and need not start EAL. The registry outlives it.
class PagedMemory final : public Memory {
 public:
  explicit PagedMemory(RegionRegistry& registry) : registry_(registry) {}

  Result<std::byte*> Allocate(const std::string& consumer, size_t bytes) override;
  Usage usage() const override;

 private:
  RegionRegistry& registry_;
  std::vector<std::unique_ptr<SharedPages>> pages_;
  std::vector<MemoryNeed> allocated_;
};

}  // namespace pollux
