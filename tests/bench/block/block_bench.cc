// N I/Os of 4 KiB at depth 128 on one reactor, through the block layer:
//
//   pollux_block_bench null|memory|passthru read|write|lend N [limits] [histogram] [timeout]
//   [trace]
//
// passthru is a pass-through disk on the null disk.
//
// The words after N switch on what can be switched on: limits that are never reached, and what is
// watched.
// To be run under callgrind by instructions_per_io, or by hand for time.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/block/device_registry.h"
#include "core/block/latency_histogram.h"
#include "core/loop_task.h"
#include "drivers/memory/memory_disk.h"
#include "drivers/null/null_disk.h"
#include "drivers/stacked/passthru_disk.h"
#include "drivers/stacked/stacked_disks.h"

namespace pollux {
namespace {

constexpr size_t kDepth = 128;
constexpr uint32_t kBlockBytes = 4096;
constexpr uint64_t kBlocks = 4096;

struct Load {
  BlockChannel* channel = nullptr;
  IoType type = IoType::kRead;
  uint64_t left = 0;
  uint64_t ended = 0;
  uint64_t next_lba = 0;

  uint64_t NextLba() { return next_lba = (next_lba + 1237) % kBlocks; }
};

class Io final : public IoRequest {
 public:
  void Start(Load& load, std::byte* buffer) {
    load_ = &load;
    segment_ = {buffer, kBlockBytes};
    type = load.type;
    blocks = 1;
    data = {&segment_, 1};
    Next();
  }
  void OnComplete() override {
    CHECK(status == IoStatus::kSuccess);
    ++load_->ended;
    Next();
  }

 private:
  void Next() {
    if (load_->left == 0) return;
    --load_->left;
    lba = load_->NextLba();
    load_->channel->Submit(*this);
  }

  Load* load_ = nullptr;
  iovec segment_{};
};

[[gnu::noinline]] void RunIos(Reactor& reactor, Load& load, uint64_t count) {
  static std::byte buffers[kDepth][kBlockBytes];
  std::vector<Io> ios(kDepth);
  load.left = count;
  load.ended = 0;
  for (size_t i = 0; i < kDepth; ++i) ios[i].Start(load, buffers[i]);
  while (load.ended < count) reactor.RunTurn();
}

[[gnu::noinline]] void RunLoans(Load& load, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    Loan loan{.lba = load.NextLba(), .blocks = 1};
    CHECK(load.channel->TryLend(loan));
    load.channel->Return(loan);
  }
}

Result<std::unique_ptr<BlockDevice>> MakeDisk(const std::string& kind, RegionRegistry& regions,
                                              Accel& accel) {
  if (kind != "memory") {
    return MakeNullDisk({.name = "disk", .block_size = kBlockBytes, .num_blocks = kBlocks});
  }
  return MakeMemoryDisk({.name = "disk", .block_size = kBlockBytes, .num_blocks = kBlocks}, regions,
                        accel);
}

int Main(const std::string& kind, const std::string& type, uint64_t count,
         const std::set<std::string>& with) {
  const RealClock clock;
  auto reactors = *Reactors::MakeStill({.cores = {0}}, clock);
  Loop control({.name = "control"}, clock, *MakeEpollWaiter());
  RegionRegistry regions;
  Accel accel(*reactors);
  DeviceRegistry devices(*reactors);
  const auto turn = [&] {
    control.RunTurn();
    (*reactors)[0].RunTurn();
  };
  const auto run = [&](auto task) { return RunByTurns(control, std::move(task), turn); };

  BlockDevice* disk = *run(devices.Register(*MakeDisk(kind, regions, accel)));
  StackedDisks stacks(devices);
  if (kind == "passthru") {
    StackedDisks::Stack stack{
        .name = "stacked",
        .title = "a stacked disk",
        .bases = {"disk"},
        .make = [](const std::vector<BlockDevice*>& bases)
            -> Result<std::vector<std::unique_ptr<StackedDisk>>> {
          std::vector<std::unique_ptr<StackedDisk>> disks;
          disks.push_back(*MakePassthruDisk({.name = "stacked", .uuid = ""}, *bases.front()));
          return disks;
        }};
    CHECK(run(stacks.Create(std::move(stack))).ok());
    disk = *devices.Find("stacked");
  }
  if (with.contains("limits")) {
    constexpr uint64_t kFarAway = 1'000'000'000'000;
    CHECK(run(devices.SetRateLimits(*disk, {.rw_ios = kFarAway, .rw_bytes = kFarAway})).ok());
  }
  if (with.contains("histogram")) {
    CHECK(run(EnableLatencyHistogram(devices, "disk", {})).ok());
  }
  if (with.contains("timeout")) {
    CHECK(run(SetIoTimeout(devices, "disk", {.after_ns = 30 * kNsPerSecond})).ok());
  }
  if (with.contains("trace")) run(devices.traces().Keep(1024));
  Load load{.channel = disk->channel(0)};
  load.type = type == "write" ? IoType::kWrite : IoType::kRead;
  const uint64_t begin = clock.NowNs();
  type == "lend" ? RunLoans(load, count) : RunIos((*reactors)[0], load, count);
  const uint64_t ns = clock.NowNs() - begin;
  printf("%s %s: %.1f ns per I/O\n", kind.c_str(), type.c_str(),
         static_cast<double>(ns) / static_cast<double>(count));
  CHECK(run(devices.Unregister("disk")).ok());
  return 0;
}

}  // namespace
}  // namespace pollux

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(
        stderr,
        "usage: %s null|memory|passthru read|write|lend N [limits] [histogram] [timeout] [trace]\n",
        argv[0]);
    return 2;
  }
  return pollux::Main(argv[1], argv[2], strtoull(argv[3], nullptr, 10), {argv + 4, argv + argc});
}
