#pragma once
#include <algorithm>
#include <cstdint>

#include "targets/nvmf/io_commands.h"
#include "targets/nvmf/protection.h"

// What commands that move blocks share. In the header, since reads and writes live on few
// instructions.

namespace pollux::nvmf {

// Fills in the transfer from dwords 10 to 12: SLBA, NLB, FUA. What is wrong with them: the range
// goes beyond the end, or what is asked of protection information cannot be done.
inline uint16_t ParseRange(Execution& e) {
  const nvme::SubmissionEntry& entry = e.entry();
  const uint32_t cdw12 = entry.cdw12;
  Execution::Transfer& transfer = e.transfer;
  transfer.lba = uint64_t{entry.cdw11} << 32 | entry.cdw10;
  transfer.blocks = nvme::cdw12::kNlb.Get(cdw12) + 1;
  transfer.fua = nvme::cdw12::kFua.Get(cdw12) != 0;
  const uint64_t blocks = e.channel().blocks();
  if (transfer.blocks > blocks || transfer.lba > blocks - transfer.blocks) [[unlikely]] {
    return nvme::status::kLbaOutOfRange | nvme::status::kDnrBit;
  }
  const uint32_t prinfo = cdw12 >> kPrinfoShift & kPrinfoMask;
  if (prinfo != 0 && e.facts().geometry.protection_type != 0) [[unlikely]] {
    return CheckPrinfo(e.facts().geometry, prinfo, entry.cdw14, transfer.lba);
  }
  return nvme::status::kSuccess;
}

// What is left of the transfer.
inline uint64_t BytesLeft(Execution& e) {
  return uint64_t{e.transfer.blocks} * e.channel().data_block_bytes();
}

// That the transfer, just parsed, is what the host offers or expects. SGLS does not claim that it
// may be more.
inline uint16_t CheckDataLength(Execution& e) {
  const uint64_t bytes = BytesLeft(e);
  if (bytes > e.queue().limits().io_bytes_max) [[unlikely]] {
    return nvme::status::kInvalidField | nvme::status::kDnrBit;
  }
  if (bytes != e.command().data_bytes) [[unlikely]] {
    return nvme::status::kSglDataLengthInvalid | nvme::status::kDnrBit;
  }
  return nvme::status::kSuccess;
}

// The blocks of the next burst, at most those that `bytes_max` hold. 0: not one does.
inline uint32_t NextBurst(Execution& e, uint64_t bytes_max) {
  const uint64_t fit = bytes_max / e.channel().data_block_bytes();
  e.transfer.burst_blocks = static_cast<uint32_t>(std::min<uint64_t>(e.transfer.blocks, fit));
  return e.transfer.burst_blocks;
}

// The burst was moved.
inline void Advance(Execution& e) {
  Execution::Transfer& transfer = e.transfer;
  transfer.lba += transfer.burst_blocks;
  transfer.blocks -= transfer.burst_blocks;
  transfer.offset += transfer.burst_blocks * e.channel().data_block_bytes();
}

}  // namespace pollux::nvmf
