#pragma once
#include <algorithm>
#include <optional>

#include "targets/scsi/execution.h"

// The first step of each command, as the command table names it, and what several commands share.

namespace pollux::scsi {

// inquiry.cc, vpd.cc
void Inquiry(Execution& e);
// report_luns.cc
void ReportLuns(Execution& e);
// capacity.cc
void ReadCapacity10(Execution& e);
void ReadCapacity16(Execution& e);
// lba_status.cc
void GetLbaStatus(Execution& e);
// mode_pages.cc
void ModeSense6(Execution& e);
void ModeSense10(Execution& e);
void ModeSelect6(Execution& e);
void ModeSelect10(Execution& e);
// unit_state.cc
void TestUnitReady(Execution& e);
void RequestSense(Execution& e);
void SendDiagnostic(Execution& e);
void SynchronizeCache(Execution& e);
// report_port_groups.cc
void ReportTargetPortGroups(Execution& e);
// removal.cc
void StartStopUnit(Execution& e);
void PreventAllowMediumRemoval(Execution& e);
// read_write.cc
void Read(Execution& e);
void Write(Execution& e);
// verify.cc
void Verify(Execution& e);
void CompareAndWrite(Execution& e);
// write_verify.cc
void WriteAndVerify(Execution& e);
// or_write.cc
void OrWrite(Execution& e);
// prefetch.cc
void PreFetch(Execution& e);
// defect_data.cc
void ReadDefectData(Execution& e);
// write_same.cc
void WriteSame(Execution& e);
// sanitize.cc
void SanitizeOverwrite(Execution& e);
void SanitizeExitFailureMode(Execution& e);
// extended_copy.cc
void ExtendedCopy(Execution& e);
// receive_copy_results.cc
void ReceiveCopyStatus(Execution& e);
void ReceiveCopyFailure(Execution& e);
void ReceiveCopyParameters(Execution& e);
// unmap.cc
void Unmap(Execution& e);
// report_opcodes.cc
void ReportSupportedOpcodes(Execution& e);
void ReportSupportedFunctions(Execution& e);

// reserve.cc
void Reserve(Execution& e);
void Release(Execution& e);
// persistent_reserve_in.cc
void ReadKeys(Execution& e);
void ReadReservation(Execution& e);
void ReportCapabilities(Execution& e);
void ReadFullStatus(Execution& e);
// persistent_reserve_out.cc
void PersistentReserveOut(Execution& e);

// --- The blocks that a CDB names.

struct BlockRange {
  uint64_t lba = 0;
  uint64_t blocks = 0;
  uint16_t blocks_field = 0;  // The byte of the CDB with the number of blocks.
};
// For the forms with 6, 10, 12 and 16 bytes alike; the length follows from the opcode's group code
// (SAM-5 §5.2).
BlockRange ParseBlockRange(const Execution& e);
// LOGICAL BLOCK ADDRESS OUT OF RANGE unless the whole range is on the medium. No blocks are in
// range up to the end of the medium.
std::optional<Sense> CheckRange(Execution& e, uint64_t lba, uint64_t blocks);
// WRITE PROTECTED for a disk that is.
std::optional<Sense> CheckWritable(Execution& e);
// Of a command that changes the blocks that its CDB names by the initiator's data: checks disk and
// range, sets transfer.lba and .blocks to the whole blocks that the initiator has, takes a buffer
// and goes on with `next`; or ends the command. What it announces less is the residual.
void TakeWholeBlocks(Execution& e, Execution::Step next);
// The step after an I/O that was the last thing to do.
void EndAfterWrite(Execution& e);
// Compares the burst's blocks in the first half of the buffer with those in the second: true when
// they are the same, else the command has ended by EndMiscompare.
bool HalvesMatch(Execution& e);
// One step over `blocks` from transfer.lba on: `data` is written where the medium has `expected`.
void SubmitCompareAndWrite(Execution& e, uint64_t blocks, std::byte* expected, std::byte* data,
                           Execution::Step next);
// MISCOMPARE DURING VERIFY, with the place of the first byte that differs in the data-out buffer.
void EndMiscompare(Execution& e, uint64_t offset);
// Ends a command that needs a data-out buffer of just this length, when the initiator has another:
// INVALID FIELD IN COMMAND INFORMATION UNIT, and the residual says the rest.
void EndWithWrongLength(Execution& e, uint64_t data_bytes);

// --- Limits that VPD page B0h reports and the commands enforce.

// Both halves of the data-out buffer of COMPARE AND WRITE lie in one buffer.
uint64_t CompareAndWriteBlocksMax(const Execution& e, const DiskFacts& disk);
// So that one command cannot keep a reactor busy for long.
inline constexpr uint32_t kUnmapBlocksMax = 1u << 20;
inline constexpr uint32_t kUnmapDescriptorsMax = 256;
uint32_t UnmapDescriptorsMax(const Execution& e);
inline constexpr uint64_t kWriteSameBytesMax = uint64_t{1} << 30;

// --- Limits of EXTENDED COPY that VPD page 8Fh and RECEIVE COPY RESULTS report.

// Of one nexus: as many as its commands may be. We do not count them.
inline constexpr uint8_t kConcurrentCopiesMax = 255;
// What the field in a segment descriptor can say.
inline uint32_t CopySegmentBytesMax(const DiskFacts& disk) {
  return static_cast<uint32_t>(
      std::min<uint64_t>(uint64_t{UINT16_MAX} * disk.block_bytes, UINT32_MAX));
}

}  // namespace pollux::scsi
