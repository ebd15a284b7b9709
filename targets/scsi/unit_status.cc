#include "targets/scsi/unit_status.h"

#include <algorithm>

#include "targets/scsi/command_table.h"

namespace pollux::scsi {

uint16_t SanitizeProgress::indication() const {
  const uint64_t all = blocks.load(std::memory_order_relaxed);
  const uint64_t written = blocks_written.load(std::memory_order_relaxed);
  if (all == 0) return 0;
  const double part = static_cast<double>(written) / static_cast<double>(all);
  return static_cast<uint16_t>(std::min(part * 65536, 65535.0));
}

bool RunsWhile(Readiness readiness, const CommandInfo& info) {
  switch (info.opcode) {
    case kInquiry:
    case kReportLuns:
    case kRequestSense:
    case kModeSense6:
    case kModeSense10:
    case kMaintenanceIn:  // What is supported.
      return true;
    case kSanitize:
      return readiness == Readiness::kReady || readiness == Readiness::kSanitizeFailed;
    // What is about the unit and not about its medium.
    case kStartStopUnit:
    case kPreventAllowMediumRemoval:
    case kModeSelect6:
    case kModeSelect10:
    case kReserve6:
    case kReserve10:
    case kRelease6:
    case kRelease10:
    case kPersistentReserveIn:
    case kPersistentReserveOut:
    case kSendDiagnostic:
      return readiness == Readiness::kReady || readiness == Readiness::kNoMedium;
    default:
      return readiness == Readiness::kReady;
  }
}

Sense SenseOf(const UnitStatus& status) {
  switch (status.readiness) {
    case Readiness::kReady:
      break;
    case Readiness::kNoMedium:
      return {SenseKey::kNotReady, AdditionalSense::kMediumNotPresent};
    case Readiness::kSanitizing: {
      Sense sense{SenseKey::kNotReady, AdditionalSense::kSanitizeInProgress};
      sense.progress = status.sanitizing->indication();
      return sense;
    }
    case Readiness::kSanitizeFailed:
      return {SenseKey::kMediumError, AdditionalSense::kSanitizeFailed};
  }
  return {};
}

}  // namespace pollux::scsi
