#include <utility>

#include "targets/scsi/commands.h"
#include "targets/scsi/transport_id.h"
#include "targets/scsi/unit_reservations.h"

// PERSISTENT RESERVE OUT: the parameter list becomes a change, the change's outcome the status.
// SPC-4 §6.14.

namespace pollux::scsi {
namespace {

using Kind = ReservationChange::Kind;
using Outcome = PersistentReservations::Outcome;

constexpr uint8_t kSpecIPt = 0x08, kAllTgPt = 0x04, kAptpl = 0x01;  // In byte 20.
constexpr uint8_t kUnreg = 0x02;                                    // In byte 17.
constexpr uint32_t kListBytesMin = 24;
constexpr size_t kTransportIdsMax = PersistentReservations::kRegistrationsMax;

uint8_t ActionOf(const Execution& e) { return e.cdb()[1] & kServiceActionMask; }
uint32_t ListBytes(const Execution& e) { return e.Field<Be32>(5); }

std::span<const uint8_t> List(Execution& e) {
  return {reinterpret_cast<const uint8_t*>(e.buffer()), ListBytes(e)};
}

template <typename T>
T ListAs(Execution& e) {
  T value;
  std::memcpy(&value, e.buffer(), sizeof(value));
  return value;
}

Sense ListLengthError() { return IllegalRequest(AdditionalSense::kParameterListLengthError); }

void OnChanged(Execution& e) {
  const auto& change = static_cast<const ReservationChange&>(*e.change);
  if (change.store_failed) {
    return e.EndWithSense({SenseKey::kHardwareError, AdditionalSense::kInternalTargetFailure});
  }
  switch (change.outcome) {
    case Outcome::kGood:
      return e.EndGood();
    case Outcome::kConflict:
      return e.EndWithConflict();
    case Outcome::kNoRoom:
      return e.EndWithSense(IllegalRequest(AdditionalSense::kInsufficientRegistrationResources));
    case Outcome::kInvalidRelease:
      return e.EndWithSense(IllegalRequest(AdditionalSense::kInvalidRelease));
    case Outcome::kInvalidListField:
      return e.EndWithSense(InvalidFieldInParameterList(change.field));
    case Outcome::kInvalidType:
      return e.EndWithSense(InvalidFieldInCdb(2, 3));
  }
}

// The TransportIDs after SPEC_I_PT, each a port. SPC-4 §6.14.3.
std::optional<Sense> ParseOthers(Execution& e, std::vector<std::string>& ports) {
  constexpr size_t kFirst = kListBytesMin + sizeof(Be32);
  const std::span<const uint8_t> list = List(e);
  if (list.size() < kFirst) return ListLengthError();
  Be32 length;
  std::memcpy(&length, &list[kListBytesMin], sizeof(length));
  if (length != list.size() - kFirst) return InvalidFieldInParameterList(kListBytesMin);
  size_t at = kFirst;
  while (at < list.size()) {
    const auto parsed = ParseTransportId(list.subspan(at));
    if (!parsed) return InvalidFieldInParameterList(static_cast<uint16_t>(at));
    if (ports.size() == kTransportIdsMax) {
      return IllegalRequest(AdditionalSense::kInsufficientRegistrationResources);
    }
    ports.push_back(parsed->initiator_port);
    at += parsed->bytes;
  }
  return std::nullopt;
}

// APTPL where nothing can be kept.
bool CannotKeep(Execution& e, bool aptpl) {
  return aptpl && !e.unit()->reservations->can_persist();
}

std::optional<Sense> Parse(Execution& e, ReservationChange& change) {
  const auto list = ListAs<PersistentReserveOutList>(e);
  const uint8_t action = ActionOf(e);
  change.key = list.reservation_key;
  change.service_key = list.service_action_reservation_key;
  const bool specifies = list.flags20 & kSpecIPt;
  if (specifies && action != kRegisterAction) return InvalidFieldInParameterList(20, 3);
  if (!specifies && ListBytes(e) != kListBytesMin) return ListLengthError();
  if (change.kind != Kind::kRegister) return std::nullopt;

  auto& registering = change.registering;
  registering.key = change.key;
  registering.service_key = change.service_key;
  registering.ignore_key = action == kRegisterAndIgnoreAction;
  registering.all_ports = list.flags20 & kAllTgPt;
  registering.aptpl = list.flags20 & kAptpl;
  registering.specifies = specifies;
  if (CannotKeep(e, registering.aptpl)) return InvalidFieldInParameterList(20, 0);
  if (specifies) return ParseOthers(e, registering.also);
  return std::nullopt;
}

std::optional<Sense> ParseMove(Execution& e, ReservationChange& change) {
  const auto list = ListAs<RegisterAndMoveList>(e);
  auto& moving = change.moving;
  moving.key = list.reservation_key;
  moving.service_key = list.service_action_reservation_key;
  moving.unregister = list.flags17 & kUnreg;
  moving.aptpl = list.flags17 & kAptpl;
  if (CannotKeep(e, moving.aptpl)) return InvalidFieldInParameterList(17, 0);
  if (list.transport_id_length != ListBytes(e) - kListBytesMin) {
    return InvalidFieldInParameterList(20);
  }
  const auto parsed = ParseTransportId(List(e).subspan(kListBytesMin));
  if (!parsed || parsed->bytes != list.transport_id_length) {
    return InvalidFieldInParameterList(kListBytesMin);
  }
  moving.to = {parsed->initiator_port, list.relative_target_port};
  return std::nullopt;
}

Kind KindOf(uint8_t action) {
  switch (action) {
    case kReserveAction:
      return Kind::kReserve;
    case kReleaseAction:
      return Kind::kRelease;
    case kClearAction:
      return Kind::kClear;
    case kPreemptAction:
    case kPreemptAndAbortAction:
      return Kind::kPreempt;
    case kRegisterAndMoveAction:
      return Kind::kRegisterAndMove;
    default:  // The command table has no others.
      return Kind::kRegister;
  }
}

void OnList(Execution& e) {
  auto change = std::make_shared<ReservationChange>();
  change->kind = KindOf(ActionOf(e));
  change->abort = ActionOf(e) == kPreemptAndAbortAction;
  change->type = static_cast<ReservationType>(e.cdb()[2] & 0x0f);
  const auto sense =
      change->kind == Kind::kRegisterAndMove ? ParseMove(e, *change) : Parse(e, *change);
  if (sense) return e.EndWithSense(*sense);
  e.Await(std::move(change), OnChanged);
}

void FetchList(Execution& e) { e.FetchParameterList(ListBytes(e), OnList); }

}  // namespace

void PersistentReserveOut(Execution& e) {
  const uint8_t action = ActionOf(e), type = e.cdb()[2] & 0x0f, scope = e.cdb()[2] >> 4;
  const bool preempts = action == kPreemptAction || action == kPreemptAndAbortAction;
  const bool reserves = action == kReserveAction || action == kReleaseAction;
  // Only whole logical units can be reserved. Whether PREEMPT looks at the type is seen later.
  if ((preempts || reserves) && scope != 0) return e.EndWithSense(InvalidFieldInCdb(2, 7));
  if (reserves && !IsReservationType(type)) return e.EndWithSense(InvalidFieldInCdb(2, 3));
  if (ListBytes(e) < kListBytesMin) return e.EndWithSense(ListLengthError());
  e.TakeBuffer(FetchList);
}

}  // namespace pollux::scsi
