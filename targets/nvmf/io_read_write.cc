#include "targets/nvmf/io_transfer.h"

// Read and Write. NVM §3.2.4, §3.2.6.
//
// The data moves in bursts. The disk's own pages are one, when it lends them: they hold all of it.
// Else one buffer of the pool is, for as long as the command lasts.

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

// What is to be checked comes by a buffer.
bool TryLend(Execution& e, bool write) {
  e.loan.write = write;
  e.loan.lba = e.transfer.lba;
  e.loan.blocks = e.transfer.blocks;
  return e.channel().TryLend(e.loan);
}

void ReadBurst(Execution& e);

void OnReadIntoBuffer(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.End(StatusOfIo(e.io, /*write=*/false));
  if (const uint16_t status = CheckBurst(e)) return e.End(status);
  const uint32_t offset = e.transfer.offset;
  Advance(e);
  e.SendData(offset, {e.parts.data(), 1}, /*last=*/e.transfer.blocks == 0, ReadBurst);
}

void ReadIntoBuffer(Execution& e) {
  const uint32_t blocks = NextBurst(e, e.buffer_bytes());
  if (blocks == 0) return e.End(kInternalError | kDnrBit);
  e.SubmitBuffer(IoType::kRead, e.transfer.lba, blocks, OnReadIntoBuffer);
}

void ReadBurst(Execution& e) { e.TakeBuffer(BytesLeft(e), ReadIntoBuffer); }

void WriteBurst(Execution& e);

void OnWritten(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.End(StatusOfIo(e.io, /*write=*/true));
  Advance(e);
  if (e.transfer.blocks == 0) return e.EndSuccess();
  WriteBurst(e);
}

void OnBufferFilled(Execution& e) {
  if (const uint16_t status = CheckBurst(e)) return e.End(status);
  e.SubmitBuffer(IoType::kWrite, e.transfer.lba, e.transfer.burst_blocks, OnWritten);
}

void FillBuffer(Execution& e) {
  const uint32_t blocks = NextBurst(e, e.buffer_bytes());
  if (blocks == 0) return e.End(kInternalError | kDnrBit);
  const size_t bytes = size_t{blocks} * e.channel().data_block_bytes();
  e.WantData(e.transfer.offset, e.buffer(), bytes, OnBufferFilled);
}

void WriteBurst(Execution& e) { e.TakeBuffer(BytesLeft(e), FillBuffer); }

void OnLoanFilled(Execution& e) {
  e.transfer.offset = e.command().data_bytes;
  e.ReturnLoan();
  e.EndSuccess();
}

}  // namespace

void Read(Execution& e) {
  if (const uint16_t status = ParseRange(e)) return e.End(status);
  if (const uint16_t status = CheckDataLength(e)) return e.End(status);
  e.CountAs(CommandKind::kRead);
  if (ChecksProtection(e) || !TryLend(e, /*write=*/false)) return ReadBurst(e);
  e.transfer.offset = e.command().data_bytes;
  e.SendData(0, {e.loan.parts, e.loan.part_count}, /*last=*/true, nullptr);
}

void Write(Execution& e) {
  if (const uint16_t status = CheckWritable(e)) return e.End(status);
  if (const uint16_t status = ParseRange(e)) return e.End(status);
  if (const uint16_t status = CheckDataLength(e)) return e.End(status);
  e.CountAs(CommandKind::kWrite);
  // A loan says nothing of the medium; FUA does.
  const bool may_lend = !(e.transfer.fua && e.facts().volatile_cache) && !ChecksProtection(e);
  if (may_lend && TryLend(e, /*write=*/true)) {
    return e.WantData(0, {e.loan.parts, e.loan.part_count}, OnLoanFilled);
  }
  WriteBurst(e);
}

}  // namespace pollux::nvmf
