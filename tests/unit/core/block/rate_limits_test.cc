// The limits of a device hold for all its channels together, whoever asks and however it ends.
#include <gtest/gtest.h>

#include <thread>

#include "core/block/rate_bucket.h"
#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::ManualDisk;
using testing_world::TestIo;

constexpr uint32_t kBlockBytes = 4096;
constexpr uint64_t kStepNs = 20'000;

// A user that keeps one I/O going until it is told to stop.
class Looper final : public IoRequest {
 public:
  Looper(BlockChannel& channel, IoType of_type, uint64_t count)
      : channel_(channel), buffer_(count * kBlockBytes) {
    type = of_type;
    blocks = count;
    segment_ = {buffer_.data(), buffer_.size()};
    data = {&segment_, 1};
  }
  void Go() { channel_.Submit(*this); }
  void OnComplete() override {
    ++ended;
    last = status;
    if (running) Go();
  }

  uint64_t ended = 0;
  bool running = true;
  IoStatus last = IoStatus::kSuccess;

 private:
  BlockChannel& channel_;
  std::vector<std::byte> buffer_;
  iovec segment_{};
};

class RateLimitsWorld {
 public:
  explicit RateLimitsWorld(size_t reactors = 1) : world(reactors) {
    auto made = std::make_unique<ManualDisk>(ManualDisk::Options{
        .geometry = {.block_bytes = kBlockBytes,
                     .blocks = 4096,
                     .physical_block_bytes = kBlockBytes},
        .executes = {IoType::kRead, IoType::kWrite, IoType::kUnmap, IoType::kWriteZeroes},
        .at_once = true,
        .abortable = true,
        .lends = true});
    disk = made.get();
    EXPECT_TRUE(world.Run(world.devices.Register(std::move(made))).ok());
    world.clock.Advance(kNsPerSecond);
  }
  ~RateLimitsWorld() {
    for (auto& looper : loopers) looper->running = false;
    Limit({});
    world.Turns(5);
    if (disk != nullptr) {
      EXPECT_TRUE(world.Run(world.devices.Unregister("disk")).ok());
    }
  }
  void Limit(RateLimits limits) {
    if (disk == nullptr) return;
    EXPECT_TRUE(world.Run(world.devices.SetRateLimits(*disk, limits)).ok());
    EXPECT_EQ(disk->rate_limits(), limits);
  }
  Looper& Start(size_t reactor, IoType type = IoType::kRead, uint64_t blocks = 1) {
    loopers.push_back(std::make_unique<Looper>(*disk->channel(reactor), type, blocks));
    Looper& looper = *loopers.back();
    world.On(reactor, [&looper] { looper.Go(); });
    return looper;
  }
  // On the reactors from `first` on.
  void Pass(uint64_t ns, uint64_t step_ns = kStepNs, size_t first = 0) {
    for (uint64_t passed = 0; passed < ns; passed += step_ns) {
      world.clock.Advance(step_ns);
      for (size_t i = first; i < world.reactors->size(); ++i) (*world.reactors)[i].RunTurn();
    }
  }
  ManualClock& clock() { return world.clock; }
  uint64_t Ended() const {
    uint64_t sum = 0;
    for (const auto& looper : loopers) sum += looper->ended;
    return sum;
  }
  ManualDisk::Channel& channel() { return disk->at(0); }

  BlockWorld world;
  ManualDisk* disk = nullptr;
  std::vector<std::unique_ptr<Looper>> loopers;
};

struct Load {
  uint64_t rate;
  size_t reactors, users;
};

class RateAccuracyTest : public testing::TestWithParam<Load> {};

