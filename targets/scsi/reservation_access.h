#pragma once
#include <cstdint>
#include <span>

#include "targets/scsi/persistent_reservations.h"

namespace pollux::scsi {

// What a command may do to a logical unit that another nexus has reserved: a set of flags in each
// row of the command table. SPC-4 §5.12.1 (tables 66 and 67), SBC-3 §4.17 (table 13), SPC-2 §5.5.
namespace reservation_access {
inline constexpr uint8_t kNone = 0;
inline constexpr uint8_t kUnderWriteExclusive = 0x01;
inline constexpr uint8_t kUnderExclusiveAccess = 0x02;
inline constexpr uint8_t kUnderReserve = 0x04;  // RESERVE(6) and (10).
// Under all of them, when the CDB asks for what harms nobody.
inline constexpr uint8_t kWhenStarting = 0x08;  // START STOP UNIT: START, no POWER CONDITION.
inline constexpr uint8_t kWhenAllowing = 0x10;  // PREVENT ALLOW MEDIUM REMOVAL: PREVENT is zero.

inline constexpr uint8_t kReads = kUnderWriteExclusive;
inline constexpr uint8_t kWrites = kNone;
inline constexpr uint8_t kHarmless = kUnderWriteExclusive | kUnderExclusiveAccess;
inline constexpr uint8_t kAlways = kHarmless | kUnderReserve;
}  // namespace reservation_access

// What reactors know of a logical unit's reservations. Immutable.
struct ReservationState {
  PersistentReservations persistent;
  // The nexus that sent RESERVE(6) or (10), by the number that it has for its lifetime; 0: none.
  uint64_t reserved_by = 0;

  bool reserved() const { return reserved_by != 0 || persistent.reserved(); }
};

// Whether a nexus may run a command with these flags.
bool Admits(const ReservationState& state, uint64_t nexus, ReservationRole role, uint8_t access,
            std::span<const uint8_t> cdb);

}  // namespace pollux::scsi
