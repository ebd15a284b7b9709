#pragma once
#include <functional>
#include <optional>

#include "core/block/uuid.h"
#include "core/turn.h"
#include "targets/scsi/device_view.h"
#include "targets/scsi/unit_change.h"

namespace pollux::scsi {

// A change of a unit's status that a command asks for.
class StatusChange : public UnitChange {
 public:
  Task<bool> Execute(LogicalUnit& unit) final;

  // On the control loop, when its turn has come: makes the change.
  virtual void Apply(UnitStatus& status) = 0;
  // What the other nexuses hear of it, if anything has changed.
  std::optional<UnitAttention> attention;
  // The commands of all nexuses that the unit does not run any more are ended and waited for, but
  // for the one that asks.
  bool exclusive = false;
};

// The status of one LUN, for all reactors. Changes take one turn at a time, on the control loop,
// and are shown to every reactor.
class SharedStatus {
 public:
  SharedStatus(int number, Loop& control, DeviceView::Views& views)
      : number_(number), control_(control), views_(views) {}

  // --- Control loop.
  const UnitStatus& status() const { return status_; }
  // The LUN has this medium from now on, not shown yet: it is loaded, and what was said of another
  // one does not hold.
  void OnMedium(const Uuid& uuid) {
    if (uuid_ != uuid) status_ = {};
    if (status_.readiness == Readiness::kNoMedium) status_.readiness = Readiness::kReady;
    uuid_ = uuid;
  }

  // --- Any reactor, and back to it.
  // False: the change was aborted before it began.
  Task<bool> Execute(StatusChange& change);
  // Mode parameters go back to their defaults, and the medium may be removed: the unit was reset.
  Task<void> Reset();
  // The nexus has gone.
  Task<void> EndPrevent(uint64_t nexus);

 private:
  Task<bool> Apply(StatusChange& change);
  Task<void> Edit(std::function<void(UnitStatus&)> edit);
  Task<void> Show(const StatusChange* change);

  const int number_;
  Loop& control_;
  DeviceView::Views& views_;
  Turn turn_;
  Uuid uuid_;
  UnitStatus status_;
};

}  // namespace pollux::scsi
