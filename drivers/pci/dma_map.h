#pragma once
#include <array>
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
    size_t page_bytes = 0;            // A power of two; 0: the whole region is one piece.
    std::vector<uint64_t> page_iova;  // Of each page in turn; one element when page_bytes is 0.
  };
  virtual ~DmaMapper() = default;
  // An error is the region's own: the registry's Add fails with it.
  virtual Result<Mapping> Map(const Region& region) = 0;
  // The device must not reach it any more when this returns. The device may be gone already.
  virtual void Unmap(const Region& region, const Mapping& mapping) = 0;
};

// What the devices behind one DmaMapper see of our memory: follows the region registry, and answers
// on any thread, without locks, which address a device must be told.
//
// Readers hold a DmaView. The table that it looks into is immutable; a change makes a new one, and
// an old one is freed when no view looks into it any more.
class DmaMap final : public RegionRegistry::Follower {
 public:
  // Both outlive the map. Follows the registry from here to Stop().
  static Result<std::unique_ptr<DmaMap>> Start(RegionRegistry& registry, DmaMapper& mapper);
  ~DmaMap();  // All views are gone.

  Status OnRegionAdded(const Region& region) override;
  void OnRegionRemoved(const Region& region) override;

 private:
  friend class DmaView;
  struct Entry {
    uintptr_t begin, end;
    uint64_t iova_minus_begin;          // With one piece.
    const DmaMapper::Mapping* mapping;  // Owned by the map.
  };
  struct Table {
    std::vector<Entry> entries;  // By address.
  };
  DmaMap(RegionRegistry& registry, DmaMapper& mapper);
  void Publish(std::unique_ptr<Table> next);

  RegionRegistry& registry_;
  DmaMapper& mapper_;
  std::atomic<const Table*> current_;
  std::mutex views_mutex_;  // Guards the list of views and what is retired, never a translation.
  std::vector<class DmaView*> views_;
  std::vector<std::unique_ptr<const Table>> retired_;
  struct Mapped;
  std::vector<std::unique_ptr<Mapped>> mapped_;  // By the control thread.
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
    size_t bytes =
        0;  // Contiguous for the device from there on, within the region. 0: unknown memory.
  };
  // Where the device finds `address`. The view's thread only.
  Piece Translate(const void* address);
  // Takes the newest table. Called once per poll by whoever owns the view, so that old ones go.
  void Refresh();
};

}  // namespace pollux::pci
