#include "tests/unit/drivers/history/stacks_under_test.h"

#include <unistd.h>

#include "drivers/memory/memory_disk.h"
#include "drivers/stacked/concat_disk.h"
#include "drivers/stacked/delay_disk.h"
#include "drivers/stacked/error_disk.h"
#include "drivers/stacked/passthru_disk.h"
#include "drivers/stacked/split_disk.h"
#include "drivers/stacked/stacked_disks.h"
#include "tests/unit/drivers/uring/scratch.h"

namespace pollux::history {
namespace {

using Disks = Result<std::vector<std::unique_ptr<StackedDisk>>>;
using Bases = std::vector<BlockDevice*>;
using Make = std::function<Disks(const Bases&)>;

constexpr uint64_t kBlocks = 1024;

// What is on its own bases, layer by layer.
class StackUnderTest : public DiskUnderTest {
 public:
  explicit StackUnderTest(Stage& stage) : stage_(stage), stacks_(stage.devices) {}
  ~StackUnderTest() override { stage_.Run(stacks_.Drained()); }

  BlockDevice* Plug() override {
    PlugBases();
    for (const StackedDisks::Stack& layer : layers_) {
      const Status status = stage_.Run(stacks_.Create(layer));
      CHECK(status.ok());
    }
    return *stage_.devices.Find(top_);
  }
  Task<Status> Unplug() override {
    const bool base_first = ++unplugged_ % 2 == 0;
    for (size_t i = layers_.size(); i > 0 && !base_first; --i) {
      CO_RETURN_IF_ERROR(co_await stacks_.Delete(layers_[i - 1].name));
    }
    for (const std::string& base : bases_) {
      CO_RETURN_IF_ERROR(co_await stage_.devices.Unregister(base));
    }
    co_await stacks_.Drained();
    co_return OkStatus();
  }

 protected:
  virtual void PlugBases() {
    for (const std::string& base : bases_) {
      auto disk = MakeMemoryDisk({.name = base, .block_size = 512, .num_blocks = kBlocks},
                                 stage_.regions, stage_.accel);
      CHECK(disk.ok() && stage_.Run(stage_.devices.Register(*std::move(disk))).ok());
    }
  }
  // Of the disks of the layer, the one named `top` is what comes above it.
  void AddLayer(std::vector<std::string> bases, std::string top, Make make) {
    top_ = std::move(top);
    layers_.push_back(
        {.name = top_, .title = "a layer", .bases = std::move(bases), .make = std::move(make)});
  }
  void AddLayer(const std::string& base, std::string top,
                std::function<Result<std::unique_ptr<StackedDisk>>(BlockDevice&)> make) {
    AddLayer({base}, std::move(top), [make = std::move(make)](const Bases& bases) -> Disks {
      ASSIGN_OR_RETURN(std::unique_ptr<StackedDisk> disk, make(*bases.front()));
      std::vector<std::unique_ptr<StackedDisk>> disks;
      disks.push_back(std::move(disk));
      return disks;
    });
  }
  void AddPassthru(const std::string& base) {
    AddLayer(base, "passthru", [](BlockDevice& below) {
      return MakePassthruDisk({.name = "passthru", .uuid = ""}, below);
    });
  }
  void AddDelay(const std::string& base) {
    AddLayer(base, "delay", [](BlockDevice& below) {
      return MakeDelayDisk({.name = "delay",
                            .uuid = "",
                            .latencies = {.avg_read_latency = 30,
                                          .p99_read_latency = 500,
                                          .avg_write_latency = 50,
                                          .p99_write_latency = 700}},
                           below);
    });
  }

  Stage& stage_;
  StackedDisks stacks_;
  std::vector<std::string> bases_ = {"base"};

