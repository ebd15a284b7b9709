// N reads or writes of 4 KiB at depth 128 through an I/O queue of the NVMe-oF target, onto a memory
// disk; the transport is none:
//
//   pollux_nvmf_bench read|write|fua N
//
// To be run under callgrind by instructions_per_io, or by hand for time. What is counted begins
// with Queue::Start and ends with the completion; the disk's block layer is within. Writes with FUA
// go through a buffer, where the disk is made to have a volatile cache: the way of disks that do
// not lend.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/memory/region_registry.h"
#include "core/spec/nvmf_spec.h"
#include "drivers/memory/memory_disk.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {
namespace {

constexpr size_t kDepth = 128;
constexpr uint32_t kBytes = 4096;
constexpr uint64_t kBlocks = 4096;
constexpr char kNqn[] = "nqn.2024-01.test:subsystem";

struct Load {
  Queue* queue = nullptr;
  uint64_t left = 0, ended = 0;
  uint64_t next_lba = 0;
};

class HostCommand final : public Command {
 public:
  void OnDataWanted(uint32_t, std::span<const iovec>) override { DataArrived(); }
  void OnDataReady(uint32_t, std::span<const iovec>, const nvme::CompletionEntry*) override {
    ready = true;
  }
  void OnCompletion(const nvme::CompletionEntry& completion) override {
    CHECK(completion.status == 0);
    ended = true;
  }
  void OnDataUnwanted() override {}
  void TellSent() {
    ready = false;
    ended = true;
    DataSent();
  }

