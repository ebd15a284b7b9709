#pragma once
#include <cstddef>
#include <cstdint>

#include "core/spec/nvme_spec.h"

namespace pollux::nvmf {

// How the data of a command moves, as its opcode and its first SGL descriptor say.
struct DataPlan {
  enum class Way : uint8_t { kNone, kInCapsule, kFromHost, kToHost };
  Way way = Way::kNone;
  uint32_t bytes = 0;
  uint32_t capsule_offset = 0;  // Of kInCapsule: where it begins in the capsule's data.
  uint16_t fault = 0;           // The status that the command ends with, or 0.
};

// `capsule_bytes` came with the command, of which the queue takes `capsule_bytes_max`. What the
// descriptor says may be anything. Base §4.1.2, TCP §3.3.2
DataPlan PlanOf(const nvme::SubmissionEntry& entry, size_t capsule_bytes, size_t capsule_bytes_max);

}  // namespace pollux::nvmf
