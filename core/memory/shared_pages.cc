#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/memory/memory.h"
#include "core/memory/page_supply.h"
#include "core/unique_fd.h"

namespace pollux {
namespace {

constexpr size_t kOrdinaryPage = 4096;
constexpr size_t kHugePage = 2 << 20;
// Below this, writing zeroes is quicker than a system call that gives pages back.
constexpr uint64_t kPunchBytesMin = 256 << 10;

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

struct Mapping {
  UniqueFd fd;
  std::byte* address = nullptr;
};

// Maps a new memfd. A peer that is handed the descriptor can neither shrink nor grow it: we would
// die of the access behind its end.
Result<Mapping> MapMemfd(const std::string& name, size_t bytes, unsigned flags) {
  UniqueFd fd(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | flags));
  if (!fd.valid() || ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 ||
      fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return ErrorOfErrno(errno, absl::StrFormat("no memory file for %s: %s", name, strerror(errno)));
  }
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) {
    return ErrorOfErrno(
        errno, absl::StrFormat("cannot map %u bytes for %s: %s", bytes, name, strerror(errno)));
  }
  return Mapping{std::move(fd), static_cast<std::byte*>(address)};
}

// What memory files hold already may be not resident yet, but it is promised.
Status CheckSupply(const std::string& name, size_t bytes, const RegionRegistry& registry) {
  const PageSupply supply = ReadPageSupply();
  size_t promised = 0;
  for (const Region& region : registry.regions()) promised += region.bytes;
  const size_t left = supply.ordinary_total - std::min(supply.ordinary_total, promised);
  PageSupply::Pages free = supply.ordinary;
  free.free_bytes = std::min(free.free_bytes, left);
  if (bytes <= free.free_bytes) return OkStatus();
  return OutOfMemory("not enough memory for %s: %s", name, DescribeShortage(bytes, {free}));
}

}  // namespace

Result<std::unique_ptr<SharedPages>> SharedPages::Map(const std::string& name, size_t bytes,
                                                      bool huge, RegionRegistry& registry) {
  CHECK(bytes > 0);
  // The mapping is made of whole pages; without this sum overflowing.
  if (bytes > SIZE_MAX / 2) return CheckSupply(name, bytes, registry);
  Result<Mapping> mapping = OutOfMemory("no hugepages");
  if (huge) {
    // The kernel sets the pages aside while it maps, so this fails when there are too few.
    mapping = MapMemfd(name, RoundUp(bytes, kHugePage), MFD_HUGETLB | MFD_HUGE_2MB);
  }
  const bool is_huge = mapping.ok();
  const size_t mapped = RoundUp(bytes, is_huge ? kHugePage : kOrdinaryPage);
  if (!is_huge) {
    RETURN_IF_ERROR(CheckSupply(name, mapped, registry));
    mapping = MapMemfd(name, mapped, 0);
    RETURN_IF_ERROR(mapping.status());
  }
  Region region{
      .address = mapping->address, .bytes = mapped, .fd = mapping->fd.get(), .name = name};
  if (Status added = registry.Add(region); !added.ok()) {
    munmap(mapping->address, mapped);
    return added;
  }
  return std::unique_ptr<SharedPages>(
      new SharedPages(mapping->address, mapped, mapping->fd.Release(), is_huge, registry));
}

SharedPages::SharedPages(std::byte* address, size_t bytes, int fd, bool huge,
                         RegionRegistry& registry)
    : address_(address), bytes_(bytes), fd_(fd), huge_(huge), registry_(registry) {}

SharedPages::~SharedPages() {
  registry_.Remove(address_);
  munmap(address_, bytes_);
  close(fd_);
}

bool SharedPages::TryPunch(uint64_t offset, uint64_t bytes) {
  CHECK(offset <= bytes_ && bytes <= bytes_ - offset);
  const uint64_t end = offset + bytes;
  const uint64_t first_page = RoundUp(offset, kOrdinaryPage);
  const uint64_t last_page = end / kOrdinaryPage * kOrdinaryPage;
  // Hugepages stay: a hole gives up its reservation, and the next write could find no page. So do
  // pages that a device was told of: it would go on with those that are not ours any more.
  const bool punch =
      !huge_ && bytes >= kPunchBytesMin && !registry_.pages_are_pinned() &&
      fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(first_page),
                static_cast<off_t>(last_page - first_page)) == 0;
  if (!punch) return false;
  memset(address_ + offset, 0, first_page - offset);
  memset(address_ + last_page, 0, end - last_page);
  return true;
}

}  // namespace pollux
