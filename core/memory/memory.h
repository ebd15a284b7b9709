#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/memory/region_registry.h"
#include "core/status.h"

namespace pollux {

enum class Hugepages { kAuto, kOn, kOff };

// One line of the sum that a pool is sized by: who wants how much.
struct MemoryNeed {
  std::string consumer;  // "iscsi: data-out buffers, 2 reactors x 1024 x 64 KiB"
  size_t bytes = 0;
};

// DMA-able memory for pools, from DPDK: hugepages, or ordinary shared memory (--no-huge with
// --no-shconf) when there are none. The one module that includes DPDK. EAL is started in a
// short-lived thread, since it pins the one that calls it, and once per process.
class Memory {
 public:
  struct Options {
    Hugepages hugepages = Hugepages::kAuto;
    size_t mib = 0;  // 0: the sum of `needs` and a tenth for EAL.
    std::vector<MemoryNeed> needs;
  };

  // Fails in one line that names node, page size, wanted and free when the memory is not there, and
  // with EALREADY the second time in a process, whatever became of the first.
  static Result<std::unique_ptr<Memory>> Start(const Options& options, RegionRegistry& registry);
  virtual ~Memory() = default;

  // Zeroed, aligned to at least 4096 bytes; freed at the end of the process. Control loop only.
  virtual Result<std::byte*> Allocate(const std::string& consumer, size_t bytes) = 0;

  struct Usage {
    bool hugepages;
    size_t page_bytes;
    size_t total_bytes;
    size_t free_bytes;
    std::vector<MemoryNeed> allocated;
  };
  virtual Usage usage() const = 0;
};

// A memfd of its own, mapped and entered in the registry: the pages of a memory disk. Hugepages are
// used when `huge` and there are enough, which SharedPages reports.
class SharedPages {
 public:
  static Result<std::unique_ptr<SharedPages>> Map(const std::string& name, size_t bytes, bool huge,
                                                  RegionRegistry& registry);
  ~SharedPages();
  std::byte* address() const { return address_; }
  size_t bytes() const { return bytes_; }
  bool huge() const { return huge_; }

  // Makes the bytes zero by giving whole pages back, where that can be done and is worth it.
  // Otherwise nothing is done, and false. Any thread.
  bool TryPunch(uint64_t offset, uint64_t bytes);

 private:
  SharedPages(std::byte* address, size_t bytes, int fd, bool huge, RegionRegistry& registry);
  std::byte* const address_;
  const size_t bytes_;
  const int fd_;
  const bool huge_;
  RegionRegistry& registry_;
};

}  // namespace pollux
