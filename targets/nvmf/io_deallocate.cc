#include <cstring>

#include "targets/nvmf/io_transfer.h"

// Flush: Base §7.1. Write Zeroes and Dataset Management: NVM §3.2.8, §3.2.3.

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

constexpr uint64_t kPageBytes = 4096;  // CAP.MPSMIN, the unit of WZSL.

void OnDone(Execution& e) { e.End(StatusOfIo(e.io, /*write=*/true)); }

void FlushNamespace(Execution& e, Execution::Step next) {
  if (e.facts().flush) return e.SubmitRange(IoType::kFlush, 0, 0, next);
  e.io.status = IoStatus::kSuccess;
  next(e);
}

// One after the other, those that the host sees; transfer.item is the one under way.
void FlushNext(Execution& e) {
  const uint32_t nsid = e.view().NextVisible(e.transfer.item, e.hostnqn());
  if (nsid == 0) return e.EndSuccess();
  e.transfer.item = nsid;
  e.Use(*e.view().Find(nsid));
  FlushNamespace(e, [](Execution& flushed) {
    if (flushed.io.status != IoStatus::kSuccess) return OnDone(flushed);
    flushed.LetGoOfNamespace();
    FlushNext(flushed);
  });
}

nvme::DsmRange RangeAt(Execution& e, uint32_t index) {
  nvme::DsmRange range;
  std::memcpy(&range, e.data().data() + index * sizeof(range), sizeof(range));
  return range;
}

uint32_t RangeCount(Execution& e) { return (e.entry().cdw10 & 0xff) + 1; }

uint16_t CheckRanges(Execution& e) {
  const uint64_t blocks = e.channel().blocks();
  const uint32_t range_blocks_max = e.view().facts().dmrsl;
  for (uint32_t i = 0; i < RangeCount(e); ++i) {
    const nvme::DsmRange range = RangeAt(e, i);
    if (range_blocks_max != 0 && range.nlb > range_blocks_max) {
      return kCommandSizeLimitExceeded | kDnrBit;
    }
    if (range.nlb > blocks || range.slba > blocks - range.nlb) return kLbaOutOfRange | kDnrBit;
  }
  return kSuccess;
}

void DeallocateNext(Execution& e) {
  while (e.transfer.item < RangeCount(e)) {
    const nvme::DsmRange range = RangeAt(e, e.transfer.item++);
    if (range.nlb == 0) continue;
    return e.SubmitRange(IoType::kUnmap, range.slba, range.nlb, [](Execution& deallocated) {
      if (deallocated.io.status != IoStatus::kSuccess) return OnDone(deallocated);
      DeallocateNext(deallocated);
    });
  }
  e.EndSuccess();
}

// All ranges are in data(), and all are checked before the first is deallocated. What the command
// says beyond that, and whether the disk can do it at all, are hints.
void OnRanges(Execution& e) {
  if (const uint16_t status = CheckRanges(e)) return e.End(status);
  if ((e.entry().cdw11 & nvme::kDsmDeallocate) == 0) return e.EndSuccess();
  if (const uint16_t status = CheckWritable(e)) return e.End(status);
  if (!e.facts().unmap) return e.EndSuccess();
  e.transfer.item = 0;
  DeallocateNext(e);
}

}  // namespace

void Flush(Execution& e) {
  const uint32_t nsid = e.entry().nsid;
  if (nsid != nvme::kAllNamespaces) {
    if (UseNamespace(e, nsid)) FlushNamespace(e, OnDone);
    return;
  }
  e.transfer.item = 0;
  FlushNext(e);
}

void WriteZeroes(Execution& e) {
  const NamespaceFacts& facts = e.facts();
  if (!facts.write_zeroes) return e.End(kInvalidOpcode | kDnrBit);
  if (const uint16_t status = CheckWritable(e)) return e.End(status);
  if (const uint16_t status = ParseRange(e)) return e.End(status);
  // The blocks come out as zeroes, with their protection information: there is nothing to check.
  if (ChecksProtection(e)) return e.EndInvalidField(kPrinfoByte, kPrinfoBit);
  const uint8_t wzsl = e.view().facts().wzsl;
  if (wzsl != 0 && uint64_t{e.transfer.blocks} * facts.geometry.block_bytes > kPageBytes << wzsl) {
    return e.End(kInvalidField | kDnrBit);
  }
  // Deallocated blocks are zeroes only where the disk says so.
  const bool deallocate = nvme::cdw12::kDeac.Get(e.entry().cdw12) != 0 && facts.unmap &&
                          facts.limits.unmapped_reads_zero;
  e.SubmitRange(deallocate ? IoType::kUnmap : IoType::kWriteZeroes, e.transfer.lba,
                e.transfer.blocks, OnDone);
}

void DatasetManagement(Execution& e) {
  e.FetchData(RangeCount(e) * uint32_t{sizeof(nvme::DsmRange)}, OnRanges);
}

}  // namespace pollux::nvmf
