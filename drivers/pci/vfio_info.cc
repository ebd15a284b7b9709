#include "drivers/pci/vfio_info.h"

#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <bit>

namespace pollux::pci {
namespace {

using Bytes = std::span<const std::byte>;

constexpr size_t kAnswerBytesMax = 64 << 10;
constexpr int kCapabilitiesMax = 64;  // In one chain: more are a loop.
constexpr uint64_t kPageBytes = 4096;

// Without the capability (kernels before 5.4): what every VT-d unit translates, around the window
// that interrupts are written to.
constexpr IovaRange kRangesUntold[] = {{0, 0xfedfffff}, {0xfef00000, (1ull << 39) - 1}};

// A structure at an offset, or nullopt where the bytes end before.
template <typename T>
std::optional<T> At(Bytes bytes, size_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

// Where each capability of a chain begins, with its id and version.
template <typename Visit>
void ForEachCapability(Bytes bytes, uint32_t offset, Visit visit) {
  for (int i = 0; i < kCapabilitiesMax && offset != 0; ++i) {
    const auto header = At<vfio_info_cap_header>(bytes, offset);
    if (!header) return;
    visit(*header, offset);
    offset = header->next;
  }
}

std::vector<RegionInfo::Area> ParseSparse(Bytes bytes, size_t at, uint64_t region_bytes) {
  std::vector<RegionInfo::Area> areas;
  using Header = vfio_region_info_cap_sparse_mmap;
  const auto count = At<uint32_t>(bytes, at + offsetof(Header, nr_areas));
  at += sizeof(Header);
  for (uint32_t i = 0; i < count.value_or(0); ++i, at += sizeof(vfio_region_sparse_mmap_area)) {
    const auto area = At<vfio_region_sparse_mmap_area>(bytes, at);
    if (!area) break;
    if (area->size == 0 || area->offset % kPageBytes != 0 || area->offset > region_bytes ||
        area->size > region_bytes - area->offset) {
      continue;
    }
    areas.push_back({area->offset, area->size});
  }
  return areas;
}

std::vector<IovaRange> ParseRanges(Bytes bytes, size_t at) {
  std::vector<IovaRange> ranges;
  using Header = vfio_iommu_type1_info_cap_iova_range;
  const auto count = At<uint32_t>(bytes, at + offsetof(Header, nr_iovas));
  at += sizeof(Header);
  for (uint32_t i = 0; i < count.value_or(0); ++i, at += sizeof(vfio_iova_range)) {
    const auto range = At<vfio_iova_range>(bytes, at);
    if (!range) break;
    if (range->start < range->end) ranges.push_back({range->start, range->end});
  }
  return ranges;
}

// Asks once for the fixed part, which tells how much there is, and once for all of it.
template <typename Fixed>
Result<std::vector<std::byte>> Ask(int fd, unsigned long request, Fixed fixed, const char* name) {
  fixed.argsz = sizeof(Fixed);
  std::vector<std::byte> answer(sizeof(Fixed));
  for (;;) {
    memcpy(answer.data(), &fixed, sizeof(Fixed));
    if (ioctl(fd, request, answer.data()) != 0) {
      const int error_number = errno;
      return ErrorOfErrno(error_number, absl::StrFormat("%s: %s", name, strerror(error_number)));
    }
    const uint32_t wanted = At<Fixed>(answer, 0)->argsz;
    if (wanted <= answer.size() || wanted > kAnswerBytesMax) return answer;
    answer.assign(wanted, std::byte{0});
    fixed.argsz = wanted;
  }
}

}  // namespace

IommuInfo ParseIommuInfo(Bytes answer) {
  IommuInfo info;
  const auto fixed = At<vfio_iommu_type1_info>(answer, 0);
  if (fixed && (fixed->flags & VFIO_IOMMU_INFO_PGSIZES) != 0 && fixed->iova_pgsizes != 0) {
    info.page_bytes = size_t{1} << std::countr_zero(fixed->iova_pgsizes);
  }
  if (fixed && (fixed->flags & VFIO_IOMMU_INFO_CAPS) != 0) {
    ForEachCapability(answer, fixed->cap_offset,
                      [&](const vfio_info_cap_header& header, size_t at) {
                        if (header.id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) return;
                        info.ranges = ParseRanges(answer, at);
                      });
  }
  if (info.ranges.empty()) info.ranges.assign(std::begin(kRangesUntold), std::end(kRangesUntold));
  return info;
}

RegionInfo ParseRegionInfo(Bytes answer) {
  RegionInfo info;
  const auto fixed = At<vfio_region_info>(answer, 0);
  if (!fixed) return info;
  info.bytes = fixed->size;
  info.offset = fixed->offset;
  info.readable = (fixed->flags & VFIO_REGION_INFO_FLAG_READ) != 0;
  info.writable = (fixed->flags & VFIO_REGION_INFO_FLAG_WRITE) != 0;
  info.mappable = (fixed->flags & VFIO_REGION_INFO_FLAG_MMAP) != 0;
  if ((fixed->flags & VFIO_REGION_INFO_FLAG_CAPS) == 0) return info;
  ForEachCapability(answer, fixed->cap_offset, [&](const vfio_info_cap_header& header, size_t at) {
    if (header.id == VFIO_REGION_INFO_CAP_MSIX_MAPPABLE) {
      info.msix_mappable = true;
    } else if (header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
      info.sparse = ParseSparse(answer, at, info.bytes);
    }
  });
  return info;
}

Result<IommuInfo> QueryIommu(int container_fd) {
  ASSIGN_OR_RETURN(
      const std::vector<std::byte> answer,
      Ask(container_fd, VFIO_IOMMU_GET_INFO, vfio_iommu_type1_info{}, "VFIO_IOMMU_GET_INFO"));
  return ParseIommuInfo(answer);
}

Result<RegionInfo> QueryRegion(int device_fd, uint32_t index) {
  ASSIGN_OR_RETURN(const std::vector<std::byte> answer,
                   Ask(device_fd, VFIO_DEVICE_GET_REGION_INFO, vfio_region_info{.index = index},
                       "VFIO_DEVICE_GET_REGION_INFO"));
  return ParseRegionInfo(answer);
}

}  // namespace pollux::pci
