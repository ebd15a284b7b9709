#include "cli/workload/workload.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <set>

namespace pollux::cli {
namespace {

using Operation = Workload::Operation;

Workload Make(Pattern pattern, uint64_t units, bool verify = false, unsigned mix = 50) {
  return Workload(
      {.pattern = pattern, .units = units, .mix = mix, .verify = verify, .endless = false});
}

TEST(Random, StaysBelowItsBound) {
  Random random(0);
  for (const uint64_t bound : {uint64_t{1}, uint64_t{3}, uint64_t{1000}, UINT64_MAX}) {
    for (int i = 0; i < 1000; ++i) EXPECT_LT(random.Below(bound), bound);
  }
}

TEST(Workload, InOrderWrapsAround) {
  Workload workload = Make(Pattern::kRead, 3);
  Operation operation;
  for (const uint64_t unit : {0u, 1u, 2u, 0u, 1u}) {
    ASSERT_TRUE(workload.Next(operation));
    EXPECT_TRUE(operation.is_read);
    EXPECT_EQ(operation.unit, unit);
  }
}

TEST(Workload, AnywhereReachesEverything) {
  Workload workload = Make(Pattern::kRandWrite, 10);
  std::set<uint64_t> units;
  Operation operation;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(workload.Next(operation));
    EXPECT_FALSE(operation.is_read);
    units.insert(operation.unit);
  }
  EXPECT_EQ(units.size(), 10u);
  EXPECT_EQ(*units.rbegin(), 9u);
}

TEST(Workload, TheMixIsKept) {
  for (const unsigned mix : {0u, 30u, 100u}) {
    Workload workload = Make(Pattern::kRandRw, 10, false, mix);
    Operation operation;
    unsigned reads = 0;
    for (int i = 0; i < 10000; ++i) {
      workload.Next(operation);
      reads += operation.is_read;
    }
    EXPECT_NEAR(reads, mix * 100, mix % 100 == 0 ? 0 : 300);
  }
}

TEST(Workload, AVerifyPassWritesAllAndReadsAll) {
  Workload workload = Make(Pattern::kVerify, 3, true);
  Operation operation;
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(workload.Next(operation));
    EXPECT_EQ(operation.is_read, i >= 3);
    EXPECT_EQ(operation.unit, static_cast<uint64_t>(i % 3));
    EXPECT_EQ(operation.generation, 1u);
    workload.Ended(operation, true);
  }
  EXPECT_TRUE(workload.done());
  EXPECT_EQ(workload.passes(), 1u);
  EXPECT_FALSE(workload.Next(operation));
}

TEST(Workload, NoTwoAreOnTheSameUnitWhenVerifying) {
  Workload workload = Make(Pattern::kRandRw, 20, true);
  Random random(3);
  std::map<uint64_t, uint32_t> written;
  std::deque<Operation> in_flight;
  for (int i = 0; i < 20000; ++i) {
    Operation operation;
    if (random.Below(2) == 0 && workload.Next(operation)) {
      for (const Operation& other : in_flight) ASSERT_NE(other.unit, operation.unit);
      in_flight.push_back(operation);
      // A read expects what was written last, and a write is always something new.
      EXPECT_EQ(operation.generation, written[operation.unit] + !operation.is_read);
    } else if (!in_flight.empty()) {
      operation = in_flight.front();
      in_flight.pop_front();
      if (!operation.is_read) written[operation.unit] = operation.generation;
      workload.Ended(operation, true);
    }
  }
}

TEST(Workload, AUnitInUseIsWaitedFor) {
  Workload workload = Make(Pattern::kWrite, 1, true);
  Operation first, second;
  ASSERT_TRUE(workload.Next(first));
  EXPECT_FALSE(workload.Next(second));
  EXPECT_FALSE(workload.done());
  workload.Ended(first, true);
  EXPECT_TRUE(workload.Next(second));
  EXPECT_EQ(second.generation, 2u);
}

TEST(Workload, AfterAFailedWriteNothingIsExpected) {
  Workload workload = Make(Pattern::kVerify, 1, true);
  Operation operation;
  ASSERT_TRUE(workload.Next(operation));
  workload.Ended(operation, false);
  ASSERT_TRUE(workload.Next(operation));
  EXPECT_TRUE(operation.is_read);
  EXPECT_EQ(operation.generation, 0u);
}

TEST(Workload, WhatWasUnmappedIsNotKnownUntilItIsWrittenAgain) {
  Workload workload({.pattern = Pattern::kRw, .units = 1, .mix = 0, .unmap = 50, .verify = true});
  bool unmapped = false, written = false;
  Operation operation;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(workload.Next(operation));
    EXPECT_FALSE(operation.is_read);
    EXPECT_EQ(operation.generation == 0, operation.unmaps);
    (operation.unmaps ? unmapped : written) = true;
    workload.Ended(operation, true);
  }
  EXPECT_TRUE(unmapped && written);
}

}  // namespace
}  // namespace pollux::cli
