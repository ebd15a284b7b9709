#include <algorithm>
#include <cstring>

#include "targets/nvmf/io_commands.h"
#include "targets/nvmf/protection.h"
#include "targets/nvmf/worker.h"

// Copy: NVM §3.2.2, source ranges of descriptor format 0h. One large buffer has the list of ranges
// at its start, and what is being copied behind it.

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

constexpr size_t kListBytes = NamespaceFacts::kCopyRangesMax * sizeof(nvme::CopyRange);
static_assert(kListBytes < Worker::kLargeBufferBytes);

constexpr uint8_t kDesfmtByte = 49;

uint32_t RangeCount(Execution& e) { return nvme::copy::kNr.Get(e.entry().cdw12) + 1; }

struct Range {
  uint64_t lba;
  uint32_t blocks;
  uint32_t reference_tag;
  uint16_t tag, tag_mask;
};
Range RangeAt(Execution& e, uint32_t index) {
  nvme::CopyRange range;
  std::memcpy(&range, e.buffer() + index * sizeof(range), sizeof(range));
  return {.lba = range.slba,
          .blocks = uint32_t{range.nlb} + 1,
          .reference_tag = range.eilbrt,
          .tag = range.elbat,
          .tag_mask = range.elbatm};
}

// With a failure dword 0 is the lowest range that was not copied.
void Fail(Execution& e, uint16_t status) { e.End(status, e.transfer.item); }

// What no source may overlap: the order in which blocks are copied is not the host's business.
uint16_t CheckRanges(Execution& e) {
  const NamespaceFacts& facts = e.facts();
  const uint64_t disk_blocks = e.channel().blocks();
  const uint32_t prinfor = nvme::copy::kPrinfor.Get(e.entry().cdw12);
  uint64_t total = 0;
  for (uint32_t i = 0; i < RangeCount(e); ++i) {
    const Range range = RangeAt(e, i);
    if (range.blocks > facts.CopyRangeBlocksMax()) return kCommandSizeLimitExceeded | kDnrBit;
    if (prinfor != 0 && facts.geometry.protection_type != 0) {
      const uint16_t status = CheckPrinfo(facts.geometry, prinfor, range.reference_tag, range.lba);
      if (status != kSuccess) return status;
    }
    if (range.blocks > disk_blocks || range.lba > disk_blocks - range.blocks) {
      return kLbaOutOfRange | kDnrBit;
    }
    total += range.blocks;
  }
  if (total > facts.CopyBlocksMax()) return kCommandSizeLimitExceeded | kDnrBit;
  const uint64_t to = e.transfer.lba;
  if (total > disk_blocks || to > disk_blocks - total) return kLbaOutOfRange | kDnrBit;
  for (uint32_t i = 0; i < RangeCount(e); ++i) {
    const Range range = RangeAt(e, i);
    if (range.lba < to + total && to < range.lba + range.blocks) {
      return kOverlappingIoRange | kDnrBit;
    }
  }
  return kSuccess;
}

void CopyBurst(Execution& e);

void OnWritten(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return Fail(e, StatusOfIo(e.io, /*write=*/true));
  Execution::Transfer& transfer = e.transfer;
  transfer.lba += transfer.burst_blocks;
  transfer.item_blocks += transfer.burst_blocks;
  if (transfer.item_blocks == RangeAt(e, transfer.item).blocks) {
    transfer.item_blocks = 0;
    ++transfer.item;
  }
  if (transfer.item == RangeCount(e)) return e.EndSuccess();
  CopyBurst(e);
}

// What was read, against what its range says, and against what the whole shall be where it goes.
uint16_t CheckCopied(Execution& e) {
  const Geometry& geometry = e.facts().geometry;
  if (geometry.protection_type == 0) return kSuccess;
  const nvme::SubmissionEntry& entry = e.entry();
  const std::span<const std::byte> blocks(e.buffer() + kListBytes,
                                          e.transfer.burst_blocks * geometry.data_block_bytes());
  const Range range = RangeAt(e, e.transfer.item);
  const ProtectionCheck read = ProtectionCheckOf(nvme::copy::kPrinfor.Get(entry.cdw12),
                                                 range.reference_tag, range.tag, range.tag_mask);
  if (read.any()) {
    const uint16_t status =
        CheckProtection(geometry, read, e.transfer.item_blocks, blocks, e.io.lba);
    if (status != kSuccess) return status;
  }
  const ProtectionCheck written = ProtectionCheckOf(entry);  // PRINFOW is where PRINFO is.
  if (!written.any()) return kSuccess;
  const uint64_t first = uint64_t{entry.cdw11} << 32 | entry.cdw10;
  e.io.lba = e.transfer.lba;
  return CheckProtection(geometry, written, e.transfer.lba - first, blocks, e.io.lba);
}

void OnRead(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return Fail(e, StatusOfIo(e.io, /*write=*/false));
  if (const uint16_t status = CheckCopied(e)) return Fail(e, status);
  e.SubmitBuffer(IoType::kWrite, e.transfer.lba, e.transfer.burst_blocks, OnWritten, kListBytes);
}

void CopyBurst(Execution& e) {
  const Range range = RangeAt(e, e.transfer.item);
  const uint64_t fit = (e.buffer_bytes() - kListBytes) / e.channel().data_block_bytes();
  const uint32_t left = range.blocks - e.transfer.item_blocks;
  e.transfer.burst_blocks = static_cast<uint32_t>(std::min<uint64_t>(left, fit));
  if (e.transfer.burst_blocks == 0) return Fail(e, kInternalError | kDnrBit);
  e.SubmitBuffer(IoType::kRead, range.lba + e.transfer.item_blocks, e.transfer.burst_blocks, OnRead,
                 kListBytes);
}

void OnRanges(Execution& e) {
  if (const uint16_t status = CheckRanges(e)) return Fail(e, status);
  CopyBurst(e);
}

void FetchRanges(Execution& e) {
  e.WantData(0, e.buffer(), RangeCount(e) * sizeof(nvme::CopyRange), OnRanges);
}

}  // namespace

void Copy(Execution& e) {
  if (const uint16_t status = CheckWritable(e)) return e.End(status);
  const nvme::SubmissionEntry& entry = e.entry();
  const uint32_t cdw12 = entry.cdw12;
  if (nvme::copy::kDesfmt.Get(cdw12) != 0) return e.EndInvalidField(kDesfmtByte);
  const uint32_t ranges = RangeCount(e);
  if (ranges > NamespaceFacts::kCopyRangesMax) {
    return e.End(kCommandSizeLimitExceeded | kDnrBit);
  }
  if (e.command().data_bytes < ranges * sizeof(nvme::CopyRange)) {
    return e.End(kSglDataLengthInvalid | kDnrBit);
  }
  e.transfer.lba = uint64_t{entry.cdw11} << 32 | entry.cdw10;
  const Geometry& geometry = e.facts().geometry;
  if (const uint32_t prinfo = nvme::copy::kPrinfow.Get(cdw12);
      prinfo != 0 && geometry.protection_type != 0) {
    if (const uint16_t status = CheckPrinfo(geometry, prinfo, entry.cdw14, e.transfer.lba)) {
      return e.End(status);
    }
  }
  e.transfer.fua = nvme::copy::kFua.Get(cdw12) != 0;
  e.transfer.item = e.transfer.item_blocks = 0;
  e.TakeBuffer(Worker::kLargeBufferBytes, FetchRanges);
}

}  // namespace pollux::nvmf
