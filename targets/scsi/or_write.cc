#include <algorithm>

#include "targets/scsi/commands.h"

// ORWRITE(16): what is on the medium, or the initiator's data. SBC-3 §5.7.
//
// A burst is read, put together and written if the medium still has what was read; else once more
// from the reading. So none of two that meet is lost. A third of the buffer each: the initiator's
// data, the medium's, and both.

namespace pollux::scsi {
namespace {

size_t Third(const Execution& e) { return e.buffer_bytes() / 3; }
size_t BurstBytes(Execution& e) {
  return static_cast<size_t>(e.transfer.burst_blocks * e.block_bytes());
}

void FetchBurst(Execution& e);
void ReadMedium(Execution& e);

void OnWritten(Execution& e) {
  Execution::Transfer& t = e.transfer;
  if (e.io.status == IoStatus::kMiscompare) return ReadMedium(e);
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/true);
  t.offset += BurstBytes(e);
  t.lba += t.burst_blocks;
  t.blocks -= t.burst_blocks;
  FetchBurst(e);
}

void OnMediumRead(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/false);
  const size_t bytes = BurstBytes(e);
  const std::byte* theirs = e.buffer();
  std::byte* ours = e.buffer() + Third(e);
  std::byte* both = e.buffer() + 2 * Third(e);
  for (size_t i = 0; i < bytes; ++i) both[i] = theirs[i] | ours[i];
  SubmitCompareAndWrite(e, e.transfer.burst_blocks, ours, both, OnWritten);
}

void ReadMedium(Execution& e) {
  e.SubmitBuffer(IoType::kRead, e.transfer.lba, e.transfer.burst_blocks, OnMediumRead, Third(e));
}

void FetchBurst(Execution& e) {
  Execution::Transfer& t = e.transfer;
  if (t.blocks == 0) return e.EndGood();
  t.burst_blocks = std::min(
      {t.blocks, uint64_t{Third(e) / e.block_bytes()}, CompareAndWriteBlocksMax(e, e.disk())});
  if (t.burst_blocks == 0) return e.EndWithIo(IoStatus::kInternalError, true);
  const iovec part{e.buffer(), BurstBytes(e)};
  e.WantDataOut(t.offset, {&part, 1}, ReadMedium);
}

}  // namespace

void OrWrite(Execution& e) {
  if (e.cdb()[1] & kProtectMask) return e.EndWithSense(InvalidFieldInCdb(1, 7));
  e.transfer.fua = e.cdb()[1] & kFua;
  TakeWholeBlocks(e, FetchBurst);
}

}  // namespace pollux::scsi
