#include "core/block/io_splitter.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::ManualDisk;
using testing_world::PlainMemory;
using testing_world::TestIo;

class IoSplitterTest : public testing::Test {
 protected:
  ~IoSplitterTest() override {
    if (disk_ != nullptr) Remove();
  }
  void Remove() { EXPECT_TRUE(world_.Run(world_.devices.Unregister("disk")).ok()); }
  ManualDisk::Channel& Make(ManualDisk::Options options) {
    auto disk = std::make_unique<ManualDisk>(std::move(options));
    disk_ = disk.get();
    EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(disk))).ok());
    return disk_->at(0);
  }
  void MakeBuffers(size_t bytes, size_t count) {
    buffers_ = *ReactorBuffers::Make(memory_, "test", 2, {bytes, count});
  }
  // Lets everything end.
  void Finish(ManualDisk::Channel& channel) {
    for (int i = 0; i < 10000 && channel.in_flight() > 0; ++i) {
      channel.EndAll();
      world_.Turn();
    }
    EXPECT_EQ(channel.in_flight(), 0u);
  }

  PlainMemory memory_;
  std::unique_ptr<ReactorBuffers> buffers_;
  BlockWorld world_;
  ManualDisk* disk_ = nullptr;
};

TEST_F(IoSplitterTest, SplitsAtTheLargestIo) {
  auto& channel = Make({.limits = {.io_bytes_max = 4096}});
  TestIo io(IoType::kRead, 5, 20, 20 * 512);
  channel.Submit(io);
  ASSERT_EQ(channel.pending.size(), 3u);
  EXPECT_EQ(channel.in_flight(), 1u);
  uint64_t next = 5;
  for (const IoRequest* part : channel.pending) {
    EXPECT_EQ(part->lba, next);
    next += part->blocks;
    EXPECT_LE(part->blocks, 8u);
  }
  EXPECT_EQ(next, 25u);
  Finish(channel);
  EXPECT_EQ(io.calls, 1);
  EXPECT_EQ(channel.counters().read.operations.load(), 1u);
  EXPECT_EQ(channel.counters().read.bytes.load(), 20u * 512);
}

TEST_F(IoSplitterTest, SplitsAtTheBoundary) {
  auto& channel = Make({.geometry = {.blocks = 1024, .optimal_boundary_blocks = 24}});
  TestIo within(IoType::kRead, 24, 24, 24 * 512), across(IoType::kRead, 47, 2, 1024);
  channel.Submit(within);
  EXPECT_EQ(channel.pending.size(), 1u);
  channel.Submit(across);
  ASSERT_EQ(channel.pending.size(), 3u);
  EXPECT_EQ(channel.pending[1]->lba, 47u);
  EXPECT_EQ(channel.pending[2]->lba, 48u);
  Finish(channel);
}

TEST_F(IoSplitterTest, SplitsUnmapAndWriteZeroesAtLimitsOfTheirOwn) {
  auto& channel = Make({.limits = {.unmap_blocks_max = 10, .write_zeroes_blocks_max = 7},
                        .executes = {IoType::kWrite, IoType::kUnmap, IoType::kWriteZeroes}});
  TestIo unmap(IoType::kUnmap, 0, 21), zeroes(IoType::kWriteZeroes, 0, 21);
  channel.Submit(unmap);
  EXPECT_EQ(channel.pending.size(), 3u);
  channel.Submit(zeroes);
  EXPECT_EQ(channel.pending.size(), 6u);
  Finish(channel);
  EXPECT_EQ(unmap.status, IoStatus::kSuccess);
  EXPECT_EQ(zeroes.status, IoStatus::kSuccess);
}

// Random scatter lists under random limits: the disk ends up with the same bytes as a model.
TEST_F(IoSplitterTest, MovesEveryByteToItsPlaceUnderAnyLimits) {
  std::mt19937_64 random(20240611);
  const auto pick = [&random](uint64_t from, uint64_t to) {
    return from + random() % (to - from + 1);
  };
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    const Limits limits{.io_bytes_max = pick(0, 2) * 4096 + pick(0, 1) * 700,
                        .segments_max = static_cast<uint32_t>(pick(0, 1) * pick(3, 40))};
    auto& channel = Make(
        {.geometry = {.blocks = 256,
                      .optimal_boundary_blocks = static_cast<uint32_t>(pick(0, 1) * pick(1, 50))},
         .limits = limits,
         .at_once = true});
    std::vector<std::byte> model(256 * 512);
    for (int i = 0; i < 20; ++i) {
      const uint64_t blocks = pick(1, 128);
      TestIo io(pick(0, 1) == 0 ? IoType::kRead : IoType::kWrite, pick(0, 256 - blocks), blocks);
      io.buffer.resize(blocks * 512);
      for (std::byte& b : io.buffer) b = static_cast<std::byte>(random());
      for (size_t at = 0; at < io.buffer.size();) {
        const size_t length = std::min<size_t>(io.buffer.size() - at, pick(0, 1) * pick(170, 5000));
        io.segments.push_back({length == 0 ? nullptr : io.buffer.data() + at, length});
        at += length;
      }
      io.data = io.segments;
      channel.Submit(io);
      world_.Until([&] { return io.calls == 1; });
      ASSERT_EQ(io.status, IoStatus::kSuccess);
      std::byte* in_model = model.data() + io.lba * 512;
      if (io.type == IoType::kWrite) memcpy(in_model, io.buffer.data(), io.buffer.size());
      ASSERT_EQ(memcmp(in_model, io.buffer.data(), io.buffer.size()), 0);
    }
    ASSERT_EQ(disk_->memory(), model);
    Remove();
    disk_ = nullptr;
  }
}

