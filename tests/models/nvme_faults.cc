#include "tests/models/nvme_faults.h"

#include <algorithm>

#include "core/spec/nvme_spec.h"

namespace pollux::models {

uint16_t Faults::Judge(bool admin, uint8_t opcode) {
  uint16_t fate = 0;
  for (Planned& planned : planned_) {
    if (planned.admin != admin) continue;
    if (planned.opcode != kAnyOpcode && planned.opcode != opcode) continue;
    if (--planned.left == 0) fate = planned.status;
  }
  std::erase_if(planned_, [](const Planned& planned) { return planned.left == 0; });
  if (fate != 0) return fate;
  if (admin) return Happens(options_.admin_error_rate) ? nvme::status::kInternalError : 0;
  if (Happens(options_.lost_rate)) return kLost;
  if (!Happens(options_.error_rate)) return 0;
  return opcode == nvme::io::kRead ? nvme::status::kUnrecoveredReadError
                                   : nvme::status::kWriteFault;
}

uint64_t Faults::Latency() {
  if (options_.latency_max == 0) return 0;
  return std::uniform_int_distribution<uint64_t>(options_.latency_min,
                                                 options_.latency_max)(random_);
}

}  // namespace pollux::models
