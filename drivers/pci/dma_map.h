#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/memory/region_registry.h"
#include "core/status.h"

namespace pollux::pci {

// How one kind of device is given access to our memory: a VFIO container, a vfio-user connection,
// no IOMMU at all. Called by DmaMap, on the control thread.
class DmaMapper {
 public:
  // Where the device finds a region. With an IOMMU it is one piece; without, one per page.
  struct Mapping {
    // A power of two; 0: the whole region is one piece.
    size_t page_bytes = 0;
    // Of each page in turn, beginning with the one that holds the region's first byte. One element
    // when page_bytes is 0: of that byte itself.
    std::vector<uint64_t> page_iova;
  };
  virtual ~DmaMapper() = default;
  // An error is the region's own: the registry's Add fails with it.
  virtual Result<Mapping> Map(const Region& region) = 0;
  // The device must not reach it any more when this returns. The device may be gone already.
  virtual void Unmap(const Region& region, const Mapping& mapping) = 0;
  // See RegionRegistry::Follower.
  virtual bool pins_pages() const { return false; }
};

// What the devices behind one DmaMapper see of our memory: follows the region registry, and answers
// on any thread, without locks, which address a device must be told.
//
// Readers hold a DmaView. The table that it looks into is immutable; a change makes a new one, and
// an old one is freed when no view looks into it any more.
class DmaMap final : public RegionRegistry::Follower {
 public:
  // Both outlive the map. It follows the registry for as long as it lives.
  static Result<std::unique_ptr<DmaMap>> Start(RegionRegistry& registry, DmaMapper& mapper);
  // Unmaps everything. All views are gone.
  ~DmaMap();
  DmaMap(const DmaMap&) = delete;
  DmaMap& operator=(const DmaMap&) = delete;

  Status OnRegionAdded(const Region& region) override;
  void OnRegionRemoved(const Region& region) override;
  bool pins_pages() const override { return mapper_.pins_pages(); }

  // Old tables that some view still looks into.
  size_t retired_tables();

 private:
  friend class DmaView;
  // Addresses that a device finds in one piece: a region, or pages that lie side by side for it.
  struct Run {
    uintptr_t end;
    size_t bytes;
    uint64_t iova_minus_address;  // Wraps.

    uintptr_t begin() const { return end - bytes; }
  };
  struct Table {
    std::vector<Run> runs;  // By address.
  };
  struct Mapped {
    Region region;
    DmaMapper::Mapping mapping;
  };

  DmaMap(RegionRegistry& registry, DmaMapper& mapper);
  static void AppendRuns(const Mapped& mapped, std::vector<Run>& runs);
  void Publish();
  // With views_mutex_ held: what may be freed now.
  std::vector<std::unique_ptr<const Table>> TakeUnseen();

  RegionRegistry& registry_;
  DmaMapper& mapper_;
  std::vector<std::unique_ptr<const Mapped>> mapped_;  // The control thread's. By address.

  std::atomic<const Table*> current_;
  std::mutex views_mutex_;  // Guards what follows and a change of a view's table: no translation.
  std::vector<class DmaView*> views_;
  std::unique_ptr<const Table> newest_;  // What current_ points to.
  std::vector<std::unique_ptr<const Table>> retired_;
};

// One thread's look at a DmaMap.
class DmaView {
 public:
  explicit DmaView(DmaMap& map);
  ~DmaView();
  DmaView(const DmaView&) = delete;
  DmaView& operator=(const DmaView&) = delete;

  struct Piece {
    uint64_t iova = 0;
    // Contiguous for the device from there on, within the region. 0: unknown memory.
    size_t bytes = 0;
  };

  // Where the device finds `address`. The view's thread only. New memory is found at once; memory
  // that went is known until the next Refresh(), since nobody uses it any more.
  Piece Translate(const void* address) {
    const auto at = reinterpret_cast<uintptr_t>(address);
    const size_t rest = last_.end - at;  // From 1 to all of its bytes when it lies in the run.
    if (rest - 1 >= last_.bytes) [[unlikely]] {
      return Search(at);
    }
    return {at + last_.iova_minus_address, rest};
  }

  // The same for `bytes`, at least one, that lie in the run of the last hit; false for all others.
  // Without a call, so that the caller saves no registers.
  bool TranslateNear(const void* address, size_t bytes, uint64_t& iova) const {
    const auto at = reinterpret_cast<uintptr_t>(address);
    const size_t rest = last_.end - at;  // Wraps to more than any run has when it lies outside.
    iova = at + last_.iova_minus_address;
    return rest <= last_.bytes && rest >= bytes;
  }

  // Takes the newest table. Called once per poll by whoever owns the view, before memory that is
  // new to it can come along. Locks only when there is another table.
  void Refresh() {
    if (map_.current_.load(std::memory_order_acquire) != table_) [[unlikely]] {
      TakeNewest();
    }
  }

 private:
  friend class DmaMap;
  void TakeNewest();
  Piece Search(uintptr_t address);
  bool FindRun(uintptr_t address);  // Makes it last_.

  DmaMap::Run last_{};  // The one of the last hit, copied: most translations follow their like.
  DmaMap& map_;
  const DmaMap::Table* table_;  // Changed by the view's thread, with views_mutex_ held.
};

}  // namespace pollux::pci
