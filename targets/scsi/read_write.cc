#include <algorithm>

#include "targets/scsi/commands.h"

// READ and WRITE of 6, 10, 12 and 16 bytes. SBC-3 §5.7 to §5.11, §5.30 to §5.34.
//
// The data moves in bursts. The device's own pages are one, when it lends them; else one buffer of
// the pool is, for as long as the command lasts.

namespace pollux::scsi {
namespace {

constexpr uint64_t kLoanBytesMax = 1 << 20;

// False, and the command has ended, when its flags or range are wrong.
bool Begin(Execution& e, uint64_t data_max) {
  if (e.cdb()[0] != kRead6 && e.cdb()[0] != kWrite6) {
    if (e.cdb()[1] & kProtectMask) return e.EndWithSense(InvalidFieldInCdb(1, 7)), false;
    e.transfer.fua = e.cdb()[1] & kFua;
  }
  const BlockRange range = ParseBlockRange(e);
  if (const auto sense = CheckRange(e, range.lba, range.blocks)) {
    return e.EndWithSense(*sense), false;
  }
  const uint64_t bytes = range.blocks * e.block_bytes();
  e.transfer.lba = range.lba;
  e.transfer.blocks = range.blocks;
  e.transfer.bytes = std::min(bytes, data_max);
  e.command().data_bytes = bytes;
  return true;
}

// The blocks that hold what is left to be moved, at most `bytes_max` at a time.
uint64_t NextBurst(Execution& e, uint64_t bytes_max) {
  const uint64_t block_bytes = e.block_bytes();
  const uint64_t left = (e.transfer.bytes + block_bytes - 1) / block_bytes;
  return std::min({left, bytes_max / block_bytes, e.transfer.burst_blocks_max});
}

bool TryLend(Execution& e, bool write) {
  e.loan.write = write;
  e.loan.lba = e.transfer.lba;
  e.loan.blocks = NextBurst(e, kLoanBytesMax);
  // Where a reservation came meanwhile, the I/O that is tried instead says so.
  if (!e.Admitted() || !e.unit()->channel->TryLend(e.loan)) {
    e.loan.part_count = 0;
    return false;
  }
  e.transfer.burst_blocks = e.loan.blocks;
  return true;
}

// The burst counts as moved. Returns its first byte in the data-in or data-out buffer.
uint64_t Advance(Execution& e, uint64_t bytes) {
  const uint64_t offset = e.transfer.offset;
  e.transfer.offset += bytes;
  e.transfer.bytes -= bytes;
  e.transfer.lba += e.transfer.burst_blocks;
  return offset;
}

void ReadBurst(Execution& e);

void OnBurstSent(Execution& e) {
  e.ReturnLoan();
  ReadBurst(e);
}

// `parts` hold whole blocks; the initiator may want less of the last one.
void SendBurst(Execution& e, std::span<const iovec> parts) {
  const uint64_t bytes = std::min(e.transfer.bytes, e.transfer.burst_blocks * e.block_bytes());
  std::array<iovec, Command::kPartsMax> cut;
  size_t count = 0;
  for (uint64_t left = bytes; left > 0; ++count) {
    cut[count] = parts[count];
    cut[count].iov_len = std::min<size_t>(cut[count].iov_len, left);
    left -= cut[count].iov_len;
  }
  const uint64_t offset = Advance(e, bytes);
  e.SendDataIn(offset, {cut.data(), count}, /*last=*/e.transfer.bytes == 0, OnBurstSent);
}

void ReadIntoBuffer(Execution& e);

void OnReadIntoBuffer(Execution& e) {
  if (e.io.status == IoStatus::kMediumError && e.transfer.burst_blocks > 1) {
    // Once more, block by block: the initiator gets what is good, and the LBA of what is not.
    e.transfer.burst_blocks_max = 1;
    return ReadIntoBuffer(e);
  }
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/false);
  const iovec part{e.buffer(), static_cast<size_t>(e.transfer.burst_blocks * e.block_bytes())};
  SendBurst(e, {&part, 1});
}

void ReadIntoBuffer(Execution& e) {
  e.transfer.burst_blocks = NextBurst(e, e.buffer_bytes());
  // A block that is larger than a buffer: see Nexus::kBufferBytesMin.
  if (e.transfer.burst_blocks == 0) return e.EndWithIo(IoStatus::kInternalError, false);
  e.SubmitBuffer(IoType::kRead, e.transfer.lba, e.transfer.burst_blocks, OnReadIntoBuffer);
}

void ReadBurst(Execution& e) {
  // What was lent may not be readable block by block.
  const bool whole = e.transfer.burst_blocks_max == UINT64_MAX;
  if (whole && TryLend(e, /*write=*/false)) {
    return SendBurst(e, {e.loan.parts, e.loan.part_count});
  }
  e.TakeBuffer(ReadIntoBuffer);
}

void WriteBurst(Execution& e);

void OnWritten(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/true);
  Advance(e, e.transfer.burst_blocks * e.block_bytes());
  WriteBurst(e);
}

void OnBufferFilled(Execution& e) {
  e.SubmitBuffer(IoType::kWrite, e.transfer.lba, e.transfer.burst_blocks, OnWritten);
}

void FillBuffer(Execution& e) {
  e.transfer.burst_blocks = NextBurst(e, e.buffer_bytes());
  if (e.transfer.burst_blocks == 0) return e.EndWithIo(IoStatus::kInternalError, true);
  const iovec part{e.buffer(), static_cast<size_t>(e.transfer.burst_blocks * e.block_bytes())};
  e.WantDataOut(e.transfer.offset, {&part, 1}, OnBufferFilled);
}

void OnLoanFilled(Execution& e) {
  e.ReturnLoan();
  Advance(e, e.transfer.burst_blocks * e.block_bytes());
  WriteBurst(e);
}

void WriteBurst(Execution& e) {
  if (e.transfer.bytes == 0) return e.EndGood();
  // A loan says nothing of the medium; FUA does.
  const bool may_lend = !(e.transfer.fua && e.disk().volatile_cache);
  if (may_lend && TryLend(e, /*write=*/true)) {
    return e.WantDataOut(e.transfer.offset, {e.loan.parts, e.loan.part_count}, OnLoanFilled);
  }
  e.TakeBuffer(FillBuffer);
}

}  // namespace

void Read(Execution& e) {
  if (!Begin(e, e.command().data_in_max)) return;
  if (e.transfer.bytes == 0) return e.EndGood();
  ReadBurst(e);
}

void Write(Execution& e) {
  if (const auto sense = CheckWritable(e)) return e.EndWithSense(*sense);
  if (!Begin(e, e.command().data_out_max)) return;
  // Whole blocks are written. What an initiator announces less is the residual; a part of a block
  // cannot be.
  if (e.transfer.bytes % e.block_bytes() != 0) return EndWithWrongLength(e, e.command().data_bytes);
  WriteBurst(e);
}

}  // namespace pollux::scsi
