#include "targets/nvmf/io_commands.h"

// Read and Write. NVM §3.2.4, §3.2.6.
//
// The data moves in bursts. The disk's own pages are one, when it lends them: they hold all of it.
// Else one buffer of the pool is, for as long as the command lasts.

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

bool TryLend(Execution& e, bool write) {
  e.loan.write = write;
  e.loan.lba = e.transfer.lba;
  e.loan.blocks = e.transfer.blocks;
  if (!e.ns()->channel->TryLend(e.loan)) return false;
  e.transfer.burst_blocks = e.transfer.blocks;
  return true;
}

size_t BytesLeft(Execution& e) {
  return size_t{e.transfer.blocks} * e.ns()->channel->data_block_bytes();
}

void ReadBurst(Execution& e);

// The burst is in `parts`.
void SendBurst(Execution& e, std::span<const iovec> parts) {
  const uint32_t offset = e.transfer.offset;
  Advance(e);
  e.SendData(offset, parts, /*last=*/e.transfer.blocks == 0, ReadBurst);
}

void OnReadIntoBuffer(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.End(StatusOfIo(e.io.status, /*write=*/false));
  SendBurst(e, {e.parts.data(), 1});
}

void ReadIntoBuffer(Execution& e) {
  const uint32_t blocks = NextBurst(e, e.buffer_bytes());
  if (blocks == 0) return e.End(kInternalError | kDnrBit);
  e.SubmitBuffer(IoType::kRead, e.transfer.lba, blocks, OnReadIntoBuffer);
}

void ReadBurst(Execution& e) { e.TakeBuffer(BytesLeft(e), ReadIntoBuffer); }

void WriteBurst(Execution& e);

void OnWritten(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.End(StatusOfIo(e.io.status, /*write=*/true));
  Advance(e);
  if (e.transfer.blocks == 0) return e.EndSuccess();
  WriteBurst(e);
}

void OnBufferFilled(Execution& e) {
  e.SubmitBuffer(IoType::kWrite, e.transfer.lba, e.transfer.burst_blocks, OnWritten);
}

void FillBuffer(Execution& e) {
  const uint32_t blocks = NextBurst(e, e.buffer_bytes());
  if (blocks == 0) return e.End(kInternalError | kDnrBit);
  const iovec part{e.buffer(), size_t{blocks} * e.ns()->channel->data_block_bytes()};
  e.WantData(e.transfer.offset, {&part, 1}, OnBufferFilled);
}

void WriteBurst(Execution& e) { e.TakeBuffer(BytesLeft(e), FillBuffer); }

void OnLoanFilled(Execution& e) {
  Advance(e);
  e.ReturnLoan();
  e.EndSuccess();
}

}  // namespace

void Read(Execution& e) {
  if (!ParseRange(e)) return;
  if (const uint16_t status = CheckDataLength(e)) return e.End(status);
  e.CountAs(Execution::Kind::kRead);
  if (TryLend(e, /*write=*/false)) return SendBurst(e, {e.loan.parts, e.loan.part_count});
  ReadBurst(e);
}

void Write(Execution& e) {
  if (const uint16_t status = CheckWritable(e)) return e.End(status);
  if (!ParseRange(e)) return;
  if (const uint16_t status = CheckDataLength(e)) return e.End(status);
  e.CountAs(Execution::Kind::kWrite);
  // A loan says nothing of the medium; FUA does.
  const bool may_lend = !(e.transfer.fua && e.facts().volatile_cache);
  if (may_lend && TryLend(e, /*write=*/true)) {
    return e.WantData(0, {e.loan.parts, e.loan.part_count}, OnLoanFilled);
  }
  WriteBurst(e);
}

}  // namespace pollux::nvmf
