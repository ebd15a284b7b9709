#include "core/block/block_channel.h"

#include <gtest/gtest.h>

#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::ManualDisk;
using testing_world::TestIo;

class BlockChannelTest : public testing::Test {
 protected:
  ~BlockChannelTest() override {
    if (disk_ != nullptr) {
      EXPECT_TRUE(world_.Run(world_.devices.Unregister("disk")).ok());
    }
  }
  ManualDisk::Channel& Make(ManualDisk::Options options = {}) {
    auto disk = std::make_unique<ManualDisk>(std::move(options));
    disk_ = disk.get();
    EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(disk))).ok());
    return disk_->at(0);
  }
  // Submits, and returns how it ended without the device.
  IoStatus StatusOf(IoRequest& request) {
    auto& io = static_cast<TestIo&>(request);
    const int before = io.calls;
    disk_->at(0).Submit(io);
    EXPECT_EQ(io.calls, before) << "completed from within Submit";
    world_.Turn();
    EXPECT_EQ(io.calls, before + 1);
    return io.status;
  }
  IoStatus StatusOf(TestIo&& io) { return StatusOf(static_cast<IoRequest&>(io)); }
  static uint64_t Load(const std::atomic<uint64_t>& counter) { return counter.load(); }

  BlockWorld world_;
  ManualDisk* disk_ = nullptr;
};

TEST_F(BlockChannelTest, CompletesInTheDeferredStageOnceItEnded) {
  auto& channel = Make();
  TestIo io(IoType::kRead, 0, 1, 512);
  channel.Submit(io);
  world_.Turns(3);
  EXPECT_EQ(io.calls, 0);
  EXPECT_TRUE(io.in_flight());
  EXPECT_EQ(channel.in_flight(), 1u);
  channel.End();
  EXPECT_EQ(io.calls, 0);
  world_.Turn();
  EXPECT_EQ(io.calls, 1);
  EXPECT_FALSE(io.in_flight());
  EXPECT_EQ(channel.in_flight(), 0u);
}

TEST_F(BlockChannelTest, MayBeSubmittedAgainFromItsCompletion) {
  auto& channel = Make({.at_once = true});
  TestIo io(IoType::kRead, 0, 1, 512);
  io.then = [&] {
    if (io.calls < 3) channel.Submit(io);
  };
  channel.Submit(io);
  world_.Turn();
  EXPECT_EQ(io.calls, 1);  // Each in a turn of its own, or the turn would not end.
  world_.Turns(2);
  EXPECT_EQ(io.calls, 3);
}

TEST_F(BlockChannelTest, RefusesWhatLiesBehindTheEnd) {
  Make();
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, 1024, 1, 512)), IoStatus::kOutOfRange);
  EXPECT_EQ(StatusOf(TestIo(IoType::kWrite, 1023, 2, 1024)), IoStatus::kOutOfRange);
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, UINT64_MAX, 1, 512)), IoStatus::kOutOfRange);
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, UINT64_MAX, 2, 1024)), IoStatus::kOutOfRange);
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, 1, UINT64_MAX, 512)), IoStatus::kOutOfRange);
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, 0, UINT64_MAX / 512 + 2, 512)), IoStatus::kOutOfRange);
  EXPECT_EQ(StatusOf(TestIo(IoType::kWriteZeroes, 1000, 25)), IoStatus::kOutOfRange);
  EXPECT_EQ(disk_->at(0).submitted, 0u);
}

TEST_F(BlockChannelTest, RefusesDataOfAnotherLength) {
  auto& channel = Make();
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, 0, 1, 511)), IoStatus::kInvalidRequest);
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, 0, 1, 513)), IoStatus::kInvalidRequest);
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, 0, 1)), IoStatus::kInvalidRequest);
  EXPECT_EQ(StatusOf(TestIo(IoType::kWriteZeroes, 0, 1, 512)), IoStatus::kInvalidRequest);
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, 0, 0, 512)), IoStatus::kInvalidRequest);

  TestIo two(IoType::kRead, 0, 2, 1024);
  two.segments = {{two.buffer.data(), 512}, {two.buffer.data(), SIZE_MAX - 511}, {nullptr, 1024}};
  two.data = two.segments;  // 512 - 512 + 1024 bytes, to one who does not look.
  EXPECT_EQ(StatusOf(two), IoStatus::kInvalidRequest);

  TestIo nowhere(IoType::kRead, 0, 1);
  nowhere.segments = {{nullptr, 512}};
  nowhere.data = nowhere.segments;
  EXPECT_EQ(StatusOf(nowhere), IoStatus::kInvalidRequest);

  TestIo strange(IoType::kRead, 0, 1, 512);
  strange.metadata = strange.buffer.data();
  EXPECT_EQ(StatusOf(strange), IoStatus::kInvalidRequest);
  EXPECT_EQ(channel.submitted, 0u);
  EXPECT_EQ(Load(channel.counters().errors[static_cast<size_t>(IoStatus::kInvalidRequest)]), 8u);
}