TEST_P(RateAccuracyTest, IsWithinTwoPercentOverTenSeconds) {
  const auto [rate, reactors, users] = GetParam();
  RateLimitsWorld world(reactors);
  world.Limit({.rw_ios = rate});
  for (size_t i = 0; i < users * 8; ++i) world.Start(i % reactors);
  world.Pass(100 * kNsPerMs);  // What was not asked for before it began.
  const uint64_t before = world.Ended();
  world.Pass(10 * kNsPerSecond);
  EXPECT_NEAR(static_cast<double>(world.Ended() - before), static_cast<double>(10 * rate),
              0.02 * static_cast<double>(10 * rate));
}

INSTANTIATE_TEST_SUITE_P(Rates, RateAccuracyTest,
                         testing::Values(Load{1000, 1, 1}, Load{1000, 1, 8}, Load{1000, 2, 8},
                                         Load{1000, 2, 1}, Load{100'000, 1, 1}, Load{100'000, 1, 8},
                                         Load{100'000, 2, 8}));

TEST(RateLimitsTest, BytesAreLimitedInAllOrByDirection) {
  RateLimitsWorld world;
  world.Limit({.rw_bytes = 12 << 20, .r_bytes = 8 << 20, .w_bytes = 8 << 20});
  for (int i = 0; i < 8; ++i) world.Start(0, IoType::kRead, 4);
  world.Pass(2 * kNsPerSecond);
  const double alone = static_cast<double>(world.Ended() * 4 * kBlockBytes);
  EXPECT_NEAR(alone, 16 << 20, 0.03 * (16 << 20));  // The limit of reads.

  for (int i = 0; i < 8; ++i) world.Start(0, IoType::kWrite, 4);
  const uint64_t before = world.Ended();
  world.Pass(2 * kNsPerSecond);
  const double both = static_cast<double>((world.Ended() - before) * 4 * kBlockBytes);
  EXPECT_NEAR(both, 24 << 20, 0.03 * (24 << 20));  // The limit of both together.
}

TEST(RateLimitsTest, AnIoLargerThanASecondsWorthIsMadeUpForBehindIt) {
  RateLimitsWorld world;
  world.Limit({.rw_bytes = 1 << 20});
  Looper& large = world.Start(0, IoType::kWrite, 1024);  // 4 MiB.
  world.Pass(1 * kNsPerMs);
  EXPECT_EQ(large.ended, 1u);
  world.Pass(3900 * kNsPerMs);
  EXPECT_EQ(large.ended, 1u);
  world.Pass(200 * kNsPerMs);
  EXPECT_EQ(large.ended, 2u);
}

TEST(RateLimitsTest, ALimitOfWritesDoesNotHoldUpReads) {
  RateLimitsWorld world;
  world.Limit({.w_bytes = 1 << 20});
  const Looper& write = world.Start(0, IoType::kWrite, 256);
  const Looper& read = world.Start(0, IoType::kRead);
  world.Pass(100 * kNsPerMs);
  EXPECT_EQ(write.ended, 1u);
  EXPECT_GE(read.ended, 100 * kNsPerMs / kStepNs);  // One each turn.
}

TEST(RateLimitsTest, ReactorsShareAlikeHoweverDeepTheirQueuesAre) {
  RateLimitsWorld world(2);
  world.Limit({.rw_ios = 1000});
  const Looper& alone = world.Start(0);
  for (int i = 0; i < 100; ++i) world.Start(1);
  world.Pass(4 * kNsPerSecond);
  EXPECT_NEAR(static_cast<double>(alone.ended), 2000, 100);
  EXPECT_NEAR(static_cast<double>(world.Ended()), 4000, 80);
}

TEST(RateLimitsTest, WhatOneReactorDoesNotUseTheOtherHas) {
  RateLimitsWorld world(2);
  world.Limit({.rw_ios = 1000});
  Looper& first = world.Start(0);
  world.Start(1);
  world.Pass(1 * kNsPerSecond);
  first.running = false;
  const uint64_t before = world.Ended();
  world.Pass(1 * kNsPerSecond);
  EXPECT_NEAR(static_cast<double>(world.Ended() - before), 1000, 20);
}

TEST(RateLimitsTest, AReactorThatComesLateLosesNothing) {
  RateLimitsWorld world;
  world.Limit({.rw_ios = 1000});
  for (int i = 0; i < 100; ++i) world.Start(0);
  world.Pass(1 * kNsPerSecond);
  const uint64_t before = world.Ended();
  world.Pass(1 * kNsPerSecond, 7 * kNsPerMs);
  EXPECT_NEAR(static_cast<double>(world.Ended() - before), 1000, 20);
}

TEST(RateLimitsTest, AReactorThatIsKeptFromRunningLosesNothingEither) {
  for (const uint64_t pause_ns : {30 * kNsPerMs, 170 * kNsPerMs}) {
    RateLimitsWorld world(2);
    world.Limit({.rw_ios = 1000, .rw_bytes = 100 << 20});
    world.Start(0);
    world.Start(0, IoType::kWrite);
    world.Start(1);
    world.Pass(1 * kNsPerSecond);
    const uint64_t before = world.Ended();
    const uint64_t begin_ns = world.clock().NowNs();
    while (world.clock().NowNs() < begin_ns + 4 * kNsPerSecond) {
      world.clock().Advance(pause_ns);
      world.Pass(kNsPerMs, kStepNs / 10);
    }
    const auto due = static_cast<double>((world.clock().NowNs() - begin_ns) / kNsPerMs);
    EXPECT_NEAR(static_cast<double>(world.Ended() - before), due, due / 50) << pause_ns;
  }
}

TEST(RateLimitsTest, WhoComesLateDoesNotTakeWhatOthersHaveHad) {
  RateLimitsWorld world(2);
  world.Limit({.rw_ios = 1000});
  const Looper& late = world.Start(0);
  const Looper& steady = world.Start(1);
  world.Pass(1 * kNsPerSecond);
  const uint64_t before = world.Ended(), steady_before = steady.ended, late_before = late.ended;
  for (int i = 0; i < 40; ++i) {
    world.Pass(99 * kNsPerMs, kStepNs, /*first=*/1);
    world.Pass(1 * kNsPerMs, kStepNs / 10);
  }
  EXPECT_NEAR(static_cast<double>(world.Ended() - before), 4000, 80);
  EXPECT_GT(steady.ended - steady_before, 3000u);
  EXPECT_GT(late.ended, late_before);
}

TEST(RateLimitsTest, IdleTimeIsNotSavedUp) {
  RateLimitsWorld world;
  world.Limit({.rw_ios = 1000});
  world.Pass(5 * kNsPerSecond);
  for (int i = 0; i < 100; ++i) world.Start(0);
  world.Pass(1 * kNsPerMs);
  EXPECT_LE(world.Ended(), 13u);  // Ten milliseconds of credit, and what is due.
}

TEST(RateLimitsTest, WhoWaitsIsServedInOrder) {
  RateLimitsWorld world;
  world.Limit({.rw_ios = 100});
  std::vector<int> order;
  std::vector<std::unique_ptr<TestIo>> ios;
  for (int i = 0; i < 20; ++i) {
    ios.push_back(std::make_unique<TestIo>(IoType::kRead, i, 1, kBlockBytes));
    ios.back()->then = [&order, i] { order.push_back(i); };
    world.channel().Submit(*ios.back());
  }
  EXPECT_GE(world.channel().in_flight(), 19u);
  world.Pass(300 * kNsPerMs, kNsPerMs);
  ASSERT_EQ(order.size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(RateLimitsTest, ChangesHoldAtOnceForWhoWaits) {
  RateLimitsWorld world;
  world.Limit({.rw_bytes = 1 << 10});
  Looper& slow = world.Start(0, IoType::kWrite, 16);
  world.Pass(10 * kNsPerMs);
  EXPECT_EQ(slow.ended, 1u);  // The next has a minute to wait.
  world.Limit({.rw_bytes = 64 << 20});
  world.Pass(100 * kNsPerMs);
  EXPECT_NEAR(static_cast<double>(slow.ended), 100, 15);
  world.Limit({.rw_bytes = 1 << 10});
  world.Pass(10 * kNsPerMs);
  const uint64_t before = slow.ended;
  world.Limit({});
  world.Pass(10 * kNsPerMs);
  EXPECT_GT(slow.ended, before + 400);
}

TEST(RateLimitsTest, ZeroesAndUnmapsCountAsIosWithoutBytes) {
  RateLimitsWorld world;
  world.Limit({.rw_bytes = 1 << 20});
  TestIo zeroes(IoType::kWriteZeroes, 0, 4096), unmap(IoType::kUnmap, 0, 4096);
  TestIo write(IoType::kWrite, 0, 1, kBlockBytes), flush(IoType::kFlush, 0, 0);
  for (IoRequest* io : {static_cast<IoRequest*>(&zeroes), static_cast<IoRequest*>(&unmap),
                        static_cast<IoRequest*>(&write)}) {
    world.channel().Submit(*io);
  }
  world.Pass(kNsPerMs);
  EXPECT_EQ(zeroes.calls + unmap.calls + write.calls, 3);

  world.Limit({.rw_ios = 1});
  world.channel().Submit(zeroes);
  world.Pass(kNsPerMs);
  world.channel().Submit(unmap);
  world.channel().Submit(flush);
  world.Pass(kNsPerMs);
  EXPECT_EQ(zeroes.calls, 2);
  EXPECT_EQ(unmap.calls, 1) << "it is the second in this second";
  EXPECT_EQ(flush.calls, 1);
  world.Limit({});
  world.Pass(kNsPerMs);
  EXPECT_EQ(unmap.calls, 2);
}

TEST(RateLimitsTest, AnIoInLineCanBeAborted) {
  RateLimitsWorld world;
  world.Limit({.rw_bytes = 1 << 20});
  TestIo first(IoType::kWrite, 0, 256, 1 << 20), huge(IoType::kWrite, 0, 2048, 8 << 20);
  TestIo small(IoType::kWrite, 0, 1, kBlockBytes), abort(IoType::kAbort, 0, 0);
  world.channel().Submit(first);
  world.channel().Submit(huge);
  world.channel().Submit(small);
  world.Pass(kNsPerMs);
  abort.abort_target = &huge;
  world.channel().Submit(abort);
  world.Pass(kNsPerMs);
  EXPECT_EQ(abort.status, IoStatus::kSuccess);
  EXPECT_EQ(huge.calls, 1);
  EXPECT_EQ(huge.status, IoStatus::kAborted);
  EXPECT_EQ(small.calls, 0);
  world.Pass(1100 * kNsPerMs);
  EXPECT_EQ(small.calls, 1) << "it waits for what the huge one has not taken";
}

TEST(RateLimitsTest, AResetAbortsWhoIsInLineAndTheLimitStays) {
  RateLimitsWorld world;
  world.Limit({.rw_ios = 1});
  TestIo first(IoType::kRead, 0, 1, kBlockBytes), second(IoType::kRead, 0, 1, kBlockBytes);
  TestIo third(IoType::kWrite, 0, 1, kBlockBytes), reset(IoType::kReset, 0, 0);
  for (TestIo* io : {&first, &second, &third, &reset}) world.channel().Submit(*io);
  world.Pass(kNsPerMs);
  EXPECT_EQ(first.calls + second.calls + third.calls + reset.calls, 4);
  EXPECT_EQ(second.status, IoStatus::kAborted);
  EXPECT_EQ(third.status, IoStatus::kAborted);
  EXPECT_EQ(reset.status, IoStatus::kSuccess);
  world.channel().Submit(second);
  world.channel().Submit(third);
  world.Pass(kNsPerMs);
  EXPECT_EQ(second.calls + third.calls, 2);
  world.Pass(2100 * kNsPerMs);
  EXPECT_EQ(second.calls + third.calls, 4);
}

TEST(RateLimitsTest, ARemovalTellsWhoIsInLine) {
  RateLimitsWorld world;
  world.Limit({.rw_ios = 1});
  TestIo first(IoType::kRead, 0, 1, kBlockBytes), second(IoType::kRead, 0, 1, kBlockBytes);
  world.channel().Submit(first);
  world.channel().Submit(second);
  Task<Status> removal = world.world.devices.Unregister("disk");
  world.world.Begin(removal);
  world.world.Until([&] { return removal.done(); });
  EXPECT_TRUE(removal.TakeResult().ok());
  world.disk = nullptr;
  EXPECT_EQ(second.calls, 1);
  EXPECT_EQ(second.status, IoStatus::kGone);
}

TEST(RateLimitsTest, LoansAreLimitedTooAndNeverWait) {
  RateLimitsWorld world;
  world.Limit({.rw_ios = 1000});
  world.world.On(0, [&] {
    int lent = 0;
    for (int i = 0; i < 100; ++i) {
      Loan loan{.lba = 0, .blocks = 1};
      if (!world.channel().TryLend(loan)) continue;
      ++lent;
      world.channel().Return(loan);
    }
    EXPECT_GE(lent, 1);
    EXPECT_LE(lent, 13);
  });
  TestIo io(IoType::kRead, 0, 1, kBlockBytes);
  world.channel().Submit(io);
  world.Pass(2 * kNsPerMs);
  EXPECT_EQ(io.calls, 1) << "who was refused a loan has what was set aside for it";
}

TEST(RateLimitsTest, ADeviceThatGoesHasNoLimitsSet) {
  RateLimitsWorld world;
  testing_world::TestUser user;
  Completion<bool> lets_go;
  user.lets_go = &lets_go;
  EXPECT_TRUE(world.disk->Open(user, false).ok());
  Task<Status> removal = world.world.devices.Unregister("disk");
  world.world.Begin(removal);
  world.world.Turns(5);
  const Status refused =
      world.world.Run(world.world.devices.SetRateLimits(*world.disk, {.rw_ios = 1}));
  EXPECT_EQ(ErrnoOf(refused), ENODEV);
  world.world.OnControl([&] { lets_go.Set(true); });
  world.world.Until([&] { return removal.done(); });
  world.disk = nullptr;
}

TEST(RateBucketTest, TakersOnTwoThreadsGetPiecesThatDoNotOverlap) {
  RateBucket bucket(1000);
  constexpr uint64_t kNow = 100 * kNsPerSecond;
  std::vector<uint64_t> begins[2];
  std::thread threads[2];
  for (int t = 0; t < 2; ++t) {
    threads[t] = std::thread([&bucket, &mine = begins[t]] {
      for (int i = 0; i < 10'000; ++i) mine.push_back(bucket.Take(1, kNow));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<uint64_t> all(begins[0]);
  all.insert(all.end(), begins[1].begin(), begins[1].end());
  std::sort(all.begin(), all.end());
  for (size_t i = 1; i < all.size(); ++i) ASSERT_EQ(all[i] - all[i - 1], kNsPerMs);
}

TEST(RateBucketTest, TakesWhatNobodyCouldCount) {
  RateBucket bucket(1);
  EXPECT_GT(bucket.Take(UINT64_MAX, kNsPerSecond), 0u);
  for (int i = 0; i < 100; ++i) EXPECT_GT(bucket.Take(UINT64_MAX, kNsPerSecond), kNsPerSecond);
  for (int i = 0; i < 200; ++i) bucket.GiveBack(UINT64_MAX);
  EXPECT_LE(bucket.Take(1, kNsPerSecond), kNsPerSecond);
}

}  // namespace
}  // namespace pollux
