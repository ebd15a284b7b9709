#include "service/threads.h"

#include <filesystem>
#include <fstream>
#include <sstream>

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

CpuTimes CpuTimesOf(const Loop& loop) {
  std::ifstream file(absl::StrFormat("/proc/self/task/%d/stat", loop.thread_id()));
  std::string text;
  std::getline(file, text);
  // The name, in parentheses, may hold blanks: the numbers begin after the last ')'. proc(5): state
  // is field 3, utime 14, stime 15.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) fields >> skipped;
  CpuTimes times;
  fields >> times.user >> times.system;
  return times;
}

}  // namespace pollux::service
