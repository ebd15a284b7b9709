#include <algorithm>
#include <cstring>

#include "targets/scsi/commands.h"

// WRITE SAME(10) and (16): one block of data, written to a whole range. SBC-3 §5.40, §5.41.

namespace pollux::scsi {
namespace {

bool IsZero(const std::byte* data, size_t bytes) {
  return data[0] == std::byte{0} && std::memcmp(data, data + 1, bytes - 1) == 0;
}

// The buffer is full of the block; the range is written with it, burst by burst.
void WriteBurst(Execution& e);

void OnWritten(Execution& e) {
  Execution::Transfer& t = e.transfer;
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/true);
  t.lba += t.burst_blocks;
  t.blocks -= t.burst_blocks;
  WriteBurst(e);
}

void WriteBurst(Execution& e) {
  Execution::Transfer& t = e.transfer;
  if (t.blocks == 0) return e.EndGood();
  t.burst_blocks = std::min<uint64_t>(t.blocks, e.buffer_bytes() / e.block_bytes());
  e.SubmitBuffer(IoType::kWrite, t.lba, t.burst_blocks, OnWritten);
}

void FillAndWrite(Execution& e) {
  const size_t block_bytes = e.block_bytes();
  const size_t count =
      static_cast<size_t>(std::min<uint64_t>(e.transfer.blocks, e.buffer_bytes() / block_bytes));
  for (size_t i = 1; i < count; ++i) {
    std::memcpy(e.buffer() + i * block_bytes, e.buffer(), block_bytes);
  }
  WriteBurst(e);
}

void ZeroFillAndWrite(Execution& e) {
  std::memset(e.buffer(), 0, e.block_bytes());
  FillAndWrite(e);
}

// Zeroes: by deallocating, when the initiator allows it and the blocks then read as zero; by the
// device; or by writing them.
void WriteZeroes(Execution& e) {
  const bool unmap = e.cdb()[1] & kUnmapBit;
  const Execution::Transfer& t = e.transfer;
  if (unmap && e.disk().limits.unmapped_reads_zero) {
    return e.SubmitRange(IoType::kUnmap, t.lba, t.blocks, EndAfterWrite);
  }
  if (e.disk().write_zeroes) {
    return e.SubmitRange(IoType::kWriteZeroes, t.lba, t.blocks, EndAfterWrite);
  }
  e.TakeBuffer(ZeroFillAndWrite);
}

void OnBlockArrived(Execution& e) {
  if (IsZero(e.buffer(), e.block_bytes())) return WriteZeroes(e);
  FillAndWrite(e);
}

void FetchBlock(Execution& e) {
  const iovec part{e.buffer(), e.block_bytes()};
  e.WantDataOut(0, {&part, 1}, OnBlockArrived);
}

}  // namespace

void WriteSame(Execution& e) {
  const uint8_t flags = e.cdb()[1];
  const bool ndob = e.cdb()[0] == kWriteSame16 && (flags & kNdob);
  if (flags & kProtectMask) return e.EndWithSense(InvalidFieldInCdb(1, 7));
  if (flags & kAnchor) return e.EndWithSense(InvalidFieldInCdb(1, 4));
  if ((flags & kUnmapBit) && !e.disk().unmap) return e.EndWithSense(InvalidFieldInCdb(1, 3));
  if (flags & kPbdata) return e.EndWithSense(InvalidFieldInCdb(1, 2));
  if (flags & kLbdata) return e.EndWithSense(InvalidFieldInCdb(1, 1));
  if (const auto sense = CheckWritable(e)) return e.EndWithSense(*sense);
  const BlockRange range = ParseBlockRange(e);
  if (const auto sense = CheckRange(e, range.lba, range.blocks)) return e.EndWithSense(*sense);
  // No blocks would mean "to the end": refused, as WSNZ in VPD page B0h says.
  if (range.blocks == 0 || range.blocks > kWriteSameBytesMax / e.block_bytes()) {
    return e.EndWithSense(InvalidFieldInCdb(range.blocks_field));
  }
  if (e.block_bytes() > e.buffer_bytes()) return e.EndWithIo(IoStatus::kInternalError, true);
  e.transfer.lba = range.lba;
  e.transfer.blocks = range.blocks;
  if (ndob) return WriteZeroes(e);
  // Whoever sends more, or less, means something else; and this is spread over much.
  if (e.command().data_out_max != e.block_bytes()) return EndWithWrongLength(e, e.block_bytes());
  e.command().data_bytes = e.block_bytes();
  e.TakeBuffer(FetchBlock);
}

}  // namespace pollux::scsi
