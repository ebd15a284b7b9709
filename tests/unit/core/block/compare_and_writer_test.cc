#include "core/block/compare_and_writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "core/block/range_lock.h"
#include "core/loop_task.h"
#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::ManualDisk;
using testing_world::TestIo;

class CawIo final : public IoRequest {
 public:
  CawIo(uint64_t at, uint64_t count, uint8_t expected, uint8_t wanted)
      : expected_(count * 512, std::byte{expected}), wanted_(count * 512, std::byte{wanted}) {
    type = IoType::kCompareAndWrite;
    lba = at;
    blocks = count;
    segments_[0] = {wanted_.data(), wanted_.size()};
    segments_[1] = {expected_.data(), expected_.size()};
    data = {&segments_[0], 1};
    compare_data = {&segments_[1], 1};
  }
  void OnComplete() override { ++calls; }
  std::vector<std::byte>& expected() { return expected_; }
  int calls = 0;

 private:
  std::vector<std::byte> expected_, wanted_;
  iovec segments_[2];
};

class CompareAndWriterTest : public testing::TestWithParam<size_t> {
 protected:
  ~CompareAndWriterTest() override {
    EXPECT_TRUE(world_.Run(world_.devices.Unregister("disk")).ok());
  }
  ManualDisk& Make(ManualDisk::Options options = {}) {
    options.executes = {IoType::kRead, IoType::kWrite, IoType::kCompare};
    auto disk = std::make_unique<ManualDisk>(std::move(options));
    disk_ = disk.get();
    EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(disk))).ok());
    return *disk_;
  }
  void Submit(size_t reactor, IoRequest& request) {
    world_.On(reactor, [&] { disk_->channel(reactor)->Submit(request); });
  }
  size_t Reactors() const { return GetParam(); }

  BlockWorld world_{GetParam()};
  ManualDisk* disk_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(OneAndSeveralReactors, CompareAndWriterTest, testing::Values(1, 3));

TEST_P(CompareAndWriterTest, WritesWhereItIsEqual) {
  Make({.at_once = true});
  CawIo io(4, 2, 0, 9);
  Submit(Reactors() - 1, io);
  EXPECT_EQ(io.calls, 0);
  world_.Until([&] { return io.calls == 1; });
  EXPECT_EQ(io.status, IoStatus::kSuccess);
  EXPECT_EQ(disk_->memory()[4 * 512], std::byte{9});
  EXPECT_EQ(disk_->memory()[6 * 512 - 1], std::byte{9});
  EXPECT_EQ(disk_->channel(Reactors() - 1)->counters().write.operations.load(), 1u);
}

TEST_P(CompareAndWriterTest, WritesNothingWhereItDiffers) {
  Make({.at_once = true});
  CawIo io(4, 2, 0, 9);
  io.expected()[700] = std::byte{1};
  Submit(0, io);
  world_.Until([&] { return io.calls == 1; });
  EXPECT_EQ(io.status, IoStatus::kMiscompare);
  EXPECT_EQ(io.miscompare_offset, 700u);
  EXPECT_EQ(disk_->memory()[4 * 512], std::byte{0});
}

TEST_P(CompareAndWriterTest, WaitsForWhatOverlapsAndHoldsBackWhatComes) {
  Make();
  const size_t other = Reactors() - 1;
  TestIo before(IoType::kWrite, 5, 1, 512, 7), beside(IoType::kWrite, 9, 1, 512, 7),
      after(IoType::kWrite, 5, 1, 512, 8);
  Submit(other, before);
  CawIo io(4, 2, 0, 9);
  Submit(0, io);
  world_.Turns(4);
  EXPECT_EQ(disk_->at(0).submitted + disk_->at(other).submitted, Reactors() == 1 ? 2u : 1u)
      << "it did not wait";
  Submit(other, after);
  Submit(other, beside);
  world_.Turns(4);
  ASSERT_EQ(disk_->at(other).pending.size(), 2u);  // `before` and `beside`.
  disk_->at(other).EndAll();
  world_.Turns(4);
  EXPECT_EQ(before.calls + beside.calls, 2);
  // It compares now, and sees what `before` wrote; `after` still waits.
  EXPECT_EQ(after.calls, 0);
  ASSERT_EQ(disk_->at(0).pending.size(), 1u);
  EXPECT_EQ(disk_->at(0).pending[0]->type, IoType::kCompare);
  disk_->at(0).End();
  world_.Turns(6);
  EXPECT_EQ(io.status, IoStatus::kMiscompare);
  EXPECT_EQ(io.miscompare_offset, 512u);
  ASSERT_EQ(disk_->at(other).pending.size(), 1u);  // `after` goes on.
  disk_->at(other).End();
  world_.Turn();
  EXPECT_EQ(after.status, IoStatus::kSuccess);
}

