#pragma once
#include <cstdint>
#include <vector>

#include "targets/scsi/sense.h"

namespace pollux::scsi {

struct CommandInfo;

// How the logical units are reached through a target port group: ASYMMETRIC ACCESS STATE.
// SPC-4 §5.15.2.
enum class AccessState : uint8_t {
  kOptimized = 0x0,
  kNonOptimized = 0x1,  // As well, but only when there is nothing better.
  kStandby = 0x2,       // No I/O.
  kUnavailable = 0x3,   // Nothing but what says so.
};

// All logical units of a target device are reached alike through the ports of a group, of which
// there is one: it has the group's number.
struct TargetPortGroup {
  uint16_t tag = 1;
  AccessState state = AccessState::kOptimized;
  bool preferred = false;  // PREF
  bool changed = false;    // Since it was made: STATUS CODE says so.

  bool operator==(const TargetPortGroup&) const = default;
};
using TargetPortGroups = std::vector<TargetPortGroup>;

// Whether a port in this state takes all commands; if not, whether it takes this one.
inline bool TakesAll(AccessState state) { return state <= AccessState::kNonOptimized; }
bool Takes(AccessState state, const CommandInfo& info);
// What the other commands get.
Sense SenseOf(AccessState state);

}  // namespace pollux::scsi
