#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/status.h"

namespace pollux {

// A piece of memory that devices and peers may be given access to.
struct Region {
  std::byte* address = nullptr;
  size_t bytes = 0;
  int fd = -1;          // The memfd or hugepage file behind it, or -1. Borrowed.
  uint64_t offset = 0;  // Of `address` in `fd`.
  uint64_t iova = 0;    // What a device behind an IOMMU is told; equal to the address unless said.
  std::string name;     // Who asked for it: "pool", "bdev Malloc0".
};

// All DMA-able memory of the process, in one place. VFIO, vfio-user and io_uring follow it.
// Control loop only.
class RegionRegistry {
 public:
  // Told of every region, also of those that are there already when it joins. It leaves before it
  // dies.
  class Follower {
   public:
    virtual Status OnRegionAdded(const Region& region) = 0;
    virtual void OnRegionRemoved(const Region& region) = 0;
    // Whether devices find the pages where they were when the region was added, as with VFIO: they
    // must then stay, and are not exchanged for fresh ones.
    virtual bool pins_pages() const { return false; }

   protected:
    ~Follower() = default;
  };

  // Fails, with nothing changed, when it overlaps another region or a follower refuses it.
  Status Add(const Region& region);
  void Remove(const std::byte* address);

  Status Follow(Follower& follower);
  void Unfollow(Follower& follower);

  // The region that holds all of [address, address + bytes), or null.
  const Region* Find(const std::byte* address, size_t bytes) const;
  const std::vector<Region>& regions() const { return regions_; }
  // Whether some follower pins pages. Any thread.
  bool pages_are_pinned() const { return pinning_followers_.load(std::memory_order_acquire) > 0; }

 private:
  std::vector<Region> regions_;  // By address.
  std::vector<Follower*> followers_;
  std::atomic<int> pinning_followers_{0};
};

}  // namespace pollux