TEST_P(CompareAndWriterTest, WaitsForLoansAndLendsNothingMeanwhile) {
  Make({.at_once = true, .lends = true});
  Loan loan{.write = true, .lba = 0, .blocks = 1}, another{.lba = 100, .blocks = 1};
  BlockChannel& channel = *disk_->channel(Reactors() - 1);
  ASSERT_TRUE(channel.TryLend(loan));
  CawIo io(0, 1, 3, 4);
  Submit(0, io);
  world_.Turns(5);
  EXPECT_EQ(io.calls, 0);
  EXPECT_FALSE(channel.TryLend(another));
  memset(loan.parts[0].iov_base, 3, 512);
  world_.On(Reactors() - 1, [&] { channel.Return(loan); });
  world_.Until([&] { return io.calls == 1; });
  EXPECT_EQ(io.status, IoStatus::kSuccess);
  world_.Turns(5);
  ASSERT_TRUE(channel.TryLend(another));
  channel.Return(another);
}

TEST_P(CompareAndWriterTest, GoOneAfterTheOther) {
  Make({.at_once = true});
  std::vector<std::unique_ptr<CawIo>> ios;
  for (uint8_t i = 0; i < 20; ++i) {
    ios.push_back(std::make_unique<CawIo>(0, 1, i, static_cast<uint8_t>(i + 1)));
    Submit(0, *ios.back());
  }
  world_.Until([&] { return ios.back()->calls == 1; });
  for (auto& io : ios) EXPECT_EQ(io->status, IoStatus::kSuccess);
  EXPECT_EQ(disk_->memory()[0], std::byte{20});
}

TEST_P(CompareAndWriterTest, OneInLineCanBeAborted) {
  Make();
  CawIo first(0, 1, 0, 1), second(0, 1, 0, 2);
  TestIo abort_second(IoType::kAbort, 0, 0), abort_first(IoType::kAbort, 0, 0);
  Submit(0, first);
  Submit(0, second);
  world_.Turns(5);
  abort_second.abort_target = &second;
  Submit(0, abort_second);
  world_.Turns(2);
  EXPECT_EQ(second.status, IoStatus::kAborted);
  EXPECT_EQ(second.calls, 1);
  disk_->at(0).End();  // `first` has compared; now it writes, and that is not taken back.
  world_.Turn();
  abort_first.abort_target = &first;
  Submit(0, abort_first);
  world_.Turns(2);
  EXPECT_EQ(abort_first.status, IoStatus::kNotSupported);
  disk_->at(0).End();
  world_.Turns(5);
  EXPECT_EQ(first.status, IoStatus::kSuccess);
  EXPECT_EQ(disk_->memory()[0], std::byte{1});
}

TEST_P(CompareAndWriterTest, OneThatComparesCanBeAborted) {
  Make();
  CawIo io(0, 1, 0, 1);
  TestIo abort(IoType::kAbort, 0, 0);
  Submit(0, io);
  world_.Turns(5);
  abort.abort_target = &io;
  Submit(0, abort);
  disk_->at(0).End();
  world_.Turns(5);
  EXPECT_EQ(abort.status, IoStatus::kSuccess);
  EXPECT_EQ(io.status, IoStatus::kAborted);
  EXPECT_EQ(disk_->memory()[0], std::byte{0});
}

TEST_P(CompareAndWriterTest, AFailedWriteIsReportedAndTheRangeIsFreeAgain) {
  Make();
  CawIo io(0, 1, 0, 1);
  Submit(0, io);
  world_.Turns(5);
  disk_->at(0).End();
  world_.Turn();
  disk_->at(0).End(IoStatus::kMediumError);
  world_.Turns(5);
  EXPECT_EQ(io.status, IoStatus::kMediumError);
  TestIo read(IoType::kRead, 0, 1, 512);
  Submit(Reactors() - 1, read);
  EXPECT_EQ(disk_->at(Reactors() - 1).pending.size(), 1u);
  disk_->at(Reactors() - 1).End();
  world_.Turn();
}

TEST_P(CompareAndWriterTest, ChecksBothBuffersAndTheLength) {
  Make({.limits = {.compare_and_write_blocks_max = 2}});
  CawIo short_compare(0, 1, 0, 1), too_long(0, 3, 0, 1), no_compare(0, 1, 0, 1);
  iovec half = short_compare.compare_data[0];
  half.iov_len = 511;
  short_compare.compare_data = {&half, 1};
  no_compare.compare_data = {};
  for (CawIo* io : {&short_compare, &too_long, &no_compare}) {
    Submit(0, *io);
    world_.Turns(2);
    EXPECT_EQ(io->status, IoStatus::kInvalidRequest);
  }
}