  Load* load = nullptr;
  bool ready = false, ended = true;
};

class Carrier final : public Queue::Carrier {
 public:
  void OnEndWanted(const char* reason, bool) override { CHECK(false, reason); }
  void OnQueueEnded() override { ended = true; }
  std::string peer_address() const override { return {}; }
  std::string peer_port() const override { return {}; }
  bool ended = false;
};

class Control final : public ControlSide {
 public:
  Task<ConnectVerdict> Admit(ConnectQuery query) override {
    auto identity = std::make_shared<ControllerIdentity>();
    identity->subnqn = query.subnqn;
    identity->hostnqn = query.hostnqn;
    ConnectVerdict verdict;
    verdict.identity = std::move(identity);
    co_return verdict;
  }
  Task<void> Leave(std::shared_ptr<const ControllerIdentity>, uint16_t) override { co_return; }
  std::string DiscoveryLog(const ControllerIdentity&) override { return {}; }
  Task<Totals> CountOf(std::shared_ptr<const ControllerIdentity>) override { co_return Totals{}; }
  Task<bool> Abort(std::shared_ptr<const ControllerIdentity>, uint16_t, uint16_t) override {
    co_return false;
  }
  Task<uint16_t> ProtectNamespace(std::string, uint32_t, nvme::WriteProtection) override {
    co_return 0;
  }
  Task<void> EndIoQueues(std::shared_ptr<const ControllerIdentity>) override { co_return; }
  size_t IoQueuesOf(const ControllerIdentity&) override { return 0; }
  std::vector<uint16_t> ControllersOf(const std::string&, uint32_t) override { return {}; }
};

// The measured part: what the transport does here is next to nothing.
[[gnu::noinline]] void RunCommands(Reactor& reactor, Load& load, std::vector<HostCommand>& commands,
                                   uint64_t count) {
  load.left = count;
  load.ended = 0;
  while (load.ended < count) {
    for (HostCommand& command : commands) {
      if (!command.ended || load.left == 0) continue;
      --load.left;
      command.ended = false;
      load.next_lba = (load.next_lba + 1237) % kBlocks;
      command.entry.cdw10 = static_cast<uint32_t>(load.next_lba);
      load.queue->Start(command);
    }
    reactor.RunTurn();
    for (HostCommand& command : commands) {
      if (command.ready) command.TellSent();
      if (command.ended) ++load.ended;
    }
  }
}

int Main(const std::string& type, uint64_t count) {
  const RealClock clock;
  auto reactors = *Reactors::MakeStill({.cores = {0}}, clock);
  Reactor& reactor = (*reactors)[0];
  Loop control({.name = "control"}, clock, *MakeEpollWaiter());
  RegionRegistry regions;
  Accel accel(*reactors);
  DeviceRegistry devices(*reactors);
  struct Step final : Message {
    explicit Step(const std::function<void()>& s) : step(s) {}
    void Run() override { step(); }
    const std::function<void()>& step;
  };
  const auto turns = [&](auto until) {
    while (!until()) {
      control.RunTurn();
      reactor.RunTurn();
    }
  };
  const auto on = [&](Loop& loop, const std::function<void()>& step) {
    bool done = false;
    const std::function<void()> marked = [&] { step(), done = true; };
    Step message(marked);
    loop.Post(message);
    turns([&] { return done; });
  };
  const auto run = [&](auto task) {
    on(control, [&] { task.Start(); });
    turns([&] { return task.done(); });
    return task.TakeResult();
  };

  MemoryDiskOptions options;
  options.name = "disk";
  options.block_size = kBytes;
  options.num_blocks = kBlocks;
  BlockDevice* const disk = *run(devices.Register(*MakeMemoryDisk(options, regions, accel)));

  std::vector<std::byte> small_memory(kDepth * Worker::kSmallBufferBytes);
  BufferPool small(small_memory.data(), Worker::kSmallBufferBytes, kDepth);
  BufferPool large(nullptr, Worker::kLargeBufferBytes, 0);
  Control control_side;
  Worker worker({.reactor = reactor,
                 .control = control,
                 .control_side = control_side,
                 .small_buffers = small,
                 .large_buffers = large});
  CommandCounters counters;
  Carrier carrier;
  std::unique_ptr<Queue> queue;
  std::vector<HostCommand> commands(kDepth);
  on(reactor, [&] {
    auto subsystem = std::make_shared<SubsystemFacts>();
    subsystem->nqn = kNqn;
    worker.AddView(std::move(subsystem));
    auto facts = std::make_shared<NamespaceFacts>();
    facts->nsid = 1;
    facts->geometry = disk->geometry();
    facts->volatile_cache = type == "fua";
    SubsystemView* const view = worker.FindView(kNqn);
    ListenerView listener;
    listener.id = 1;
    view->SetListener(listener);
    view->Attach(disk->channel(0), std::move(facts), counters);
    queue = std::make_unique<Queue>(worker, carrier, 1, Queue::Limits{.io_depth_max = kDepth});

    // The data of Connect is where the upcall wants it, as far as OnDataWanted cares.
    nvme::ConnectData data{};
    data.hostid[0] = 1;
    std::strncpy(data.subnqn, kNqn, sizeof(data.subnqn));
    std::strncpy(data.hostnqn, "nqn.2024-01.test:host", sizeof(data.hostnqn));
    std::memcpy(small_memory.data(), &data, sizeof(data));
    auto& connect = reinterpret_cast<nvme::ConnectCommand&>(commands[0].entry);
    connect.opcode = nvme::admin::kFabrics;
    connect.fctype = nvme::fctype::kConnect;
    connect.qid = 1;
    connect.sqsize = kDepth - 1;
    commands[0].data_bytes = sizeof(data);
    commands[0].ended = false;
    queue->Start(commands[0]);
  });
  turns([&] { return commands[0].ended; });
  CHECK(queue->state() == Queue::State::kIo);

  Load load{.queue = queue.get()};
  for (size_t i = 0; i < kDepth; ++i) {
    nvme::SubmissionEntry& entry = commands[i].entry;
    entry = {};
    entry.opc = type == "read" ? nvme::io::kRead : nvme::io::kWrite;
    entry.cid = static_cast<uint16_t>(i);
    entry.nsid = 1;
    entry.cdw12 = type == "fua" ? 1u << 30 : 0;
    commands[i].data_bytes = kBytes;
  }
  const uint64_t begin = clock.NowNs();
  RunCommands(reactor, load, commands, count);
  const uint64_t ns = clock.NowNs() - begin;
  printf("%s: %.1f ns per I/O\n", type.c_str(),
         static_cast<double>(ns) / static_cast<double>(count));

  on(reactor, [&] { queue->Close(); });
  turns([&] { return carrier.ended; });
  queue.reset();
  Task<void> detach = worker.FindView(kNqn)->Detach(1);
  on(reactor, [&] { detach.Start(); });
  turns([&] { return detach.done(); });
  worker.RemoveView(kNqn);
  CHECK(run(devices.Unregister("disk")).ok());
  return 0;
}

}  // namespace
}  // namespace pollux::nvmf

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s read|write|fua N\n", argv[0]);
    return 2;
  }
  return pollux::nvmf::Main(argv[1], strtoull(argv[2], nullptr, 10));
}
