#include "drivers/nvme/transport.h"

#include <algorithm>

namespace pollux::nvme {
namespace {
constexpr uint32_t kAttemptsDefault = 5;
constexpr uint16_t kDepthDefault = 256, kDepthMin = 2, kDepthMax = 65535;
}  // namespace

bool Transport::weighted() const {
  return around_.options.weighted_round_robin && capabilities().weighted_round_robin;
}

Transport::RetryPolicy Transport::retry_policy() const {
  const uint32_t attempts = around_.options.reset_attempts_max;
  return {.attempts_max = attempts == 0 ? kAttemptsDefault : attempts};
}

uint16_t Transport::ClampedDepth(uint16_t asked) const {
  uint32_t depth = asked == 0 ? kDepthDefault : asked;
  depth = std::clamp<uint32_t>(depth, std::max(kDepthMin, quirks().queue_depth_min), kDepthMax);
  return static_cast<uint16_t>(std::min(depth, capabilities().queue_entries_max));
}

}  // namespace pollux::nvme
