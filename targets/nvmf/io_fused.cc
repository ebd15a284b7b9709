#include <utility>

#include "targets/nvmf/connector.h"
#include "targets/nvmf/io_transfer.h"

// The fused operation Compare and Write: Base §3.4.2, NVM §3.3. Its halves are the first Compare
// and the Write that follows it in the queue, for the same blocks. Both are one request to the
// disk, which compares and writes at once.
//
// One buffer has the data of both: the compare's, then the write's.

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

bool SameRange(const nvme::SubmissionEntry& a, const nvme::SubmissionEntry& b) {
  return a.nsid == b.nsid && a.cdw10 == b.cdw10 && a.cdw11 == b.cdw11 &&
         nvme::cdw12::kNlb.Get(a.cdw12) == nvme::cdw12::kNlb.Get(b.cdw12);
}

void OnPairDone(Execution& first) {
  const IoStatus status = first.io.status;
  if (status == IoStatus::kSuccess) return first.EndPair(kSuccess, kSuccess);
  if (status == IoStatus::kMiscompare) return first.End(StatusOfIo(first.io, /*write=*/false));
  first.EndPair(kAbortedFailedFused, StatusOfIo(first.io, /*write=*/true));
}

void SubmitPair(Execution& first) {
  const size_t bytes = first.command().data_bytes;
  first.parts[0] = {first.buffer(), bytes};
  first.parts[1] = {first.buffer() + bytes, bytes};
  first.io.type = IoType::kCompareAndWrite;
  first.io.fua = nvme::cdw12::kFua.Get(first.other_half()->entry().cdw12) != 0;
  first.io.lba = first.transfer.lba;
  first.io.blocks = first.transfer.blocks;
  first.io.compare_data = {&first.parts[0], 1};
  first.io.data = {&first.parts[1], 1};
  first.Submit(OnPairDone);
}

void OnWriteData(Execution& second) { second.PassTo(SubmitPair); }

void FetchWriteData(Execution& second) {
  const size_t bytes = second.command().data_bytes;
  second.WantData(0, second.other_half()->buffer() + bytes, bytes, OnWriteData);
}

void OnCompareData(Execution& first) { first.PassTo(FetchWriteData); }

void FetchCompareData(Execution& first) {
  first.WantData(0, first.buffer(), first.command().data_bytes, OnCompareData);
}

// End() on the first aborts the second with it.
void StartPair(Execution& first, Execution& second) {
  first.Join(second);
  const uint16_t refusal = kInvalidField | kDnrBit;
  if (first.entry().opc != nvme::io::kCompare || second.entry().opc != nvme::io::kWrite ||
      !SameRange(first.entry(), second.entry())) {
    return first.EndPair(refusal, refusal);
  }
  if (!UseNamespace(first, first.entry().nsid)) return;
  const uint32_t blocks_max = first.facts().FusedBlocksMax();
  // Their protection information passes through, and is not checked.
  const uint32_t prinfo =
      (first.entry().cdw12 | second.entry().cdw12) >> kPrinfoShift & kPrinfoMask;
  if (prinfo != 0 && first.facts().geometry.protection_type != 0) {
    return first.EndPair(refusal, refusal);
  }
  if (blocks_max == 0) return first.EndPair(refusal, refusal);
  if (const uint16_t status = CheckWritable(first)) {
    return first.EndPair(kAbortedFailedFused, status);
  }
  if (const uint16_t status = ParseRange(first)) return first.End(status);
  if (first.transfer.blocks > blocks_max) {
    return first.EndPair(kAtomicWriteUnitExceeded | kDnrBit, kAtomicWriteUnitExceeded | kDnrBit);
  }
  if (const uint16_t status = CheckDataLength(first)) return first.End(status);
  if (second.command().data_bytes != first.command().data_bytes) {
    return first.EndPair(kAbortedFailedFused, kSglDataLengthInvalid | kDnrBit);
  }
  first.TakeBuffer(size_t{2} * first.command().data_bytes, FetchCompareData);
}

}  // namespace

void StartFused(Execution& e, Execution*& first_half) {
  const uint8_t fuse = e.entry().flags & kFuseMask;
  Execution* const first = std::exchange(first_half, nullptr);
  if (first != nullptr && fuse == nvme::kFuseSecond) return StartPair(*first, e);
  switch (fuse) {
    case nvme::kFuseFirst:
      first_half = &e;
      e.AwaitSecondHalf();
      if (first != nullptr) first->End(kAbortedMissingFused);
      return;
    case nvme::kFuseSecond:
      return e.End(kAbortedMissingFused);
    case 0:
      first->End(kAbortedMissingFused);
      if (e.entry().opc == nvme::admin::kFabrics) return Connector::StartOnIoQueue(e);
      return StartIo(e);
    default:
      if (first != nullptr) first->End(kAbortedMissingFused);
      return e.End(kInvalidField | kDnrBit);
  }
}

}  // namespace pollux::nvmf