TEST_F(BlockChannelTest, TakesEmptySegmentsAmongOthers) {
  auto& channel = Make({.at_once = true});
  TestIo io(IoType::kRead, 0, 1, 512);
  io.segments = {{nullptr, 0}, {io.buffer.data(), 500}, {nullptr, 0}, {io.buffer.data() + 500, 12}};
  io.data = io.segments;
  EXPECT_EQ(StatusOf(io), IoStatus::kSuccess);
  EXPECT_EQ(channel.submitted, 1u);
}

TEST_F(BlockChannelTest, AnIoOfNoBlocksSucceedsWithoutTheDevice) {
  auto& channel = Make();
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, 0, 0)), IoStatus::kSuccess);
  EXPECT_EQ(StatusOf(TestIo(IoType::kWrite, 1024, 0)), IoStatus::kSuccess);
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, 1025, 0)), IoStatus::kOutOfRange);
  EXPECT_EQ(channel.submitted, 0u);
}

TEST_F(BlockChannelTest, RefusesWhatTheDeviceDoesNotDo) {
  Make();
  EXPECT_EQ(StatusOf(TestIo(IoType::kUnmap, 0, 1)), IoStatus::kNotSupported);
  EXPECT_EQ(StatusOf(TestIo(IoType::kCompare, 0, 1, 512)), IoStatus::kNotSupported);
  EXPECT_EQ(StatusOf(TestIo(static_cast<IoType>(200), 0, 1, 512)), IoStatus::kNotSupported);
}

TEST_F(BlockChannelTest, AReadOnlyDeviceIsNotWritten) {
  auto& channel = Make({.executes = {IoType::kRead, IoType::kWrite, IoType::kUnmap},
                        .read_only = true,
                        .at_once = true});
  EXPECT_EQ(StatusOf(TestIo(IoType::kWrite, 0, 1, 512)), IoStatus::kWriteProtected);
  EXPECT_EQ(StatusOf(TestIo(IoType::kUnmap, 0, 1)), IoStatus::kWriteProtected);
  EXPECT_EQ(StatusOf(TestIo(IoType::kWriteZeroes, 0, 1)), IoStatus::kWriteProtected);
  EXPECT_EQ(StatusOf(TestIo(IoType::kRead, 0, 1, 512)), IoStatus::kSuccess);
  EXPECT_EQ(channel.submitted, 1u);
}

TEST_F(BlockChannelTest, FlushNeedsADeviceOnlyWhereThereIsACache) {
  auto& channel = Make({.at_once = true});
  EXPECT_EQ(StatusOf(TestIo(IoType::kFlush, 0, 0)), IoStatus::kSuccess);
  EXPECT_EQ(channel.submitted, 0u);
}

TEST_F(BlockChannelTest, AnUnflushableCacheIsNotSupported) {
  Make({.volatile_cache = true});
  EXPECT_EQ(StatusOf(TestIo(IoType::kFlush, 0, 0)), IoStatus::kNotSupported);
}

