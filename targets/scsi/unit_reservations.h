#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "core/block/uuid.h"
#include "core/turn.h"
#include "targets/scsi/device_view.h"
#include "targets/scsi/reservation_access.h"
#include "targets/scsi/reservation_store.h"
#include "targets/scsi/unit_change.h"

namespace pollux::scsi {

// What PERSISTENT RESERVE OUT, RESERVE and RELEASE ask for.
struct ReservationChange final : UnitChange {
  enum class Kind : uint8_t {
    kRegister,
    kReserve,
    kRelease,
    kClear,
    kPreempt,
    kRegisterAndMove,
    kReserve6,  // RESERVE and RELEASE of 6 and 10 bytes.
    kRelease6,
  };
  Kind kind = Kind::kRegister;
  uint64_t key = 0, service_key = 0;
  ReservationType type = ReservationType::kNone;
  bool abort = false;  // PREEMPT AND ABORT.
  PersistentReservations::Registering registering;
  PersistentReservations::Moving moving;

  Task<bool> Execute(LogicalUnit& unit) override;

  // The answer.
  PersistentReservations::Outcome outcome = PersistentReservations::Outcome::kGood;
  uint16_t field = 0;
  bool store_failed = false;  // Nothing has changed.
};

// The reservations of one LUN of a target device, which is one logical unit: a block device that is
// exported by two LUNs has the reservations of each apart. Changes take one turn at a time, on the
// control loop: the next state is built, stored when it must survive (APTPL), and shown to every
// reactor, which queues unit attentions; then what started before and would not be admitted any
// more is waited for, so that no command ends GOOD after the answer as if it had come before.
class UnitReservations {
 public:
  // `store` may be null: nothing survives, and APTPL is refused.
  UnitReservations(std::string target, int number, Loop& control, DeviceView::Views& views,
                   ReservationStore* store)
      : name_(std::move(target) + "/" + std::to_string(number)),
        number_(number),
        control_(control),
        views_(views),
        store_(store),
        state_(std::make_shared<ReservationState>()) {}

  // --- Control loop.
  // The LUN has this medium from now on: what was kept for it holds, what was said of another one
  // does not.
  void OnMedium(const Uuid& uuid);
  // The LUN is removed for good.
  Task<void> Forget();
  const std::shared_ptr<const ReservationState>& state() const { return state_; }

  // --- Any reactor, and back to it.
  // False: the change was aborted before it began.
  Task<bool> Execute(ReservationChange& change);
  // Ends what RESERVE(6) reserved: by this nexus, or by any (0).
  Task<void> EndReserve6(uint64_t nexus);
  bool can_persist() const { return store_ != nullptr; }

 private:
  Task<bool> Apply(ReservationChange& change);
  Task<void> Show(const ReservationChange* change, PersistentReservations::Result result,
                  std::shared_ptr<const ReservationState> state);

  const std::string name_;  // For the store.
  const int number_;
  Loop& control_;
  DeviceView::Views& views_;
  ReservationStore* const store_;
  Turn turn_;
  Uuid uuid_;
  bool has_medium_ = false;
  std::string kept_;  // What the store has.
  std::shared_ptr<const ReservationState> state_;
};

}  // namespace pollux::scsi
