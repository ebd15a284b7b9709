#include <algorithm>

#include "targets/scsi/commands.h"

// WRITE AND VERIFY of 10, 12 and 16 bytes: each burst is written to the medium, and read back into
// the second half of the buffer. With BYTCHK = 1 it is compared, too. SBC-3 §5.35 to §5.37.

namespace pollux::scsi {
namespace {

void WriteBurst(Execution& e);

void OnReadBack(Execution& e) {
  Execution::Transfer& t = e.transfer;
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/false);
  const bool compares = ((e.cdb()[1] & kBytchkMask) >> 1) == 1;
  if (compares && !HalvesMatch(e)) return;
  t.lba += t.burst_blocks;
  t.blocks -= t.burst_blocks;
  t.offset += t.burst_blocks * e.block_bytes();
  WriteBurst(e);
}

void OnWritten(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/true);
  e.SubmitBuffer(IoType::kRead, e.transfer.lba, e.transfer.burst_blocks, OnReadBack,
                 e.buffer_bytes() / 2);
}

void OnData(Execution& e) {
  e.SubmitBuffer(IoType::kWrite, e.transfer.lba, e.transfer.burst_blocks, OnWritten);
}

void WriteBurst(Execution& e) {
  Execution::Transfer& t = e.transfer;
  if (t.blocks == 0) return e.EndGood();
  t.burst_blocks = std::min<uint64_t>(t.blocks, e.buffer_bytes() / 2 / e.block_bytes());
  if (t.burst_blocks == 0) return e.EndWithIo(IoStatus::kInternalError, true);
  const iovec part{e.buffer(), static_cast<size_t>(t.burst_blocks * e.block_bytes())};
  e.WantDataOut(t.offset, {&part, 1}, OnData);
}

}  // namespace

void WriteAndVerify(Execution& e) {
  const uint8_t flags = e.cdb()[1];
  if (flags & kProtectMask) return e.EndWithSense(InvalidFieldInCdb(1, 7));
  if (((flags & kBytchkMask) >> 1) > 1) return e.EndWithSense(InvalidFieldInCdb(1, 2));
  e.transfer.fua = true;  // It is the medium that is verified.
  TakeWholeBlocks(e, WriteBurst);
}

}  // namespace pollux::scsi
