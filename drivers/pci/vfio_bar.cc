#include "drivers/pci/vfio_bar.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/mmio.h"
#include "core/spec/pci_spec.h"

namespace pollux::pci {
namespace {

constexpr uint64_t kPageBytes = 4096;

bool IsWithin(uint64_t offset, size_t bytes, uint64_t end) {
  return offset <= end && bytes <= end - offset;
}

void AddWholePages(uint64_t begin, uint64_t end, std::vector<RegionInfo::Area>& areas) {
  begin = (begin + kPageBytes - 1) & ~(kPageBytes - 1);
  end &= ~(kPageBytes - 1);
  if (begin < end) areas.push_back({begin, end - begin});
}

}  // namespace

std::vector<RegionInfo::Area> MappableAreas(const RegionInfo& info,
                                            const std::optional<RegionInfo::Area>& table) {
  std::vector<RegionInfo::Area> areas;
  if (!info.mappable || !info.readable || !info.writable) return areas;
  if (info.sparse) {
    for (const RegionInfo::Area& area : *info.sparse) {
      AddWholePages(area.offset, area.offset + area.bytes, areas);
    }
  } else if (!table || info.msix_mappable) {
    AddWholePages(0, info.bytes, areas);
  } else {
    const uint64_t table_page = std::min(table->offset, info.bytes) & ~(kPageBytes - 1);
    AddWholePages(0, table_page, areas);
    AddWholePages(table->offset + table->bytes, info.bytes, areas);
  }
  return areas;
}

VfioBar::Mapping::Mapping(Area mapped, std::byte* at, MappingGuard mapping_guard)
    : area(mapped), address(at), guard(std::move(mapping_guard)) {}

VfioBar::Mapping::Mapping(Mapping&& other) noexcept
    : area(other.area),
      address(std::exchange(other.address, nullptr)),
      guard(std::move(other.guard)) {}

VfioBar::Mapping::~Mapping() {
  guard.reset();
  if (address != nullptr) munmap(address, area.bytes);
}

Result<VfioBar> VfioBar::Open(int device_fd, const RegionInfo& info, std::optional<Area> table) {
  VfioBar bar;
  bar.device_fd_ = device_fd;
  bar.info_ = info;
  bar.table_ = table;
  for (const Area& area : MappableAreas(info, table)) {
    void* const address = mmap(nullptr, area.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device_fd,
                               static_cast<off_t>(info.offset + area.offset));
    if (address == MAP_FAILED) continue;  // It is read and written then.
    Result<MappingGuard> guard = MappingGuard::Protect(static_cast<std::byte*>(address), area.bytes,
                                                       MappingGuard::Cover::kOnesPage);
    if (!guard.ok()) {
      munmap(address, area.bytes);
      return guard.status();
    }
    bar.mappings_.emplace_back(area, static_cast<std::byte*>(address), *std::move(guard));
  }
  return bar;
}

std::byte* VfioBar::Find(uint64_t offset, size_t bytes) const {
  for (const Mapping& mapping : mappings_) {
    const uint64_t into = offset - mapping.area.offset;
    if (offset >= mapping.area.offset && IsWithin(into, bytes, mapping.area.bytes)) {
      return mapping.address + into;
    }
  }
  return nullptr;
}

std::byte* VfioBar::Map(uint64_t offset, size_t bytes) const {
  if (table_ && offset < table_->offset + table_->bytes && table_->offset < offset + bytes) {
    return nullptr;
  }
  return Find(offset, bytes);
}

uint64_t VfioBar::Read(uint64_t offset, size_t bytes) const {
  uint64_t value = 0;
  if (!IsWithin(offset, bytes, info_.bytes)) return ~uint64_t{0};
  if (const std::byte* address = Find(offset, bytes)) {
    switch (bytes) {
      case 1:
        return MmioRead<uint8_t>(address);
      case 2:
        return MmioRead<uint16_t>(address);
      case 4:
        return MmioRead<uint32_t>(address);
      default:
        return MmioRead<uint64_t>(address);
    }
  }
  const ssize_t count = pread(device_fd_, &value, bytes, static_cast<off_t>(info_.offset + offset));
  return count == static_cast<ssize_t>(bytes) ? value : ~uint64_t{0};
}

void VfioBar::Write(uint64_t offset, size_t bytes, uint64_t value) const {
  if (!IsWithin(offset, bytes, info_.bytes)) return;
  if (std::byte* address = Find(offset, bytes)) {
    switch (bytes) {
      case 1:
        return MmioWrite(address, static_cast<uint8_t>(value));
      case 2:
        return MmioWrite(address, static_cast<uint16_t>(value));
      case 4:
        return MmioWrite(address, static_cast<uint32_t>(value));
      default:
        return MmioWrite(address, value);
    }
  }
  // Of a device that is gone it fails, which is as it should be.
  if (pwrite(device_fd_, &value, bytes, static_cast<off_t>(info_.offset + offset)) < 0) return;
}

bool VfioBar::tripped() const {
  return std::any_of(mappings_.begin(), mappings_.end(),
                     [](const Mapping& mapping) { return mapping.guard->tripped(); });
}

}  // namespace pollux::pci
