#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "targets/scsi/unit_attention.h"

namespace pollux::scsi {

// An I_T nexus by its name: it is the same after logout and login. SAM-5 §4.7, RFC 7143 §4.4.4.
struct NexusName {
  // "iqn...,i,0x" and the twelve digits of the ISID, in lower case.
  std::string initiator_port;
  uint16_t target_port = 1;  // RELATIVE TARGET PORT IDENTIFIER.
  bool operator==(const NexusName&) const = default;
};

// SPC-4 §7.3.3.6. 0 is none.
enum class ReservationType : uint8_t {
  kNone = 0,
  kWriteExclusive = 1,
  kExclusiveAccess = 3,
  kWriteExclusiveRegistrantsOnly = 5,
  kExclusiveAccessRegistrantsOnly = 6,
  kWriteExclusiveAllRegistrants = 7,
  kExclusiveAccessAllRegistrants = 8,
};
bool IsReservationType(uint8_t value);
// Every registrant holds it.
bool IsAllRegistrants(ReservationType type);
// Every registrant may do what the holder may: the types for registrants only and for all.
bool IsForRegistrants(ReservationType type);
bool IsWriteExclusive(ReservationType type);

// What a nexus is to a reservation.
enum class ReservationRole : uint8_t { kOther, kRegistrant, kHolder };

// One registration. With `all_ports` (ALL_TG_PT) it stands for the initiator port's nexuses through
// all target ports, and is changed and removed as one; `nexus.target_port` then is the one through
// which it came.
struct Registration {
  NexusName nexus;
  uint64_t key = 0;
  bool all_ports = false;
  bool operator==(const Registration&) const = default;
  bool Covers(const NexusName& name) const {
    return nexus.initiator_port == name.initiator_port &&
           (all_ports || nexus.target_port == name.target_port);
  }
};

// Persistent reservations of one logical unit: who is registered, who holds what. SPC-4 §5.12. It
// is the rules alone, without bytes of SCSI and without threads: a value, and each operation tells
// what came of it. One that is refused changes nothing.
class PersistentReservations {
 public:
  static constexpr size_t kRegistrationsMax = 128;

  enum class Outcome : uint8_t {
    kGood,
    kConflict,          // Ends with RESERVATION CONFLICT.
    kNoRoom,            // INSUFFICIENT REGISTRATION RESOURCES.
    kInvalidRelease,    // INVALID RELEASE OF PERSISTENT RESERVATION.
    kInvalidListField,  // INVALID FIELD IN PARAMETER LIST; `field` has the byte.
    kInvalidType,       // INVALID FIELD IN CDB.
  };
  struct Notice {
    Registration to;
    UnitAttention what;
  };
  struct Result {
    Outcome outcome = Outcome::kGood;
    uint16_t field = 0;
    std::vector<Notice> notices;        // Unit attentions to establish.
    std::vector<Registration> removed;  // By PREEMPT: with AND ABORT their commands end.
  };

  struct Registering {
    uint64_t key = 0;          // RESERVATION KEY.
    uint64_t service_key = 0;  // SERVICE ACTION RESERVATION KEY.
    bool ignore_key = false;   // REGISTER AND IGNORE EXISTING KEY.
    bool all_ports = false;    // ALL_TG_PT.
    bool aptpl = false;
    std::vector<std::string> also;  // SPEC_I_PT: initiator ports to register too.
    bool specifies = false;         // SPEC_I_PT is set, be the list empty.
  };
  Result Register(const NexusName& who, const Registering& what);
  Result Reserve(const NexusName& who, uint64_t key, ReservationType type);
  Result Release(const NexusName& who, uint64_t key, ReservationType type);
  Result Clear(const NexusName& who, uint64_t key);
  // The type matters only when a reservation is made.
  Result Preempt(const NexusName& who, uint64_t key, uint64_t service_key, ReservationType type);
  struct Moving {
    uint64_t key = 0;
    uint64_t service_key = 0;
    bool unregister = false;  // UNREG.
    bool aptpl = false;
    NexusName to;
  };
  Result RegisterAndMove(const NexusName& who, const Moving& what);

  uint32_t generation() const { return generation_; }  // PRGENERATION.
  bool aptpl() const { return aptpl_; }
  const std::vector<Registration>& registrations() const { return registrations_; }
  ReservationType type() const { return type_; }
  bool reserved() const { return type_ != ReservationType::kNone; }
  const Registration* Find(const NexusName& who) const;
  // Whether the registration holds the reservation: that of the holder, or any for all registrants.
  bool Holds(const Registration& registration) const;
  ReservationRole RoleOf(const NexusName& who) const;

  // As text for the store, a line for each registration; empty text for what need not be kept: no
  // registration, or none with APTPL. PRGENERATION begins anew, as after a power cycle.
  std::string Save() const;
  // Nothing when the text is damaged.
  static std::optional<PersistentReservations> Load(std::string_view text);

 private:
  Registration* FindOwn(const NexusName& who);
  // The registration of `who`, when it is there with that key.
  const Registration* Authorised(const NexusName& who, uint64_t key) const;
  void Add(Registration made);
  void EndReservation();
  // Tells the registrants, but not `except`.
  void Tell(Result& result, UnitAttention what, const NexusName& except) const;
  Result Unregister(const NexusName& who);
  // Removes the registrations with the key, or all with 0; `spare`, when given, stays. The
  // reservation goes with its last holder.
  void RemoveKey(Result& result, uint64_t key, const NexusName& who, bool spare);

  std::vector<Registration> registrations_;  // In order of their making.
  std::optional<NexusName> holder_;          // Of a type that is not for all registrants.
  ReservationType type_ = ReservationType::kNone;
  uint32_t generation_ = 0;
  bool aptpl_ = false;
};

}  // namespace pollux::scsi
