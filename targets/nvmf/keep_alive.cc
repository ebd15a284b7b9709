#include "targets/nvmf/keep_alive.h"

#include <algorithm>

namespace pollux::nvmf {

uint32_t KeepAlive::Grant(uint32_t asked_ms, uint16_t kas, uint32_t min_ms) {
  if (asked_ms == 0) return 0;
  const uint64_t unit_ms = std::max<uint64_t>(kas, 1) * 100;
  const uint64_t units = (uint64_t{std::max(asked_ms, min_ms)} + unit_ms - 1) / unit_ms;
  // The greatest multiple that the feature can say.
  return static_cast<uint32_t>(std::min(units, UINT32_MAX / unit_ms) * unit_ms);
}

void KeepAlive::SetTimeout(uint32_t timeout_ms) {
  timeout_ms_ = timeout_ms;
  Heard();
  if (timeout_ms == 0) return Stop();
  loop_.ArmTimer(timer_, last_heard_ns_ + timeout_ms * kNsPerMs);
}

void KeepAlive::OnTimer() {
  const uint64_t deadline_ns = last_heard_ns_ + timeout_ms_ * kNsPerMs;
  if (loop_.NowNs() < deadline_ns) return loop_.ArmTimer(timer_, deadline_ns);
  owner_.OnSilence(loop_.NowNs() - last_heard_ns_);
}

}  // namespace pollux::nvmf
