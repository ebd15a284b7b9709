#include "targets/scsi/target_port_group.h"

#include "targets/scsi/command_table.h"

namespace pollux::scsi {

// SPC-4 §5.15.2.4.4, §5.15.2.4.5.
bool Takes(AccessState state, const CommandInfo& info) {
  if (TakesAll(state)) return true;
  switch (info.opcode) {
    case kInquiry:
    case kReportLuns:
    case kRequestSense:
      return true;
    case kMaintenanceIn:
      return state == AccessState::kStandby || info.service_action == kReportTargetPortGroups;
    case kModeSense6:
    case kModeSense10:
    case kModeSelect6:
    case kModeSelect10:
    case kPersistentReserveIn:
    case kPersistentReserveOut:
    case kSendDiagnostic:
      return state == AccessState::kStandby;
    default:
      return false;
  }
}

Sense SenseOf(AccessState state) {
  return {SenseKey::kNotReady, state == AccessState::kStandby
                                   ? AdditionalSense::kTargetPortInStandby
                                   : AdditionalSense::kTargetPortUnavailable};
}

}  // namespace pollux::scsi
