#include "tests/unit/drivers/history/disks.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/unique_fd.h"
#include "drivers/memory/memory_disk.h"
#include "drivers/null/null_disk.h"
#include "tests/unit/drivers/history/nvme_under_test.h"
#include "tests/unit/drivers/history/stacks_under_test.h"
#include "tests/unit/drivers/uring/scratch.h"

namespace pollux::history {
namespace {

using testing_world::ScratchFolder;

constexpr uint64_t kBlocks = 1024;
constexpr char kName[] = "disk";

BlockDevice* Register(Stage& stage, Result<std::unique_ptr<BlockDevice>> disk) {
  CHECK(disk.ok());
  return *stage.Run(stage.devices.Register(*std::move(disk)));
}

class MemoryUnderTest final : public DiskUnderTest {
 public:
  MemoryUnderTest(Stage& stage, MemoryDiskOptions options)
      : stage_(stage), options_(std::move(options)) {
    options_.name = kName;
    options_.block_size = 512;
    options_.num_blocks = kBlocks;
  }
  BlockDevice* Plug() override {
    return Register(stage_, MakeMemoryDisk(options_, stage_.regions, stage_.accel));
  }
  Task<Status> Unplug() override { return stage_.devices.Unregister(kName); }

 private:
  Stage& stage_;
  MemoryDiskOptions options_;
};

class NullUnderTest final : public DiskUnderTest {
 public:
  static constexpr uint64_t kNullBlocks = 2048;
  explicit NullUnderTest(Stage& stage) : stage_(stage) {}
  Promises promises() const override { return {.keeps_data = false}; }
  BlockDevice* Plug() override {
    return Register(stage_,
                    MakeNullDisk({.name = kName, .block_size = 512, .num_blocks = kNullBlocks}));
  }
  Task<Status> Unplug() override { return stage_.devices.Unregister(kName); }
  bool can_grow() const override { return true; }
  Task<Status> Grow(uint64_t blocks) override {
    return ResizeNullDisk(stage_.devices, kName, (blocks * 512 + (1 << 20) - 1) >> 20);
  }

 private:
  Stage& stage_;
};

// A file, by io_uring.
class FileUnderTest final : public DiskUnderTest {
 public:
  FileUnderTest(Stage& stage, const char* below, FileDiskOptions options)
      : stage_(stage), folder_(below), options_(std::move(options)) {
    options_.name = kName;
    options_.block_size = 512;
    options_.filename = folder_.MakeFile("disk", kBlocks * 512);
  }
  bool survives() const override { return true; }
  BlockDevice* Plug() override {
    Truncate(kBlocks);
    return Register(stage_, MakeFileDisk(options_, *stage_.file_buffers));
  }
  Task<Status> Unplug() override { return stage_.devices.Unregister(kName); }
  bool can_grow() const override { return true; }
  Task<Status> Grow(uint64_t blocks) override {
    Truncate(blocks);
    return RescanFileDisk(stage_.devices, options_.kind, kName);
  }

 private:
  void Truncate(uint64_t blocks) {
    CHECK(truncate(options_.filename.c_str(), static_cast<off_t>(blocks * 512)) == 0);
  }

  Stage& stage_;
  const ScratchFolder folder_;
  FileDiskOptions options_;
};

std::unique_ptr<DiskUnderTest> InMemory(Stage& stage, MemoryDiskOptions options) {
  return std::make_unique<MemoryUnderTest>(stage, std::move(options));
}

std::unique_ptr<DiskUnderTest> InFile(Stage& stage, const char* below, FileDiskOptions options) {
  if (!stage.MakeRings()) return nullptr;
  return std::make_unique<FileUnderTest>(stage, below, std::move(options));
}

// --- The table's functions.

std::unique_ptr<DiskUnderTest> Plain(Stage& stage) { return InMemory(stage, {}); }
std::unique_ptr<DiskUnderTest> WithBoundary(Stage& stage) {
  return InMemory(stage, {.optimal_io_boundary = 8});
}
std::unique_ptr<DiskUnderTest> ProtectedApart(Stage& stage) {
  return InMemory(stage, {.md_size = 8, .dif_type = 1});
}
std::unique_ptr<DiskUnderTest> ProtectedInterleaved(Stage& stage) {
  return InMemory(stage, {.md_size = 8, .md_interleave = true, .dif_type = 1});
}
std::unique_ptr<DiskUnderTest> Null(Stage& stage) { return std::make_unique<NullUnderTest>(stage); }
std::unique_ptr<DiskUnderTest> AioTmpfs(Stage& stage) { return InFile(stage, "/dev/shm", {}); }
std::unique_ptr<DiskUnderTest> UringTmpfs(Stage& stage) {
  return InFile(stage, "/dev/shm", {.kind = FileDiskOptions::Kind::kUring});
}
// Behind gigabytes that a build has just written, a flush takes longer than a trial waits.
void WriteBack(const char* below) {
  const UniqueFd fd(open(below, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  CHECK(fd.valid() && syncfs(fd.get()) == 0);
}

std::unique_ptr<DiskUnderTest> AioFile(Stage& stage) {
  WriteBack("/tmp");
  return InFile(stage, "/tmp", {.fallocate = true});
}
std::unique_ptr<DiskUnderTest> UringFile(Stage& stage) {
  WriteBack("/tmp");
  return InFile(stage, "/tmp", {.kind = FileDiskOptions::Kind::kUring});
}

}  // namespace

Task<Status> DiskUnderTest::Grow(uint64_t blocks) {
  co_return NotSupported("it keeps its size (%u blocks wanted)", blocks);
}

const std::vector<DiskKind>& DiskKinds() {
  static const std::vector<DiskKind> kinds = {
      {"Memory", Plain, true, 1},
      {"MemoryWithBoundary", WithBoundary, true, 1},
      {"MemoryProtectedApart", ProtectedApart, true, 1},
      {"MemoryProtectedInterleaved", ProtectedInterleaved, true, 1},
      {"Null", Null, true, 1},
      {"AioOnTmpfs", AioTmpfs, true, 5},
      {"UringOnTmpfs", UringTmpfs, true, 5},
      {"AioOnFile", AioFile, true, 50},
      {"UringOnFile", UringFile, true, 50},
      {"Passthru", MakePassthruUnderTest, true, 2},
      {"Delay", MakeDelayUnderTest, true, 5},
      {"Error", MakeErrorUnderTest, true, 2},
      {"Split", MakeSplitUnderTest, true, 2},
      {"Concat", MakeConcatUnderTest, true, 2},
      {"PassthruOverDelayOverFile", MakeTowerUnderTest, true, 5},
      {"Nvme", MakeNvmeUnderTest, false, 5},
  };
  return kinds;
}

}  // namespace pollux::history
