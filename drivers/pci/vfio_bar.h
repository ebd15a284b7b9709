#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/mapping_guard.h"
#include "core/status.h"
#include "drivers/pci/vfio_info.h"

namespace pollux::pci {

// One base address register of a VFIO device: mapped where it can be, by read() and write() where
// not. An access that nothing answers, or that lies outside, reads as all ones and writes nothing.
class VfioBar {
 public:
  using Area = RegionInfo::Area;

  // `device_fd` is borrowed. `table` is where the MSI-X table lies in this BAR: never in a Map().
  static Result<VfioBar> Open(int device_fd, const RegionInfo& info, std::optional<Area> table);
  VfioBar() = default;  // There is none.
  VfioBar(VfioBar&&) = default;
  VfioBar& operator=(VfioBar&&) = default;

  uint64_t bytes() const { return info_.bytes; }
  uint64_t Read(uint64_t offset, size_t bytes) const;
  void Write(uint64_t offset, size_t bytes, uint64_t value) const;
  // Null: it cannot be accessed directly.
  std::byte* Map(uint64_t offset, size_t bytes) const;
  // A mapped access came after the device was gone.
  bool tripped() const;

 private:
  class Mapping {
   public:
    Mapping(Area area, std::byte* address, MappingGuard guard);
    Mapping(Mapping&& other) noexcept;
    Mapping& operator=(Mapping&&) = delete;
    ~Mapping();

    Area area;
    std::byte* address;
    std::optional<MappingGuard> guard;
  };
  // Of what is mapped.
  std::byte* Find(uint64_t offset, size_t bytes) const;

  int device_fd_ = -1;
  RegionInfo info_;
  std::optional<Area> table_;
  std::vector<Mapping> mappings_;
};

// What of a region can be mapped: whole pages; what the kernel names if it does; not the pages of
// the MSI-X table unless it allows that.
std::vector<RegionInfo::Area> MappableAreas(const RegionInfo& info,
                                            const std::optional<RegionInfo::Area>& table);

}  // namespace pollux::pci
