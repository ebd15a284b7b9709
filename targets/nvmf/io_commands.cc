#include "targets/nvmf/io_commands.h"

#include <array>

namespace pollux::nvmf {

using namespace nvme::status;

namespace {

using Handler = void (*)(Execution&);

// By opcode; null where there is no such command. Write Uncorrectable is none while no disk can do
// it, and the places of reservations are empty.
constexpr auto kHandlers = [] {
  std::array<Handler, nvme::io::kCopy + 1> handlers{};
  handlers[nvme::io::kRead] = Read;
  handlers[nvme::io::kWrite] = Write;
  handlers[nvme::io::kCompare] = Compare;
  handlers[nvme::io::kWriteZeroes] = WriteZeroes;
  handlers[nvme::io::kDatasetManagement] = DatasetManagement;
  handlers[nvme::io::kVerify] = Verify;
  handlers[nvme::io::kCopy] = Copy;
  return handlers;
}();

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
  const Handler handler = opcode < kHandlers.size() ? kHandlers[opcode] : nullptr;
  if (handler == nullptr) [[unlikely]] {
    return opcode == nvme::io::kFlush ? Flush(e) : e.End(kInvalidOpcode | kDnrBit);
  }
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
  return e.facts().IsWritable() ? kSuccess : kNamespaceWriteProtected | kDnrBit;
}

uint16_t StatusOfIo(const IoRequest& io, bool write) {
  switch (io.status) {
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
    case IoStatus::kNvmeFailure:
      if (io.nvme_status != kSuccess) return io.nvme_status;
      break;
    case IoStatus::kInvalidRequest:
    case IoStatus::kInternalError:
      break;
  }
  return kInternalError;
}

}  // namespace pollux::nvmf
