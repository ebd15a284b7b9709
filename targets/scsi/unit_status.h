#pragma once

namespace pollux::scsi {

// What is one for all nexuses of a logical unit, beside its reservations, and may change while
// commands run. Each reactor has a copy.
struct UnitStatus {
  // Of the control mode page (SPC-4 §7.5.8), which is shared (VPD page 87h).
  bool descriptor_sense = false;        // D_SENSE
  bool software_write_protect = false;  // SWP

  bool operator==(const UnitStatus&) const = default;
};

}  // namespace pollux::scsi
