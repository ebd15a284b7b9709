#pragma once
#include <cstdint>

#include "core/block/io_status.h"
#include "core/spec/nvmf_spec.h"
#include "targets/nvmf/execution.h"

namespace pollux::nvmf {

inline constexpr uint8_t kFuseMask = 0x03;

// The type of a fabrics command.
inline uint8_t FctypeOf(const nvme::SubmissionEntry& entry) {
  return reinterpret_cast<const nvme::FabricsCommand&>(entry).fctype;
}

// Executes a command of an I/O queue.
void StartIo(Execution& execution);
// Executes one that is a half of a fused pair, or comes after a first half; `first_half` is the one
// whose second has not come.
void StartFused(Execution& execution, Execution*& first_half);

// How an I/O ended, in the words of NVMe.
uint16_t StatusOfIo(IoStatus status, bool write);

}  // namespace pollux::nvmf
