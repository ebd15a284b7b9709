#include "targets/scsi/commands.h"
#include "targets/scsi/parameter_data.h"

// REPORT TARGET PORT GROUPS. SPC-4 §6.36.

namespace pollux::scsi {
namespace {

constexpr uint8_t kExtended = 0x20;  // PARAMETER DATA FORMAT, in byte 1.
// T_SUP, O_SUP and LBD_SUP are zero: no state is entered on the way, and none is of blocks.
constexpr uint8_t kSupported = 0x08 | 0x04 | 0x02 | 0x01;  // U_SUP, S_SUP, AN_SUP, AO_SUP
constexpr uint8_t kByImplicitTransition = 0x02;            // STATUS CODE
constexpr size_t kGroupBytes = sizeof(TargetPortGroupDescriptor) + sizeof(TargetPortDescriptor);

void SendGroups(Execution& e) {
  const bool extended = (e.cdb()[1] & 0xe0) == kExtended;
  ParameterData data(e.buffer());
  auto& length = data.Append<Be32>();
  if (extended) data.Append<Be32>(uint32_t{0x1000'0000});  // RETURN DATA FORMAT 1; no time is due.
  for (const TargetPortGroup& group : e.view().port_groups()) {
    if (data.room() < kGroupBytes) break;
    auto& descriptor = data.Append<TargetPortGroupDescriptor>();
    descriptor.state = static_cast<uint8_t>(group.state);
    if (group.preferred) descriptor.state |= 0x80;
    descriptor.supported = kSupported;
    descriptor.target_port_group = group.tag;
    descriptor.status_code = group.changed ? kByImplicitTransition : 0;
    descriptor.target_port_count = 1;
    data.Append<TargetPortDescriptor>().relative_target_port = group.tag;
  }
  length = static_cast<uint32_t>(data.size() - sizeof(Be32));
  e.SendParameterData(data, e.Field<Be32>(6));
}

}  // namespace

void ReportTargetPortGroups(Execution& e) {
  const uint8_t format = e.cdb()[1] & 0xe0;
  if (format != 0 && format != kExtended) return e.EndWithSense(InvalidFieldInCdb(1, 7));
  e.TakeBuffer(SendGroups);
}

}  // namespace pollux::scsi
