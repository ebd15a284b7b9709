#include "targets/scsi/commands.h"
#include "targets/scsi/unit_reservations.h"

// RESERVE and RELEASE of 6 and 10 bytes: the whole unit, for this nexus. SPC-2 §7.16 to §7.22.

namespace pollux::scsi {
namespace {

using Kind = ReservationChange::Kind;

void OnChanged(Execution& e) {
  const auto& change = static_cast<const ReservationChange&>(*e.change);
  if (change.outcome != PersistentReservations::Outcome::kGood) return e.EndWithConflict();
  e.EndGood();
}

void Start(Execution& e, Kind kind) {
  // 3RDPTY, LONGID, EXTENT: obsolete, and not supported.
  for (const int bit : {4, 1, 0}) {
    if (e.cdb()[1] & (1 << bit)) return e.EndWithSense(InvalidFieldInCdb(1, bit));
  }
  auto change = std::make_shared<ReservationChange>();
  change->kind = kind;
  e.Await(std::move(change), OnChanged);
}

}  // namespace

void Reserve(Execution& e) { Start(e, Kind::kReserve6); }
void Release(Execution& e) { Start(e, Kind::kRelease6); }

}  // namespace pollux::scsi