TEST_P(CompareAndWriterTest, RemovalWaitsForTheLockToBeFree) {
  Make();
  CawIo io(0, 1, 0, 1);
  TestIo held(IoType::kWrite, 0, 1, 512, 5);
  Submit(0, io);
  world_.Turns(5);
  Submit(Reactors() - 1, held);
  auto removal = world_.devices.Unregister("disk");
  world_.Begin(removal);
  world_.Turns(10);
  EXPECT_FALSE(removal.done());
  EXPECT_EQ(held.status, IoStatus::kGone);
  disk_->at(0).End();
  world_.Turn();
  disk_->at(0).End();
  world_.Until([&] { return removal.done(); });
  EXPECT_EQ(io.status, IoStatus::kSuccess);
  Make();  // For the fixture to remove.
}

// Reactors with threads count up one number, each by compare-and-write, while others read and write
// around it: no step may be lost, and no reader may see half of one.
class CountingIo final : public IoRequest {
 public:
  CountingIo(BlockChannel& channel, std::atomic<int>& running, int rounds)
      : channel_(channel), running_(running), left_(rounds) {
    type = IoType::kCompareAndWrite;
    blocks = 2;
    segments_[0] = {wanted_, sizeof(wanted_)};
    segments_[1] = {seen_, sizeof(seen_)};
    data = {&segments_[0], 1};
    compare_data = {&segments_[1], 1};
  }
  void Begin() { Read(); }
  void OnComplete() override {
    CHECK(status == IoStatus::kSuccess || status == IoStatus::kMiscompare);
    if (type == IoType::kRead) return Step();
    if (status == IoStatus::kSuccess) --left_;
    left_ > 0 ? Read() : Leave();
  }
  uint64_t torn = 0;

 private:
  void Read() {
    type = IoType::kRead;
    data = {&segments_[1], 1};
    channel_.Submit(*this);
  }
  void Step() {
    uint64_t first, last;
    memcpy(&first, seen_, 8);
    memcpy(&last, seen_ + sizeof(seen_) - 8, 8);
    if (first != last) ++torn;
    const uint64_t next = first + 1;
    for (size_t i = 0; i < sizeof(wanted_); i += 8) memcpy(wanted_ + i, &next, 8);
    type = IoType::kCompareAndWrite;
    data = {&segments_[0], 1};
    channel_.Submit(*this);
  }
  void Leave() { running_.fetch_sub(1); }

  BlockChannel& channel_;
  std::atomic<int>& running_;
  int left_;
  std::byte seen_[1024], wanted_[1024];
  iovec segments_[2];
};

TEST(CompareAndWriteThreadsTest, LosesNoStep) {
  constexpr int kRounds = 150;
  constexpr size_t kReactors = 3;
  const RealClock clock;
  auto reactors = *Reactors::Start({.cores = {0, 0, 0}}, clock);
  Loop control({.name = "control"}, clock, *MakeEpollWaiter());
  DeviceRegistry devices(*reactors);
  std::atomic<int> running{static_cast<int>(kReactors)};
  std::atomic<uint64_t> torn{0}, counted{0};

  auto body = [&]() -> Task<void> {
    ManualDisk::Options options{.executes = {IoType::kRead, IoType::kWrite, IoType::kCompare},
                                .at_once = true};
    auto made = std::make_unique<ManualDisk>(options);
    ManualDisk& disk = *made;
    Result<BlockDevice*> registered = co_await devices.Register(std::move(made));
    CHECK(registered.ok());
    std::vector<std::unique_ptr<CountingIo>> ios;
    for (size_t i = 0; i < kReactors; ++i) {
      ios.push_back(std::make_unique<CountingIo>(disk.at(i), running, kRounds));
      auto begin = [io = ios[i].get()] { io->Begin(); };
      co_await RunOn((*reactors)[i], begin);
    }
    while (running.load() > 0) co_await Sleep(kNsPerMs);
    for (auto& io : ios) torn += io->torn;
    // All is quiet, and what the reactors did came before they said so.
    uint64_t number = 0;
    memcpy(&number, disk.memory().data(), sizeof(number));
    counted = number;
    const Status removed = co_await devices.Unregister("disk");
    CHECK(removed.ok());
  };
  RunOnLoop(control, body());
  reactors->Stop();
  EXPECT_EQ(torn.load(), 0u);
  EXPECT_EQ(counted.load(), kReactors * kRounds);
}

}  // namespace
}  // namespace pollux
