#include "targets/nvmf/io_commands.h"

#include <algorithm>

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

using Handler = void (*)(Execution&);

// Null: no such command. Write Uncorrectable is none while no disk can do it.
Handler HandlerOf(uint8_t opcode) {
  switch (opcode) {
    case nvme::io::kRead:
      return Read;
    case nvme::io::kWrite:
      return Write;
    case nvme::io::kCompare:
      return Compare;
    case nvme::io::kWriteZeroes:
      return WriteZeroes;
    case nvme::io::kDatasetManagement:
      return DatasetManagement;
    case nvme::io::kVerify:
      return Verify;
    case nvme::io::kCopy:
      return Copy;
    default:
      return nullptr;
  }
}

// Base §8.1.4: commands that address a namespace end with these where its group is not accessible.
uint16_t StatusOfAna(nvme::AnaState state) {
  switch (state) {
    case nvme::AnaState::kOptimized:
    case nvme::AnaState::kNonOptimized:
      return kSuccess;
    case nvme::AnaState::kInaccessible:
      return kAnaInaccessible;
    case nvme::AnaState::kPersistentLoss:
      return kAnaPersistentLoss;
    case nvme::AnaState::kChange:
      return kAnaTransition;
  }
  return kInternalPathError;
}

}  // namespace

void StartIo(Execution& e) {
  const uint8_t opcode = e.entry().opc;
  if (opcode == nvme::io::kFlush) return Flush(e);
  const Handler handler = HandlerOf(opcode);
  if (handler == nullptr) return e.End(kInvalidOpcode | kDnrBit);
  if (UseNamespace(e, e.entry().nsid)) handler(e);
}

bool UseNamespace(Execution& e, uint32_t nsid) {
  NamespaceView* const ns = e.view().Find(nsid);
  const bool there =
      ns != nullptr && (ns->facts->hosts == nullptr || ns->facts->VisibleTo(e.hostnqn()));
  if (!there) return e.End(kInvalidNamespace | kDnrBit), false;
  e.Use(*ns);
  const uint16_t status = StatusOfAna(e.ana_state());
  if (status != kSuccess) return e.End(status), false;
  return true;
}

uint16_t CheckWritable(Execution& e) {
  const NamespaceFacts& facts = e.facts();
  return facts.read_only || facts.write_protected ? kNamespaceWriteProtected | kDnrBit : kSuccess;
}

bool ParseRange(Execution& e) {
  const nvme::SubmissionEntry& entry = e.entry();
  const uint32_t cdw12 = entry.cdw12;
  // Protection information passes through, as the metadata that it is.
  if (e.facts().geometry.protection_type != 0 && nvme::cdw12::kPract.Get(cdw12) != 0) {
    return e.End(kInvalidField | kDnrBit), false;
  }
  Execution::Transfer& transfer = e.transfer;
  transfer.lba = uint64_t{entry.cdw11} << 32 | entry.cdw10;
  transfer.blocks = nvme::cdw12::kNlb.Get(cdw12) + 1;
  transfer.fua = nvme::cdw12::kFua.Get(cdw12) != 0;
  const uint64_t blocks = e.ns()->channel->blocks();
  if (transfer.blocks > blocks || transfer.lba > blocks - transfer.blocks) {
    return e.End(kLbaOutOfRange | kDnrBit), false;
  }
  return true;
}

// Larger buffers than the data needs are not claimed in SGLS, so both must be equal.
uint16_t CheckDataLength(Execution& e) {
  const uint64_t bytes = uint64_t{e.transfer.blocks} * e.ns()->channel->data_block_bytes();
  if (bytes > e.queue().limits().io_bytes_max) return kInvalidField | kDnrBit;
  if (bytes != e.command().data_bytes) return kSglDataLengthInvalid | kDnrBit;
  return kSuccess;
}

uint32_t NextBurst(Execution& e, uint64_t bytes_max) {
  const uint64_t fit = bytes_max / e.ns()->channel->data_block_bytes();
  e.transfer.burst_blocks = static_cast<uint32_t>(std::min<uint64_t>(e.transfer.blocks, fit));
  return e.transfer.burst_blocks;
}

void Advance(Execution& e) {
  Execution::Transfer& transfer = e.transfer;
  transfer.lba += transfer.burst_blocks;
  transfer.blocks -= transfer.burst_blocks;
  transfer.offset += transfer.burst_blocks * e.ns()->channel->data_block_bytes();
}

uint16_t StatusOfIo(IoStatus status, bool write) {
  switch (status) {
    case IoStatus::kSuccess:
      return kSuccess;
    case IoStatus::kOutOfRange:  // The disk shrank after the command was checked.
      return kLbaOutOfRange | kDnrBit;
    case IoStatus::kNotSupported:
      return kInvalidOpcode | kDnrBit;
    case IoStatus::kWriteProtected:
      return kNamespaceWriteProtected | kDnrBit;
    case IoStatus::kMediumError:
      return write ? kWriteFault : kUnrecoveredReadError;
    case IoStatus::kNoSpace:
      return kCapacityExceeded | kDnrBit;
    case IoStatus::kMiscompare:
      return kCompareFailure | kDnrBit;
    case IoStatus::kGone:
      return kInvalidNamespace | kDnrBit;
    case IoStatus::kAborted:   // By a reset of the disk.
    case IoStatus::kTimedOut:  // The host tries these again.
    case IoStatus::kNoResources:
      return kCommandInterrupted;
    case IoStatus::kInvalidRequest:
    case IoStatus::kInternalError:
      break;
  }
  return kInternalError;
}

}  // namespace pollux::nvmf
