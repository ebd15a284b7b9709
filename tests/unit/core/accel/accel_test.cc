#include "core/accel/accel.h"

#include <gtest/gtest.h>

#include <deque>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "core/accel/crc32c.h"
#include "core/accel/error_module.h"
#include "core/clock.h"
#include "core/loop_task.h"

namespace pollux {
namespace {

std::vector<std::byte> Bytes(size_t count, unsigned seed = 1) {
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes)
    byte = static_cast<std::byte>((seed = seed * 1103515245 + 12345) >> 16);
  return bytes;
}

iovec Whole(std::vector<std::byte>& bytes) { return {bytes.data(), bytes.size()}; }

// An operation that keeps its lists, and counts its ends.
class TestOperation final : public AccelOperation {
 public:
  explicit TestOperation(AccelOpcode code) { opcode = code; }
  TestOperation& To(std::vector<iovec> pieces) { return Set(to_, destination, std::move(pieces)); }
  TestOperation& From(std::vector<iovec> pieces) { return Set(from_, source, std::move(pieces)); }
  TestOperation& And(std::vector<iovec> pieces) { return Set(and_, other, std::move(pieces)); }
  TestOperation& Then(TestOperation& next) {
    then = &next;
    return *this;
  }
  void OnComplete() override { ++ends; }
  int ends = 0;

 private:
  TestOperation& Set(std::vector<iovec>& mine, std::span<const iovec>& theirs,
                     std::vector<iovec> pieces) {
    mine = std::move(pieces);
    theirs = mine;
    return *this;
  }
  std::vector<iovec> to_, from_, and_;
};

// A module that executes when the test says so.
class HeldModule final : public AccelModule {
 public:
  explicit HeldModule(Accel& accel, Reactors& reactors, std::string name = "held")
      : name_(std::move(name)) {
    for (auto& reactor : reactors) channels_.emplace_back(*this, accel.channel(*reactor));
  }
  std::string_view name() const override { return name_; }
  bool Executes(AccelOpcode opcode) const override { return opcode == AccelOpcode::kCopy; }
  bool Available(AccelOpcode opcode) const override { return available && Executes(opcode); }
  AccelModuleChannel* channel(const Reactor& reactor) override {
    return &channels_[reactor.index()];
  }

  bool available = true, takes = true;
  size_t held(size_t reactor = 0) const { return channels_[reactor].held.size(); }
  void End(AccelStatus status, size_t reactor = 0) { channels_[reactor].End(status); }
  void GiveBack(size_t reactor = 0) { channels_[reactor].Return(); }

 private:
  struct Channel final : AccelModuleChannel {
    Channel(HeldModule& module, AccelChannel& channel)
        : AccelModuleChannel(channel), module_(module) {}
    bool TryBegin(AccelOperation& operation) override {
      if (!module_.takes) return false;
      held.push_back(&operation);
      return true;
    }
    void End(AccelStatus status) { Complete(*Pop(), status); }
    void Return() { AccelModuleChannel::GiveBack(*Pop()); }
    AccelOperation* Pop() {
      AccelOperation* const first = held.front();
      held.pop_front();
      return first;
    }
    HeldModule& module_;
    std::deque<AccelOperation*> held;
  };
  const std::string name_;
  std::deque<Channel> channels_;
};

class AccelTest : public testing::Test {
 protected:
  AccelTest() : reactors_(*Reactors::MakeStill({.cores = {0, 1}}, clock_)) {}

  void Turn() {
    control_.RunTurn();
    for (auto& reactor : *reactors_) reactor->RunTurn();
  }
  template <typename T>
  T Run(Task<T> task) {
    return RunByTurns(control_, std::move(task), [this] { Turn(); });
  }
  // Submits on a reactor, without a turn.
  bool Submit(AccelOperation& operation, size_t reactor = 0) {
    return accel_.channel((*reactors_)[reactor]).Submit(operation);
  }
  AccelOperationStatistics CountsOf(AccelOpcode opcode, std::string_view module = "software") {
    for (const AccelOperationStatistics& one : accel_.statistics().operations) {
      if (one.opcode == opcode && one.module == module) return one;
    }
    return {};
  }

