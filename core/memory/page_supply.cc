#include "core/memory/page_supply.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace pollux {
namespace {

constexpr size_t kKib = 1024;
constexpr size_t kMib = 1024 * kKib;

// The number in a name such as "node1" or "hugepages-2048kB", or -1.
long NumberBehind(const std::string& prefix, const std::string& name) {
  if (name.rfind(prefix, 0) != 0) return -1;
  char* end = nullptr;
  const long number = std::strtol(name.c_str() + prefix.size(), &end, 10);
  return end != name.c_str() + prefix.size() && number >= 0 ? number : -1;
}

size_t ReadNumber(const std::filesystem::path& path) {
  std::ifstream file(path);
  size_t number = 0;
  file >> number;
  return file ? number : 0;
}

std::vector<PageSupply::Pages> ReadHugepages(const std::string& root) {
  namespace fs = std::filesystem;
  std::vector<PageSupply::Pages> all;
  std::error_code error;  // A kernel without hugepages has no such folders.
  for (const auto& node : fs::directory_iterator(root + "/sys/devices/system/node", error)) {
    const long number = NumberBehind("node", node.path().filename().string());
    if (number < 0) continue;
    for (const auto& size : fs::directory_iterator(node.path() / "hugepages", error)) {
      const long kib = NumberBehind("hugepages-", size.path().filename().string());
      if (kib <= 0 || ReadNumber(size.path() / "nr_hugepages") == 0) continue;
      const size_t page_bytes = static_cast<size_t>(kib) * kKib;
      all.push_back({.node = static_cast<int>(number),
                     .page_bytes = page_bytes,
                     .free_bytes = ReadNumber(size.path() / "free_hugepages") * page_bytes});
    }
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.node != b.node ? a.node < b.node : a.page_bytes < b.page_bytes;
  });
  return all;
}

}  // namespace

PageSupply ReadPageSupply(const std::string& root) {
  PageSupply supply;
  supply.huge = ReadHugepages(root);
  supply.ordinary.page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::ifstream meminfo(root + "/proc/meminfo");
  std::string key, unit;
  for (size_t kib; meminfo >> key >> kib;) {
    if (key == "MemTotal:") supply.ordinary_total = kib * kKib;
    if (key == "MemAvailable:") supply.ordinary.free_bytes = kib * kKib;
    std::getline(meminfo, unit);
  }
  return supply;
}

std::string DescribeShortage(size_t wanted, const std::vector<PageSupply::Pages>& pages) {
  if (pages.empty()) {
    return absl::StrFormat("node 0, 2048 KiB pages: wanted %u MiB, none reserved", wanted / kMib);
  }
  std::string text;
  for (const PageSupply::Pages& p : pages) {
    if (!text.empty()) text += "; ";
    text += absl::StrFormat("node %d, %u KiB pages: wanted %u MiB, free %u MiB", p.node,
                            p.page_bytes / kKib, wanted / kMib, p.free_bytes / kMib);
  }
  return text;
}

Result<bool> ChooseHugepages(Hugepages wish, size_t wanted, const PageSupply& supply) {
  if (wish != Hugepages::kOff) {
    size_t free_bytes = 0;
    for (const PageSupply::Pages& pages : supply.huge) free_bytes += pages.free_bytes;
    if (free_bytes >= wanted && wanted > 0) return true;
    if (wish == Hugepages::kOn) {
      return OutOfMemory("not enough hugepages: %s", DescribeShortage(wanted, supply.huge));
    }
  }
  if (supply.ordinary.free_bytes < wanted) {
    return OutOfMemory("not enough memory: %s", DescribeShortage(wanted, {supply.ordinary}));
  }
  return false;
}

}  // namespace pollux
