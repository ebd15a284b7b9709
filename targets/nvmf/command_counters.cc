#include "targets/nvmf/command_counters.h"

#include <numeric>

#include "core/spec/nvmf_spec.h"

namespace pollux::nvmf {

using namespace nvme::status;

Failure FailureOf(uint16_t status) {
  enum : uint16_t { kGeneric, kCommandSpecific, kMediaAndIntegrity, kPathRelated };
  switch (kSct.Get(status)) {
    case kGeneric:
    case kCommandSpecific:
      break;
    case kMediaAndIntegrity:
      switch (status & 0x7ff) {
        case kGuardCheckError:
        case kApplicationTagCheckError:
        case kReferenceTagCheckError:
          return Failure::kProtection;
        case kCompareFailure:
          return Failure::kMiscompare;
      }
      return Failure::kMedia;
    case kPathRelated:
      return Failure::kPath;
    default:
      return Failure::kInternal;
  }
  switch (status & 0x7ff) {
    case kAbortRequested:
    case kAbortedSqDeletion:
    case kAbortedFailedFused:
    case kAbortedMissingFused:
    case kCommandInterrupted:
      return Failure::kAborted;
    case kInternalError:
      return Failure::kInternal;
    case kCapacityExceeded:
      return Failure::kMedia;
  }
  return Failure::kCommand;
}

CommandTotals& CommandTotals::operator+=(const CommandCounters& counters) {
  const auto of = [](const auto& all, CommandKind kind) {
    return all[static_cast<size_t>(kind)].load(std::memory_order_relaxed);
  };
  reads += of(counters.commands, CommandKind::kRead);
  writes += of(counters.commands, CommandKind::kWrite);
  others += of(counters.commands, CommandKind::kOther);
  bytes_read += of(counters.bytes, CommandKind::kRead);
  bytes_written += of(counters.bytes, CommandKind::kWrite);
  for (size_t i = 0; i < kFailures; ++i) {
    failures[i] += counters.failures[i].load(std::memory_order_relaxed);
  }
  return *this;
}

CommandTotals& CommandTotals::operator+=(const CommandTotals& totals) {
  reads += totals.reads;
  writes += totals.writes;
  others += totals.others;
  bytes_read += totals.bytes_read;
  bytes_written += totals.bytes_written;
  for (size_t i = 0; i < kFailures; ++i) failures[i] += totals.failures[i];
  return *this;
}

uint64_t CommandTotals::failed() const {
  return std::accumulate(failures.begin(), failures.end(), uint64_t{0});
}

}  // namespace pollux::nvmf
