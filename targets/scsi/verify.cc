#include <algorithm>
#include <cstring>

#include "targets/scsi/commands.h"

// VERIFY and COMPARE AND WRITE: commands that compare. SBC-3 §5.3, §5.29.

namespace pollux::scsi {
namespace {

uint64_t NextBurst(const Execution& e, uint64_t blocks, uint64_t bytes_max) {
  return std::min({blocks, bytes_max, e.transfer.burst_blocks_max});
}

// --- BYTCHK = 0: the medium is read, and that is all.

void VerifyBurst(Execution& e);

void OnVerified(Execution& e) {
  Execution::Transfer& t = e.transfer;
  if (e.io.status == IoStatus::kMediumError && t.burst_blocks > 1) {
    t.burst_blocks_max = 1;  // To find the block that is bad.
    return VerifyBurst(e);
  }
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/false);
  t.lba += t.burst_blocks;
  t.blocks -= t.burst_blocks;
  VerifyBurst(e);
}

void VerifyBurst(Execution& e) {
  Execution::Transfer& t = e.transfer;
  if (t.blocks == 0) return e.EndGood();
  t.burst_blocks = NextBurst(e, t.blocks, e.buffer_bytes() / e.block_bytes());
  if (t.burst_blocks == 0) return e.EndWithIo(IoStatus::kInternalError, false);
  e.SubmitBuffer(IoType::kRead, t.lba, t.burst_blocks, OnVerified);
}

// --- BYTCHK = 1: the initiator's data in the first half of the buffer, the medium's in the second.

void CompareBurst(Execution& e);

void OnMediumRead(Execution& e) {
  Execution::Transfer& t = e.transfer;
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/false);
  if (!HalvesMatch(e)) return;
  t.lba += t.burst_blocks;
  t.blocks -= t.burst_blocks;
  t.offset += t.burst_blocks * e.block_bytes();
  CompareBurst(e);
}

void OnCompareData(Execution& e) {
  e.SubmitBuffer(IoType::kRead, e.transfer.lba, e.transfer.burst_blocks, OnMediumRead,
                 e.buffer_bytes() / 2);
}

void CompareBurst(Execution& e) {
  Execution::Transfer& t = e.transfer;
  if (t.blocks == 0) return e.EndGood();
  t.burst_blocks = NextBurst(e, t.blocks, e.buffer_bytes() / 2 / e.block_bytes());
  if (t.burst_blocks == 0) return e.EndWithIo(IoStatus::kInternalError, false);
  const iovec part{e.buffer(), static_cast<size_t>(t.burst_blocks * e.block_bytes())};
  e.WantDataOut(t.offset, {&part, 1}, OnCompareData);
}

// --- COMPARE AND WRITE: first half compared, second half written, as one.

void OnComparedAndWritten(Execution& e) {
  if (e.io.status == IoStatus::kMiscompare) return EndMiscompare(e, e.io.miscompare_offset);
  EndAfterWrite(e);
}

void OnBothHalves(Execution& e) {
  const uint64_t blocks = e.transfer.blocks;
  SubmitCompareAndWrite(e, blocks, e.buffer(), e.buffer() + blocks * e.block_bytes(),
                        OnComparedAndWritten);
}

void FetchCompareAndWrite(Execution& e) {
  const iovec part{e.buffer(), static_cast<size_t>(2 * e.transfer.blocks * e.block_bytes())};
  e.WantDataOut(0, {&part, 1}, OnBothHalves);
}

}  // namespace

bool HalvesMatch(Execution& e) {
  const size_t bytes = static_cast<size_t>(e.transfer.burst_blocks * e.block_bytes());
  const std::byte* first = e.buffer();
  const std::byte* second = e.buffer() + e.buffer_bytes() / 2;
  if (std::memcmp(first, second, bytes) == 0) return true;
  const auto at = std::mismatch(first, first + bytes, second).first - first;
  EndMiscompare(e, e.transfer.offset + static_cast<uint64_t>(at));
  return false;
}

void SubmitCompareAndWrite(Execution& e, uint64_t blocks, std::byte* expected, std::byte* data,
                           Execution::Step next) {
  const size_t bytes = static_cast<size_t>(blocks * e.block_bytes());
  e.parts[0] = {expected, bytes};
  e.parts[1] = {data, bytes};
  e.io.type = IoType::kCompareAndWrite;
  e.io.fua = e.transfer.fua;
  e.io.lba = e.transfer.lba;
  e.io.blocks = blocks;
  e.io.compare_data = {&e.parts[0], 1};
  e.io.data = {&e.parts[1], 1};
  e.Submit(next);
}

void EndMiscompare(Execution& e, uint64_t offset) {
  Sense sense{SenseKey::kMiscompare, AdditionalSense::kMiscompareDuringVerify};
  sense.information = offset;
  e.EndWithSense(sense);
}

void Verify(Execution& e) {
  const uint8_t flags = e.cdb()[1];
  const int bytchk = (flags & kBytchkMask) >> 1;
  if (flags & kProtectMask) return e.EndWithSense(InvalidFieldInCdb(1, 7));
  if (bytchk > 1) return e.EndWithSense(InvalidFieldInCdb(1, 2));
  const BlockRange range = ParseBlockRange(e);
  if (const auto sense = CheckRange(e, range.lba, range.blocks)) return e.EndWithSense(*sense);
  e.transfer.lba = range.lba;
  e.transfer.blocks = range.blocks;
  if (range.blocks == 0) return e.EndGood();
  if (bytchk == 0) return e.TakeBuffer(VerifyBurst);

  const uint64_t bytes = range.blocks * e.block_bytes();
  if (bytes > e.command().data_out_max) return EndWithWrongLength(e, bytes);
  e.command().data_bytes = bytes;
  e.TakeBuffer(CompareBurst);
}

uint64_t CompareAndWriteBlocksMax(const Execution& e, const DiskFacts& disk) {
  const uint64_t fit = e.buffer_bytes() / 2 / disk.block_bytes;
  const uint64_t limit = disk.limits.compare_and_write_blocks_max;
  return std::min({fit, uint64_t{UINT8_MAX}, limit == 0 ? UINT64_MAX : limit});
}

void CompareAndWrite(Execution& e) {
  if (e.cdb()[1] & kProtectMask) return e.EndWithSense(InvalidFieldInCdb(1, 7));
  if (const auto sense = CheckWritable(e)) return e.EndWithSense(*sense);
  const uint64_t lba = e.Field<Be64>(2), blocks = e.cdb()[13];
  if (const auto sense = CheckRange(e, lba, blocks)) return e.EndWithSense(*sense);
  if (blocks > CompareAndWriteBlocksMax(e, e.disk())) return e.EndWithSense(InvalidFieldInCdb(13));
  if (blocks == 0) {
    // No blocks are no error (§5.3); data for none are a number that did not fit into its byte.
    if (e.command().data_out_max > 0) return e.EndWithSense(InvalidFieldInCdb(13));
    return e.EndGood();
  }
  const uint64_t bytes = 2 * blocks * e.block_bytes();
  if (bytes != e.command().data_out_max) return EndWithWrongLength(e, bytes);
  e.command().data_bytes = bytes;
  e.transfer.lba = lba;
  e.transfer.blocks = blocks;
  e.transfer.fua = e.cdb()[1] & kFua;
  e.TakeBuffer(FetchCompareAndWrite);
}

}  // namespace pollux::scsi