  ManualClock clock_;
  Loop control_{{.name = "control"}, clock_, *MakeEpollWaiter()};
  std::unique_ptr<Reactors> reactors_;
  Accel accel_{*reactors_};

  std::vector<std::byte> from_ = Bytes(5000), to_ = std::vector<std::byte>(5000);
};

TEST_F(AccelTest, TheCpuExecutesAtOnceWhatNobodyElseDoes) {
  TestOperation copy(AccelOpcode::kCopy);
  copy.To({Whole(to_)}).From({Whole(from_)});
  EXPECT_TRUE(Submit(copy));
  EXPECT_EQ(copy.status, AccelStatus::kSuccess);
  EXPECT_EQ(to_, from_);
  EXPECT_EQ(copy.ends, 0) << "it was told twice";
  EXPECT_EQ(CountsOf(AccelOpcode::kCopy).executed, 1u);
  EXPECT_EQ(CountsOf(AccelOpcode::kCopy).bytes, 5000u);
}

TEST_F(AccelTest, ListsOfPiecesNeedNotBeCutAlike) {
  TestOperation copy(AccelOpcode::kCopy);
  copy.To({{&to_[0], 1}, {nullptr, 0}, {&to_[1], 4999}});
  copy.From({{&from_[0], 1000}, {&from_[1000], 3999}, {&from_[4999], 1}, {nullptr, 0}});
  EXPECT_TRUE(Submit(copy));
  EXPECT_EQ(to_, from_);
}

TEST_F(AccelTest, FillsAllPiecesWithOnePattern) {
  TestOperation fill(AccelOpcode::kFill);
  fill.pattern = 0x8877665544332211;
  fill.To({{&to_[0], 3}, {&to_[3], 10}, {&to_[13], 7}});
  EXPECT_TRUE(Submit(fill));
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(to_[i], static_cast<std::byte>(0x11 * (i % 8 + 1)));
  EXPECT_EQ(to_[20], std::byte{0});
}

TEST_F(AccelTest, WritesTwiceInADualcast) {
  std::vector<std::byte> second(5000);
  TestOperation dualcast(AccelOpcode::kDualcast);
  dualcast.To({{&to_[0], 100}, {&to_[100], 4900}}).And({Whole(second)}).From({Whole(from_)});
  EXPECT_TRUE(Submit(dualcast));
  EXPECT_EQ(to_, from_);
  EXPECT_EQ(second, from_);
}

TEST_F(AccelTest, ComparesAndSaysWhereItDiffers) {
  to_ = from_;
  TestOperation compare(AccelOpcode::kCompare);
  compare.From({{&from_[0], 700}, {&from_[700], 4300}}).And({{&to_[0], 701}, {&to_[701], 4299}});
  EXPECT_TRUE(Submit(compare));
  EXPECT_EQ(compare.status, AccelStatus::kSuccess);
  to_[4321] ^= std::byte{1};
  EXPECT_TRUE(Submit(compare));
  EXPECT_EQ(compare.status, AccelStatus::kMiscompare);
  EXPECT_EQ(compare.mismatch_offset, 4321u);
  EXPECT_EQ(CountsOf(AccelOpcode::kCompare).failed, 1u);
}

TEST_F(AccelTest, ACrcGoesOnFromWhatComesBefore) {
  const uint32_t expected = Crc32c(from_);
  TestOperation crc(AccelOpcode::kCrc32c);
  crc.From({{&from_[0], 17}, {&from_[17], 983}});
  EXPECT_TRUE(Submit(crc));
  crc.From({{&from_[1000], 4000}});
  EXPECT_TRUE(Submit(crc));
  EXPECT_EQ(crc.crc, expected);
  TestOperation both(AccelOpcode::kCopyCrc32c);
  both.To({{&to_[0], 4999}, {&to_[4999], 1}}).From({{&from_[0], 1}, {&from_[1], 4999}});
  EXPECT_TRUE(Submit(both));
  EXPECT_EQ(both.crc, expected);
  EXPECT_EQ(to_, from_);
}

TEST_F(AccelTest, XorsItsSources) {
  std::vector<std::byte> second = Bytes(5000, 2), third = Bytes(5000, 3);
  TestOperation all(AccelOpcode::kXor);
  all.To({Whole(to_)}).From({Whole(from_), Whole(second), Whole(third)});
  EXPECT_TRUE(Submit(all));
  for (size_t i = 0; i < 5000; ++i) ASSERT_EQ(to_[i], from_[i] ^ second[i] ^ third[i]) << i;
}

// Eight blocks of 512 bytes, with and without their metadata of 8.
class AccelProtectionTest : public AccelTest {
 protected:
  AccelProtection protection_{.what = {.tags = {.application = 0x1234, .reference = 77}},
                              .fault = {}};
  std::vector<std::byte> data_ = Bytes(8 * 512), blocks_ = std::vector<std::byte>(8 * 520),
                         metadata_ = std::vector<std::byte>(8 * 8);
  AccelStatus Do(TestOperation& operation) {
    operation.protection = &protection_;
    EXPECT_TRUE(Submit(operation));
    return operation.status;
  }
};

TEST_F(AccelProtectionTest, InsertsChecksAndStrips) {
  TestOperation insert(AccelOpcode::kDifGenerateCopy), verify(AccelOpcode::kDifVerify),
      strip(AccelOpcode::kDifVerifyCopy);
  EXPECT_EQ(Do(insert.To({Whole(blocks_)}).From({{&data_[0], 100}, {&data_[100], 3996}})),
            AccelStatus::kSuccess);
  EXPECT_EQ(Do(verify.From({{&blocks_[0], 515}, {&blocks_[515], 3645}})), AccelStatus::kSuccess);
  std::vector<std::byte> stripped(8 * 512);
  EXPECT_EQ(Do(strip.From({Whole(blocks_)}).To({Whole(stripped)})), AccelStatus::kSuccess);
  EXPECT_EQ(stripped, data_);
  blocks_[3 * 520 + 9] ^= std::byte{4};
  for (TestOperation* operation : {&verify, &strip}) {
    EXPECT_EQ(Do(*operation), AccelStatus::kProtectionError);
    ASSERT_TRUE(protection_.fault.has_value());
    EXPECT_EQ(protection_.fault->field, ProtectionFault::Field::kGuard);
    EXPECT_EQ(protection_.fault->block, 3u);
  }
}

TEST_F(AccelProtectionTest, MakesItInItsPlaceAndBesideTheBlocks) {
  TestOperation in_place(AccelOpcode::kDifGenerate), beside(AccelOpcode::kDixGenerate),
      verify(AccelOpcode::kDifVerify), look(AccelOpcode::kDixVerify);
  EXPECT_EQ(Do(in_place.To({Whole(blocks_)})), AccelStatus::kSuccess);
  EXPECT_EQ(Do(verify.From({Whole(blocks_)})), AccelStatus::kSuccess);
  EXPECT_EQ(Do(beside.From({Whole(data_)}).And({Whole(metadata_)})), AccelStatus::kSuccess);
  EXPECT_EQ(Do(look.From({Whole(data_)}).And({Whole(metadata_)})), AccelStatus::kSuccess);
  EXPECT_EQ(CountsOf(AccelOpcode::kDixVerify).bytes, 4096u);
  metadata_[63] ^= std::byte{1};
  EXPECT_EQ(Do(look), AccelStatus::kProtectionError);
  EXPECT_EQ(protection_.fault->field, ProtectionFault::Field::kReferenceTag);
}

TEST_F(AccelProtectionTest, HalfBlocksAreRefused) {
  const auto refused = [&](TestOperation& operation) {
    EXPECT_EQ(Do(operation), AccelStatus::kInvalid) << AccelOpcodeName(operation.opcode);
  };
  TestOperation verify(AccelOpcode::kDifVerify), strip(AccelOpcode::kDifVerifyCopy),
      make(AccelOpcode::kDifGenerate), insert(AccelOpcode::kDifGenerateCopy),
      beside(AccelOpcode::kDixGenerate), look(AccelOpcode::kDixVerify),
      none(AccelOpcode::kDifVerify);
  refused(verify.From({{&blocks_[0], 519}}));
  refused(strip.From({{&blocks_[0], 520}}).To({{&data_[0], 511}}));
  refused(make.To({{&blocks_[0], 521}}));
  refused(insert.From({{&data_[0], 1024}}).To({{&blocks_[0], 520}}));
  refused(beside.From({{&data_[0], 1024}}).And({{&metadata_[0], 8}}));
  refused(look.From({{&data_[0], 1024}}).And({{&metadata_[0], 8}, {&metadata_[8], 8}}));
  protection_.what.format.type = 4;
  refused(verify.From({{&blocks_[0], 520}}));
  none.From({{&blocks_[0], 520}});
  none.protection = nullptr;
  EXPECT_TRUE(Submit(none));
  EXPECT_EQ(none.status, AccelStatus::kInvalid);
}

TEST_F(AccelTest, NothingAtAllSucceeds) {
  TestOperation nowhere(AccelOpcode::kCopy);
  EXPECT_TRUE(Submit(nowhere.To({{nullptr, 0}}).From({{nullptr, 0}})));
  EXPECT_EQ(nowhere.status, AccelStatus::kSuccess);
  for (int i = 0; i < kAccelOpcodeCount; ++i) {
    const auto opcode = static_cast<AccelOpcode>(i);
    if (opcode == AccelOpcode::kXor || opcode >= AccelOpcode::kDifVerify) continue;
    TestOperation nothing(opcode);
    EXPECT_TRUE(Submit(nothing));
    EXPECT_EQ(nothing.status, AccelStatus::kSuccess) << AccelOpcodeName(opcode);
  }
}

TEST_F(AccelTest, WhatContradictsItselfIsRefusedBeforeAByteIsTouched) {
  const std::vector<std::byte> before = to_;
  const auto refused = [&](TestOperation& operation) {
    EXPECT_TRUE(Submit(operation));
    EXPECT_EQ(operation.status, AccelStatus::kInvalid) << AccelOpcodeName(operation.opcode);
    EXPECT_EQ(to_, before);
  };
  TestOperation longer(AccelOpcode::kCopy), shorter(AccelOpcode::kCopyCrc32c);
  refused(longer.To({{&to_[0], 10}}).From({{&from_[0], 11}}));
  refused(shorter.To({{&to_[0], 10}}).From({{&from_[0], 5}, {&from_[5], 4}}));
  TestOperation self(AccelOpcode::kCopy), neighbour(AccelOpcode::kCopy);
  refused(self.To({{&to_[0], 10}}).From({{&to_[0], 10}}));
  refused(neighbour.To({{&to_[9], 5}, {&to_[100], 5}}).From({{&to_[0], 10}}));
  TestOperation twice(AccelOpcode::kDualcast), uneven(AccelOpcode::kDualcast);
  refused(twice.To({{&to_[0], 10}}).And({{&to_[5], 10}}).From({{&from_[0], 10}}));
  refused(uneven.To({{&to_[0], 10}}).And({{&to_[50], 9}}).From({{&from_[0], 10}}));
  TestOperation other(AccelOpcode::kCompare);
  refused(other.From({{&from_[0], 10}}).And({{&to_[0], 9}}));
  TestOperation one(AccelOpcode::kXor), odd(AccelOpcode::kXor), two(AccelOpcode::kXor);
  refused(one.To({{&to_[0], 10}}).From({{&from_[0], 10}}));
  refused(odd.To({{&to_[0], 10}}).From({{&from_[0], 10}, {&from_[10], 9}}));
  refused(two.To({{&to_[0], 5}, {&to_[5], 5}}).From({{&from_[0], 10}, {&from_[10], 10}}));
}

TEST_F(AccelTest, PiecesThatTouchDoNotOverlap) {
  for (const size_t at : {size_t{0}, size_t{1}, size_t{9}, size_t{10}, size_t{11}, size_t{19},
                          size_t{20}, size_t{21}}) {
    TestOperation near(AccelOpcode::kCopy);
    EXPECT_TRUE(Submit(near.To({{&to_[at], 10}}).From({{&to_[10], 10}})));
    EXPECT_EQ(near.status == AccelStatus::kSuccess, at == 0 || at >= 20) << at;
  }
  TestOperation copy(AccelOpcode::kCopy);
  copy.To({{&from_[0], 10}, {&from_[30], 10}}).From({{&from_[10], 20}});
  EXPECT_TRUE(Submit(copy));
  EXPECT_EQ(copy.status, AccelStatus::kSuccess);
}

TEST_F(AccelTest, AModuleTakesWhatItHas) {
  HeldModule held(accel_, *reactors_);
  accel_.Add(held, Accel::Use::kPreferred);
  Run(accel_.Update());
  EXPECT_EQ(accel_.assigned(AccelOpcode::kCopy).name(), "held");
  EXPECT_EQ(accel_.assigned(AccelOpcode::kFill).name(), "software");
  TestOperation copy(AccelOpcode::kCopy);
  copy.To({Whole(to_)}).From({Whole(from_)});
  EXPECT_FALSE(Submit(copy, 1));
  EXPECT_EQ(accel_.statistics().operations_outstanding, 1u);
  EXPECT_EQ(copy.ends, 0);
  held.End(AccelStatus::kSuccess, 1);
  EXPECT_EQ(copy.ends, 1);
  EXPECT_EQ(copy.status, AccelStatus::kSuccess);
  EXPECT_EQ(accel_.statistics().operations_outstanding, 0u);
  EXPECT_EQ(CountsOf(AccelOpcode::kCopy, "held").bytes, 5000u);
  EXPECT_EQ(CountsOf(AccelOpcode::kCopy).executed, 0u);
}

TEST_F(AccelTest, WhatAModuleRefusesOrGivesBackTheCpuDoes) {
  HeldModule held(accel_, *reactors_);
  accel_.Add(held, Accel::Use::kPreferred);
  Run(accel_.Update());
  TestOperation copy(AccelOpcode::kCopy);
  copy.To({Whole(to_)}).From({Whole(from_)});
  held.takes = false;
  EXPECT_TRUE(Submit(copy));
  EXPECT_EQ(to_, from_);
  held.takes = true;
  to_.assign(5000, std::byte{0});
  EXPECT_FALSE(Submit(copy));
  held.GiveBack();
  EXPECT_EQ(copy.ends, 1);
  EXPECT_EQ(to_, from_);
  EXPECT_EQ(CountsOf(AccelOpcode::kCopy).executed, 2u);
  EXPECT_EQ(accel_.statistics().given_back, 1u);
}

TEST_F(AccelTest, AModuleIsNotAskedForNothing) {
  HeldModule held(accel_, *reactors_);
  accel_.Add(held, Accel::Use::kPreferred);
  Run(accel_.Update());
  TestOperation nothing(AccelOpcode::kCopy);
  EXPECT_TRUE(Submit(nothing));
  TestOperation wrong(AccelOpcode::kCopy);
  wrong.To({{&to_[0], 10}}).From({{&from_[0], 9}});
  EXPECT_TRUE(Submit(wrong));
  EXPECT_EQ(wrong.status, AccelStatus::kInvalid);
  EXPECT_EQ(held.held(), 0u);
}

TEST_F(AccelTest, OpcodesFollowWhatIsAvailable) {
  HeldModule held(accel_, *reactors_);
  held.available = false;
  accel_.Add(held, Accel::Use::kPreferred);
  Run(accel_.Update());
  EXPECT_EQ(accel_.assigned(AccelOpcode::kCopy).name(), "software");
  held.available = true;
  Run(accel_.Update());
  EXPECT_EQ(accel_.assigned(AccelOpcode::kCopy).name(), "held");
  EXPECT_TRUE(Run(accel_.Assign(AccelOpcode::kCopy, "software")).ok());
  EXPECT_EQ(accel_.assigned(AccelOpcode::kCopy).name(), "software");
  Run(accel_.Update());
  EXPECT_EQ(accel_.assigned(AccelOpcode::kCopy).name(), "software") << "somebody wanted it so";
}

TEST_F(AccelTest, RefusesModulesThatAreNotThereOrCanNot) {
  HeldModule held(accel_, *reactors_);
  accel_.Add(held, Accel::Use::kWhenAssigned);
  EXPECT_EQ(ErrnoOf(Run(accel_.Assign(AccelOpcode::kCopy, "dsa"))), ENOENT);
  EXPECT_EQ(ErrnoOf(Run(accel_.Assign(AccelOpcode::kFill, "held"))), ENOTSUP);
  Run(accel_.Update());
  EXPECT_EQ(accel_.assigned(AccelOpcode::kCopy).name(), "software");
  EXPECT_TRUE(Run(accel_.Assign(AccelOpcode::kCopy, "held")).ok());
  EXPECT_EQ(accel_.assigned(AccelOpcode::kCopy).name(), "held");
}

TEST_F(AccelTest, AChainGoesStepByStepAndEndsOnce) {
  HeldModule held(accel_, *reactors_);
  accel_.Add(held, Accel::Use::kPreferred);
  Run(accel_.Update());
  std::vector<std::byte> last(5000);
  TestOperation first(AccelOpcode::kCopy), crc(AccelOpcode::kCrc32c), second(AccelOpcode::kCopy);
  first.To({Whole(to_)}).From({Whole(from_)}).Then(crc);
  crc.From({Whole(to_)}).Then(second);
  second.To({Whole(last)}).From({Whole(to_)});
  EXPECT_FALSE(Submit(first));
  EXPECT_EQ(held.held(), 1u) << "the second began before the first had ended";
  EXPECT_EQ(accel_.statistics().chains_outstanding, 1u);
  to_ = from_;
  held.End(AccelStatus::kSuccess);
  EXPECT_EQ(crc.crc, Crc32c(from_));
  EXPECT_EQ(second.ends, 0);
  held.End(AccelStatus::kSuccess);
  EXPECT_EQ(first.ends, 0);
  EXPECT_EQ(crc.ends, 0);
  EXPECT_EQ(second.ends, 1);
  EXPECT_EQ(accel_.statistics().chains_outstanding, 0u);
  EXPECT_EQ(accel_.statistics().chains_executed, 1u);
}

TEST_F(AccelTest, WhatFollowsAFailureIsSkipped) {
  HeldModule held(accel_, *reactors_);
  accel_.Add(held, Accel::Use::kPreferred);
  Run(accel_.Update());
  TestOperation copy(AccelOpcode::kCopy), fill(AccelOpcode::kFill), crc(AccelOpcode::kCrc32c);
  copy.To({Whole(to_)}).From({Whole(from_)}).Then(fill);
  fill.pattern = ~uint64_t{0};
  fill.To({Whole(to_)}).Then(crc);
  crc.From({Whole(to_)});
  EXPECT_FALSE(Submit(copy));
  held.End(AccelStatus::kFailed);
  EXPECT_EQ(copy.status, AccelStatus::kFailed);
  EXPECT_EQ(fill.status, AccelStatus::kSkipped);
  EXPECT_EQ(crc.status, AccelStatus::kSkipped);
  EXPECT_EQ(crc.ends, 1);
  EXPECT_EQ(to_[0], std::byte{0});
  EXPECT_EQ(accel_.statistics().chains_failed, 1u);
}

TEST_F(AccelTest, ACopyAndItsCrcAreOnePassOfTheCpu) {
  for (const bool of_destination : {false, true}) {
    to_.assign(5000, std::byte{0});
    TestOperation copy(AccelOpcode::kCopy), crc(AccelOpcode::kCrc32c),
        compare(AccelOpcode::kCompare);
    copy.To({Whole(to_)}).From({Whole(from_)}).Then(crc);
    crc.From({Whole(of_destination ? to_ : from_)}).Then(compare);
    compare.From({Whole(to_)}).And({Whole(from_)});
    EXPECT_TRUE(Submit(copy));
    EXPECT_EQ(crc.crc, Crc32c(from_));
    EXPECT_EQ(crc.status, AccelStatus::kSuccess);
    EXPECT_EQ(compare.status, AccelStatus::kSuccess);
  }
  EXPECT_EQ(CountsOf(AccelOpcode::kCopy).executed, 2u);
  EXPECT_EQ(CountsOf(AccelOpcode::kCrc32c).executed, 2u);
  EXPECT_EQ(CountsOf(AccelOpcode::kCompare).executed, 2u);
  EXPECT_EQ(accel_.statistics().chains_executed, 2u);
}

class ErrorModuleTest : public AccelTest {
 protected:
  ErrorModuleTest() {
    accel_.Add(error_, Accel::Use::kWhenAssigned);
    for (int i = 0; i < kAccelOpcodeCount; ++i) {
      EXPECT_TRUE(Run(accel_.Assign(static_cast<AccelOpcode>(i), "error")).ok());
    }
  }
  AccelStatus Do(TestOperation& operation) {
    const int before = operation.ends;
    EXPECT_FALSE(Submit(operation));
    EXPECT_EQ(operation.ends, before) << "it ended from within Submit";
    Turn();
    EXPECT_EQ(operation.ends, before + 1);
    return operation.status;
  }
  using Fault = ErrorModule::Fault;
  ErrorModule error_{accel_, *reactors_};
};

TEST_F(ErrorModuleTest, DoesRightUnlessToldOtherwise) {
  TestOperation copy(AccelOpcode::kCopy);
  EXPECT_EQ(Do(copy.To({Whole(to_)}).From({Whole(from_)})), AccelStatus::kSuccess);
  EXPECT_EQ(to_, from_);
}

TEST_F(ErrorModuleTest, FailsSoManyTimesAtThatInterval) {
  Run(error_.Inject(AccelOpcode::kCopy, {.fault = Fault::kFailure, .count = 2, .interval = 3}));
  TestOperation copy(AccelOpcode::kCopy), fill(AccelOpcode::kFill);
  copy.To({Whole(to_)}).From({Whole(from_)});
  std::string outcomes;
  for (int i = 0; i < 12; ++i) outcomes += Do(copy) == AccelStatus::kSuccess ? '.' : 'F';
  EXPECT_EQ(outcomes, "..F..F......");
  EXPECT_EQ(Do(fill.To({Whole(to_)})), AccelStatus::kSuccess);
}

TEST_F(ErrorModuleTest, StopsWhenItIsDisabled) {
  Run(error_.Inject(AccelOpcode::kCopy, {.fault = Fault::kFailure}));
  TestOperation copy(AccelOpcode::kCopy);
  EXPECT_EQ(Do(copy.To({Whole(to_)}).From({Whole(from_)})), AccelStatus::kFailed);
  Run(error_.Inject(AccelOpcode::kCopy, {}));
  EXPECT_EQ(Do(copy), AccelStatus::kSuccess);
}

TEST_F(ErrorModuleTest, CorruptsWhatComesOut) {
  for (const AccelOpcode opcode :
       {AccelOpcode::kCopy, AccelOpcode::kCrc32c, AccelOpcode::kCompare}) {
    Run(error_.Inject(opcode, {.fault = Fault::kCorrupt, .count = 1}));
  }
  TestOperation copy(AccelOpcode::kCopy), crc(AccelOpcode::kCrc32c), compare(AccelOpcode::kCompare);
  EXPECT_EQ(Do(copy.To({Whole(to_)}).From({Whole(from_)})), AccelStatus::kSuccess);
  EXPECT_NE(to_, from_);
  EXPECT_EQ(Do(crc.From({Whole(from_)})), AccelStatus::kSuccess);
  EXPECT_NE(crc.crc, Crc32c(from_));
  EXPECT_EQ(Do(compare.From({Whole(from_)}).And({Whole(from_)})), AccelStatus::kMiscompare);
}

TEST_F(ErrorModuleTest, AChainSurvivesItsStages) {
  TestOperation copy(AccelOpcode::kCopy), crc(AccelOpcode::kCrc32c);
  copy.To({Whole(to_)}).From({Whole(from_)}).Then(crc);
  crc.From({Whole(to_)});
  EXPECT_FALSE(Submit(copy));
  for (int i = 0; i < 4; ++i) Turn();
  EXPECT_EQ(crc.ends, 1);
  EXPECT_EQ(crc.crc, Crc32c(from_));
}

}  // namespace
}  // namespace pollux