TEST_F(IoSplitterTest, ABlockInMoreSegmentsThanAPartCanNameIsInvalid) {
  auto& channel = Make({.limits = {.segments_max = 4}, .at_once = true});
  TestIo io(IoType::kWrite, 0, 2, 1024);
  io.segments.assign(1, {io.buffer.data(), 512});  // The first block is fine.
  for (size_t i = 0; i < 512; ++i) io.segments.push_back({io.buffer.data() + 512 + i, 1});
  io.data = io.segments;
  channel.Submit(io);
  EXPECT_EQ(io.calls, 0);
  world_.Turns(3);
  EXPECT_EQ(io.calls, 1);
  EXPECT_EQ(io.status, IoStatus::kInvalidRequest);
}

TEST_F(IoSplitterTest, ALargeRequestDoesNotKeepASmallOneWaiting) {
  auto& channel = Make({.limits = {.io_bytes_max = 512}});
  TestIo large(IoType::kRead, 0, 1000, 1000 * 512), small(IoType::kRead, 0, 2, 1024);
  channel.Submit(large);
  EXPECT_EQ(channel.pending.size(), IoSplitter::kPartCount);
  channel.Submit(small);
  // One part in turn for each: the small one is done when a handful have come back.
  for (int i = 0; i < 6; ++i) channel.End();
  world_.Turn();
  for (size_t i = IoSplitter::kPartCount; i > 0; --i) channel.End();
  world_.Turns(2);
  EXPECT_EQ(small.calls, 1);
  EXPECT_EQ(large.calls, 0);
  Finish(channel);
  EXPECT_EQ(large.calls, 1);
}

TEST_F(IoSplitterTest, TheFirstFailureStaysAndStopsTheRest) {
  auto& channel = Make({.limits = {.io_bytes_max = 512}});
  TestIo io(IoType::kRead, 0, 100, 100 * 512);
  channel.Submit(io);
  channel.End();
  channel.End(IoStatus::kNoSpace);
  channel.End(IoStatus::kMediumError);
  world_.Turn();
  const size_t submitted = channel.submitted;
  Finish(channel);
  EXPECT_EQ(channel.submitted, submitted);
  EXPECT_EQ(io.status, IoStatus::kNoSpace);
  EXPECT_EQ(io.calls, 1);
}

TEST_F(IoSplitterTest, AbortingStopsPartsAndSendsNoMore) {
  auto& channel = Make({.limits = {.io_bytes_max = 512}, .abortable = true});
  TestIo io(IoType::kRead, 0, 100, 100 * 512), abort(IoType::kAbort, 0, 0);
  channel.Submit(io);
  channel.End();
  abort.abort_target = &io;
  channel.Submit(abort);
  world_.Turns(3);
  EXPECT_EQ(abort.status, IoStatus::kSuccess);
  EXPECT_EQ(io.calls, 1);
  EXPECT_EQ(io.status, IoStatus::kAborted);
  EXPECT_EQ(channel.submitted, IoSplitter::kPartCount);
  EXPECT_EQ(channel.in_flight(), 0u);
}

TEST_F(IoSplitterTest, AbortingOneThatHasNoPartYetEndsIt) {
  auto& channel = Make({.limits = {.io_bytes_max = 512}});
  TestIo first(IoType::kRead, 0, 16, 16 * 512), waiting(IoType::kRead, 0, 2, 1024),
      abort(IoType::kAbort, 0, 0);
  channel.Submit(first);
  channel.Submit(waiting);
  abort.abort_target = &waiting;
  channel.Submit(abort);
  world_.Turn();
  EXPECT_EQ(waiting.status, IoStatus::kAborted);
  EXPECT_EQ(waiting.calls, 1);
  Finish(channel);
  EXPECT_EQ(first.status, IoStatus::kSuccess);
}

TEST_F(IoSplitterTest, WriteZeroesAreWritesWhereThereAreNone) {
  auto& channel = Make({.geometry = {.blocks = 10000}, .at_once = true});
  std::fill(disk_->memory().begin(), disk_->memory().end(), std::byte{0xff});
  TestIo io(IoType::kWriteZeroes, 3, 9000);
  io.fua = true;
  channel.Submit(io);
  world_.Until([&] { return io.calls == 1; });
  EXPECT_EQ(io.status, IoStatus::kSuccess);
  const auto& memory = disk_->memory();
  EXPECT_EQ(std::count(memory.begin(), memory.end(), std::byte{0}), 9000 * 512);
  EXPECT_EQ(memory[3 * 512 - 1], std::byte{0xff});
  EXPECT_EQ(memory[9003 * 512], std::byte{0xff});
}

