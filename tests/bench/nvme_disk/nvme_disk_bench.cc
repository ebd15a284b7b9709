// N reads of 4 KiB of an NVMe disk, 128 in flight, against the device model in the same thread:
//
//   pollux_nvme_disk_bench N
//
// To be run under callgrind by instructions_per_io.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/loop_task.h"
#include "core/memory/paged_memory.h"
#include "drivers/nvme/host.h"
#include "drivers/nvme_disk/nvme_controllers.h"
#include "tests/models/nvme_model_device.h"

namespace pollux {
namespace {

constexpr size_t kInFlight = 128;
constexpr uint32_t kBytes = 4096;
constexpr uint64_t kBlocks = 1 << 14;

struct Load {
  BlockChannel* channel = nullptr;
  uint64_t left = 0;
  uint64_t ended = 0;
  uint64_t lba = 0;
};

class Read final : public IoRequest {
 public:
  void Start(Load& load, std::byte* buffer) {
    load_ = &load;
    segment_ = {buffer, kBytes};
    data = {&segment_, 1};
    blocks = 1;
    Next();
  }
  void OnComplete() override {
    CHECK(status == IoStatus::kSuccess);
    ++load_->ended;
    if (load_->left > 0) Next();
  }

 private:
  void Next() {
    --load_->left;
    load_->lba = (load_->lba + 1237) % kBlocks;
    lba = load_->lba;
    load_->channel->Submit(*this);
  }
  Load* load_ = nullptr;
  iovec segment_{};
};

class Starter final : public Message {
 public:
  Starter(Load& load, std::byte* buffers) : load_(load), buffers_(buffers), reads_(kInFlight) {}
  void Run() override {
    for (size_t i = 0; i < kInFlight; ++i) reads_[i].Start(load_, buffers_ + i * kBytes);
  }

 private:
  Load& load_;
  std::byte* const buffers_;
  std::vector<Read> reads_;
};

struct World {
  ManualClock clock;
  RegionRegistry registry;
  PagedMemory memory{registry};
  std::unique_ptr<Reactors> reactors = *Reactors::MakeStill({.cores = {0}}, clock);
  Loop control{{.name = "control"}, clock, *MakeEpollWaiter()};
  DeviceRegistry devices{*reactors};
  std::unique_ptr<ReactorBuffers> buffers = *MakeNvmeDiskBuffers(memory, 1);
  models::NvmeModel* model = nullptr;

  void Turn() {
    control.RunTurn();
    (*reactors)[0].RunTurn();
    if (model != nullptr) model->Step();
    clock.Advance(100 * kNsPerUs);
  }
  template <typename T>
  T Run(Task<T> task) {
    return RunByTurns(control, std::move(task), [this] { Turn(); });
  }
};

// What is counted, with what it calls; the model is not.
[[gnu::noinline]] void Drive(World& world, Load& load, uint64_t count) {
  while (load.ended < count) {
    (*world.reactors)[0].RunTurn();
    world.model->Step();
  }
}

int Main(uint64_t count) {
  World world;
  models::NvmeModelDevice::Options device;
  device.controller.namespaces[0] = {.blocks = kBlocks, .block_bytes = kBytes};
  NvmeEnvironment environment{.control = world.control,
                              .reactors = *world.reactors,
                              .devices = world.devices,
                              .regions = world.registry,
                              .buffers = *world.buffers};
  environment.clock = &world.clock;
  environment.attach_begin = [&](pollux_nvme_host* host, const pollux_nvme_transport_id* id,
                                 const pollux_nvme_attach_options* options,
                                 pollux_nvme_controller** made) {
    auto model = std::make_unique<models::NvmeModelDevice>(device, world.registry);
    world.model = &model->model();
    *made = *host->AttachDevice(std::move(model), *id, *options);
    return 0;
  };
  NvmeControllers controllers(environment, nullptr);
  NvmeAttachment attachment;
  attachment.name = "Nvme0";
  strcpy(attachment.id.traddr, "0000:01:00.0");
  NvmePath* const path = *controllers.Reserve(attachment);
  CHECK(world.Run(path->Connect()).ok() && world.Run(path->subsystem().Publish(*path)).ok());

  Load load{.channel = (*world.devices.Find("Nvme0n1"))->channel(0), .left = count};
  Starter starter(load, *world.memory.Allocate("data", kInFlight * kBytes));
  (*world.reactors)[0].Post(starter);
  Drive(world, load, count);
  printf("%llu reads\n", static_cast<unsigned long long>(load.ended));
  world.Run(controllers.Stop());
  return 0;
}

}  // namespace
}  // namespace pollux

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s N\n", argv[0]);
    return 2;
  }
  return pollux::Main(strtoull(argv[1], nullptr, 10));
}
