#include "drivers/pci/dma_map.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/check.h"

namespace pollux::pci {
namespace {

uintptr_t Begin(const Region& region) { return reinterpret_cast<uintptr_t>(region.address); }

}  // namespace

DmaMap::DmaMap(RegionRegistry& registry, DmaMapper& mapper)
    : registry_(registry), mapper_(mapper), newest_(std::make_unique<Table>()) {
  current_.store(newest_.get(), std::memory_order_release);
}

Result<std::unique_ptr<DmaMap>> DmaMap::Start(RegionRegistry& registry, DmaMapper& mapper) {
  std::unique_ptr<DmaMap> map(new DmaMap(registry, mapper));
  RETURN_IF_ERROR(registry.Follow(*map));
  return map;
}

DmaMap::~DmaMap() {
  registry_.Unfollow(*this);
  CHECK(views_.empty(), "a DmaView outlives its map");
  for (const auto& mapped : mapped_) mapper_.Unmap(mapped->region, mapped->mapping);
}

Status DmaMap::OnRegionAdded(const Region& region) {
  ASSIGN_OR_RETURN(DmaMapper::Mapping mapping, mapper_.Map(region));
  CHECK(mapping.page_bytes == 0 || std::has_single_bit(mapping.page_bytes));
  auto mapped = std::make_unique<const Mapped>(Mapped{region, std::move(mapping)});
  const auto behind = std::find_if(mapped_.begin(), mapped_.end(), [&region](const auto& other) {
    return Begin(other->region) > Begin(region);
  });
  mapped_.insert(behind, std::move(mapped));
  Publish();
  return OkStatus();
}

void DmaMap::OnRegionRemoved(const Region& region) {
  const auto found = std::find_if(mapped_.begin(), mapped_.end(), [&region](const auto& mapped) {
    return mapped->region.address == region.address;
  });
  CHECK(found != mapped_.end());
  const std::unique_ptr<const Mapped> gone = std::move(*found);
  mapped_.erase(found);
  Publish();
  mapper_.Unmap(gone->region, gone->mapping);
}

void DmaMap::AppendRuns(const Mapped& mapped, std::vector<Run>& runs) {
  const auto& [region, mapping] = mapped;
  const uintptr_t end = Begin(region) + region.bytes;
  if (mapping.page_bytes == 0) {
    CHECK(mapping.page_iova.size() == 1);
    runs.push_back({end, region.bytes, mapping.page_iova[0] - Begin(region)});
    return;
  }
  const size_t first = runs.size();  // Regions stay apart: who asked for one is not told of two.
  uintptr_t page = Begin(region) & ~(mapping.page_bytes - 1);
  for (const uint64_t iova : mapping.page_iova) {
    const uintptr_t begin = std::max(page, Begin(region));
    const uintptr_t page_end = std::min(page + mapping.page_bytes, end);
    CHECK(begin < page_end, "a mapping has more pages than its region");
    if (runs.size() > first && runs.back().iova_minus_address == iova - page) {
      runs.back().end = page_end;
      runs.back().bytes += page_end - begin;
    } else {
      runs.push_back({page_end, page_end - begin, iova - page});
    }
    page += mapping.page_bytes;
  }
  CHECK(page >= end, "a mapping has fewer pages than its region");
}

void DmaMap::Publish() {
  auto next = std::make_unique<Table>();
  for (const auto& mapped : mapped_) AppendRuns(*mapped, next->runs);

  std::vector<std::unique_ptr<const Table>> unseen;
  const std::lock_guard lock(views_mutex_);
  retired_.push_back(std::exchange(newest_, std::move(next)));
  current_.store(newest_.get(), std::memory_order_release);
  unseen = TakeUnseen();
}

std::vector<std::unique_ptr<const DmaMap::Table>> DmaMap::TakeUnseen() {
  std::vector<std::unique_ptr<const Table>> unseen;
  std::erase_if(retired_, [this, &unseen](std::unique_ptr<const Table>& table) {
    for (const DmaView* view : views_) {
      if (view->table_ == table.get()) return false;
    }
    unseen.push_back(std::move(table));
    return true;
  });
  return unseen;
}

size_t DmaMap::retired_tables() {
  const std::lock_guard lock(views_mutex_);
  return retired_.size();
}

DmaView::DmaView(DmaMap& map) : map_(map) {
  const std::lock_guard lock(map_.views_mutex_);
  map_.views_.push_back(this);
  table_ = map_.newest_.get();
}

DmaView::~DmaView() {
  std::vector<std::unique_ptr<const DmaMap::Table>> unseen;
  const std::lock_guard lock(map_.views_mutex_);
  std::erase(map_.views_, this);
  unseen = map_.TakeUnseen();
}

void DmaView::TakeNewest() {
  // Under the lock, or a table could be freed between our reading where it is and our saying so.
  std::vector<std::unique_ptr<const DmaMap::Table>> unseen;  // Freed after the lock.
  const std::lock_guard lock(map_.views_mutex_);
  table_ = map_.newest_.get();
  last_ = {};
  unseen = map_.TakeUnseen();
}

DmaView::Piece DmaView::Search(uintptr_t address) {
  if (!FindRun(address)) {
    Refresh();
    if (!FindRun(address)) return {};
  }
  return {address + last_.iova_minus_address, last_.end - address};
}

bool DmaView::FindRun(uintptr_t address) {
  const auto run =
      std::upper_bound(table_->runs.begin(), table_->runs.end(), address,
                       [](uintptr_t at, const DmaMap::Run& other) { return at < other.end; });
  if (run == table_->runs.end() || address < run->begin()) return false;
  last_ = *run;
  return true;
}

}  // namespace pollux::pci
