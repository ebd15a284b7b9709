#include "core/block/io_trace.h"

#include <gtest/gtest.h>

#include <thread>

#include "core/block/io_traces.h"
#include "tests/unit/block_world.h"
#include "tests/unit/core/block/manual_disk.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::ManualDisk;
using testing_world::TestIo;

// All fields follow from one number, so that a mixture of two shows.
TracedIo Numbered(uint64_t n) {
  return {.number = n,
          .ended_ns = n * 3,
          .latency_ns = n * 5,
          .lba = n * 7,
          .blocks = n * 11,
          .device = static_cast<uint32_t>(n),
          .type = static_cast<IoType>(n % kIoTypeCount),
          .status = static_cast<IoStatus>(n % kIoStatusCount),
          .source = static_cast<IoSource>(n % 4),
          .lent = n % 2 == 1};
}

bool IsWhole(const TracedIo& io) {
  const TracedIo want = Numbered(io.number);
  return io.ended_ns == want.ended_ns && io.latency_ns == want.latency_ns && io.lba == want.lba &&
         io.blocks == want.blocks && io.device == want.device && io.type == want.type &&
         io.status == want.status && io.source == want.source && io.lent == want.lent;
}

TEST(IoTraceTest, KeepsTheLastOnesInOrder) {
  IoTrace trace(5);
  EXPECT_EQ(trace.capacity(), 8u);
  EXPECT_TRUE(trace.Last(100).empty());
  for (uint64_t n = 0; n < 20; ++n) trace.Add(Numbered(n));
  const std::vector<TracedIo> all = trace.Last(100);
  ASSERT_EQ(all.size(), 8u);
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(all[i].number, 12 + i);
    EXPECT_TRUE(IsWhole(all[i]));
  }
  ASSERT_EQ(trace.Last(3).size(), 3u);
  EXPECT_EQ(trace.Last(3)[0].number, 17u);
  EXPECT_TRUE(trace.Last(0).empty());
}

TEST(IoTraceTest, ARingOfOneKeepsOne) {
  IoTrace trace(1);
  for (uint64_t n = 0; n < 3; ++n) trace.Add(Numbered(n));
  ASSERT_EQ(trace.Last(9).size(), 1u);
  EXPECT_EQ(trace.Last(9)[0].number, 2u);
}

TEST(IoTraceTest, AReaderNeverSeesAMixture) {
  IoTrace trace(4);  // Small, so that it is overwritten under the reader's eyes.
  std::atomic<bool> read_enough{false};
  std::thread writer([&] {
    for (uint64_t n = 0; !read_enough.load(); ++n) trace.Add(Numbered(n));
  });
  uint64_t seen = 0;
  uint64_t newest = 0;
  for (int round = 0; round < 20'000 || seen < 1000; ++round) {
    for (const TracedIo& io : trace.Last(4)) {
      ASSERT_TRUE(IsWhole(io)) << io.number;
      newest = std::max(newest, io.number);
      ++seen;
    }
  }
  read_enough = true;
  writer.join();
  EXPECT_GE(newest, 4u);
}

class IoTracesTest : public testing::Test {
 protected:
  ~IoTracesTest() override {
    for (BlockDevice* device : world_.devices.devices()) Unregister(device->name());
  }
  ManualDisk& Make(const std::string& name) {
    auto made = std::make_unique<ManualDisk>(ManualDisk::Options{.name = name, .lends = true});
    ManualDisk& disk = *made;
    EXPECT_TRUE(world_.Run(world_.devices.Register(std::move(made))).ok());
    return disk;
  }
  void Unregister(const std::string& name) {
    EXPECT_TRUE(world_.Run(world_.devices.Unregister(name)).ok());
  }
  void Keep(size_t requests) { world_.Run(traces().Keep(requests)); }
  IoTraces& traces() { return world_.devices.traces(); }
  std::string NameOf(const TracedIo& io) { return traces().NameOf(io.device); }
  void Pass(ManualDisk& disk, size_t reactor, uint64_t lba, IoStatus status = IoStatus::kSuccess) {
    TestIo io(IoType::kWrite, lba, 2, 1024);
    io.source = IoSource::kNvmf;
    disk.at(reactor).Submit(io);
    world_.clock.Advance(1500);
    disk.at(reactor).End(status);
    world_.Turn();
  }

  BlockWorld world_;
};

