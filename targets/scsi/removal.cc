#include "targets/scsi/commands.h"
#include "targets/scsi/shared_status.h"

// START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL. SBC-3 §5.26, SPC-4 §6.12.
//
// The medium of a LUN that is removable goes and comes at an initiator's word, for all nexuses,
// unless one of them prevents it. The block device stays where it is.

namespace pollux::scsi {
namespace {

constexpr uint8_t kStart = 0x01, kLoej = 0x02, kNoFlush = 0x04;  // In byte 4.

// Ejected, or loaded.
struct Moved final : StatusChange {
  explicit Moved(bool load) : loads(load) {
    exclusive = true;
    if (load) attention = UnitAttention::kNotReadyToReady;
  }
  void Apply(UnitStatus& status) override {
    refused = !status.preventing.empty();
    if (refused) return;
    status.readiness = loads ? Readiness::kReady : Readiness::kNoMedium;
  }
  const bool loads;
  bool refused = false;
};

void OnMoved(Execution& e) {
  if (!static_cast<Moved&>(*e.change).refused) return e.EndGood();
  e.EndWithSense(IllegalRequest(AdditionalSense::kMediumRemovalPrevented));
}

void Move(Execution& e) {
  e.Await(std::make_shared<Moved>(/*load=*/(e.cdb()[4] & kStart) != 0), OnMoved);
}

void OnFlushed(Execution& e) {
  if (e.io.status != IoStatus::kSuccess) return e.EndWithIo(e.io.status, /*write=*/true);
  if (e.cdb()[4] & kLoej) return Move(e);
  e.EndGood();
}

struct Prevention final : StatusChange {
  explicit Prevention(bool prevent) : prevents(prevent) {}
  void Apply(UnitStatus& status) override {
    std::erase(status.preventing, nexus);
    if (prevents) status.preventing.push_back(nexus);
  }
  const bool prevents;
};

}  // namespace

// There is no motor to stop: stopping writes the cache back, and that is all. Nor are there power
// conditions: the unit is active whichever is asked for, and START and LOEJ do not count then.
void StartStopUnit(Execution& e) {
  const uint8_t flags = e.cdb()[4];
  if (flags & 0xf0) return e.EndGood();  // POWER CONDITION
  const bool loej = flags & kLoej, start = flags & kStart;
  if (loej && !e.disk().removable) return e.EndWithSense(InvalidFieldInCdb(4, 1));
  const bool has_medium = e.unit()->status.readiness != Readiness::kNoMedium;
  if (!start && !(flags & kNoFlush) && has_medium && e.disk().flush) {
    return e.SubmitRange(IoType::kFlush, 0, e.blocks(), OnFlushed);
  }
  if (loej) return Move(e);
  e.EndGood();
}

// What cannot be removed is prevented from it, whatever the initiator says.
void PreventAllowMediumRemoval(Execution& e) {
  if (e.cdb()[4] & 0x02) return e.EndWithSense(InvalidFieldInCdb(4, 1));
  if (!e.disk().removable) return e.EndGood();
  const bool prevent = e.cdb()[4] & 0x01;
  e.Await(std::make_shared<Prevention>(prevent), [](Execution& changed) { changed.EndGood(); });
}

}  // namespace pollux::scsi
