#include "targets/scsi/persistent_reservations.h"

#include <gtest/gtest.h>

// The rules of persistent reservations, alone.

namespace pollux::scsi {
namespace {

using Outcome = PersistentReservations::Outcome;
using Type = ReservationType;

const NexusName kA{"iqn.a,i,0x000000000001", 1};
const NexusName kB{"iqn.b,i,0x000000000001", 1};
const NexusName kC{"iqn.c,i,0x000000000001", 1};
const NexusName kAOther{"iqn.a,i,0x000000000001", 2};
constexpr Type kTypes[] = {Type::kWriteExclusive,
                           Type::kExclusiveAccess,
                           Type::kWriteExclusiveRegistrantsOnly,
                           Type::kExclusiveAccessRegistrantsOnly,
                           Type::kWriteExclusiveAllRegistrants,
                           Type::kExclusiveAccessAllRegistrants};

class ReservationRulesTest : public testing::Test {
 protected:
  Outcome Register(const NexusName& who, uint64_t key, uint64_t to, bool all_ports = false) {
    PersistentReservations::Registering what;
    what.key = key;
    what.service_key = to;
    what.all_ports = all_ports;
    what.aptpl = aptpl_;
    last_ = state_.Register(who, what);
    return last_.outcome;
  }
  // Who hears what, as text: "b:04 c:04".
  std::string Heard() const {
    std::string heard;
    for (const auto& notice : last_.notices) {
      if (!heard.empty()) heard += ' ';
      heard += notice.to.nexus.initiator_port[4];
      heard += notice.what == UnitAttention::kReservationsPreempted  ? ":03"
               : notice.what == UnitAttention::kReservationsReleased ? ":04"
                                                                     : ":05";
    }
    return heard;
  }
  std::string Registered() const {
    std::string all;
    for (const Registration& r : state_.registrations()) all += r.nexus.initiator_port[4];
    return all;
  }
  void RegisterThree() {
    ASSERT_EQ(Register(kA, 0, 0xa), Outcome::kGood);
    ASSERT_EQ(Register(kB, 0, 0xb), Outcome::kGood);
    ASSERT_EQ(Register(kC, 0, 0xc), Outcome::kGood);
  }
  Outcome Did(PersistentReservations::Result result) {
    last_ = std::move(result);
    return last_.outcome;
  }

