#include "core/block/stoppable_io.h"

#include <gtest/gtest.h>

#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::ManualDisk;

class StoppableIoTest : public testing::Test {
 protected:
  struct Io final : StoppableIo {
    Io() {
      blocks = 1;
      data = {&piece, 1};
    }
    void OnComplete() override {
      if (Ended()) ++ends;
    }
    void OnStopped() override { ++ends; }
    std::byte block[512] = {};
    iovec piece = {block, sizeof(block)};
    int ends = 0;
  };

  ~StoppableIoTest() override { EXPECT_TRUE(world_.Run(world_.devices.Unregister("disk")).ok()); }
  ManualDisk::Channel& Make(bool abortable) {
    auto disk = std::make_unique<ManualDisk>(ManualDisk::Options{.abortable = abortable});
    ManualDisk& made = *disk;
    EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(disk))).ok());
    return made.at(0);
  }

  BlockWorld world_;
};

TEST_F(StoppableIoTest, EndsByItselfWhenNobodyStopsIt) {
  auto& channel = Make(true);
  Io io;
  channel.Submit(io);
  channel.End();
  world_.Turn();
  EXPECT_EQ(io.ends, 1);
  EXPECT_EQ(io.status, IoStatus::kSuccess);
}

TEST_F(StoppableIoTest, EndsOnceWhenItIsStopped) {
  auto& channel = Make(true);
  Io io;
  channel.Submit(io);
  io.Stop(channel);
  EXPECT_EQ(io.ends, 0);
  world_.Turns(2);
  EXPECT_EQ(io.ends, 1);
  EXPECT_EQ(io.status, IoStatus::kAborted);
  EXPECT_EQ(channel.in_flight(), 0u);
}

TEST_F(StoppableIoTest, EndsByItselfWhereTheDeviceCannotStopIt) {
  auto& channel = Make(false);
  Io io;
  channel.Submit(io);
  io.Stop(channel);
  world_.Turns(2);
  EXPECT_EQ(io.ends, 0);
  EXPECT_EQ(channel.in_flight(), 1u) << "the abort has ended";
  channel.End();
  world_.Turn();
  EXPECT_EQ(io.ends, 1);
  EXPECT_EQ(io.status, IoStatus::kSuccess);
}

TEST_F(StoppableIoTest, EndsOnlyWhenTheAbortHas) {
  auto& channel = Make(false);
  Io io;
  channel.Submit(io);
  channel.End();  // It has ended, and nobody knows yet.
  io.Stop(channel);
  world_.Turns(2);
  EXPECT_EQ(io.ends, 1);
  EXPECT_EQ(channel.in_flight(), 0u);
}

TEST_F(StoppableIoTest, IsStoppedOnceAtATime) {
  auto& channel = Make(false);
  Io io;
  channel.Submit(io);
  io.Stop(channel);
  io.Stop(channel);
  EXPECT_EQ(channel.in_flight(), 2u);
  world_.Turns(2);
  io.Stop(channel);
  EXPECT_EQ(channel.in_flight(), 2u);
  world_.Turns(2);
  channel.End();
  world_.Turn();
  EXPECT_EQ(io.ends, 1);
}

TEST_F(StoppableIoTest, MayBeSubmittedAgain) {
  auto& channel = Make(true);
  Io io;
  for (int i = 1; i <= 3; ++i) {
    channel.Submit(io);
    io.Stop(channel);
    world_.Turns(2);
    EXPECT_EQ(io.ends, i);
  }
}

}  // namespace
}  // namespace pollux