TEST_F(BlockChannelTest, CountsByKindWithLatency) {
  auto& channel = Make({.executes = {IoType::kRead, IoType::kWrite, IoType::kUnmap}});
  TestIo read(IoType::kRead, 0, 2, 1024), write(IoType::kWrite, 0, 1, 512),
      unmap(IoType::kUnmap, 0, 8), failing(IoType::kRead, 0, 1, 512);
  channel.Submit(read);
  world_.clock.Advance(1000);
  channel.End();
  world_.Turn();
  channel.Submit(read);
  world_.clock.Advance(3000);
  channel.End();
  world_.Turn();
  const IoCounters& c = channel.counters();
  EXPECT_EQ(Load(c.read.operations), 2u);
  EXPECT_EQ(Load(c.read.bytes), 2048u);
  EXPECT_EQ(Load(c.read.latency_ns), 4000u);
  EXPECT_EQ(Load(c.read.latency_min_ns), 1000u);
  EXPECT_EQ(Load(c.read.latency_max_ns), 3000u);

  channel.Submit(write);
  channel.Submit(unmap);
  channel.Submit(failing);
  channel.End();
  channel.End();
  channel.End(IoStatus::kMediumError);
  world_.Turn();
  EXPECT_EQ(Load(c.write.bytes), 512u);
  EXPECT_EQ(Load(c.unmap.operations), 1u);
  EXPECT_EQ(Load(c.unmap.bytes), 4096u);
  EXPECT_EQ(Load(c.read.operations), 2u);
  EXPECT_EQ(Load(c.errors[static_cast<size_t>(IoStatus::kMediumError)]), 1u);
}

TEST_F(BlockChannelTest, AnAbortStopsWhatTheDeviceCanStop) {
  auto& channel = Make({.abortable = true});
  TestIo io(IoType::kRead, 0, 1, 512), abort(IoType::kAbort, 0, 0);
  channel.Submit(io);
  abort.abort_target = &io;
  channel.Submit(abort);
  world_.Turn();
  EXPECT_EQ(abort.status, IoStatus::kSuccess);
  EXPECT_EQ(io.calls, 1);
  EXPECT_EQ(io.status, IoStatus::kAborted);
}

TEST_F(BlockChannelTest, AnAbortSaysSoWhenItCanStopNothing) {
  auto& channel = Make();
  TestIo io(IoType::kRead, 0, 1, 512), abort(IoType::kAbort, 0, 0);
  EXPECT_EQ(StatusOf(abort), IoStatus::kInvalidRequest);  // It names nothing.
  abort.abort_target = &abort;
  EXPECT_EQ(StatusOf(abort), IoStatus::kInvalidRequest);
  abort.abort_target = &io;
  EXPECT_EQ(StatusOf(abort), IoStatus::kNotSupported);  // Not in flight.
  channel.Submit(io);
  EXPECT_EQ(StatusOf(abort), IoStatus::kNotSupported);  // Not to be stopped.
  channel.End();
  EXPECT_EQ(StatusOf(abort), IoStatus::kNotSupported);  // It has ended.
  EXPECT_EQ(io.status, IoStatus::kSuccess);
  disk_->at(1).Submit(io);
  EXPECT_EQ(StatusOf(abort), IoStatus::kNotSupported);  // Another reactor's.
  disk_->at(1).End();
  world_.Turn();
}

TEST_F(BlockChannelTest, AResetAbortsWaitsAndHoldsNewIoBack) {
  auto& channel = Make();
  TestIo old(IoType::kRead, 0, 1, 512), reset(IoType::kReset, 0, 0),
      young(IoType::kRead, 1, 1, 512);
  channel.Submit(old);
  channel.Submit(reset);
  channel.Submit(young);
  world_.Turns(2);
  EXPECT_EQ(reset.calls, 0);  // `old` cannot be stopped: it ends by itself.
  EXPECT_EQ(channel.submitted, 1u);
  channel.End();
  world_.Turns(2);
  EXPECT_EQ(old.calls, 1);
  EXPECT_EQ(reset.calls, 1);
  EXPECT_EQ(reset.status, IoStatus::kSuccess);
  EXPECT_EQ(channel.submitted, 2u);
  channel.End();
  world_.Turn();
  EXPECT_EQ(young.status, IoStatus::kSuccess);
  EXPECT_EQ(young.calls, 1);
}

TEST_F(BlockChannelTest, AResetStopsWhatCanBeStopped) {
  auto& channel = Make({.abortable = true});
  TestIo ios[3], reset(IoType::kReset, 0, 0), second(IoType::kReset, 0, 0);
  for (TestIo& io : ios) {
    io.blocks = 1;
    io.buffer.resize(512);
    io.UseWholeBuffer();
    channel.Submit(io);
  }
  channel.Submit(reset);
  channel.Submit(second);
  world_.Turns(2);
  for (TestIo& io : ios) EXPECT_EQ(io.status, IoStatus::kAborted);
  EXPECT_EQ(reset.calls, 1);
  EXPECT_EQ(second.calls, 1);
}

