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

// --- What they share.

// Finds the namespace of the command. False, and the command has ended, when it is not there, not
// for this host, or not accessible through this listener.
bool UseNamespace(Execution& e, uint32_t nsid);
// Why the namespace takes no writes; success when it does.
uint16_t CheckWritable(Execution& e);
// Fills in the transfer from dwords 10 to 12: SLBA, NLB, FUA. False, and the command has ended,
// when the range goes beyond the end, or the controller is to make or strip protection information.
bool ParseRange(Execution& e);
// What the transfer, as it was parsed, moves between host and controller.
uint16_t CheckDataLength(Execution& e);
// The blocks of the next burst, at most those that `bytes_max` hold. 0: not one does.
uint32_t NextBurst(Execution& e, uint64_t bytes_max);
// What was moved: the burst.
void Advance(Execution& e);

// How an I/O ended, in the words of NVMe.
uint16_t StatusOfIo(IoStatus status, bool write);

}  // namespace pollux::nvmf
