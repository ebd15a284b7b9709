// Random I/O of one reactor on a file, through the block layer and the reactor's ring:
//
//   pollux_uring_bench FILE read|write BYTES DEPTH SECONDS|Nx [plain|files|all [sleeping]]
//
// "20000x" is a number of I/Os instead of a time, for callgrind. The next word says what is
// registered with the ring: nothing, the file, or (as in polluxd) the file and the buffers; with
// the last one the reactor sleeps as soon as it has nothing to do, so that CPU time is work. Prints
// I/Os per second, and the CPU time of one in ns: of the reactor, and of the whole process, whose
// kernel threads do what the kernel cannot do within the submission.
#include <pthread.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/block/device_registry.h"
#include "core/loop_task.h"
#include "core/uring/reactor_ring.h"
#include "core/uring/worker_cores.h"
#include "drivers/uring/file_disk.h"

namespace pollux {
namespace {

struct Load {
  BlockChannel* channel = nullptr;
  IoType type = IoType::kRead;
  uint32_t bytes = 0;
  uint64_t blocks = 0;  // Of an I/O.
  uint64_t places = 0;  // Where one may begin.
  uint64_t ended = 0;
  size_t running = 0;
  bool stop = false;
  std::minstd_rand random{1};
};

class Io final : public IoRequest {
 public:
  void Start(Load& load, std::byte* buffer) {
    load_ = &load;
    segment_ = {buffer, load.bytes};
    type = load.type;
    blocks = load.blocks;
    data = {&segment_, 1};
    ++load.running;
    Next();
  }
  void OnComplete() override {
    CHECK(status == IoStatus::kSuccess);
    ++load_->ended;
    if (load_->stop) {
      --load_->running;
    } else {
      Next();
    }
  }

 private:
  void Next() {
    lba = load_->random() % load_->places * load_->blocks;
    load_->channel->Submit(*this);
  }

  Load* load_ = nullptr;
  iovec segment_{};
};

class PlainMemory final : public Memory {
 public:
  Result<std::byte*> Allocate(const std::string&, size_t bytes) override {
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(4096, bytes));
    memset(memory, 0, bytes);
    return memory;
  }
  Usage usage() const override { return {}; }
};

double CpuNs(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto ns = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_usec) * 1e3;
  };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

void PinTo(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<size_t>(core), &cores);
  CHECK(pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores) == 0);
}

[[gnu::noinline]] void RunIos(Reactor& reactor, Load& load, std::vector<Io>& ios, std::byte* memory,
                              uint64_t count, uint64_t seconds, bool sleeping) {
  for (size_t i = 0; i < ios.size(); ++i) ios[i].Start(load, memory + i * load.bytes);
  const uint64_t end = reactor.NowNs() + seconds * kNsPerSecond;
  while (load.running > 0) {
    reactor.RunTurn(sleeping);
    load.stop = count != 0 ? load.ended >= count : reactor.NowNs() >= end;
  }
}

int Main(const std::vector<std::string>& words) {
  const std::string how = words.size() > 5 ? words[5] : "all";
  // As polluxd places its reactors, and the kernel's workers.
  const int core = WorkerCores({}).front();
  const std::vector<int> workers = WorkerCores({core});
  PinTo(core);
  const RealClock clock;
  auto reactors = *Reactors::MakeStill({.cores = {0}, .idle_after_ns = 0}, clock);
  Reactor& reactor = (*reactors)[0];
  Loop control({.name = "control"}, clock, *MakeEpollWaiter());
  DeviceRegistry devices(*reactors);
  PlainMemory memory;
  auto ring = *ReactorRing::Make(reactor, {.file_table = how != "plain", .worker_cores = workers});
  auto bounce = *MakeFileDiskBuffers(memory, 1);
  const auto turn = [&] {
    control.RunTurn();
    reactor.RunTurn();
  };
  const auto run = [&](auto task) { return RunByTurns(control, std::move(task), turn); };

  auto made = MakeFileDisk({.name = "disk", .filename = words[0]}, *bounce);
  CHECK(made.ok(), "the file is no disk");
  BlockDevice* disk = *run(devices.Register(*std::move(made)));
  Load load{.channel = disk->channel(0)};
  load.type = words[1] == "write" ? IoType::kWrite : IoType::kRead;
  load.bytes = static_cast<uint32_t>(std::stoul(words[2]));
  load.blocks = load.bytes / disk->geometry().block_bytes;
  load.places = disk->geometry().blocks / load.blocks;
  std::vector<Io> ios(std::stoul(words[3]));
  const size_t bytes = ios.size() * load.bytes;
  std::byte* const buffers = *memory.Allocate("", bytes);
  if (how == "all") CHECK(ring->AddBuffers(buffers, bytes).ok());

  const bool counted = words[4].back() == 'x';
  const uint64_t length = std::stoull(words[4]);
  const uint64_t begin = clock.NowNs();
  const double thread = CpuNs(RUSAGE_THREAD), process = CpuNs(RUSAGE_SELF);
  RunIos(reactor, load, ios, buffers, counted ? length : 0, counted ? 0 : length, words.size() > 6);
  const auto ended = static_cast<double>(load.ended);
  printf("%.0f I/Os/s, reactor %.0f ns, process %.0f ns\n",
         ended * 1e9 / static_cast<double>(clock.NowNs() - begin),
         (CpuNs(RUSAGE_THREAD) - thread) / ended, (CpuNs(RUSAGE_SELF) - process) / ended);
  CHECK(run(devices.Unregister("disk")).ok());
  ring.reset();
  return 0;
}

}  // namespace
}  // namespace pollux

int main(int argc, char** argv) {
  if (argc < 6) {
    fprintf(stderr,
            "usage: %s FILE read|write BYTES DEPTH SECONDS|Nx [plain|files|all [sleeping]]\n",
            argv[0]);
    return 2;
  }
  return pollux::Main({argv + 1, argv + argc});
}
