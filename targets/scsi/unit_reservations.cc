#include "targets/scsi/unit_reservations.h"

#include <utility>

#include "core/log.h"
#include "core/run_on.h"

namespace pollux::scsi {
namespace {

using Outcome = PersistentReservations::Outcome;
using Kind = ReservationChange::Kind;

// RESERVE and RELEASE are not for units with registrations, and the other way round. SPC-2 §5.5.1.
PersistentReservations::Result ApplyReserve6(ReservationState& state,
                                             const ReservationChange& change) {
  if (!state.persistent.registrations().empty()) return {Outcome::kConflict};
  if (change.kind == Kind::kRelease6) {
    if (state.reserved_by == change.nexus) state.reserved_by = 0;
    return {};
  }
  if (state.reserved_by != 0 && state.reserved_by != change.nexus) return {Outcome::kConflict};
  state.reserved_by = change.nexus;
  return {};
}

PersistentReservations::Result ApplyTo(ReservationState& state, const ReservationChange& change) {
  if (change.kind == Kind::kReserve6 || change.kind == Kind::kRelease6) {
    return ApplyReserve6(state, change);
  }
  if (state.reserved_by != 0) return {Outcome::kConflict};
  PersistentReservations& persistent = state.persistent;
  switch (change.kind) {
    case Kind::kRegister:
      return persistent.Register(change.who, change.registering);
    case Kind::kReserve:
      return persistent.Reserve(change.who, change.key, change.type);
    case Kind::kRelease:
      return persistent.Release(change.who, change.key, change.type);
    case Kind::kClear:
      return persistent.Clear(change.who, change.key);
    case Kind::kPreempt:
      return persistent.Preempt(change.who, change.key, change.service_key, change.type);
    case Kind::kRegisterAndMove:
      return persistent.RegisterAndMove(change.who, change.moving);
    case Kind::kReserve6:
    case Kind::kRelease6:
      break;
  }
  return {};
}

}  // namespace

void UnitReservations::OnMedium(const Uuid& uuid) {
  if (has_medium_ && uuid_ == uuid) return;
  state_ = std::make_shared<ReservationState>();
  uuid_ = uuid;
  if (std::exchange(has_medium_, true) || store_ == nullptr) return;
  // The first line is the medium's.
  kept_ = store_->Kept(name_);
  const std::string medium = uuid.ToString() + "\n";
  if (kept_.empty()) return;
  if (kept_.compare(0, medium.size(), medium) != 0) {
    LogNotice("iscsi", "%s: what was reserved before was another medium", name_);
    return;
  }
  auto loaded = PersistentReservations::Load(std::string_view(kept_).substr(medium.size()));
  if (!loaded) {
    LogError("iscsi", "%s: the reservations that were kept are damaged, and are dropped", name_);
    return;
  }
  auto state = std::make_shared<ReservationState>();
  state->persistent = *std::move(loaded);
  state_ = std::move(state);
}

Task<void> UnitReservations::Forget() {
  const Turn::Holder held = co_await turn_.Take();
  state_ = std::make_shared<ReservationState>();
  has_medium_ = false;
  if (store_ == nullptr || kept_.empty()) co_return;
  kept_.clear();
  const Status status = co_await store_->Keep(name_, "");
  if (!status.ok()) LogError("iscsi", "%s: reservations stay stored: %s", name_, status.message());
}

Task<bool> ReservationChange::Execute(LogicalUnit& unit) {
  const std::shared_ptr<UnitReservations> reservations = unit.reservations;
  const bool begun = co_await reservations->Execute(*this);
  co_return begun;
}

Task<bool> UnitReservations::Execute(ReservationChange& change) {
  Loop& home = *Loop::Current();
  co_await SwitchTo(control_);
  const bool begun = co_await Apply(change);
  co_await SwitchTo(home);
  co_return begun;
}

// On the control loop, where it ends too.
Task<bool> UnitReservations::Apply(ReservationChange& change) {
  const Turn::Holder held = co_await turn_.Take();
  if (!change.Begin()) co_return false;
  auto next = std::make_shared<ReservationState>(*state_);
  PersistentReservations::Result result = ApplyTo(*next, change);
  change.outcome = result.outcome;
  change.field = result.field;
  if (result.outcome != Outcome::kGood) co_return true;

  if (store_ != nullptr) {
    std::string text = next->persistent.Save();
    if (!text.empty()) text = uuid_.ToString() + "\n" + text;
    if (text != kept_) {
      const Status status = co_await store_->Keep(name_, text);
      if (!status.ok()) {
        LogError("iscsi", "%s: reservations cannot be stored: %s", name_, status.message());
        change.store_failed = true;
        co_return true;
      }
      kept_ = std::move(text);
    }
  }
  state_ = std::move(next);
  co_await Show(&change, std::move(result), state_);
  co_return true;
}

Task<void> UnitReservations::EndReserve6(uint64_t nexus) {
  Loop& home = *Loop::Current();
  co_await SwitchTo(control_);
  {
    const Turn::Holder held = co_await turn_.Take();
    const uint64_t by = state_->reserved_by;
    if (by != 0 && (nexus == 0 || nexus == by)) {
      auto next = std::make_shared<ReservationState>(*state_);
      next->reserved_by = 0;
      state_ = std::move(next);
      PersistentReservations::Result nothing;
      co_await Show(nullptr, std::move(nothing), state_);
    }
    co_await SwitchTo(control_);
  }
  co_await SwitchTo(home);
}

// The asker's reactor comes last: who loses access has lost it when the asker has it.
Task<void> UnitReservations::Show(const ReservationChange* change,
                                  PersistentReservations::Result result,
                                  std::shared_ptr<const ReservationState> state) {
  std::vector<DeviceView*> order;
  for (const auto& view : views_) order.push_back(view.get());
  if (change != nullptr) std::swap(order[change->reactor_index], order.back());
  for (DeviceView* view : order) {
    co_await SwitchTo(view->reactor());
    view->ShowReservations(number_, state);
    for (const PersistentReservations::Notice& notice : result.notices) {
      view->TellRegistrant(number_, notice.to, notice.what);
    }
    if (change == nullptr) continue;
    if (change->abort) view->AbortRegistrants(number_, result.removed, change->nexus);
    view->EndConflicting(number_);
  }
  for (DeviceView* view : order) {
    if (change == nullptr) break;
    co_await SwitchTo(view->reactor());
    if (change->abort) co_await view->RegistrantsDrained(number_, result.removed, change->nexus);
    co_await view->ConflictingDrained(number_);
  }
  co_await SwitchTo(control_);
}

}  // namespace pollux::scsi