TEST_F(IoTracesTest, TellsOfEachRequestThatEnded) {
  ManualDisk& disk = Make("disk");
  Keep(16);
  Pass(disk, 1, 40);
  Pass(disk, 1, 41, IoStatus::kMediumError);
  const auto last = traces().Last(10);
  EXPECT_TRUE(last[0].empty());
  ASSERT_EQ(last[1].size(), 2u);
  const TracedIo& io = last[1][0];
  EXPECT_EQ(NameOf(io), "disk");
  EXPECT_EQ(io.type, IoType::kWrite);
  EXPECT_EQ(io.lba, 40u);
  EXPECT_EQ(io.blocks, 2u);
  EXPECT_EQ(io.latency_ns, 1500u);
  EXPECT_EQ(io.ended_ns, world_.clock.NowNs() - 1500);
  EXPECT_EQ(io.source, IoSource::kNvmf);
  EXPECT_FALSE(io.lent);
  EXPECT_EQ(last[1][1].status, IoStatus::kMediumError);
}

TEST_F(IoTracesTest, TellsOfWhatNeverReachedTheDevice) {
  ManualDisk& disk = Make("disk");
  Keep(16);
  TestIo io(IoType::kRead, 5000, 1, 512), strange(static_cast<IoType>(200), 0, 1, 512);
  disk.at(0).Submit(io);
  disk.at(0).Submit(strange);
  world_.Turn();
  ASSERT_EQ(traces().Last(10)[0].size(), 2u);
  EXPECT_EQ(traces().Last(10)[0][0].status, IoStatus::kOutOfRange);
  EXPECT_EQ(traces().Last(10)[0][1].status, IoStatus::kNotSupported);
}

TEST_F(IoTracesTest, TellsOfLoans) {
  ManualDisk& disk = Make("disk");
  Keep(16);
  world_.Turn();
  Loan loan{.write = true, .source = IoSource::kIscsi, .lba = 9, .blocks = 3};
  ASSERT_TRUE(disk.at(0).TryLend(loan));
  world_.clock.Advance(700);
  world_.Turn();
  disk.at(0).Return(loan);
  const auto last = traces().Last(10)[0];
  ASSERT_EQ(last.size(), 1u);
  EXPECT_TRUE(last[0].lent);
  EXPECT_EQ(last[0].type, IoType::kWrite);
  EXPECT_EQ(last[0].lba, 9u);
  EXPECT_EQ(last[0].blocks, 3u);
  EXPECT_EQ(last[0].latency_ns, 700u);
  EXPECT_EQ(last[0].source, IoSource::kIscsi);
}

TEST_F(IoTracesTest, ADeviceThatComesLaterIsTracedToo) {
  Keep(16);
  ManualDisk& disk = Make("late");
  Pass(disk, 0, 1);
  ASSERT_EQ(traces().Last(10)[0].size(), 1u);
  EXPECT_EQ(NameOf(traces().Last(10)[0][0]), "late");
}

TEST_F(IoTracesTest, ADeviceThatIsGoneKeepsItsNameAndDoesNotLendItToTheNext) {
  Keep(16);
  Pass(Make("one"), 0, 1);
  Unregister("one");
  Pass(Make("two"), 0, 2);
  const auto last = traces().Last(10)[0];
  ASSERT_EQ(last.size(), 2u);
  EXPECT_EQ(NameOf(last[0]), "one");
  EXPECT_EQ(NameOf(last[1]), "two");
}

TEST_F(IoTracesTest, NamesOfDevicesThatAreGoneAreForgottenAtLast) {
  for (uint32_t n = 1; n <= IoTraces::kGoneMax + 1; ++n) {
    traces().Named(n, "disk");
    traces().Gone(n);
  }
  EXPECT_EQ(traces().NameOf(1), "");
  EXPECT_EQ(traces().NameOf(2), "disk");
}

TEST_F(IoTracesTest, WhatWasKeptIsForgottenWhenTheSizeChanges) {
  ManualDisk& disk = Make("disk");
  Keep(16);
  Pass(disk, 0, 1);
  Keep(2);
  EXPECT_EQ(traces().capacity(), 2u);
  EXPECT_TRUE(traces().Last(10)[0].empty());
  for (uint64_t lba = 0; lba < 5; ++lba) Pass(disk, 0, lba);
  EXPECT_EQ(traces().Last(10)[0].size(), 2u);
  Keep(0);
  EXPECT_EQ(traces().capacity(), 0u);
  Pass(disk, 0, 1);
  EXPECT_TRUE(traces().Last(10)[0].empty());
  EXPECT_FALSE(disk.at(0).watch().on());
}

}  // namespace
}  // namespace pollux
