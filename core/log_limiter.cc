#include "core/log_limiter.h"

#include <algorithm>
#include <utility>

namespace pollux {

bool LogLimiter::Admit(LogLevel level) {
  // What nobody would see takes nobody's place.
  if (!LogEnabled(level, component_)) return false;
  const uint64_t now = loop_.NowNs();
  if (now >= second_ends_ns_) {
    Settle();
    second_ends_ns_ = now + kNsPerSecond;
    written_ = 0;
  }
  if (written_ < kLinesMax) {
    ++written_;
    return true;
  }
  if (left_out_++ == 0) loop_.ArmTimer(timer_, second_ends_ns_);
  gravest_ = std::min(gravest_, level);
  return false;
}

void LogLimiter::Settle() {
  if (timer_.armed()) loop_.CancelTimer(timer_);
  const uint64_t count = std::exchange(left_out_, 0);
  const LogLevel level = std::exchange(gravest_, LogLevel::kDebug);
  if (count == 0) return;
  Log(level, component_, "%d more lines about %s were left out", count, about_);
}

}  // namespace pollux
