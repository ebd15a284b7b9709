#include "targets/scsi/persistent_reservations.h"

#include <algorithm>
#include <utility>

namespace pollux::scsi {

bool IsReservationType(uint8_t value) {
  return value == 1 || value == 3 || (value >= 5 && value <= 8);
}

bool IsAllRegistrants(ReservationType type) {
  return type == ReservationType::kWriteExclusiveAllRegistrants ||
         type == ReservationType::kExclusiveAccessAllRegistrants;
}

bool IsForRegistrants(ReservationType type) {
  return IsAllRegistrants(type) || type == ReservationType::kWriteExclusiveRegistrantsOnly ||
         type == ReservationType::kExclusiveAccessRegistrantsOnly;
}

bool IsWriteExclusive(ReservationType type) {
  return type == ReservationType::kWriteExclusive ||
         type == ReservationType::kWriteExclusiveRegistrantsOnly ||
         type == ReservationType::kWriteExclusiveAllRegistrants;
}

const Registration* PersistentReservations::Find(const NexusName& who) const {
  const auto found = std::find_if(registrations_.begin(), registrations_.end(),
                                  [&who](const Registration& r) { return r.Covers(who); });
  return found == registrations_.end() ? nullptr : &*found;
}

Registration* PersistentReservations::FindOwn(const NexusName& who) {
  return const_cast<Registration*>(std::as_const(*this).Find(who));
}

const Registration* PersistentReservations::Authorised(const NexusName& who, uint64_t key) const {
  const Registration* const own = Find(who);
  return own != nullptr && own->key == key ? own : nullptr;
}

bool PersistentReservations::Holds(const Registration& registration) const {
  return reserved() && (IsAllRegistrants(type_) || registration.Covers(*holder_));
}

ReservationRole PersistentReservations::RoleOf(const NexusName& who) const {
  if (Find(who) == nullptr) return ReservationRole::kOther;
  const bool holds = reserved() && (IsAllRegistrants(type_) || *holder_ == who);
  return holds ? ReservationRole::kHolder : ReservationRole::kRegistrant;
}

// One for all ports takes the place of the initiator port's others.
void PersistentReservations::Add(Registration made) {
  if (made.all_ports) {
    std::erase_if(registrations_, [&made](const Registration& r) {
      return r.nexus.initiator_port == made.nexus.initiator_port;
    });
  }
  registrations_.push_back(std::move(made));
}

void PersistentReservations::EndReservation() {
  type_ = ReservationType::kNone;
  holder_.reset();
}

void PersistentReservations::Tell(Result& result, UnitAttention what,
                                  const NexusName& except) const {
  for (const Registration& r : registrations_) {
    if (!r.Covers(except)) result.notices.push_back({r, what});
  }
}

// SPC-4 §5.12.7, tables 53 and 54.
PersistentReservations::Result PersistentReservations::Register(const NexusName& who,
                                                                const Registering& what) {
  constexpr uint16_t kFlagsField = 20;
  Registration* const own = FindOwn(who);
  if (!what.ignore_key && what.key != (own == nullptr ? 0 : own->key)) {
    return {Outcome::kConflict};
  }
  if (what.specifies && (own != nullptr || what.ignore_key)) {
    return {Outcome::kInvalidListField, kFlagsField};
  }
  if (own == nullptr && what.service_key == 0) return {};
  if (own != nullptr && what.service_key == 0) {
    aptpl_ = what.aptpl;
    return Unregister(who);
  }
  if (own != nullptr) {
    own->key = what.service_key;
    if (what.all_ports && !own->all_ports) {
      Registration wider = *own;
      wider.all_ports = true;
      Add(std::move(wider));
    }
  } else {
    // All or none: the other initiator ports must not be registered yet.
    std::vector<Registration> made{{who, what.service_key, what.all_ports}};
    for (const std::string& initiator_port : what.also) {
      Registration other{{initiator_port, who.target_port}, what.service_key, what.all_ports};
      if (std::find(made.begin(), made.end(), other) != made.end()) continue;
      if (Find(other.nexus) != nullptr) return {Outcome::kConflict};
      made.push_back(std::move(other));
    }
    if (registrations_.size() + made.size() > kRegistrationsMax) return {Outcome::kNoRoom};
    for (Registration& registration : made) Add(std::move(registration));
  }
  aptpl_ = what.aptpl;
  ++generation_;
  return {};
}

// SPC-4 §5.12.11.3.
PersistentReservations::Result PersistentReservations::Unregister(const NexusName& who) {
  Result result;
  const Registration* const own = Find(who);
  const ReservationType before = type_;
  const bool held = !IsAllRegistrants(type_) && Holds(*own);
  registrations_.erase(registrations_.begin() + (own - registrations_.data()));
  if (held || registrations_.empty()) EndReservation();
  if (held && IsForRegistrants(before)) {
    Tell(result, UnitAttention::kReservationsReleased, who);
  }
  ++generation_;
  return result;
}

// SPC-4 §5.12.9.
PersistentReservations::Result PersistentReservations::Reserve(const NexusName& who, uint64_t key,
                                                               ReservationType type) {
  if (Authorised(who, key) == nullptr) return {Outcome::kConflict};
  if (!reserved()) {
    type_ = type;
    if (!IsAllRegistrants(type)) holder_ = who;
    return {};
  }
  const bool again = RoleOf(who) == ReservationRole::kHolder && type_ == type;
  return {again ? Outcome::kGood : Outcome::kConflict};
}

// SPC-4 §5.12.11.2.
PersistentReservations::Result PersistentReservations::Release(const NexusName& who, uint64_t key,
                                                               ReservationType type) {
  if (Authorised(who, key) == nullptr) return {Outcome::kConflict};
  if (RoleOf(who) != ReservationRole::kHolder) return {};
  if (type_ != type) return {Outcome::kInvalidRelease};
  EndReservation();
  Result result;
  if (IsForRegistrants(type)) Tell(result, UnitAttention::kReservationsReleased, who);
  return result;
}

// SPC-4 §5.12.11.6.
PersistentReservations::Result PersistentReservations::Clear(const NexusName& who, uint64_t key) {
  if (Authorised(who, key) == nullptr) return {Outcome::kConflict};
  Result result;
  Tell(result, UnitAttention::kReservationsPreempted, who);
  EndReservation();
  registrations_.clear();
  ++generation_;
  return result;
}

void PersistentReservations::RemoveKey(Result& result, uint64_t key, const NexusName& who,
                                       bool spare) {
  std::vector<Registration> left;
  for (Registration& r : registrations_) {
    const bool own = r.Covers(who);
    if ((key != 0 && r.key != key) || (own && spare)) {
      left.push_back(std::move(r));
      continue;
    }
    if (!own) result.notices.push_back({r, UnitAttention::kRegistrationsPreempted});
    result.removed.push_back(std::move(r));
  }
  registrations_ = std::move(left);
  if (registrations_.empty()) EndReservation();
}

// SPC-4 §5.12.11.4, table 59.
PersistentReservations::Result PersistentReservations::Preempt(const NexusName& who, uint64_t key,
                                                               uint64_t service_key,
                                                               ReservationType type) {
  constexpr uint16_t kServiceKeyField = 8;
  if (Authorised(who, key) == nullptr) return {Outcome::kConflict};
  const bool all = IsAllRegistrants(type_);
  const Registration* const holder = holder_ ? Find(*holder_) : nullptr;
  const bool takes_over =
      reserved() && (all ? service_key == 0 : holder != nullptr && holder->key == service_key);
  if (service_key == 0 && !takes_over) return {Outcome::kInvalidListField, kServiceKeyField};

  Result result;
  if (!takes_over) {
    const bool any = std::any_of(registrations_.begin(), registrations_.end(),
                                 [&](const Registration& r) { return r.key == service_key; });
    if (!any) return {Outcome::kConflict};
    RemoveKey(result, service_key, who, /*spare=*/false);
    ++generation_;
    return result;
  }
  if (!IsReservationType(static_cast<uint8_t>(type))) return {Outcome::kInvalidType};
  const ReservationType before = type_;
  RemoveKey(result, service_key, who, /*spare=*/true);
  type_ = type;
  holder_.reset();
  if (!IsAllRegistrants(type)) holder_ = who;
  // Who stays registered hears that the reservation is another one.
  if (type != before) Tell(result, UnitAttention::kReservationsReleased, who);
  ++generation_;
  return result;
}

// SPC-4 §5.12.8.
PersistentReservations::Result PersistentReservations::RegisterAndMove(const NexusName& who,
                                                                       const Moving& what) {
  constexpr uint16_t kServiceKeyField = 8, kTransportIdField = 24;
  if (Authorised(who, what.key) == nullptr) return {Outcome::kConflict};
  if (IsAllRegistrants(type_) || RoleOf(who) != ReservationRole::kHolder) {
    return {Outcome::kConflict};
  }
  if (what.service_key == 0) return {Outcome::kInvalidListField, kServiceKeyField};
  if (what.to == who) return {Outcome::kInvalidListField, kTransportIdField};
  if (Registration* const there = FindOwn(what.to)) {
    there->key = what.service_key;
  } else {
    if (registrations_.size() >= kRegistrationsMax) return {Outcome::kNoRoom};
    registrations_.push_back({what.to, what.service_key, false});
  }
  holder_ = what.to;
  if (what.unregister) {
    std::erase_if(registrations_,
                  [&](const Registration& r) { return r.Covers(who) && !r.Covers(what.to); });
  }
  aptpl_ = what.aptpl;
  ++generation_;
  return {};
}

}  // namespace pollux::scsi
