#include "drivers/pci/vfio_container.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include <utility>

#include "core/log.h"
#include "drivers/pci/physical_pages.h"
#include "drivers/pci/vfio_info.h"

namespace pollux::pci {
namespace {

constexpr const char* kNode = "/dev/vfio/vfio";
constexpr size_t kPageBytes = 4096;

std::string LockedMemoryLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return "unlimited";
  }
  return absl::StrFormat("%d KiB", limit.rlim_cur >> 10);
}

Status MapError(int error_number, const Region& region) {
  const std::string what = absl::StrFormat("cannot give devices the memory region '%s' (%d KiB)",
                                           region.name, region.bytes >> 10);
  switch (error_number) {
    case ENOMEM:
      return OutOfMemory(
          "%s: it cannot be locked. The limit of locked memory is %s (ulimit -l, or LimitMEMLOCK= "
          "of the service)",
          what, LockedMemoryLimit());
    case ENOSPC:
      return NoSpace("%s: VFIO keeps no more mappings (dma_entry_limit of vfio_iommu_type1)", what);
    case EFAULT:
      return NotSupported("%s: memory of this kind cannot be locked", what);
    default:
      return ErrorOfErrno(error_number, absl::StrFormat("%s: VFIO_IOMMU_MAP_DMA: %s", what,
                                                        strerror(error_number)));
  }
}

// The whole pages that a region touches.
struct Pages {
  uintptr_t begin;
  size_t bytes;
};
Pages PagesOf(const Region& region, size_t page_bytes) {
  const uintptr_t mask = page_bytes - 1;
  const auto address = reinterpret_cast<uintptr_t>(region.address);
  const uintptr_t begin = address & ~mask;
  return {begin, ((address + region.bytes + mask) & ~mask) - begin};
}

}  // namespace

VfioContainer::VfioContainer(const HostFiles& files, Kind kind, UniqueFd fd)
    : files_(files), kind_(kind), fd_(std::move(fd)), space_({}, kPageBytes) {}

Result<std::unique_ptr<VfioContainer>> VfioContainer::Open(const HostFiles& files, Kind kind) {
  UniqueFd fd(open(files.Path(kNode).c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) {
    if (errno == ENOENT || errno == ENODEV) {
      return NoDevice("%s is missing: modprobe vfio-pci", kNode);
    }
    const int error_number = errno;
    return ErrorOfErrno(error_number,
                        absl::StrFormat("cannot open %s: %s", kNode, strerror(error_number)));
  }
  if (const int version = ioctl(fd.get(), VFIO_GET_API_VERSION); version != VFIO_API_VERSION) {
    return NotSupported("VFIO's interface has version %d, not %d", version, VFIO_API_VERSION);
  }
  if (kind == Kind::kIommu && ioctl(fd.get(), VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1) {
    return NotSupported("VFIO has no type 1 IOMMU: modprobe vfio_iommu_type1");
  }
  if (kind == Kind::kNoIommu && ioctl(fd.get(), VFIO_CHECK_EXTENSION, VFIO_NOIOMMU_IOMMU) != 1) {
    return NotSupported(
        "VFIO's no-IOMMU mode is off (vfio.enable_unsafe_noiommu_mode=1), or the kernel was built "
        "without it");
  }
  return std::unique_ptr<VfioContainer>(new VfioContainer(files, kind, std::move(fd)));
}

Status VfioContainer::AddGroup(int group_fd) {
  const int fd = fd_.get();
  if (ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &fd) != 0) {
    const int error_number = errno;
    return ErrorOfErrno(error_number,
                        absl::StrFormat("VFIO_GROUP_SET_CONTAINER: %s", strerror(error_number)));
  }
  if (!has_iommu_set_) {
    const unsigned long type = kind_ == Kind::kIommu ? VFIO_TYPE1v2_IOMMU : VFIO_NOIOMMU_IOMMU;
    if (ioctl(fd, VFIO_SET_IOMMU, type) != 0) {
      const int error_number = errno;
      ioctl(group_fd, VFIO_GROUP_UNSET_CONTAINER);
      if (error_number == EPERM && kind_ == Kind::kIommu) {
        return PermissionDenied(
            "the IOMMU cannot keep devices' interrupts apart (no interrupt remapping); "
            "vfio_iommu_type1.allow_unsafe_interrupts=1 allows it all the same");
      }
      return ErrorOfErrno(error_number,
                          absl::StrFormat("VFIO_SET_IOMMU: %s", strerror(error_number)));
    }
    has_iommu_set_ = true;
  }
  if (kind_ == Kind::kNoIommu) return OkStatus();
  // Each group may take a part of the address space away.
  ASSIGN_OR_RETURN(IommuInfo info, QueryIommu(fd));
  if (dma_ == nullptr) {
    space_ = IovaSpace(std::move(info.ranges), info.page_bytes);
  } else {
    space_.SetRanges(std::move(info.ranges));
  }
  return OkStatus();
}

Status VfioContainer::StartDma(RegionRegistry& registry) {
  if (dma_ != nullptr) return OkStatus();
  ASSIGN_OR_RETURN(dma_, DmaMap::Start(registry, *this));
  return OkStatus();
}

Result<DmaMapper::Mapping> VfioContainer::Map(const Region& region) {
  if (kind_ == Kind::kNoIommu) return FindPhysicalPages(files_, region);
  const Pages pages = PagesOf(region, space_.page_bytes());
  ASSIGN_OR_RETURN(const uint64_t iova, space_.Allocate(pages.bytes, pages.begin));
  vfio_iommu_type1_dma_map request{.argsz = sizeof(request),
                                   .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                   .vaddr = pages.begin,
                                   .iova = iova,
                                   .size = pages.bytes};
  if (ioctl(fd_.get(), VFIO_IOMMU_MAP_DMA, &request) != 0) {
    const int error_number = errno;
    space_.Free(iova);
    return MapError(error_number, region);
  }
  const uintptr_t into = reinterpret_cast<uintptr_t>(region.address) - pages.begin;
  return Mapping{.page_bytes = 0, .page_iova = {iova + into}};
}

void VfioContainer::Unmap(const Region& region, const Mapping& mapping) {
  if (kind_ == Kind::kNoIommu) return;
  const Pages pages = PagesOf(region, space_.page_bytes());
  const uintptr_t into = reinterpret_cast<uintptr_t>(region.address) - pages.begin;
  const uint64_t iova = mapping.page_iova[0] - into;
  vfio_iommu_type1_dma_unmap request{
      .argsz = sizeof(request), .flags = 0, .iova = iova, .size = pages.bytes};
  if (ioctl(fd_.get(), VFIO_IOMMU_UNMAP_DMA, &request) != 0) {
    const int error_number = errno;
    // The last function in it was unplugged: the IOMMU went along, and all that was mapped in it.
    const bool is_empty = error_number == EINVAL && !QueryIommu(fd_.get()).ok();
    if (is_empty) return space_.Free(iova);
    // Its addresses are not used again: a device may reach it still.
    LogError("pci", "memory region '%s' stays mapped for devices: %s", region.name,
             strerror(error_number));
    return;
  }
  space_.Free(iova);
}

}  // namespace pollux::pci