 private:
  std::vector<StackedDisks::Stack> layers_;
  std::string top_;
  uint64_t unplugged_ = 0;
};

class PassthruUnderTest final : public StackUnderTest {
 public:
  explicit PassthruUnderTest(Stage& stage) : StackUnderTest(stage) { AddPassthru("base"); }
};

class DelayUnderTest final : public StackUnderTest {
 public:
  explicit DelayUnderTest(Stage& stage) : StackUnderTest(stage) { AddDelay("base"); }
};

class ErrorUnderTest final : public StackUnderTest {
 public:
  explicit ErrorUnderTest(Stage& stage) : StackUnderTest(stage) {
    AddLayer("base", ErrorDiskName("base"),
             [](BlockDevice& below) { return MakeErrorDisk("", below); });
  }
  Promises promises() const override { return {.fails_at_times = true}; }
  // What hangs goes on before the next thing happens, or no I/O would be left to begin.
  Task<Status> Trouble(Random& random) override {
    using Kind = ErrorInjection::Kind;
    constexpr Kind kKinds[] = {Kind::kFailure, Kind::kPending, Kind::kNomem};
    ErrorInjection injection;
    injection.kind = kKinds[Below(random, std::size(kKinds))];
    injection.num = 1 + static_cast<uint32_t>(Below(random, 40));
    CO_RETURN_IF_ERROR(co_await InjectErrors(stage_.devices, ErrorDiskName("base"), injection));
    Sleep a_while(kNsPerMs);
    co_await a_while;
    co_return co_await ResumePending(stage_.devices, ErrorDiskName("base"));
  }
};

class SplitUnderTest final : public StackUnderTest {
 public:
  explicit SplitUnderTest(Stage& stage) : StackUnderTest(stage) {
    AddLayer({"base"}, "basep1", [](const Bases& bases) {
      return MakeSplitDisks({.split_count = 2, .split_size_mb = 0}, *bases.front());
    });
  }
};

class ConcatUnderTest final : public StackUnderTest {
 public:
  explicit ConcatUnderTest(Stage& stage) : StackUnderTest(stage) {
    bases_ = {"base", "other"};
    AddLayer(bases_, "concat", [](const Bases& bases) -> Disks {
      const ConcatOptions options{.name = "concat", .uuid = "", .strip_size_kb = 64};
      ASSIGN_OR_RETURN(std::unique_ptr<StackedDisk> disk, MakeConcatDisk(options, bases));
      std::vector<std::unique_ptr<StackedDisk>> disks;
      disks.push_back(std::move(disk));
      return disks;
    });
  }
  // Where the two meet, is where most I/O goes.
  uint64_t crowded_from() const override { return kBlocks - 48; }
};

class TowerUnderTest final : public StackUnderTest {
 public:
  explicit TowerUnderTest(Stage& stage)
      : StackUnderTest(stage), file_(folder_.MakeFile("disk", kBlocks * 512)) {
    AddDelay("base");
    AddPassthru("delay");
  }
  bool survives() const override { return true; }
  bool can_grow() const override { return true; }
  Task<Status> Grow(uint64_t blocks) override {
    Truncate(blocks);
    CO_RETURN_IF_ERROR(
        co_await RescanFileDisk(stage_.devices, FileDiskOptions::Kind::kUring, "base"));
    co_await stacks_.Drained();
    co_return OkStatus();
  }

 private:
  void PlugBases() override {
    Truncate(kBlocks);
    auto disk = MakeFileDisk({.kind = FileDiskOptions::Kind::kUring,
                              .name = "base",
                              .filename = file_,
                              .block_size = 512},
                             *stage_.file_buffers);
    CHECK(disk.ok() && stage_.Run(stage_.devices.Register(*std::move(disk))).ok());
  }
  void Truncate(uint64_t blocks) {
    CHECK(truncate(file_.c_str(), static_cast<off_t>(blocks * 512)) == 0);
  }

  const testing_world::ScratchFolder folder_{"/dev/shm"};
  const std::string file_;
};

}  // namespace

std::unique_ptr<DiskUnderTest> MakePassthruUnderTest(Stage& stage) {
  return std::make_unique<PassthruUnderTest>(stage);
}
std::unique_ptr<DiskUnderTest> MakeDelayUnderTest(Stage& stage) {
  return std::make_unique<DelayUnderTest>(stage);
}
std::unique_ptr<DiskUnderTest> MakeErrorUnderTest(Stage& stage) {
  return std::make_unique<ErrorUnderTest>(stage);
}
std::unique_ptr<DiskUnderTest> MakeSplitUnderTest(Stage& stage) {
  return std::make_unique<SplitUnderTest>(stage);
}
std::unique_ptr<DiskUnderTest> MakeConcatUnderTest(Stage& stage) {
  return std::make_unique<ConcatUnderTest>(stage);
}
std::unique_ptr<DiskUnderTest> MakeTowerUnderTest(Stage& stage) {
  if (!stage.MakeRings()) return nullptr;
  return std::make_unique<TowerUnderTest>(stage);
}

}  // namespace pollux::history
