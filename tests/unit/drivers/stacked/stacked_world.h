#pragma once
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "drivers/stacked/passthru_disk.h"
#include "drivers/stacked/stacked_disks.h"
#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux::testing_world {

inline const std::vector<IoType> kEverything = {IoType::kRead,        IoType::kWrite,
                                                IoType::kFlush,       IoType::kUnmap,
                                                IoType::kWriteZeroes, IoType::kCompare};

// A base (or several) whose I/O ends when the test says so, and what is stacked on it.
class StackedTest : public testing::Test {
 protected:
  using Made = Result<std::vector<std::unique_ptr<StackedDisk>>>;
  using MakeOne = std::function<Result<std::unique_ptr<StackedDisk>>(BlockDevice& base)>;

  ~StackedTest() override {
    for (const char* name : {"disk", "other", "third"}) Remove(name);
    world_.Run(stacks_.Drained());
    EXPECT_TRUE(world_.devices.devices().empty());
  }
  // With all I/O of the manual disks ended as it comes.
  void Remove(const std::string& name) {
    if (!world_.devices.Find(name).ok()) return;
    Task<Status> removal = world_.devices.Unregister(name);
    world_.Begin(removal);
    world_.Until([&] {
      EndAll();
      return removal.done();
    });
    EXPECT_TRUE(removal.TakeResult().ok());
  }
  void EndAll() {
    for (BlockDevice* device : world_.devices.devices()) {
      auto* manual = dynamic_cast<ManualDisk*>(device);
      if (manual == nullptr) continue;
      for (size_t i = 0; i < world_.reactors->size(); ++i) {
        if (manual->channel(i) != nullptr) world_.On(i, [&] { manual->at(i).EndAll(); });
      }
    }
  }

  static ManualDisk::Options AnyBase() {
    ManualDisk::Options options;
    options.executes = kEverything;
    options.at_once = true;
    return options;
  }
  ManualDisk& AddBase(ManualDisk::Options options = AnyBase()) {
    auto disk = std::make_unique<ManualDisk>(std::move(options));
    ManualDisk& made = *disk;
    EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(disk))).ok());
    return made;
  }
  Status TryStack(const std::string& name, MakeOne make, const std::string& base = "disk") {
    return world_.Run(stacks_.Create(StackOf(name, std::move(make), base)));
  }
  StackedDisks::Stack StackOf(const std::string& name, MakeOne make,
                              const std::string& base = "disk") {
    return {.name = name,
            .title = "a stack",
            .bases = {base},
            .make = [make](const std::vector<BlockDevice*>& bases) -> Made {
              auto one = make(*bases.front());
              RETURN_IF_ERROR(one.status());
              std::vector<std::unique_ptr<StackedDisk>> disks;
              disks.push_back(*std::move(one));
              return disks;
            },
            .on_base_gone = [this](const Status& why) { gone_.push_back(ErrnoOf(why)); }};
  }
  BlockDevice& Stack(const std::string& name, MakeOne make, const std::string& base = "disk") {
    const Status status = TryStack(name, std::move(make), base);
    EXPECT_TRUE(status.ok()) << status;
    return **world_.devices.Find(name);
  }
  static MakeOne Passthru(const std::string& name = "PT0") {
    return [name](BlockDevice& base) { return MakePassthruDisk({.name = name, .uuid = ""}, base); };
  }
  bool Has(const std::string& name) const { return world_.devices.Find(name).ok(); }

  void Submit(BlockDevice& disk, IoRequest& io, size_t reactor = 0) {
    world_.On(reactor, [&] { disk.channel(reactor)->Submit(io); });
  }
  IoStatus Do(BlockDevice& disk, TestIo& io, size_t reactor = 0) {
    const int before = io.calls;
    Submit(disk, io, reactor);
    world_.Until([&] { return io.calls > before; });
    EXPECT_EQ(io.calls, before + 1);
    return io.status;
  }
  // Stops `io` and says how the abort ended.
  IoStatus Abort(BlockDevice& disk, IoRequest& io) {
    TestIo abort(IoType::kAbort, 0, 0);
    abort.abort_target = &io;
    return Do(disk, abort);
  }

  BlockWorld world_;
  StackedDisks stacks_{world_.devices};
  std::vector<int> gone_;  // What on_base_gone was told.
};

}  // namespace pollux::testing_world
