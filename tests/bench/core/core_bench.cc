// What the loops' own machinery costs: a message, a step on another reactor and back, a timer.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "core/histogram.h"
#include "core/loop.h"
#include "core/mailbox.h"
#include "core/run_on.h"

namespace pollux {
namespace {

struct NoMessage final : Message {
  void Run() override {}
};

struct NoTimer final : Timer {
  void OnTimer() override {}
};

std::unique_ptr<Waiter> NewWaiter() { return *MakeEpollWaiter(); }

void MailboxPushAndPop(benchmark::State& state) {
  Mailbox box(Loop::kMailboxCapacity);
  NoMessage message;
  for (auto _ : state) {
    benchmark::DoNotOptimize(box.TryPush(&message));
    benchmark::DoNotOptimize(box.TryPop());
  }
}
BENCHMARK(MailboxPushAndPop);

// A turn with nothing to do: what a reactor repeats while it polls.
void EmptyTurn(benchmark::State& state) {
  RealClock clock;
  Loop loop({.name = "loop", .idle_after_ns = Loop::kNever}, clock, NewWaiter());
  for (auto _ : state) benchmark::DoNotOptimize(loop.RunTurn());
}
BENCHMARK(EmptyTurn);

// Posting a batch and running it, per message.
void PostAndRun(benchmark::State& state) {
  RealClock clock;
  Loop loop({.name = "loop", .idle_after_ns = Loop::kNever}, clock, NewWaiter());
  std::vector<NoMessage> messages(64);
  for (auto _ : state) {
    for (auto& message : messages) loop.Post(message);
    loop.RunTurn();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(messages.size()));
}
BENCHMARK(PostAndRun);

// co_await RunOn: there and back between two threads. Argument: how long they spin before they
// block, in microseconds; 0 is the price of two wake-ups.
void RunOnRoundTrip(benchmark::State& state) {
  RealClock clock;
  const auto idle_after = static_cast<uint64_t>(state.range(0)) * kNsPerUs;
  Loop home({.name = "home", .idle_after_ns = idle_after}, clock, NewWaiter());
  Loop reactor({.name = "reactor", .idle_after_ns = idle_after}, clock, NewWaiter());
  reactor.StartThread();
  auto go = [&]() -> Task<void> {
    auto step = [] { return 1; };
    for (auto _ : state) benchmark::DoNotOptimize(co_await RunOn(reactor, step));
    home.Stop();
  };
  Task<void> task = go();
  struct Start final : Message {
    void Run() override { task->Start(); }
    Task<void>* task;
  } start;
  start.task = &task;
  home.Post(start);
  home.Run();
  reactor.StopThread();
}
BENCHMARK(RunOnRoundTrip)->Arg(0)->Arg(200)->UseRealTime();

// Arming and cancelling one of many, as each I/O does with its timeout.
void TimerArmAndCancel(benchmark::State& state) {
  TimerQueue queue;
  std::vector<NoTimer> others(static_cast<size_t>(state.range(0)));
  for (size_t i = 0; i < others.size(); ++i) queue.Arm(others[i], 1'000'000 + i * 7919 % 65'536);
  NoTimer timer;
  uint64_t deadline = 1'000'000;
  for (auto _ : state) {
    queue.Arm(timer, ++deadline);
    queue.Cancel(timer);
  }
  for (auto& other : others) queue.Cancel(other);
}
BENCHMARK(TimerArmAndCancel)->Arg(0)->Arg(128)->Arg(4096);

void HistogramAdd(benchmark::State& state) {
  Histogram histogram;
  uint64_t value = 1;
  for (auto _ : state) {
    histogram.Add(value);
    value = value * 6364136223846793005 + 1442695040888963407;
  }
}
BENCHMARK(HistogramAdd);

}  // namespace
}  // namespace pollux

BENCHMARK_MAIN();