TEST_F(BlockChannelTest, ADeviceWithAResetOfItsOwnIsAskedWhenAllHasEnded) {
  auto& channel = Make({.executes = {IoType::kRead, IoType::kReset}});
  TestIo old(IoType::kRead, 0, 1, 512), reset(IoType::kReset, 0, 0),
      young(IoType::kRead, 1, 1, 512);
  channel.Submit(old);
  channel.Submit(reset);
  channel.Submit(young);
  EXPECT_EQ(channel.submitted, 1u);
  channel.End();
  world_.Turn();
  ASSERT_EQ(channel.pending.size(), 1u);
  EXPECT_EQ(channel.pending[0]->type, IoType::kReset);
  channel.End();
  world_.Turns(2);
  EXPECT_EQ(reset.calls, 1);
  channel.End();
  world_.Turn();
  EXPECT_EQ(young.calls, 1);
}

TEST_F(BlockChannelTest, LendsWithinTheRangeAndCounts) {
  auto& channel = Make({.lends = true});
  Loan loan{.write = true, .lba = 3, .blocks = 2};
  ASSERT_TRUE(channel.TryLend(loan));
  EXPECT_EQ(loan.parts[0].iov_len, 1024u);
  memset(loan.parts[0].iov_base, 7, 1024);
  EXPECT_EQ(channel.loans(), 1u);
  channel.Return(loan);
  EXPECT_EQ(channel.loans(), 0u);
  EXPECT_EQ(channel.loans_out, 0u);
  EXPECT_EQ(disk_->memory()[3 * 512], std::byte{7});
  EXPECT_EQ(Load(channel.counters().write.bytes), 1024u);

  for (auto [lba, blocks] : {std::pair<uint64_t, uint64_t>{1024, 1},
                             {1023, 2},
                             {0, 0},
                             {UINT64_MAX, 2},
                             {1, UINT64_MAX}}) {
    Loan wrong{.lba = lba, .blocks = blocks};
    EXPECT_FALSE(channel.TryLend(wrong));
    EXPECT_EQ(wrong.part_count, 0u);
  }
}

TEST_F(BlockChannelTest, ALoanIsAnIoThatLastsUntilItIsGivenBack) {
  auto& channel = Make({.lends = true});
  Loan long_one{.lba = 0, .blocks = 1}, short_one{.lba = 1, .blocks = 2};
  const auto pass = [this](uint64_t ns) {
    world_.clock.Advance(ns);
    world_.Turn();
  };
  ASSERT_TRUE(channel.TryLend(long_one));
  pass(2000);
  ASSERT_TRUE(channel.TryLend(short_one));
  pass(1000);
  channel.Return(short_one);
  channel.Return(long_one);
  const IoCounters& c = channel.counters();
  EXPECT_EQ(Load(c.read.operations), 2u);
  EXPECT_EQ(Load(c.read.bytes), 1536u);
  EXPECT_EQ(Load(c.read.latency_ns), 4000u);
  EXPECT_EQ(Load(c.read.latency_min_ns), 1000u);
  EXPECT_EQ(Load(c.read.latency_max_ns), 3000u);
  EXPECT_EQ(Load(c.write.operations), 0u);
}

TEST_F(BlockChannelTest, LendsNothingToWriteOnAReadOnlyDevice) {
  auto& channel = Make({.read_only = true, .lends = true});
  Loan loan{.write = true, .lba = 0, .blocks = 1};
  EXPECT_FALSE(channel.TryLend(loan));
  loan.write = false;
  EXPECT_TRUE(channel.TryLend(loan));
  channel.Return(loan);
}

TEST_F(BlockChannelTest, EndingTwiceIsABugOfTheDriver) {
  auto& channel = Make({.abortable = true});
  TestIo io(IoType::kRead, 0, 1, 512);
  channel.Submit(io);
  channel.pending.push_back(channel.pending[0]);
  channel.End();
  EXPECT_DEATH(channel.End(), "ended twice");
  channel.pending.clear();
  world_.Turn();
}

TEST_F(BlockChannelTest, SubmittingTwiceIsABugOfTheCaller) {
  auto& channel = Make();
  TestIo io(IoType::kRead, 0, 1, 512);
  channel.Submit(io);
  EXPECT_DEATH(channel.Submit(io), "while it is in flight");
  channel.End();
  world_.Turn();
}

}  // namespace
}  // namespace pollux
