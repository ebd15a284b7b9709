#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "targets/scsi/sense.h"

namespace pollux::scsi {

struct CommandInfo;

// Whether a logical unit runs commands.
enum class Readiness : uint8_t {
  kReady,
  kNoMedium,        // Ejected.
  kSanitizing,      // SBC-3 §4.11.
  kSanitizeFailed,  // Likewise: what is on the medium is no more than a part of what was.
};

// How far a sanitize operation is; written by the reactor that runs it.
struct SanitizeProgress {
  std::atomic<uint64_t> blocks{0};  // In all passes.
  std::atomic<uint64_t> blocks_written{0};

  // In parts of 65536: the PROGRESS INDICATION. SPC-4 §4.5.2.4.4.
  uint16_t indication() const;
};

// What is one for all nexuses of a logical unit, beside its reservations, and may change while
// commands run. Each reactor has a copy.
struct UnitStatus {
  // Of the control mode page (SPC-4 §7.5.8), which is shared (VPD page 87h).
  bool descriptor_sense = false;        // D_SENSE
  bool software_write_protect = false;  // SWP

  Readiness readiness = Readiness::kReady;
  // With kSanitizeFailed: EXIT FAILURE MODE may end it (the SANITIZE had AUSE).
  bool may_exit_failure = false;
  std::shared_ptr<const SanitizeProgress> sanitizing;  // While kSanitizing.

  // The nexuses that prevent the removal of the medium, by their numbers. SPC-4 §6.12.
  std::vector<uint64_t> preventing;
  bool IsPreventedBy(uint64_t nexus) const {
    return std::find(preventing.begin(), preventing.end(), nexus) != preventing.end();
  }

  bool operator==(const UnitStatus&) const = default;
};

// Whether a unit in this state runs the command.
bool RunsWhile(Readiness readiness, const CommandInfo& info);
// What the other commands get, and REQUEST SENSE tells.
Sense SenseOf(const UnitStatus& status);

}  // namespace pollux::scsi
