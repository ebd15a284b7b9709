#include "targets/scsi/device_view.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/run_on.h"
#include "targets/scsi/nexus_impl.h"
#include "targets/scsi/sanitizer.h"
#include "targets/scsi/shared_status.h"
#include "targets/scsi/unit_reservations.h"

namespace pollux::scsi {

std::shared_ptr<DiskFacts> DiskFacts::Of(const BlockDevice& device) {
  auto facts = std::make_shared<DiskFacts>();
  const Geometry& geometry = device.geometry();
  facts->device_name = device.name();
  facts->product = device.product_name();
  facts->uuid = device.uuid();
  facts->block_bytes = geometry.block_bytes;
  facts->physical_exponent = static_cast<uint8_t>(
      std::countr_zero(std::max(geometry.physical_block_bytes / geometry.block_bytes, 1u)));
  facts->limits = device.limits();
  facts->read_only = device.read_only();
  facts->volatile_cache = device.volatile_cache();
  facts->flush = device.Supports(IoType::kFlush);
  facts->unmap = device.Supports(IoType::kUnmap);
  facts->write_zeroes = device.Supports(IoType::kWriteZeroes);
  facts->compare_and_write = device.Supports(IoType::kCompareAndWrite);
  return facts;
}

DeviceView::~DeviceView() {
  CHECK(nexuses_.empty(), "a target device ended with a nexus");
  for (const auto& unit : units_) CHECK(unit == nullptr, "a target device ended with a LUN");
}

void DeviceView::Attach(std::unique_ptr<LogicalUnit> unit) {
  const int number = unit->number;
  CHECK(Find(number) == nullptr);
  for (Nexus::Impl* nexus : nexuses_) SetRoles(*nexus, *unit);
  units_[static_cast<size_t>(number)] = std::move(unit);
  Tell(number, UnitAttention::kPowerOn);
  Tell(kAll, UnitAttention::kReportedLunsChanged);
}

Task<void> DeviceView::Detach(int number) {
  // The object stays until the last command that uses it has ended.
  const std::unique_ptr<LogicalUnit> unit = std::move(units_[static_cast<size_t>(number)]);
  if (unit == nullptr) co_return;
  for (Nexus::Impl* nexus : nexuses_) {
    nexus->AbortAll(number, Execution::Early::kUnitGone, /*transport_let_go=*/false);
  }
  co_await Drained(number, nullptr);
  if (unit->sanitizer != nullptr) unit->sanitizer->Stop();
  co_await unit->background.Drained();
  Tell(kAll, UnitAttention::kReportedLunsChanged);
}

void DeviceView::AddNexus(Nexus::Impl& nexus) {
  for (UnitAttentions& of_lun : nexus.unit_attentions) of_lun.Add(UnitAttention::kPowerOn);
  for (const auto& unit : units_) {
    if (unit != nullptr) SetRoles(nexus, *unit);
  }
  SetAccess(nexus);
  nexuses_.push_back(&nexus);
}

// What it had registered stays; what it had by RESERVE(6) ends with it: here at once, so that an
// initiator that comes again by another session finds the unit free, elsewhere soon.
void DeviceView::RemoveNexus(Nexus::Impl& nexus) {
  std::erase(nexuses_, &nexus);
  for (const auto& unit : units_) {
    if (unit == nullptr) continue;
    if (unit->status.IsPreventedBy(nexus.nexus_number)) {
      tasks_.Spawn(EndPrevent(unit->shared_status, nexus.nexus_number));
    }
    if (unit->reservation_state->reserved_by != nexus.nexus_number) continue;
    auto freed = std::make_shared<ReservationState>(*unit->reservation_state);
    freed->reserved_by = 0;
    unit->Show(std::move(freed));
    tasks_.Spawn(EndReserve6(unit->reservations, nexus.nexus_number));
  }
}

Task<void> DeviceView::EndReserve6(std::shared_ptr<UnitReservations> reservations, uint64_t nexus) {
  co_await reservations->EndReserve6(nexus);
}

Task<void> DeviceView::EndPrevent(std::shared_ptr<SharedStatus> status, uint64_t nexus) {
  co_await status->EndPrevent(nexus);
}

void DeviceView::SetRoles(Nexus::Impl& nexus, const LogicalUnit& unit) {
  nexus.roles[static_cast<size_t>(unit.number)] =
      unit.reservation_state->persistent.RoleOf(nexus.name);
}

void DeviceView::ShowReservations(int number, std::shared_ptr<const ReservationState> state) {
  LogicalUnit* const unit = Find(number);
  if (unit == nullptr) return;
  unit->Show(std::move(state));
  for (Nexus::Impl* nexus : nexuses_) SetRoles(*nexus, *unit);
}

void DeviceView::TellRegistrant(int number, const Registration& registrant, UnitAttention what) {
  for (Nexus::Impl* nexus : nexuses_) {
    if (!registrant.Covers(nexus->name)) continue;
    nexus->unit_attentions[static_cast<size_t>(number)].Add(what);
  }
}

namespace {
bool IsOneOf(const Nexus::Impl& nexus, const std::vector<Registration>& registrants,
             uint64_t spared) {
  return nexus.nexus_number != spared &&
         std::any_of(registrants.begin(), registrants.end(),
                     [&nexus](const Registration& r) { return r.Covers(nexus.name); });
}
}  // namespace

void DeviceView::AbortRegistrants(int number, const std::vector<Registration>& registrants,
                                  uint64_t spared) {
  for (Nexus::Impl* nexus : nexuses_) {
    if (!IsOneOf(*nexus, registrants, spared)) continue;
    nexus->AbortAll(number, Execution::Early::kAborted, /*transport_let_go=*/false);
  }
}

Task<void> DeviceView::RegistrantsDrained(int number, std::vector<Registration> registrants,
                                          uint64_t spared) {
  // What comes from now on is not concerned.
  const uint64_t end = next_sequence_;
  Drain drain{*this,
              [&registrants, number, spared, end](Nexus::Impl& nexus, Execution& e) {
                return e.sequence_ < end && e.unit_ != nullptr && e.unit_->number == number &&
                       IsOneOf(nexus, registrants, spared);
              },
              {}};
  co_await drain;
}

void DeviceView::EndConflicting(int number) {
  for (Nexus::Impl* nexus : nexuses_) {
    Execution* next = nullptr;
    for (Execution* e = nexus->in_flight.Front(); e != nullptr; e = next) {
      next = nexus->in_flight.Next(*e);
      if (e->unit_ == nullptr || e->unit_->number != number || e->Admitted()) continue;
      if (e->state_ == Execution::State::kAwaitDataOut || e->loan.part_count > 0) {
        e->EndEarly(Execution::Early::kConflict, /*transport_let_go=*/false);
      }
    }
  }
}

Task<void> DeviceView::ConflictingDrained(int number) {
  Drain drain{*this,
              [number](Nexus::Impl&, Execution& e) {
                if (e.VisitsWithIo(number)) return true;
                return e.unit_ != nullptr && e.unit_->number == number && !e.Admitted() &&
                       (e.state_ == Execution::State::kAwaitIo || e.loan.part_count > 0);
              },
              {}};
  co_await drain;
}

void DeviceView::Tell(int number, UnitAttention condition) {
  for (Nexus::Impl* nexus : nexuses_) {
    if (number != kAll) {
      nexus->unit_attentions[static_cast<size_t>(number)].Add(condition);
      continue;
    }
    for (UnitAttentions& of_lun : nexus->unit_attentions) of_lun.Add(condition);
  }
}

void DeviceView::TellOthers(int number, uint64_t than, UnitAttention condition) {
  for (Nexus::Impl* nexus : nexuses_) {
    if (nexus->nexus_number == than) continue;
    nexus->unit_attentions[static_cast<size_t>(number)].Add(condition);
  }
}

void DeviceView::ShowStatus(int number, const UnitStatus& status) {
  if (LogicalUnit* const unit = Find(number)) unit->status = status;
}

void DeviceView::EndUnready(int number, const UnitChange& asker) {
  for (Nexus::Impl* nexus : nexuses_) {
    Execution* next = nullptr;
    for (Execution* e = nexus->in_flight.Front(); e != nullptr; e = next) {
      next = nexus->in_flight.Next(*e);
      if (e->unit_ == nullptr || e->unit_->number != number || e->UnitRunsIt()) continue;
      if (e->change.get() == &asker) continue;
      e->EndEarly(Execution::Early::kNotReady, /*transport_let_go=*/false);
    }
  }
}

Task<void> DeviceView::UnreadyDrained(int number, const UnitChange& asker) {
  Drain drain{*this,
              [number, &asker](Nexus::Impl&, Execution& e) {
                if (e.VisitsWithIo(number)) return true;
                return e.unit_ != nullptr && e.unit_->number == number && !e.UnitRunsIt() &&
                       e.change.get() != &asker;
              },
              {}};
  co_await drain;
}

void DeviceView::SetAccess(Nexus::Impl& nexus) {
  nexus.access = AccessState::kOptimized;
  for (const TargetPortGroup& group : port_groups_) {
    if (group.tag == nexus.identity.target_port_group) nexus.access = group.state;
  }
}

void DeviceView::ShowPortGroups(TargetPortGroups groups) {
  port_groups_ = std::move(groups);
  Tell(kAll, UnitAttention::kAccessStateChanged);
  for (Nexus::Impl* nexus : nexuses_) {
    SetAccess(*nexus);
    Execution* next = nullptr;
    for (Execution* e = nexus->in_flight.Front(); e != nullptr; e = next) {
      next = nexus->in_flight.Next(*e);
      if (e->unit_ == nullptr || e->UnitRunsIt()) continue;
      e->EndEarly(Execution::Early::kNotReady, /*transport_let_go=*/false);
    }
  }
}

Task<void> DeviceView::RefusedDrained() {
  Drain drain{
      *this, [](Nexus::Impl&, Execution& e) { return e.unit_ != nullptr && !e.UnitRunsIt(); }, {}};
  co_await drain;
}

Task<void> DeviceView::AbortEverywhere(int number, bool reset, Nexus::Impl* asker) {
  for (const auto& view : views_) {
    co_await SwitchTo(view->reactor_);
    view->AbortHere(number, reset, asker);
    co_await view->Drained(number, nullptr);
  }
  co_await SwitchTo(reactor_);
  if (!reset) co_return;
  std::vector<std::shared_ptr<UnitReservations>> reservations;
  std::vector<std::shared_ptr<SharedStatus>> statuses;
  for (const auto& unit : units_) {
    if (unit == nullptr || (number != kAll && unit->number != number)) continue;
    if (unit->reservation_state->reserved_by != 0) reservations.push_back(unit->reservations);
    statuses.push_back(unit->shared_status);
  }
  for (const auto& of_unit : reservations) co_await of_unit->EndReserve6(0);
  for (const auto& of_unit : statuses) co_await of_unit->Reset();
}

// The asker's transport knows what it does; the others are asked to let go of their buffers.
void DeviceView::AbortHere(int number, bool reset, Nexus::Impl* asker) {
  for (Nexus::Impl* nexus : nexuses_) {
    nexus->AbortAll(number, Execution::Early::kAborted, /*transport_let_go=*/nexus == asker);
  }
  if (reset) Tell(number, UnitAttention::kReset);
}

Task<void> DeviceView::Drained(int number, Nexus::Impl* nexus, uint64_t only) {
  if (next_sequence_ == 0) co_return;
  const uint64_t first = only == kEvery ? 0 : only;
  const uint64_t last = only == kEvery ? next_sequence_ - 1 : only;
  Drain drain{*this,
              [number, nexus, first, last](Nexus::Impl& owner, Execution& e) {
                if (nexus != nullptr && &owner != nexus) return false;
                if (e.sequence_ < first || e.sequence_ > last) return false;
                if (number == kAll || e.VisitsWithIo(number)) return true;
                return e.unit_ != nullptr && e.unit_->number == number;
              },
              {}};
  co_await drain;
}

bool DeviceView::Drain::AnyLeft() const {
  for (Nexus::Impl* candidate : view.nexuses_) {
    auto& commands = candidate->in_flight;
    for (Execution* e = commands.Front(); e != nullptr; e = commands.Next(*e)) {
      if (matches(*candidate, *e)) return true;
    }
  }
  return false;
}

void DeviceView::OnCheckDrains() {
  // A resumed task may wait again, so the list is taken first.
  for (Drain* drain : std::exchange(drains_, {})) {
    if (drain->AnyLeft()) {
      drains_.push_back(drain);
    } else {
      drain->waiter.resume();
    }
  }
}

}  // namespace pollux::scsi
