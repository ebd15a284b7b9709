#include "core/memory/region_registry.h"

#include <algorithm>
#include <cstdint>

#include "core/check.h"

namespace pollux {
namespace {

uintptr_t Begin(const Region& region) { return reinterpret_cast<uintptr_t>(region.address); }
uintptr_t End(const Region& region) { return Begin(region) + region.bytes; }

}  // namespace

Status RegionRegistry::Add(const Region& added) {
  CHECK(added.address != nullptr && added.bytes > 0 && End(added) > Begin(added));
  Region region = added;
  if (region.iova == 0) region.iova = Begin(region);

  // The first region that ends behind the new one's begin is the only candidate for an overlap.
  const auto place = std::find_if(regions_.begin(), regions_.end(), [&region](const Region& other) {
    return End(other) > Begin(region);
  });
  if (place != regions_.end() && Begin(*place) < End(region)) {
    return AlreadyExists("memory region '%s' overlaps '%s'", region.name, place->name);
  }
  for (size_t told = 0; told < followers_.size(); ++told) {
    Status status = followers_[told]->OnRegionAdded(region);
    if (status.ok()) continue;
    while (told-- > 0) followers_[told]->OnRegionRemoved(region);
    return status;
  }
  regions_.insert(place, std::move(region));
  return OkStatus();
}

void RegionRegistry::Remove(const std::byte* address) {
  const auto found =
      std::find_if(regions_.begin(), regions_.end(),
                   [address](const Region& region) { return region.address == address; });
  CHECK(found != regions_.end(), "a memory region was removed that is not there");
  const Region region = std::move(*found);
  regions_.erase(found);
  for (Follower* follower : followers_) follower->OnRegionRemoved(region);
}

Status RegionRegistry::Follow(Follower& follower) {
  const int pins = follower.pins_pages() ? 1 : 0;
  pinning_followers_ += pins;  // Before the first page is pinned.
  for (size_t told = 0; told < regions_.size(); ++told) {
    Status status = follower.OnRegionAdded(regions_[told]);
    if (status.ok()) continue;
    while (told-- > 0) follower.OnRegionRemoved(regions_[told]);
    pinning_followers_ -= pins;
    return status;
  }
  followers_.push_back(&follower);
  return OkStatus();
}

void RegionRegistry::Unfollow(Follower& follower) {
  if (std::erase(followers_, &follower) > 0 && follower.pins_pages()) --pinning_followers_;
}

const Region* RegionRegistry::Find(const std::byte* address, size_t bytes) const {
  const auto begin = reinterpret_cast<uintptr_t>(address);
  const auto behind =
      std::upper_bound(regions_.begin(), regions_.end(), begin,
                       [](uintptr_t at, const Region& region) { return at < Begin(region); });
  if (behind == regions_.begin()) return nullptr;
  const Region& region = *std::prev(behind);
  const size_t offset = begin - Begin(region);
  return offset < region.bytes && bytes <= region.bytes - offset ? &region : nullptr;
}

}  // namespace pollux
