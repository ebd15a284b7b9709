#include "tests/unit/drivers/history/nvme_under_test.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "core/unique_fd.h"
#include "drivers/nvme/host.h"
#include "drivers/nvme_disk/nvme_controllers.h"
#include "tests/models/nvme_model_device.h"

namespace pollux::history {
namespace {

using models::ModelNamespace;
using models::NvmeModel;
using models::NvmeModelDevice;

constexpr uint64_t kBlocks = 1024, kBlocksMax = 4096;
constexpr char kController[] = "Nvme0", kDisk[] = "Nvme0n1";

class NvmeUnderTest final : public DiskUnderTest {
 public:
  explicit NvmeUnderTest(Stage& stage)
      : stage_(stage),
        buffers_(*MakeNvmeDiskBuffers(stage.memory, Stage::kReactors)),
        file_(memfd_create("namespace", MFD_CLOEXEC)) {
    const NvmeEnvironment environment{
        .control = stage.control,
        .reactors = *stage.reactors,
        .devices = stage.devices,
        .regions = stage.regions,
        .buffers = *buffers_,
        .attach_begin =
            [this](pollux_nvme_host* host, const pollux_nvme_transport_id* id,
                   const pollux_nvme_attach_options* options,
                   pollux_nvme_controller** made) { return AttachBegin(host, id, options, made); },
        .settled = [](const pollux_nvme_controller*) { return true; },
        .clock = &stage.manual_clock};
    controllers_ = std::make_unique<NvmeControllers>(environment, nullptr);
    device_.controller.io_queues_max = 8;
    device_.controller.namespaces = {
        ModelNamespace::Options{.blocks = kBlocksMax, .file = file_.get()}};
    device_.controller.faults.latency_max = 6;
    stage.in_turn = [this] {
      if (!life_.expired()) model_->Step();
    };
  }
  ~NvmeUnderTest() override {
    stage_.Run(controllers_->Stop());
    stage_.in_turn = nullptr;
  }

  Promises promises() const override {
    return {.resets_reach_all = true, .tells_difference = false};
  }
  bool survives() const override { return true; }

  BlockDevice* Plug() override {
    // What is behind the first blocks is lost.
    CHECK(ftruncate(file_.get(), kBlocks * 512) == 0);
    CHECK(ftruncate(file_.get(), kBlocksMax * 512) == 0);
    NvmeAttachment attachment;
    attachment.name = kController;
    attachment.id.trtype = POLLUX_NVME_TRANSPORT_PCIE;
    strcpy(attachment.id.traddr, "0000:01:00.0");
    NvmePath* const path = *controllers_->Reserve(attachment);
    CHECK(stage_.Run(path->Connect()).ok());
    CHECK(stage_.Run(path->subsystem().Publish(*path)).ok());
    return *stage_.devices.Find(kDisk);
  }
  Task<Status> Unplug() override { return controllers_->Remove(kController); }

  bool can_grow() const override { return true; }
  Task<Status> Grow(uint64_t blocks) override {
    model_->ResizeNamespace(1, std::min(blocks, kBlocksMax));
    BlockDevice* const disk = *stage_.devices.Find(kDisk);
    while (disk->geometry().blocks < std::min(blocks, kBlocksMax)) {
      Sleep a_while(kNsPerMs);
      co_await a_while;
    }
    co_return OkStatus();
  }

 private:
  int AttachBegin(pollux_nvme_host* host, const pollux_nvme_transport_id* id,
                  const pollux_nvme_attach_options* options, pollux_nvme_controller** made) {
    ++device_.controller.faults.seed;
    auto device = std::make_unique<NvmeModelDevice>(device_, stage_.regions);
    model_ = &device->model();
    model_->FindNamespace(1)->Resize(kBlocks);
    const auto life = std::make_shared<int>();
    life_ = life;
    model_->edit_data = [life](const nvme::SubmissionEntry&, std::span<std::byte>) {};
    const auto attached = host->AttachDevice(std::move(device), *id, *options);
    if (!attached.ok()) return -ErrnoOf(attached.status());
    *made = *attached;
    return 0;
  }

  Stage& stage_;
  const std::unique_ptr<ReactorBuffers> buffers_;
  const UniqueFd file_;
  NvmeModelDevice::Options device_;
  std::unique_ptr<NvmeControllers> controllers_;
  NvmeModel* model_ = nullptr;
  std::weak_ptr<int> life_;  // The model's.
};

}  // namespace

std::unique_ptr<DiskUnderTest> MakeNvmeUnderTest(Stage& stage) {
  return std::make_unique<NvmeUnderTest>(stage);
}

}  // namespace pollux::history
