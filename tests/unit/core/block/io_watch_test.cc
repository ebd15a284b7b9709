#include "core/block/io_watch.h"

#include <gtest/gtest.h>

#include "core/block/latency_histogram.h"
#include "core/loop_task.h"
#include "core/run_on.h"
#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::ManualDisk;

// Reads one block, or borrows it, again and again until it is told to end.
class EndlessIo final : public IoRequest {
 public:
  EndlessIo(BlockChannel& channel, std::atomic<bool>& ending, std::atomic<int>& running)
      : channel_(channel), ending_(ending), running_(running) {
    blocks = 1;
    data = {&segment_, 1};
  }
  void Begin() { channel_.Submit(*this); }
  void OnComplete() override {
    ++done;
    lba = done % 1024;
    Loan loan{.lba = lba, .blocks = 1};
    if (done % 16 == 0 && channel_.TryLend(loan)) channel_.Return(loan);
    if (ending_.load()) {
      --running_;
    } else {
      channel_.Submit(*this);
    }
  }
  uint64_t done = 0;

 private:
  BlockChannel& channel_;
  std::atomic<bool>& ending_;
  std::atomic<int>& running_;
  std::byte block_[512];
  iovec segment_{block_, sizeof(block_)};
};

// Under TSan: everything is switched on and off and read while two reactors do I/O.
TEST(IoWatchThreadsTest, IsSwitchedAndReadWhileIoRuns) {
  constexpr size_t kReactors = 2;
  constexpr int kRounds = 60;
  const RealClock clock;
  auto reactors = *Reactors::Start({.cores = {0, 0}}, clock);
  Loop control({.name = "control"}, clock, *MakeEpollWaiter());
  DeviceRegistry devices(*reactors);
  std::atomic<bool> ending{false};
  std::atomic<int> running{static_cast<int>(kReactors)};
  uint64_t counted = 0, traced = 0;

  auto body = [&]() -> Task<void> {
    ManualDisk::Options options;
    options.at_once = true;
    options.lends = true;
    auto made = std::make_unique<ManualDisk>(options);
    ManualDisk& disk = *made;
    const Result<BlockDevice*> registered = co_await devices.Register(std::move(made));
    CHECK(registered.ok());
    std::vector<std::unique_ptr<EndlessIo>> ios;
    for (size_t i = 0; i < kReactors; ++i) {
      ios.push_back(std::make_unique<EndlessIo>(disk.at(i), ending, running));
      auto begin = [io = ios[i].get()] { io->Begin(); };
      co_await RunOn((*reactors)[i], begin);
    }
    for (int round = 0; round < kRounds; ++round) {
      LatencyHistogramOptions histogram;
      histogram.granularity = 1 + static_cast<uint32_t>(round) % 7;
      const Status enabled = co_await EnableLatencyHistogram(devices, "disk", histogram);
      CHECK(enabled.ok());
      co_await devices.traces().Keep(size_t{1} << (round % 6));
      IoTimeout timeout;
      timeout.after_ns = kNsPerSecond * static_cast<uint64_t>(100 + round);
      const Status timed = co_await SetIoTimeout(devices, "disk", timeout);
      CHECK(timed.ok());
      co_await Sleep(kNsPerMs);

      const Result<LatencyHistogram> kept = LatencyHistogramOf(disk);
      CHECK(kept.ok());
      counted += kept->count();
      for (const auto& ios_of_reactor : devices.traces().Last(64)) {
        for (const TracedIo& io : ios_of_reactor) {
          CHECK(io.lba < 1024 && io.blocks == 1 && io.device == disk.number());
          CHECK(io.type == IoType::kRead && io.status == IoStatus::kSuccess);
          ++traced;
        }
      }
      if (round % 3 == 0) {
        const Status disabled = co_await DisableLatencyHistogram(devices, "disk");
        CHECK(disabled.ok());
      }
      if (round % 4 == 0) co_await devices.traces().Keep(0);
    }
    ending = true;
    while (running.load() > 0) co_await Sleep(kNsPerMs);
    const Status removed = co_await devices.Unregister("disk");
    CHECK(removed.ok());
  };
  RunOnLoop(control, body());
  EXPECT_GT(counted, 0u);
  EXPECT_GT(traced, 0u);
}

}  // namespace
}  // namespace pollux
