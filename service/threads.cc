#include "service/threads.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_format.h"

namespace pollux::service {

std::string CpumaskOf(const Loop& loop) {
  if (loop.core() < 0) return "0";
  const int core = loop.core();
  std::string mask(1, "1248"[core % 4]);
  return mask.append(static_cast<size_t>(core / 4), '0');
}

int NumaNodeOf(const Loop& loop) {
  constexpr int kNodesMax = 64;
  std::error_code ignored;
  for (int node = 0; loop.core() >= 0 && node < kNodesMax; ++node) {
    const std::string link =
        absl::StrFormat("/sys/devices/system/cpu/cpu%d/node%d", loop.core(), node);
    if (std::filesystem::exists(link, ignored)) return node;
  }
  return 0;
}

}  // namespace pollux::service
