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
void StartIo(Execution& e);
// Executes one that is a half of a fused pair, or comes after a first half. `first_half` is the
// queue's: the one whose second has not come.
void StartFused(Execution& e, Execution*& first_half);

// --- Commands of the NVM command set; the namespace is in use and accessible.
void Read(Execution& e);
void Write(Execution& e);
void Compare(Execution& e);
void Verify(Execution& e);
void WriteZeroes(Execution& e);
void DatasetManagement(Execution& e);
void Copy(Execution& e);
void Flush(Execution& e);  // None is: it may be for all of them.

// --- What they share: see also io_transfer.h.

// Finds the namespace of the command. False, and the command has ended, when it is not there, not
// for this host, or not accessible through this listener.
bool UseNamespace(Execution& e, uint32_t nsid);
// Why the namespace takes no writes; success when it does.
uint16_t CheckWritable(Execution& e);

// How an I/O ended, in the words of NVMe.
uint16_t StatusOfIo(const IoRequest& io, bool write);

}  // namespace pollux::nvmf