  PersistentReservations state_;
  PersistentReservations::Result last_;
  bool aptpl_ = false;
};

TEST_F(ReservationRulesTest, RegisteringWantsTheKeyThatIsThere) {
  EXPECT_EQ(Register(kA, 1, 2), Outcome::kConflict);
  EXPECT_EQ(Register(kA, 0, 0), Outcome::kGood);
  EXPECT_EQ(state_.generation(), 0u);
  EXPECT_EQ(Register(kA, 0, 2), Outcome::kGood);
  EXPECT_EQ(Register(kA, 0, 3), Outcome::kConflict);
  EXPECT_EQ(Register(kA, 1, 3), Outcome::kConflict);
  EXPECT_EQ(Register(kA, 2, 3), Outcome::kGood);
  EXPECT_EQ(state_.registrations()[0].key, 3u);
  EXPECT_EQ(Register(kAOther, 0, 4), Outcome::kGood);
  EXPECT_EQ(state_.generation(), 3u);
  EXPECT_EQ(Register(kA, 3, 0), Outcome::kGood);
  EXPECT_EQ(state_.generation(), 4u);
  EXPECT_EQ(state_.registrations().size(), 1u);
}

TEST_F(ReservationRulesTest, OneThroughAllPortsIsOne) {
  EXPECT_EQ(Register(kAOther, 0, 1), Outcome::kGood);
  EXPECT_EQ(Register(kA, 0, 2, true), Outcome::kGood);
  EXPECT_EQ(state_.registrations().size(), 1u);
  EXPECT_EQ(state_.Reserve(kA, 2, Type::kWriteExclusive).outcome, Outcome::kGood);
  EXPECT_EQ(state_.RoleOf(kA), ReservationRole::kHolder);
  EXPECT_EQ(state_.RoleOf(kAOther), ReservationRole::kRegistrant);
  EXPECT_EQ(Register(kAOther, 2, 0), Outcome::kGood);
  EXPECT_FALSE(state_.reserved());
}

TEST_F(ReservationRulesTest, OnlyTheHolderReleasesAndWithItsType) {
  for (const Type type : kTypes) {
    state_ = {};
    RegisterThree();
    EXPECT_EQ(Did(state_.Reserve(kA, 0xb, type)), Outcome::kConflict);
    EXPECT_EQ(Did(state_.Reserve(kA, 0xa, type)), Outcome::kGood);
    EXPECT_EQ(Did(state_.Reserve(kA, 0xa, type)), Outcome::kGood);
    const bool all = IsAllRegistrants(type);
    EXPECT_EQ(Did(state_.Reserve(kB, 0xb, type)), all ? Outcome::kGood : Outcome::kConflict);
    for (const Type other : kTypes) {
      if (other == type) continue;
      EXPECT_EQ(Did(state_.Reserve(kA, 0xa, other)), Outcome::kConflict);
      EXPECT_EQ(Did(state_.Release(kA, 0xa, other)), Outcome::kInvalidRelease);
    }
    EXPECT_EQ(Did(state_.Release(kA, 0xb, type)), Outcome::kConflict);
    EXPECT_EQ(Did(state_.Release({"iqn.x,i,0x000000000001", 1}, 0, type)), Outcome::kConflict);
    EXPECT_EQ(Did(state_.Release(kB, 0xb, type)), Outcome::kGood);
    EXPECT_EQ(state_.reserved(), !all);
    if (all) {
      EXPECT_EQ(Heard(), "a:04 c:04");
      continue;
    }
    EXPECT_EQ(Did(state_.Release(kA, 0xa, type)), Outcome::kGood);
    EXPECT_EQ(Heard(), IsForRegistrants(type) ? "b:04 c:04" : "");
    EXPECT_FALSE(state_.reserved());
    EXPECT_EQ(state_.generation(), 3u);
  }
}

TEST_F(ReservationRulesTest, TheReservationGoesWithItsHolder) {
  for (const Type type : kTypes) {
    state_ = {};
    RegisterThree();
    EXPECT_EQ(Did(state_.Reserve(kA, 0xa, type)), Outcome::kGood);
    EXPECT_EQ(Register(kA, 0xa, 0), Outcome::kGood);
    if (IsAllRegistrants(type)) {
      EXPECT_EQ(Heard(), "");
      EXPECT_EQ(Register(kB, 0xb, 0), Outcome::kGood);
      EXPECT_TRUE(state_.reserved());
      EXPECT_EQ(Register(kC, 0xc, 0), Outcome::kGood);
    } else {
      EXPECT_EQ(Heard(), IsForRegistrants(type) ? "b:04 c:04" : "");
    }
    EXPECT_FALSE(state_.reserved());
  }
}

TEST_F(ReservationRulesTest, ClearTakesAllAway) {
  RegisterThree();
  EXPECT_EQ(Did(state_.Reserve(kA, 0xa, Type::kWriteExclusive)), Outcome::kGood);
  EXPECT_EQ(Did(state_.Clear(kB, 0xa)), Outcome::kConflict);
  EXPECT_EQ(Did(state_.Clear(kB, 0xb)), Outcome::kGood);
  EXPECT_EQ(Heard(), "a:03 c:03");
  EXPECT_EQ(Registered(), "");
  EXPECT_FALSE(state_.reserved());
  EXPECT_EQ(state_.generation(), 4u);
}

TEST_F(ReservationRulesTest, PreemptTakesTheReservationOver) {
  for (const Type type : kTypes) {
    for (const Type next : kTypes) {
      state_ = {};
      RegisterThree();
      EXPECT_EQ(Did(state_.Reserve(kA, 0xa, type)), Outcome::kGood);
      EXPECT_EQ(Did(state_.Preempt(kB, 0xa, 0xa, next)), Outcome::kConflict);
      const bool all = IsAllRegistrants(type);
      EXPECT_EQ(Did(state_.Preempt(kB, 0xb, all ? 0 : 0xa, next)), Outcome::kGood);
      EXPECT_EQ(state_.type(), next);
      EXPECT_EQ(state_.RoleOf(kB), ReservationRole::kHolder);
      EXPECT_EQ(Registered(), all ? "b" : "bc");
      const std::string heard = all ? "a:05 c:05" : next == type ? "a:05" : "a:05 c:04";
      EXPECT_EQ(Heard(), heard);
      EXPECT_EQ(state_.generation(), 4u);
    }
  }
}

TEST_F(ReservationRulesTest, PreemptOfOthersLeavesTheReservation) {
  RegisterThree();
  EXPECT_EQ(Did(state_.Preempt(kB, 0xb, 0, Type::kWriteExclusive)), Outcome::kInvalidListField);
  EXPECT_EQ(last_.field, 8);
  EXPECT_EQ(Did(state_.Preempt(kB, 0xb, 0x77, Type::kWriteExclusive)), Outcome::kConflict);
  EXPECT_EQ(Did(state_.Reserve(kA, 0xa, Type::kWriteExclusive)), Outcome::kGood);
  EXPECT_EQ(Did(state_.Preempt(kB, 0xb, 0xa, static_cast<Type>(2))), Outcome::kInvalidType);
  EXPECT_EQ(Did(state_.Preempt(kB, 0xb, 0, Type::kWriteExclusive)), Outcome::kInvalidListField);
  EXPECT_EQ(Registered(), "abc");
  // The type is not looked at.
  EXPECT_EQ(Did(state_.Preempt(kB, 0xb, 0xc, static_cast<Type>(2))), Outcome::kGood);
  EXPECT_EQ(Registered(), "ab");
  EXPECT_EQ(Heard(), "c:05");
  EXPECT_EQ(state_.RoleOf(kA), ReservationRole::kHolder);
  ASSERT_EQ(last_.removed.size(), 1u);
  EXPECT_EQ(last_.removed[0].nexus, kC);
}

TEST_F(ReservationRulesTest, AHolderPreemptsItselfToChangeTheType) {
  RegisterThree();
  EXPECT_EQ(Did(state_.Reserve(kA, 0xa, Type::kWriteExclusive)), Outcome::kGood);
  EXPECT_EQ(Did(state_.Preempt(kA, 0xa, 0xa, Type::kExclusiveAccess)), Outcome::kGood);
  EXPECT_EQ(Registered(), "abc");
  EXPECT_EQ(state_.type(), Type::kExclusiveAccess);
  EXPECT_TRUE(last_.removed.empty());
}

TEST_F(ReservationRulesTest, TheHolderMovesWhatItHolds) {
  RegisterThree();
  PersistentReservations::Moving move;
  move.key = 0xa;
  move.service_key = 0xd;
  move.to = {"iqn.d,i,0x000000000001", 3};
  EXPECT_EQ(Did(state_.RegisterAndMove(kA, move)), Outcome::kConflict);
  EXPECT_EQ(Did(state_.Reserve(kA, 0xa, Type::kWriteExclusive)), Outcome::kGood);
  auto wrong = move;
  wrong.key = 0xb;
  EXPECT_EQ(Did(state_.RegisterAndMove(kA, wrong)), Outcome::kConflict);
  EXPECT_EQ(Did(state_.RegisterAndMove(kB, wrong)), Outcome::kConflict);
  wrong = move;
  wrong.service_key = 0;
  EXPECT_EQ(Did(state_.RegisterAndMove(kA, wrong)), Outcome::kInvalidListField);
  wrong = move;
  wrong.to = kA;
  EXPECT_EQ(Did(state_.RegisterAndMove(kA, wrong)), Outcome::kInvalidListField);
  EXPECT_EQ(Registered(), "abc");
  move.unregister = true;
  EXPECT_EQ(Did(state_.RegisterAndMove(kA, move)), Outcome::kGood);
  EXPECT_EQ(Registered(), "bcd");
  EXPECT_EQ(state_.RoleOf(move.to), ReservationRole::kHolder);
  EXPECT_EQ(state_.RoleOf(kA), ReservationRole::kOther);
  EXPECT_EQ(state_.generation(), 4u);
}

TEST_F(ReservationRulesTest, AllThatAreNamedAreRegisteredOrNone) {
  EXPECT_EQ(Register(kB, 0, 0xb), Outcome::kGood);
  PersistentReservations::Registering what;
  what.service_key = 1;
  what.specifies = true;
  what.also = {kC.initiator_port, kB.initiator_port};
  EXPECT_EQ(Did(state_.Register(kA, what)), Outcome::kConflict);
  EXPECT_EQ(Registered(), "b");
  what.also = {kC.initiator_port, kA.initiator_port, kC.initiator_port};
  EXPECT_EQ(Did(state_.Register(kA, what)), Outcome::kGood);
  EXPECT_EQ(Registered(), "bac");
  what.key = 1;
  EXPECT_EQ(Did(state_.Register(kA, what)), Outcome::kInvalidListField);
  EXPECT_EQ(last_.field, 20);
}

TEST_F(ReservationRulesTest, ThereIsABound) {
  for (size_t i = 0; i < PersistentReservations::kRegistrationsMax; ++i) {
    ASSERT_EQ(Register({"iqn.x", static_cast<uint16_t>(i)}, 0, 1), Outcome::kGood);
  }
  EXPECT_EQ(Register(kA, 0, 1), Outcome::kNoRoom);
  EXPECT_EQ(state_.registrations().size(), PersistentReservations::kRegistrationsMax);
}

TEST_F(ReservationRulesTest, WhatIsSavedIsWhatIsLoaded) {
  RegisterThree();
  EXPECT_EQ(state_.Save(), "");  // None has APTPL.
  aptpl_ = true;
  for (const Type type : kTypes) {
    state_ = {};
    RegisterThree();
    ASSERT_EQ(Register(kAOther, 0, UINT64_MAX, true), Outcome::kGood);
    EXPECT_EQ(Did(state_.Reserve(kC, 0xc, type)), Outcome::kGood);
    const std::string text = state_.Save();
    const auto loaded = PersistentReservations::Load(text);
    ASSERT_TRUE(loaded) << text;
    EXPECT_EQ(loaded->registrations(), state_.registrations());
    EXPECT_EQ(loaded->type(), type);
    EXPECT_EQ(loaded->RoleOf(kC), ReservationRole::kHolder);
    EXPECT_EQ(loaded->generation(), 0u);
    EXPECT_TRUE(loaded->aptpl());
    EXPECT_EQ(loaded->Save(), text);
  }
}

TEST_F(ReservationRulesTest, DamagedTextIsNotLoaded) {
  aptpl_ = true;
  RegisterThree();
  EXPECT_EQ(Did(state_.Reserve(kC, 0xc, Type::kWriteExclusive)), Outcome::kGood);
  const std::string text = state_.Save();
  ASSERT_TRUE(PersistentReservations::Load(text));
  for (size_t cut = 0; cut < text.size(); ++cut) {
    EXPECT_FALSE(PersistentReservations::Load(text.substr(0, cut))) << cut;
  }
  for (const char* bad :
       {"", "\n", "1 1 a\n", "2 0 -\n0000000000000001 0 1 a\n", "1 1 b\n0000000000000001 0 1 a\n",
        "0 0 -\n0000000000000000 0 1 a\n", "0 0 -\n0000000000000001 2 1 a\n",
        "0 0 -\n0000000000000001 0 65536 a\n", "0 0 -\nx 0 1 a\n", "0 0 b\n1 0 1 a\n",
        "0 0 -\n1 0 1 a\n1 0 1 a\n", "99 0 -\n1 0 1 a\n", "0 0 -\n1 0 1 \n"}) {
    EXPECT_FALSE(PersistentReservations::Load(bad)) << bad;
  }
}

}  // namespace
}  // namespace pollux::scsi
