#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/memory/paged_memory.h"
#include "core/memory/region_registry.h"
#include "drivers/nvme/host.h"
#include "drivers/nvme_disk/nvme_controllers.h"
#include "tests/models/nvme_model_device.h"
#include "tests/unit/block_world.h"

namespace pollux {

using models::NvmeModel;
using models::NvmeModelDevice;
using testing_world::BlockWorld;
using testing_world::TestIo;

// Two reactors and a control loop that stand still, and a model of a controller that does
// something only when the test lets time go on.
class NvmeDiskWorld : public testing::Test, public NvmeControllers::Observer {
 protected:
  static constexpr size_t kDataBytes = 1 << 20;

  NvmeDiskWorld() : buffers_(*MakeNvmeDiskBuffers(memory_, 2)) {
    data_ = *memory_.Allocate("data", kDataBytes);
    const NvmeEnvironment environment{
        .control = world_.control,
        .reactors = *world_.reactors,
        .devices = world_.devices,
        .regions = registry_,
        .buffers = *buffers_,
        .attach_begin =
            [this](pollux_nvme_host* host, const pollux_nvme_transport_id* id,
                   const pollux_nvme_attach_options* options,
                   pollux_nvme_controller** made) { return AttachBegin(host, id, options, made); },
        .settled = [this](const pollux_nvme_controller*) { return settled_; },
        .clock = &world_.clock};
    controllers_ = std::make_unique<NvmeControllers>(environment, this);
    device_.controller.io_queues_max = 8;
    attachment_.name = "Nvme0";
    attachment_.id.trtype = POLLUX_NVME_TRANSPORT_PCIE;
    strcpy(attachment_.id.traddr, "0000:01:00.0");
  }
  ~NvmeDiskWorld() override { Run(controllers_->Stop()); }

  // --- Words.

  void Turn() {
    world_.Turn();
    for (const Living& one : models_) {
      if (!one.life.expired()) one.model->Step();
    }
    world_.clock.Advance(100 * kNsPerUs);
  }
  void Turns(int count) {
    for (int i = 0; i < count; ++i) Turn();
  }
  void Until(const std::function<bool()>& so) {
    for (int i = 0; i < 500000; ++i) {
      if (so()) return;
      Turn();
    }
    FAIL() << "it never came to be";
  }
  template <typename T>
  T Run(Task<T> task) {
    world_.Begin(task);
    Until([&task] { return task.done(); });
    CHECK(task.done());
    return task.TakeResult();
  }

  Status TryAttach() {
    Result<NvmePath*> reserved = controllers_->Reserve(attachment_);
    if (!reserved.ok()) return reserved.status();
    path_ = *reserved;
    Status status = Run(path_->Connect());
    if (status.ok()) status = Run(path_->subsystem().Publish(*path_));
    if (!status.ok()) {
      EXPECT_TRUE(Run(controllers_->RemovePath(path_)).ok());
      path_ = nullptr;
      model_ = nullptr;
    }
    return status;
  }
  void Attach() {
    const Status status = TryAttach();
    ASSERT_TRUE(status.ok()) << status;
  }
  Status Detach() {
    const Status status = Run(controllers_->Remove(attachment_.name));
    model_ = nullptr;
    return status;
  }
  BlockDevice* Disk(const std::string& name = "Nvme0n1") {
    const Result<BlockDevice*> disk = world_.devices.Find(name);
    return disk.ok() ? *disk : nullptr;
  }
  bool HasDisk(const std::string& name) { return Disk(name) != nullptr; }

  void Submit(TestIo& io, size_t reactor = 0, const std::string& disk = "Nvme0n1") {
    BlockChannel* channel = Disk(disk)->channel(reactor);
    world_.On(reactor, [&] { channel->Submit(io); });
  }
  IoStatus Do(TestIo& io, size_t reactor = 0) {
    const int before = io.calls;
    Submit(io, reactor);
    Until([&] { return io.calls > before; });
    EXPECT_EQ(io.calls, before + 1);
    return io.status;
  }
  IoStatus Do(TestIo&& io, size_t reactor = 0) { return Do(io, reactor); }
  // In memory that the device reaches.
  IoStatus DoDirect(IoType type, uint64_t lba, uint64_t blocks, int fill = 0) {
    TestIo io(type, lba, blocks);
    if (type != IoType::kRead) memset(data_, fill, blocks * 512);
    io.segments = {{data_, blocks * 512}};
    io.data = io.segments;
    return Do(io);
  }
  // Submits `count` reads of a block, which stay where they are.
  void SubmitReads(std::vector<std::unique_ptr<TestIo>>& ios, size_t count, size_t reactor = 0) {
    for (size_t i = 0; i < count; ++i) {
      ios.push_back(std::make_unique<TestIo>(IoType::kRead, i, 1));
      ios.back()->segments = {{data_ + 512 * (i % 1024), 512}};
      ios.back()->data = ios.back()->segments;
      Submit(*ios.back(), reactor);
    }
  }
  static size_t Ended(const std::vector<std::unique_ptr<TestIo>>& ios) {
    size_t ended = 0;
    for (const auto& io : ios) ended += static_cast<size_t>(io->calls);
    return ended;
  }

  void OnPathGone(const NvmeAttachment& attachment, const Status&) override {
    gone_.push_back(attachment.name);
    model_ = nullptr;
  }

  RegionRegistry registry_;
  PagedMemory memory_{registry_};
  BlockWorld world_{2};
  std::unique_ptr<ReactorBuffers> buffers_;
  std::byte* data_ = nullptr;
  NvmeModelDevice::Options device_;
  NvmeAttachment attachment_;
  std::unique_ptr<NvmeControllers> controllers_;
  NvmePath* path_ = nullptr;
  NvmeModel* model_ = nullptr;
  std::vector<std::string> gone_;
  bool settled_ = true;  // What was lost with a path is executed no more.
  // As the models'.
  std::vector<std::byte> ana_log_;
  std::function<void(const nvme::SubmissionEntry& sqe, std::span<std::byte> data)> edit_data_;

 private:
  // A device goes with its controller, within a turn.
  struct Living {
    NvmeModel* model;
    std::weak_ptr<int> life;
  };
  std::vector<Living> models_;

  int AttachBegin(pollux_nvme_host* host, const pollux_nvme_transport_id* id,
                  const pollux_nvme_attach_options* options, pollux_nvme_controller** made) {
    auto device = std::make_unique<NvmeModelDevice>(device_, registry_);
    model_ = &device->model();
    const auto life = std::make_shared<int>();
    models_.push_back({model_, life});
    model_->ana_log = ana_log_;
    model_->edit_data = [life, edit = edit_data_](const auto& sqe, auto data) {
      if (edit) edit(sqe, data);
    };
    const auto attached = host->AttachDevice(std::move(device), *id, *options);
    if (!attached.ok()) return -ErrnoOf(attached.status());
    *made = *attached;
    return 0;
  }
};

}  // namespace pollux
