#include "cli/tool/pass.h"

#include <algorithm>

#include "core/run_on.h"

namespace pollux::cli {
namespace {

constexpr uint64_t kLookEveryNs = 20 * kNsPerMs;
constexpr uint64_t kProgressEveryNs = kNsPerSecond;

double Seconds(uint64_t ns) { return static_cast<double>(ns) / static_cast<double>(kNsPerSecond); }

}  // namespace

Task<bool> Pass::Await(uint64_t ns) {
  const uint64_t start_ns = clock_.NowNs();
  uint64_t shown_ns = start_ns;
  for (uint64_t now_ns = start_ns; now_ns - start_ns < ns; now_ns = clock_.NowNs()) {
    if (interrupt_.load(std::memory_order_relaxed)) co_return false;
    if (owner_.IsOver()) break;
    if (shows_progress_ && now_ns - shown_ns >= kProgressEveryNs) {
      owner_.ShowProgress(Seconds(now_ns - start_ns), Seconds(now_ns - shown_ns));
      shown_ns = now_ns;
    }
    co_await Sleep(std::min(kLookEveryNs, ns - (now_ns - start_ns)));
  }
  co_return true;
}

}  // namespace pollux::cli
