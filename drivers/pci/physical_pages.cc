#include "drivers/pci/physical_pages.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <string>

#include "core/unique_fd.h"

namespace pollux::pci {
namespace {

// /proc/PID/pagemap has 8 bytes for each page of this size. Documentation/admin-guide/mm/pagemap.
constexpr size_t kSmallPageBytes = 4096;
constexpr uint64_t kPresent = 1ull << 63;
constexpr uint64_t kFrameMask = (1ull << 55) - 1;

std::string_view TakeLine(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

// "7f0000000000-7f0000200000 rw-s ...": the first line of a mapping.
bool ParseBounds(std::string_view line, uintptr_t& begin, uintptr_t& end) {
  const char* const stop = line.data() + line.size();
  const auto [dash, error] = std::from_chars(line.data(), stop, begin, 16);
  if (error != std::errc() || dash == stop || *dash != '-') return false;
  const auto [behind, error_behind] = std::from_chars(dash + 1, stop, end, 16);
  return error_behind == std::errc() && behind != stop && *behind == ' ';
}

bool StartsWith(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

}  // namespace

PageKind FindPageKind(std::string_view smaps, uintptr_t address) {
  PageKind kind;
  bool within = false;
  while (!smaps.empty()) {
    std::string_view line = TakeLine(smaps);
    uintptr_t begin = 0;
    uintptr_t end = 0;
    if (ParseBounds(line, begin, end)) {
      if (within) break;
      within = begin <= address && address < end;
    } else if (within && StartsWith(line, "KernelPageSize:")) {
      line.remove_prefix(std::min(line.find_first_of("0123456789"), line.size()));
      size_t kib = 0;
      std::from_chars(line.data(), line.data() + line.size(), kib);
      kind.page_bytes = kib << 10;
    } else if (within && StartsWith(line, "VmFlags:")) {
      kind.huge = line.find(" ht") != std::string_view::npos;  // From hugetlbfs.
    }
  }
  return kind;
}

Result<DmaMapper::Mapping> FindPhysicalPages(const HostFiles& files, const Region& region) {
  const auto begin = reinterpret_cast<uintptr_t>(region.address);
  const std::string smaps = files.Read("/proc/self/smaps").value_or("");
  const PageKind kind = FindPageKind(smaps, begin);
  if (!kind.huge || !std::has_single_bit(kind.page_bytes)) {
    return NotSupported(
        "memory region '%s' is of ordinary pages, which the kernel may move: a device without an "
        "IOMMU can be given hugepages only. Reserve some (vm.nr_hugepages), or use an IOMMU",
        region.name);
  }
  if (mlock(region.address, region.bytes) != 0) {
    const int error_number = errno;
    return ErrorOfErrno(error_number, absl::StrFormat("cannot lock memory region '%s': %s",
                                                      region.name, strerror(error_number)));
  }
  const UniqueFd pagemap(open(files.Path("/proc/self/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  DmaMapper::Mapping mapping{.page_bytes = kind.page_bytes, .page_iova = {}};
  for (uintptr_t page = begin & ~(kind.page_bytes - 1); page < begin + region.bytes;
       page += kind.page_bytes) {
    uint64_t entry = 0;
    const auto at = static_cast<off_t>(page / kSmallPageBytes * sizeof(entry));
    if (pread(pagemap.get(), &entry, sizeof(entry), at) != sizeof(entry)) {
      return PermissionDenied("cannot read /proc/self/pagemap: %s", strerror(errno));
    }
    if ((entry & kPresent) == 0) {
      return InternalError("memory region '%s' is not resident", region.name);
    }
    if ((entry & kFrameMask) == 0) {  // What the kernel shows to who may not know.
      return PermissionDenied("physical addresses are shown to CAP_SYS_ADMIN only");
    }
    mapping.page_iova.push_back((entry & kFrameMask) * kSmallPageBytes);
  }
  return mapping;
}

}  // namespace pollux::pci
