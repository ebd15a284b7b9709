#include "targets/scsi/reservation_access.h"

namespace pollux::scsi {
namespace {

namespace ra = reservation_access;

bool IsHarmless(uint8_t access, std::span<const uint8_t> cdb) {
  if (access & ra::kWhenStarting) return (cdb[4] & 0xf1) == 0x01;
  if (access & ra::kWhenAllowing) return (cdb[4] & 0x03) == 0;
  return false;
}

}  // namespace

bool Admits(const ReservationState& state, uint64_t nexus, ReservationRole role, uint8_t access,
            std::span<const uint8_t> cdb) {
  if (state.reserved_by != 0 && state.reserved_by != nexus) {
    return (access & ra::kUnderReserve) || IsHarmless(access, cdb);
  }
  const ReservationType type = state.persistent.type();
  if (type == ReservationType::kNone || role == ReservationRole::kHolder) return true;
  if (role == ReservationRole::kRegistrant && IsForRegistrants(type)) return true;
  const uint8_t needed =
      IsWriteExclusive(type) ? ra::kUnderWriteExclusive : ra::kUnderExclusiveAccess;
  return (access & needed) || IsHarmless(access, cdb);
}

}  // namespace pollux::scsi
