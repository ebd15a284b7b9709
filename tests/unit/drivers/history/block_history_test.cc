#include "tests/unit/drivers/history/block_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pollux::history {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

// The words: each begins an action, and End() ends it.
class BlockHistoryTest : public testing::Test {
 protected:
  size_t Read(Value seen) { return block_.Begin({Action::Kind::kSee, true, seen, 0}); }
  size_t Miscompare(Value with) { return block_.Begin({Action::Kind::kDiffer, true, with, 0}); }
  size_t Write(Value value) { return block_.Begin({Action::Kind::kStore, true, 0, value}); }
  size_t FailedWrite(Value value) { return block_.Begin({Action::Kind::kStore, false, 0, value}); }
  size_t Swap(Value from, Value to) { return block_.Begin({Action::Kind::kSwap, true, from, to}); }
  bool End(size_t name) { return block_.End(name); }

  BlockHistory block_;
};

TEST_F(BlockHistoryTest, AReadSeesWhatWasWrittenBefore) {
  EXPECT_TRUE(End(Read(kZeroes)));
  EXPECT_TRUE(End(Write(7)));
  EXPECT_TRUE(End(Read(7)));
  EXPECT_THAT(block_.values(), ElementsAre(7u));
}

TEST_F(BlockHistoryTest, ALostWriteIsFound) {
  EXPECT_TRUE(End(Write(7)));
  EXPECT_FALSE(End(Read(kZeroes)));
}

TEST_F(BlockHistoryTest, AReadDuringAWriteSeesEitherButDoesNotGoBack) {
  const size_t write = Write(7);
  EXPECT_TRUE(End(Read(kZeroes)));
  EXPECT_TRUE(End(Read(7)));
  EXPECT_FALSE(End(Read(kZeroes)));
  EXPECT_TRUE(End(write));
}

TEST_F(BlockHistoryTest, WritesAtOnceLeaveOneOfThemUntilItIsSeen) {
  const size_t first = Write(1), second = Write(2);
  EXPECT_TRUE(End(first));
  EXPECT_TRUE(End(second));
  EXPECT_THAT(block_.values(), UnorderedElementsAre(1u, 2u));
  EXPECT_TRUE(End(Read(1)));
  EXPECT_FALSE(End(Read(2)));
}

TEST_F(BlockHistoryTest, AFailedWriteIsThereOrNotUntilItIsSeen) {
  EXPECT_TRUE(End(Write(1)));
  EXPECT_TRUE(End(FailedWrite(2)));
  EXPECT_THAT(block_.values(), UnorderedElementsAre(1u, 2u));
  EXPECT_TRUE(End(Read(1)));
  EXPECT_FALSE(End(Read(2)));  // It came after it had ended.
}

TEST_F(BlockHistoryTest, AFailedWriteDoesNotUndoALaterOne) {
  EXPECT_TRUE(End(FailedWrite(2)));
  EXPECT_TRUE(End(Write(3)));
  EXPECT_FALSE(End(Read(2)));
}

TEST_F(BlockHistoryTest, ReadsAtOnceAgreeOnAnOrder) {
  const size_t one = Write(1), two = Write(2);
  const size_t early = Read(1);
  EXPECT_TRUE(End(early));
  EXPECT_TRUE(End(Read(2)));
  EXPECT_TRUE(End(one));
  EXPECT_TRUE(End(two));
  EXPECT_FALSE(End(Read(1)));
}

TEST_F(BlockHistoryTest, ASwapNeedsWhatItExpected) {
  EXPECT_TRUE(End(Swap(kZeroes, 1)));
  EXPECT_FALSE(End(Swap(kZeroes, 2)));
  EXPECT_TRUE(End(Swap(1, 3)));
  EXPECT_TRUE(End(Read(3)));
}

TEST_F(BlockHistoryTest, OfTwoSwapsAtOnceFromTheSameOnlyOneSucceeds) {
  const size_t one = Swap(kZeroes, 1), two = Swap(kZeroes, 2);
  EXPECT_TRUE(End(one));
  EXPECT_FALSE(End(two));
}

TEST_F(BlockHistoryTest, AWriteIsNotLostBetweenCompareAndWrite) {
  EXPECT_TRUE(End(Write(1)));
  const size_t swap = Swap(1, 2), write = Write(3);
  EXPECT_TRUE(End(write));
  EXPECT_TRUE(End(Read(3)));  // So the swap came first,
  EXPECT_TRUE(End(swap));
  EXPECT_FALSE(End(Read(2)));  // or there is no order.
}

TEST_F(BlockHistoryTest, AMiscompareSaysThatItWasSomethingElse) {
  EXPECT_TRUE(End(Write(1)));
  EXPECT_TRUE(End(Miscompare(2)));
  EXPECT_FALSE(End(Miscompare(1)));
  const size_t write = Write(2);
  EXPECT_TRUE(End(Miscompare(1)));
  EXPECT_TRUE(End(write));
}

TEST_F(BlockHistoryTest, WhatNoWriteLeavesIsNeverExplained) {
  const size_t write = Write(1);
  EXPECT_FALSE(End(Read(kTorn)));
  EXPECT_TRUE(End(write));
}

}  // namespace
}  // namespace pollux::history
