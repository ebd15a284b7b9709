#include "targets/nvmf/io_transfer.h"

// Compare and Verify: NVM §3.2.1, §3.2.5. Both read, and send no data; through one buffer, burst by
// burst.

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

void FetchBurst(Execution& e);

void OnCompared(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.End(StatusOfIo(e.io, /*write=*/false));
  Advance(e);
  if (e.transfer.blocks == 0) return e.EndSuccess();
  FetchBurst(e);
}

void CompareBurst(Execution& e) {
  if (const uint16_t status = CheckBurst(e)) return e.End(status);
  e.SubmitBuffer(IoType::kCompare, e.transfer.lba, e.transfer.burst_blocks, OnCompared);
}

void FetchBurst(Execution& e) {
  const uint32_t blocks = NextBurst(e, e.buffer_bytes());
  if (blocks == 0) return e.End(kInternalError | kDnrBit);
  const size_t bytes = size_t{blocks} * e.channel().data_block_bytes();
  e.WantData(e.transfer.offset, e.buffer(), bytes, CompareBurst);
}

void VerifyBurst(Execution& e);

void OnVerified(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.End(StatusOfIo(e.io, /*write=*/false));
  if (const uint16_t status = CheckBurst(e)) return e.End(status);
  Advance(e);
  if (e.transfer.blocks == 0) return e.EndSuccess();
  VerifyBurst(e);
}

void VerifyBurst(Execution& e) {
  const uint32_t blocks = NextBurst(e, e.buffer_bytes());
  if (blocks == 0) return e.End(kInternalError | kDnrBit);
  e.SubmitBuffer(IoType::kRead, e.transfer.lba, blocks, OnVerified);
}

}  // namespace

void Compare(Execution& e) {
  if (!e.facts().compare) return e.End(kInvalidOpcode | kDnrBit);
  if (const uint16_t status = ParseRange(e)) return e.End(status);
  if (const uint16_t status = CheckDataLength(e)) return e.End(status);
  e.TakeBuffer(BytesLeft(e), FetchBurst);
}

void Verify(Execution& e) {
  if (const uint16_t status = ParseRange(e)) return e.End(status);
  e.TakeBuffer(BytesLeft(e), VerifyBurst);
}

}  // namespace pollux::nvmf
