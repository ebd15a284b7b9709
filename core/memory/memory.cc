#include "core/memory/memory.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "core/check.h"
#include "core/log.h"
#include "core/memory/page_supply.h"

namespace pollux {
namespace {

constexpr size_t kMib = 1 << 20;
constexpr size_t kAlignment = 4096;
// EAL's heap, and the header and the alignment of one allocation.
constexpr size_t kHeapBytes = 2 * kMib;
constexpr size_t kOverheadBytes = 2 * kAlignment;

size_t SumOf(const std::vector<MemoryNeed>& needs) {
  size_t sum = 0;
  for (const MemoryNeed& need : needs) sum += need.bytes + kOverheadBytes;
  return sum;
}

std::string ListOf(const std::vector<MemoryNeed>& needs) {
  std::string text;
  for (const MemoryNeed& need : needs) {
    text +=
        absl::StrFormat("%s%s: %u KiB", text.empty() ? "" : "; ", need.consumer, need.bytes / 1024);
  }
  return text;
}

Result<size_t> MibOf(const Memory::Options& options) {
  const size_t sum = SumOf(options.needs) + kHeapBytes;
  if (options.mib == 0) return (sum + sum / 10 + kMib - 1) / kMib;
  if (options.mib >= (sum + kMib - 1) / kMib) return options.mib;
  return InvalidField("--mem-mib", options.mib, "at least %u are needed (%s)",
                      (sum + kMib - 1) / kMib, ListOf(options.needs));
}

// EAL wants a core for its main thread, and ours may run on few.
int FirstAllowedCore() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return 0;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(static_cast<size_t>(core), &cores)) return core;
  }
  return 0;
}

std::vector<std::string> EalArguments(bool huge, size_t mib) {
  std::vector<std::string> arguments = {
      "pollux", "--no-pci", "--no-telemetry", "--iova-mode", "va", "-m", std::to_string(mib),
      // EAL's core 0 is whichever core we may use; EAL runs nothing on it.
      "--lcores", absl::StrFormat("0@%d", FirstAllowedCore()),
      // Two processes of one machine must not meet in the same runtime folder.
      "--file-prefix", absl::StrFormat("pollux-%d", getpid())};
  if (huge) {
    // Memory files without a mounted hugetlbfs, one for each run of pages, so that a region has one
    // descriptor.
    arguments.insert(arguments.end(), {"--in-memory", "--single-file-segments"});
  } else {
    arguments.insert(arguments.end(), {"--no-huge", "--no-shconf"});
  }
  return arguments;
}

// The last line of what EAL said, without its prefix.
std::string LastLine(const std::string& text) {
  std::string last;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) last = text.substr(begin, end - begin);
    begin = end + 1;
  }
  return last.empty() ? "it gave no reason" : last;
}

// Runs rte_eal_init in a thread that ends at once, since it pins its caller to a core and every
// thread made by that one later would inherit it. What EAL says is shown only when it fails.
Status StartEal(std::vector<std::string> arguments) {
  char* said = nullptr;
  size_t said_bytes = 0;
  FILE* stream = open_memstream(&said, &said_bytes);
  CHECK(stream != nullptr);
  rte_openlog_stream(stream);
  int rc = -1;
  int error_number = 0;
  std::thread([&] {
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    rc = rte_eal_init(static_cast<int>(argv.size()), argv.data());
    error_number = rte_errno;
  }).join();
  rte_openlog_stream(stderr);
  fclose(stream);
  const std::string text(said, said_bytes);
  free(said);
  if (rc >= 0) {
    LogDebug("memory", "EAL: %s", Printable(text));
    return OkStatus();
  }
  return ErrorOfErrno(error_number > 0 ? error_number : ENOMEM,
                      absl::StrFormat("EAL did not start: %s", Printable(LastLine(text))));
}

class EalMemory final : public Memory {
 public:
  EalMemory(bool huge, size_t page_bytes, RegionRegistry& registry)
      : huge_(huge), page_bytes_(page_bytes), registry_(registry) {}
  ~EalMemory() override {
    for (const std::byte* address : addresses_) registry_.Remove(address);
  }

  Result<std::byte*> Allocate(const std::string& consumer, size_t bytes) override {
    CHECK(bytes > 0);
    // Whole pages, so that a peer that maps them sees nothing but them. EAL keeps free memory zero:
    // nothing is written here, and what nobody used yet is not resident.
    const size_t whole = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    auto* address = static_cast<std::byte*>(
        rte_zmalloc_socket(consumer.c_str(), whole, kAlignment, SOCKET_ID_ANY));
    if (address == nullptr) {
      const PageSupply::Pages free{
          .node = 0, .page_bytes = page_bytes_, .free_bytes = usage().free_bytes};
      return OutOfMemory("no pool memory for %s: %s", consumer, DescribeShortage(bytes, {free}));
    }
    if (Status added = registry_.Add(RegionOf(address, whole, consumer)); !added.ok()) {
      rte_free(address);
      return added;
    }
    addresses_.push_back(address);
    allocated_.push_back({.consumer = consumer, .bytes = bytes});
    return address;
  }

  Usage usage() const override {
    Usage usage{.hugepages = huge_,
                .page_bytes = page_bytes_,
                .total_bytes = 0,
                .free_bytes = 0,
                .allocated = allocated_};
    for (unsigned i = 0; i < rte_socket_count(); ++i) {
      rte_malloc_socket_stats stats;
      if (rte_malloc_get_socket_stats(rte_socket_id_by_idx(i), &stats) != 0) continue;
      usage.total_bytes += stats.heap_totalsz_bytes;
      usage.free_bytes += stats.heap_freesz_bytes;
    }
    return usage;
  }

 private:
  static Region RegionOf(std::byte* address, size_t bytes, const std::string& name) {
    Region region{.address = address, .bytes = bytes, .name = name};
    region.iova = rte_mem_virt2iova(address);
    if (const rte_memseg* segment = rte_mem_virt2memseg(address, nullptr)) {
      size_t offset = 0;
      region.fd = rte_memseg_get_fd(segment);
      if (region.fd >= 0 && rte_memseg_get_fd_offset(segment, &offset) == 0) {
        region.offset =
            offset + static_cast<size_t>(address - static_cast<std::byte*>(segment->addr));
      }
    }
    return region;
  }

  const bool huge_;
  const size_t page_bytes_;
  RegionRegistry& registry_;
  std::vector<const std::byte*> addresses_;
  std::vector<MemoryNeed> allocated_;
};

}  // namespace

Result<std::unique_ptr<Memory>> Memory::Start(const Options& options, RegionRegistry& registry) {
  // EAL cannot be started again, not even after it failed.
  static std::atomic<bool> started{false};
  ASSIGN_OR_RETURN(const size_t mib, MibOf(options));
  const PageSupply supply = ReadPageSupply();
  ASSIGN_OR_RETURN(const bool huge, ChooseHugepages(options.hugepages, mib * kMib, supply));
  if (started.exchange(true)) return ErrorOfErrno(EALREADY, "EAL was started in this process");

  RETURN_IF_ERROR(StartEal(EalArguments(huge, mib)));
  size_t page_bytes = supply.ordinary.page_bytes;
  for (const PageSupply::Pages& pages : supply.huge) {
    if (huge && pages.free_bytes > 0) {
      page_bytes = pages.page_bytes;
      break;
    }
  }
  LogInfo("memory", "%u MiB in %u KiB pages (%s)", mib, page_bytes / 1024, ListOf(options.needs));
  return std::make_unique<EalMemory>(huge, page_bytes, registry);
}

}  // namespace pollux