TEST_F(IoSplitterTest, EmulatedWriteZeroesCarryFua) {
  auto& channel = Make({});
  TestIo io(IoType::kWriteZeroes, 0, 8);
  io.fua = true;
  channel.Submit(io);
  ASSERT_EQ(channel.pending.size(), 1u);
  EXPECT_EQ(channel.pending[0]->type, IoType::kWrite);
  EXPECT_TRUE(channel.pending[0]->fua);
  Finish(channel);
}

class EmulatedCompareTest : public IoSplitterTest {
 protected:
  EmulatedCompareTest() { MakeBuffers(4096, 2); }
  ManualDisk::Channel& MakeWithBuffers(bool at_once) {
    auto& channel = Make({.at_once = at_once, .abortable = true, .buffers = buffers_.get()});
    for (size_t i = 0; i < disk_->memory().size(); ++i) disk_->memory()[i] = std::byte(i * 7 / 3);
    return channel;
  }
  void FillEqual(TestIo& io) {
    memcpy(io.buffer.data(), disk_->memory().data() + io.lba * 512, io.buffer.size());
  }
};

TEST_F(EmulatedCompareTest, FindsEqualEqual) {
  auto& channel = MakeWithBuffers(true);
  TestIo io(IoType::kCompare, 7, 100, 100 * 512);
  FillEqual(io);
  channel.Submit(io);
  world_.Until([&] { return io.calls == 1; });
  EXPECT_EQ(io.status, IoStatus::kSuccess);
}

TEST_F(EmulatedCompareTest, NamesTheFirstDifference) {
  auto& channel = MakeWithBuffers(true);
  for (const size_t place : {0u, 511u, 512u, 4095u, 4096u, 51199u}) {
    TestIo io(IoType::kCompare, 7, 100, 100 * 512);
    FillEqual(io);
    io.buffer[place] ^= std::byte{1};
    io.buffer[51199] ^= std::byte{0x80};
    io.segments = {{io.buffer.data(), 700}, {io.buffer.data() + 700, io.buffer.size() - 700}};
    io.data = io.segments;
    channel.Submit(io);
    world_.Until([&] { return io.calls == 1; });
    EXPECT_EQ(io.status, IoStatus::kMiscompare);
    EXPECT_EQ(io.miscompare_offset, place);
  }
}

TEST_F(EmulatedCompareTest, WaitsForBuffersOfItsReactor) {
  auto& channel = MakeWithBuffers(false);
  TestIo io(IoType::kCompare, 0, 100, 100 * 512);
  FillEqual(io);
  channel.Submit(io);
  EXPECT_EQ(channel.pending.size(), 2u);
  Finish(channel);
  EXPECT_EQ(io.status, IoStatus::kSuccess);
  EXPECT_EQ(buffers_->of(0).available(), 2u);
}

TEST_F(EmulatedCompareTest, AFailedReadIsNoMiscompare) {
  auto& channel = MakeWithBuffers(false);
  TestIo io(IoType::kCompare, 0, 1, 512);
  channel.Submit(io);
  channel.End(IoStatus::kMediumError);
  world_.Turns(2);
  EXPECT_EQ(io.status, IoStatus::kMediumError);
}

TEST_F(EmulatedCompareTest, AbortingLeavesTheLineForBuffers) {
  auto& channel = MakeWithBuffers(false);
  TestIo io(IoType::kCompare, 0, 100, 100 * 512), abort(IoType::kAbort, 0, 0);
  channel.Submit(io);
  abort.abort_target = &io;
  channel.Submit(abort);
  world_.Turns(3);
  EXPECT_EQ(io.calls, 1);
  EXPECT_EQ(io.status, IoStatus::kAborted);
  EXPECT_EQ(buffers_->of(0).available(), 2u);
}

TEST_F(EmulatedCompareTest, WhatHadToWaitForABufferIsAbortedWhereItIsNow) {
  auto& channel = MakeWithBuffers(false);
  TestIo io(IoType::kCompare, 0, 100, 100 * 512), abort(IoType::kAbort, 0, 0);
  FillEqual(io);
  channel.Submit(io);
  channel.End();
  world_.Turns(2);
  ASSERT_EQ(channel.pending.size(), 2u);  // One of which came to its buffer just now.
  abort.abort_target = &io;
  channel.Submit(abort);
  EXPECT_TRUE(channel.pending.empty());
  world_.Turns(3);
  EXPECT_EQ(io.calls, 1);
  EXPECT_EQ(io.status, IoStatus::kAborted);
  EXPECT_EQ(buffers_->of(0).available(), 2u);
}

}  // namespace
}  // namespace pollux
