#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/unique_fd.h"
#include "core/vfio_user/file_mapping.h"
#include "targets/vfio_user/device.h"

namespace pollux::vfio_user {

// The client's memory by IOVA: regions that do not overlap. Its methods return 0 or a positive
// errno, which the client gets.
class DmaTable {
 public:
  // A client may name more memory than there is, since a file may have holes; but not so much that
  // others of this process find no addresses any more.
  static constexpr uint64_t kMappedBytesMax = uint64_t{16} << 40;

  // A client may also take away what it has given: then the device finds zeros instead, and `bell`
  // (an eventfd, borrowed; -1: none) is rung.
  DmaTable(uint32_t regions_max, int bell) : regions_max_(regions_max), bell_(bell) {}

  struct Request {
    DmaRegion region;  // But for its address.
    UniqueFd file;     // Or none: the region is known, and cannot be reached.
    uint64_t offset = 0;
  };
  // Mapping once more what is mapped already succeeds, with *added false.
  int Map(Request request, bool* added);
  // The region as it was mapped, or null.
  const DmaRegion* Find(uint64_t iova, uint64_t bytes) const;
  // Unmaps the region that begins at `iova`.
  void Remove(uint64_t iova);

  // The memory at [iova, iova + bytes), or null when not all of it lies in one region that can be
  // reached with this access.
  std::byte* Memory(uint64_t iova, uint64_t bytes, bool write) const {
    if (last_ < entries_.size()) {
      if (std::byte* found = entries_[last_].Memory(iova, bytes, write)) return found;
    }
    return Search(iova, bytes, write);
  }

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  std::vector<DmaRegion> regions() const;

 private:
  struct Entry {
    DmaRegion region;
    // Which memory it is.
    bool has_file = false;
    dev_t device = 0;
    ino_t inode = 0;
    uint64_t offset = 0;
    FileMapping mapping;

    std::byte* Memory(uint64_t iova, uint64_t bytes, bool write) const {
      const uint64_t at = iova - region.iova;  // Of an address before the region: huge.
      if (at >= region.bytes || bytes > region.bytes - at) return nullptr;
      if (region.address == nullptr || !(write ? region.writable : region.readable)) return nullptr;
      return region.address + at;
    }
    bool IsSame(const Entry& other) const;
  };

  // The first entry that begins behind `iova`.
  size_t IndexBehind(uint64_t iova) const;
  std::byte* Search(uint64_t iova, uint64_t bytes, bool write) const;
  int MapFile(const UniqueFd& file, Entry& entry);

  const uint32_t regions_max_;
  const int bell_;
  std::vector<Entry> entries_;  // By IOVA.
  uint64_t mapped_bytes_ = 0;
  mutable size_t last_ = 0;  // Of the last hit: most accesses follow their like.
};

}  // namespace pollux::vfio_user
