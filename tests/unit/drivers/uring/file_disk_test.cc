#include "drivers/uring/file_disk.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "core/loop_task.h"
#include "core/uring/reactor_ring.h"
#include "drivers/uring/file_channel.h"
#include "tests/unit/block_world.h"
#include "tests/unit/drivers/uring/scratch.h"

namespace pollux {
namespace {

using testing_world::BlockWorld;
using testing_world::LoopDevice;
using testing_world::PlainMemory;
using testing_world::ScratchFolder;
using testing_world::TestIo;
using testing_world::TestUser;

constexpr uint64_t kMib = 1 << 20;

class FileDiskTest : public testing::Test {
 protected:
  FileDiskTest() {
    for (size_t i = 0; i < 2; ++i) {
      world_.On(i, [&] {
        auto ring = ReactorRing::Make((*world_.reactors)[i], {});
        if (ring.ok()) rings_[i] = *std::move(ring);
      });
    }
    buffers_ = *MakeFileDiskBuffers(memory_, 2);
  }
  void SetUp() override {
    if (rings_[0] == nullptr) GTEST_SKIP() << "no io_uring here";
  }
  ~FileDiskTest() override {
    for (BlockDevice* device : world_.devices.devices()) {
      EXPECT_TRUE(world_.Run(world_.devices.Unregister(device->name())).ok());
    }
    for (size_t i = 0; i < 2; ++i) {
      world_.On(i, [&] { rings_[i].reset(); });
    }
  }

  FileDiskOptions Options(const std::string& filename) {
    return {.name = "Aio0", .filename = filename, .block_size = 512};
  }
  BlockDevice* Make(FileDiskOptions options) {
    auto disk = MakeFileDisk(std::move(options), *buffers_);
    EXPECT_TRUE(disk.ok()) << disk.status();
    return *world_.Run(world_.devices.Register(*std::move(disk)));
  }
  BlockDevice* MakeOn(const ScratchFolder& folder, uint64_t bytes = kMib) {
    return Make(Options(folder.MakeFile("disk", bytes)));
  }
  Status RefusalOf(FileDiskOptions options) {
    return MakeFileDisk(std::move(options), *buffers_).status();
  }
  IoStatus Do(BlockDevice* disk, TestIo& io, size_t reactor = 0) {
    const int before = io.calls;
    world_.On(reactor, [&] {
      disk->channel(reactor)->Submit(io);
      EXPECT_EQ(io.calls, before);
    });
    world_.Until([&] { return io.calls > before; });
    return io.status;
  }
  IoStatus Do(BlockDevice* disk, TestIo&& io) { return Do(disk, io); }

  static uint64_t AllocatedBytes(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(stat(path.c_str(), &info), 0);
    return static_cast<uint64_t>(info.st_blocks) * 512;
  }

  ScratchFolder folder_{"/tmp"};
  ScratchFolder shm_{"/dev/shm"};
  PlainMemory memory_;
  BlockWorld world_{2};
  std::unique_ptr<ReactorRing> rings_[2];
  std::unique_ptr<ReactorBuffers> buffers_;
};

TEST_F(FileDiskTest, WhatIsWrittenIsInTheFile) {
  BlockDevice* disk = MakeOn(folder_);
  EXPECT_EQ(disk->product_name(), "AIO disk");
  EXPECT_EQ(disk->geometry().blocks, 2048u);
  EXPECT_TRUE(disk->volatile_cache());
  TestIo write(IoType::kWrite, 3, 2, 1024, 0x5a), read(IoType::kRead, 3, 2, 1024);
  EXPECT_EQ(Do(disk, write, 0), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read, 1), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer, write.buffer);
  const UniqueFd fd(open(folder_.path("disk").c_str(), O_RDONLY));
  char seen[1024];
  ASSERT_EQ(pread(fd.get(), seen, 1024, 3 * 512), 1024);
  EXPECT_EQ(memcmp(seen, write.buffer.data(), 1024), 0);
}

// Any addresses and lengths: whatever direct I/O cannot take goes through buffers.
TEST_F(FileDiskTest, TakesAnyScatterListOnAnyFileSystem) {
  std::mt19937_64 random(7);
  const auto pick = [&](uint64_t from, uint64_t to) { return from + random() % (to - from + 1); };
  for (const ScratchFolder* folder : {&folder_, &shm_}) {
    BlockDevice* disk = MakeOn(*folder, 512 * 1024);
    std::vector<std::byte> model(512 * 1024);
    for (int round = 0; round < 60; ++round) {
      const uint64_t blocks = pick(1, 400);
      TestIo io(pick(0, 1) == 0 ? IoType::kRead : IoType::kWrite, pick(0, 1024 - blocks), blocks);
      const size_t skew = pick(0, 1) * pick(0, 511);
      io.buffer.resize(blocks * 512 + skew);
      for (std::byte& b : io.buffer) b = static_cast<std::byte>(random());
      for (size_t at = skew; at < io.buffer.size();) {
        const size_t length = std::min(io.buffer.size() - at, pick(0, 1) * 512 + pick(50, 90000));
        io.segments.push_back({io.buffer.data() + at, length});
        at += length;
      }
      io.data = io.segments;
      io.fua = io.type == IoType::kWrite && pick(0, 7) == 0;
      ASSERT_EQ(Do(disk, io, round % 2 == 0 ? 0u : 1u), IoStatus::kSuccess);
      std::byte* in_model = model.data() + io.lba * 512;
      if (io.type == IoType::kWrite) memcpy(in_model, io.buffer.data() + skew, blocks * 512);
      ASSERT_EQ(memcmp(in_model, io.buffer.data() + skew, blocks * 512), 0) << round;
    }
    ASSERT_TRUE(world_.Run(world_.devices.Unregister("Aio0")).ok());
  }
  EXPECT_EQ(buffers_->of(0).available(), buffers_->of(0).count());
}

TEST_F(FileDiskTest, MoreBouncedIoThanBuffersWaitsItsTurn) {
  BlockDevice* disk = MakeOn(folder_);
  std::vector<std::unique_ptr<TestIo>> ios;
  int done = 0;
  for (size_t i = 0; i < 100; ++i) {
    ios.push_back(std::make_unique<TestIo>(IoType::kWrite, i, 1, 513, static_cast<int>(i)));
    ios.back()->segments = {{ios.back()->buffer.data() + 1, 512}};
    ios.back()->data = ios.back()->segments;
    ios.back()->then = [&] { ++done; };
  }
  world_.On(0, [&] {
    for (auto& io : ios) disk->channel(0)->Submit(*io);
  });
  world_.Until([&] { return done == 100; });
  TestIo read(IoType::kRead, 0, 100, 51200);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(read.buffer[i * 512 + 511], std::byte(i));
}

TEST_F(FileDiskTest, MoreIoThanTheRingHoldsWaitsItsTurn) {
  BlockDevice* disk = MakeOn(shm_);
  std::vector<std::unique_ptr<TestIo>> ios;
  int done = 0;
  for (size_t i = 0; i < 5000; ++i) {
    ios.push_back(std::make_unique<TestIo>(IoType::kRead, i % 2048, 1, 512, 1));
    ios.back()->then = [&] { ++done; };
  }
  world_.On(0, [&] {
    for (auto& io : ios) disk->channel(0)->Submit(*io);
  });
  world_.Until([&] { return done == 5000; });
  for (auto& io : ios) ASSERT_EQ(io->status, IoStatus::kSuccess);
}

TEST_F(FileDiskTest, AFileCutShortUnderUsIsAMediumError) {
  for (const ScratchFolder* folder : {&folder_, &shm_}) {
    BlockDevice* disk = MakeOn(*folder);
    ASSERT_EQ(truncate(folder->path("disk").c_str(), 512 * 1024 + 100), 0);
    TestIo whole(IoType::kRead, 0, 1, 512), across(IoType::kRead, 1000, 100, 51200),
        behind(IoType::kRead, 2000, 1, 512), skewed(IoType::kRead, 1020, 20, 10241);
    EXPECT_EQ(Do(disk, whole), IoStatus::kSuccess);
    EXPECT_EQ(Do(disk, across), IoStatus::kMediumError);
    EXPECT_EQ(Do(disk, behind), IoStatus::kMediumError);
    skewed.segments = {{skewed.buffer.data() + 1, 10240}};
    skewed.data = skewed.segments;
    EXPECT_EQ(Do(disk, skewed), IoStatus::kMediumError);
    ASSERT_EQ(truncate(folder->path("disk").c_str(), kMib), 0);  // Somebody mends it.
    for (TestIo* io : {&across, &behind, &skewed}) EXPECT_EQ(Do(disk, *io), IoStatus::kSuccess);
    ASSERT_TRUE(world_.Run(world_.devices.Unregister("Aio0")).ok());
  }
}

TEST_F(FileDiskTest, AReadOnlyDiskReads) {
  FileDiskOptions options = Options(folder_.MakeFile("disk", kMib));
  ASSERT_EQ(chmod(options.filename.c_str(), 0400), 0);
  options.readonly = true;
  BlockDevice* disk = Make(options);
  EXPECT_TRUE(disk->read_only());
  EXPECT_EQ(Do(disk, TestIo(IoType::kRead, 0, 1, 512)), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, TestIo(IoType::kWrite, 0, 1, 512)), IoStatus::kWriteProtected);
}

TEST_F(FileDiskTest, UnmapMakesHolesThatReadAsZeroes) {
  for (const ScratchFolder* folder : {&folder_, &shm_}) {
    FileDiskOptions options = Options(folder->MakeFile("disk", kMib));
    options.fallocate = true;
    BlockDevice* disk = Make(options);
    ASSERT_TRUE(disk->Supports(IoType::kUnmap));
    EXPECT_TRUE(disk->limits().unmapped_reads_zero);
    for (const IoType type : {IoType::kUnmap, IoType::kWriteZeroes}) {
      TestIo write(IoType::kWrite, 0, 2048, kMib, 1), zero(type, 8, 2032),
          read(IoType::kRead, 0, 2048, kMib, 7);
      zero.fua = true;
      EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
      EXPECT_GE(AllocatedBytes(options.filename), kMib);
      EXPECT_EQ(Do(disk, zero), IoStatus::kSuccess);
      EXPECT_EQ(Do(disk, read, 1), IoStatus::kSuccess);
      EXPECT_EQ(std::count(read.buffer.begin(), read.buffer.end(), std::byte{0}), 2032 * 512);
      if (type == IoType::kUnmap) {
        EXPECT_LT(AllocatedBytes(options.filename), 64u << 10);
      }
    }
    ASSERT_TRUE(world_.Run(world_.devices.Unregister("Aio0")).ok());
  }
}

TEST_F(FileDiskTest, WithoutFallocateZeroesAreWritten) {
  BlockDevice* disk = MakeOn(folder_);
  EXPECT_FALSE(disk->Supports(IoType::kUnmap));
  TestIo write(IoType::kWrite, 0, 2048, kMib, 1), zero(IoType::kWriteZeroes, 1, 2046),
      read(IoType::kRead, 0, 2048, kMib, 7);
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, zero), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(std::count(read.buffer.begin(), read.buffer.end(), std::byte{0}), 2046 * 512);
  EXPECT_EQ(Do(disk, TestIo(IoType::kUnmap, 0, 1)), IoStatus::kNotSupported);
}

TEST_F(FileDiskTest, ComparesAndWrites) {
  BlockDevice* disk = MakeOn(folder_);
  TestIo write(IoType::kWrite, 0, 300, 300 * 512, 3),
      compare(IoType::kCompare, 0, 300, 300 * 512, 3);
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, compare), IoStatus::kSuccess);
  compare.buffer[100001] = std::byte{4};
  EXPECT_EQ(Do(disk, compare), IoStatus::kMiscompare);
  EXPECT_EQ(compare.miscompare_offset, 100001u);

  TestIo caw(IoType::kCompareAndWrite, 1, 1, 512, 9), read(IoType::kRead, 0, 3, 1536);
  std::vector<std::byte> threes(512, std::byte{3});
  const iovec expected{threes.data(), 512};
  caw.compare_data = {&expected, 1};
  EXPECT_EQ(Do(disk, caw, 1), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, caw, 0), IoStatus::kMiscompare);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(std::count(read.buffer.begin(), read.buffer.end(), std::byte{9}), 512);
}

TEST_F(FileDiskTest, ManyFlushesAtOnceAllEnd) {
  BlockDevice* disk = MakeOn(folder_);
  std::vector<std::unique_ptr<TestIo>> flushes;
  int done = 0;
  world_.On(0, [&] {
    for (int i = 0; i < 50; ++i) {
      flushes.push_back(std::make_unique<TestIo>(IoType::kFlush, 0, 0));
      flushes.back()->then = [&] { ++done; };
      disk->channel(0)->Submit(*flushes.back());
    }
  });
  world_.Until([&] { return done == 50; });
  for (auto& flush : flushes) EXPECT_EQ(flush->status, IoStatus::kSuccess);
}

TEST_F(FileDiskTest, AnAbortStopsWhatStillWaitsForABuffer) {
  BlockDevice* disk = MakeOn(folder_);
  std::vector<std::unique_ptr<TestIo>> ios;
  TestIo abort(IoType::kAbort, 0, 0);
  world_.On(0, [&] {
    for (size_t i = 0; i <= buffers_->of(0).count(); ++i) {
      ios.push_back(std::make_unique<TestIo>(IoType::kWrite, i, 1, 513));
      ios.back()->segments = {{ios.back()->buffer.data() + 1, 512}};
      ios.back()->data = ios.back()->segments;
      disk->channel(0)->Submit(*ios.back());
    }
    abort.abort_target = ios.back().get();
    disk->channel(0)->Submit(abort);
  });
  world_.Until([&] { return abort.calls == 1; });
  EXPECT_EQ(abort.status, IoStatus::kSuccess);
  EXPECT_EQ(ios.back()->status, IoStatus::kAborted);
  world_.Until([&] { return disk->channel(0)->in_flight() == 0; });
}

TEST_F(FileDiskTest, AFullFileSystemIsNoSpace) {
  ScratchFolder small{"/tmp"};
  if (!small.MountSmall("1m")) GTEST_SKIP() << "may not mount";
  FileDiskOptions options = Options(small.MakeFile("disk", 8 * kMib));
  options.fallocate = true;
  BlockDevice* disk = Make(options);
  TestIo large(IoType::kWrite, 0, 4096, 2 * kMib, 1), again(IoType::kWrite, 8192, 8, 4096, 1);
  EXPECT_EQ(Do(disk, large), IoStatus::kNoSpace);
  EXPECT_EQ(Do(disk, again), IoStatus::kNoSpace);
  EXPECT_EQ(Do(disk, TestIo(IoType::kUnmap, 0, 4096)), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, again), IoStatus::kSuccess);  // There is room again.
}

class FileDiskOnLoopTest : public FileDiskTest {
 protected:
  void SetUp() override {
    FileDiskTest::SetUp();
    if (!small_.MountSmall("1m")) GTEST_SKIP() << "may not mount";
  }
  // A block device that runs full below.
  bool MakeLoop(uint32_t block_bytes = 512) {
    loop_ = std::make_unique<LoopDevice>(small_.MakeFile("backing", 8 * kMib), block_bytes);
    return loop_->ok();
  }

  ScratchFolder small_{"/tmp"};
  std::unique_ptr<LoopDevice> loop_;
};

#define MAKE_LOOP_OR_SKIP(...) \
  if (!MakeLoop(__VA_ARGS__)) GTEST_SKIP() << "no loop devices here"

TEST_F(FileDiskOnLoopTest, ABlockDeviceSaysWhatItsBlocksAre) {
  MAKE_LOOP_OR_SKIP(4096);
  FileDiskOptions options = Options(loop_->path());
  const Status smaller = RefusalOf(options);
  EXPECT_EQ(DetailOf(smaller).field, "block_size");
  options.block_size = 0;
  BlockDevice* disk = Make(options);
  EXPECT_EQ(disk->geometry().block_bytes, 4096u);
  EXPECT_EQ(disk->geometry().blocks, 2048u);
  TestIo write(IoType::kWrite, 7, 1, 4096, 5), read(IoType::kRead, 7, 1, 4096);
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, read, 1), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer, write.buffer);
  EXPECT_EQ(Do(disk, TestIo(IoType::kFlush, 0, 0)), IoStatus::kSuccess);

  FileDiskOptions second = options;
  second.name = "Aio1";
  EXPECT_EQ(ErrnoOf(RefusalOf(second)), EBUSY);  // One disk, one owner.
  ASSERT_TRUE(world_.Run(world_.devices.Unregister("Aio0")).ok());
}

TEST_F(FileDiskOnLoopTest, ABlockDeviceUnmapsAndZeroes) {
  MAKE_LOOP_OR_SKIP();
  FileDiskOptions options = Options(loop_->path());
  options.kind = FileDiskOptions::Kind::kUring;
  BlockDevice* disk = Make(options);
  EXPECT_EQ(disk->product_name(), "URING bdev");
  for (const IoType type : {IoType::kUnmap, IoType::kWriteZeroes}) {
    TestIo write(IoType::kWrite, 0, 64, 32768, 5), zero(type, 8, 48),
        read(IoType::kRead, 0, 64, 32768, 1);
    EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
    EXPECT_EQ(Do(disk, zero), IoStatus::kSuccess);
    EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
    EXPECT_EQ(std::count(read.buffer.begin(), read.buffer.end(), std::byte{0}), 48 * 512);
  }
  ASSERT_TRUE(world_.Run(world_.devices.Unregister("Aio0")).ok());
}

TEST_F(FileDiskOnLoopTest, ABlockDevicesCacheIsReportedAsItIs) {
  MAKE_LOOP_OR_SKIP();
  for (const bool is_volatile : {false, true}) {
    ASSERT_TRUE(loop_->SetQueue("write_cache", is_volatile ? "write back" : "write through"));
    EXPECT_EQ(Make(Options(loop_->path()))->volatile_cache(), is_volatile);
    ASSERT_TRUE(world_.Run(world_.devices.Unregister("Aio0")).ok());
  }
}

TEST_F(FileDiskOnLoopTest, TheRingDiscards) {
  MAKE_LOOP_OR_SKIP();
  if (!ReactorRing::CanDiscard(loop_->fd())) GTEST_SKIP() << "not before Linux 6.12";
  const std::vector<char> data(64 << 10, 'x');
  ASSERT_EQ(pwrite(loop_->fd(), data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  ASSERT_EQ(fdatasync(loop_->fd()), 0);
  const uint64_t before = AllocatedBytes(small_.path("backing"));
  struct Discard final : RingOperation {
    void OnRingDone(int32_t r, uint32_t) override { result = r; }
    int result = 1;
  } discard;
  world_.On(0, [&] { ASSERT_TRUE(rings_[0]->Discard(discard, loop_->fd(), 4096, 32 << 10)); });
  world_.Until([&] { return discard.result != 1; });
  EXPECT_EQ(discard.result, 0);
  EXPECT_EQ(AllocatedBytes(small_.path("backing")), before - (32 << 10));
}

TEST_F(FileDiskOnLoopTest, AMediumThatCannotBeReadIsAMediumError) {
  MAKE_LOOP_OR_SKIP();
  BlockDevice* disk = Make(Options(loop_->path()));
  ASSERT_EQ(truncate(small_.path("backing").c_str(), kMib), 0);  // EIO behind it.
  EXPECT_EQ(Do(disk, TestIo(IoType::kRead, 0, 8, 4096)), IoStatus::kSuccess);
  EXPECT_EQ(Do(disk, TestIo(IoType::kRead, 8192, 8, 4096)), IoStatus::kMediumError);
  ASSERT_TRUE(world_.Run(world_.devices.Unregister("Aio0")).ok());
}

TEST_F(FileDiskOnLoopTest, AFailedFlushFailsEveryLaterOneUntilTheDiskIsReopened) {
  MAKE_LOOP_OR_SKIP();
  BlockDevice* disk = Make(Options(loop_->path()));
  TestIo flush(IoType::kFlush, 0, 0), fua(IoType::kWriteZeroes, 0, 8);
  EXPECT_EQ(Do(disk, flush), IoStatus::kSuccess);

  // More than the file system below has room for, in the page cache: it is lost at the next sync.
  const std::vector<char> data(2 * kMib, 'x');
  ASSERT_EQ(pwrite(loop_->fd(), data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  EXPECT_NE(Do(disk, flush, 0), IoStatus::kSuccess);
  ASSERT_EQ(truncate(small_.path("backing").c_str(), 0),
            0);  // Room again: for the kernel all is well.
  ASSERT_EQ(truncate(small_.path("backing").c_str(), 8 * kMib), 0);
  for (const size_t reactor : {0u, 1u, 0u, 1u}) {
    EXPECT_NE(Do(disk, flush, reactor), IoStatus::kSuccess) << reactor;
  }
  TestIo read(IoType::kRead, 0, 8, 4096);
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);  // The disk is otherwise usable.

  ASSERT_TRUE(world_.Run(world_.devices.Unregister("Aio0")).ok());
  disk = Make(Options(loop_->path()));
  EXPECT_EQ(Do(disk, flush), IoStatus::kSuccess);
  ASSERT_TRUE(world_.Run(world_.devices.Unregister("Aio0")).ok());
}

TEST_F(FileDiskTest, OneFileIsOneDisk) {
  const std::string filename = folder_.MakeFile("disk", kMib);
  Make(Options(filename));
  FileDiskOptions second = Options(filename);
  second.name = "Aio1";
  const Status busy = RefusalOf(second);
  EXPECT_EQ(ErrnoOf(busy), EBUSY);
  EXPECT_EQ(DetailOf(busy).field, "filename");
  ASSERT_TRUE(world_.Run(world_.devices.Unregister("Aio0")).ok());
  Make(second);
}

TEST_F(FileDiskTest, RescanFindsTheNewSize) {
  BlockDevice* disk = MakeOn(folder_);
  const auto rescan = [this] {
    return world_.Run(RescanFileDisk(world_.devices, FileDiskOptions::Kind::kAio, "Aio0"));
  };
  TestUser user;
  ASSERT_TRUE(disk->Open(user, true).ok());
  ASSERT_EQ(truncate(folder_.path("disk").c_str(), 2 * kMib), 0);
  EXPECT_TRUE(rescan().ok());
  EXPECT_EQ(disk->geometry().blocks, 4096u);
  EXPECT_EQ(user.resized_to, 4096u);
  EXPECT_EQ(Do(disk, TestIo(IoType::kWrite, 4095, 1, 512)), IoStatus::kSuccess);

  ASSERT_EQ(truncate(folder_.path("disk").c_str(), kMib), 0);
  EXPECT_EQ(ErrnoOf(rescan()), EBUSY);  // It is used.
  disk->Close(user);
  EXPECT_TRUE(rescan().ok());
  EXPECT_EQ(disk->geometry().blocks, 2048u);
  ASSERT_EQ(truncate(folder_.path("disk").c_str(), 0), 0);
  EXPECT_EQ(ErrnoOf(rescan()), EINVAL);
  EXPECT_EQ(
      ErrnoOf(world_.Run(RescanFileDisk(world_.devices, FileDiskOptions::Kind::kUring, "Aio0"))),
      ENODEV);
}

TEST_F(FileDiskTest, TakesTheFilesOwnBlockSize) {
  FileDiskOptions options = Options(folder_.MakeFile("disk", kMib));
  options.block_size = 0;
  EXPECT_LE(Make(options)->geometry().block_bytes, 4096u);
}

TEST_F(FileDiskTest, ShowsWhatIsItsOwn) {
  FileDiskOptions options = Options(folder_.MakeFile("a \"b\"\\\n", kMib));
  options.nowait = true;
  std::string shown = folder_.path("a \\\"b\\\"\\\\\\u000a");
  EXPECT_EQ(Make(options)->DriverSpecificJson(),
            "{\"aio\":{\"filename\":\"" + shown +
                "\",\"block_size_override\":true,\"readonly\":false,\"fallocate\":false,\"nowait\":"
                "true}}");
  options.kind = FileDiskOptions::Kind::kUring;
  options.filename = folder_.MakeFile("other", kMib);
  options.name = "Uring0";
  EXPECT_EQ(Make(options)->DriverSpecificJson(),
            "{\"uring\":{\"filename\":\"" + options.filename + "\"}}");
}

TEST_F(FileDiskTest, RefusalsNameTheParameter) {
  const std::string good = folder_.MakeFile("disk", kMib);
  const auto refused = [&](auto change) {
    FileDiskOptions options = Options(good);
    change(options);
    const ErrorDetail detail = DetailOf(RefusalOf(options));
    return absl::StrFormat("%d %s", detail.error_number, detail.field);
  };
  using O = FileDiskOptions;
  EXPECT_EQ(refused([](O& o) { o.name = ""; }), "22 name");
  EXPECT_EQ(refused([](O& o) { o.filename = "/nonexistent/file"; }), "2 filename");
  EXPECT_EQ(refused([](O& o) { o.filename = ""; }), "2 filename");
  EXPECT_EQ(refused([](O& o) { o.filename = "/tmp"; }), "22 filename");
  EXPECT_EQ(refused([](O& o) { o.filename = "/dev/zero"; }), "22 filename");
  EXPECT_EQ(refused([&](O& o) { o.filename = good + std::string("\0x", 2); }), "22 filename");
  EXPECT_EQ(refused([&](O& o) { o.filename = good + "/below"; }), "20 filename");
  EXPECT_EQ(refused([](O& o) { o.block_size = 7; }), "22 block_size");
  EXPECT_EQ(refused([](O& o) { o.block_size = 1u << 31; }), "22 block_size");
  EXPECT_EQ(refused([](O& o) { o.uuid = "no"; }), "22 uuid");
  EXPECT_EQ(refused([&](O& o) { o.filename = folder_.MakeFile("odd", 1000); }), "22 block_size");
  EXPECT_EQ(refused([&](O& o) { o.filename = folder_.MakeFile("empty", 0); }), "22 filename");
}

TEST_F(FileDiskTest, AReactorWithoutARingIsNoPlaceForIt) {
  world_.On(1, [&] { rings_[1].reset(); });
  auto disk = MakeFileDisk(Options(folder_.MakeFile("disk", kMib)), *buffers_);
  const auto registered = world_.Run(world_.devices.Register(*std::move(disk)));
  EXPECT_EQ(ErrnoOf(registered.status()), EAGAIN);
  EXPECT_TRUE(world_.devices.devices().empty());
}

// With threads: reactors write, read back and flush their own parts of one file, until it goes.
class FileChurnIo final : public IoRequest {
 public:
  FileChurnIo(BlockChannel& channel, std::atomic<int>& running)
      : channel_(channel), running_(running), buffer_(8193) {
    segment_ = {buffer_.data() + channel.reactor().index() % 2, 8192};  // One of them unaligned.
    lba = channel.reactor().index() * 16;
  }
  void OnComplete() override {
    if (status == IoStatus::kGone) return static_cast<void>(running_.fetch_sub(1));
    CHECK(status == IoStatus::kSuccess);
    if (type == IoType::kRead) {
      const auto* begin = static_cast<const std::byte*>(segment_.iov_base);
      CHECK(std::count(begin, begin + 8192, fill_) == 8192);
    }
    Next();
  }
  void Next() {
    ++step_;
    type = step_ % 3 == 0 ? IoType::kWrite : step_ % 3 == 1 ? IoType::kFlush : IoType::kRead;
    if (type == IoType::kWrite) {
      fill_ = static_cast<std::byte>(step_);
      memset(segment_.iov_base, static_cast<int>(step_ & 0xff), 8192);
    }
    data = type == IoType::kFlush ? std::span<const iovec>() : std::span<const iovec>(&segment_, 1);
    blocks = type == IoType::kFlush ? 0 : 16;
    channel_.Submit(*this);
  }

 private:
  BlockChannel& channel_;
  std::atomic<int>& running_;
  std::vector<std::byte> buffer_;
  iovec segment_;
  unsigned step_ = 2;
  std::byte fill_{};
};

TEST(FileDiskThreadsTest, ReactorsWorkOnOneFileUntilItGoes) {
  const ScratchFolder folder("/tmp");
  const RealClock clock;
  auto reactors = *Reactors::Start({.cores = {0, 0}}, clock);
  Loop control({.name = "control"}, clock, *MakeEpollWaiter());
  DeviceRegistry devices(*reactors);
  PlainMemory memory;
  auto buffers = *MakeFileDiskBuffers(memory, 2);
  std::unique_ptr<ReactorRing> rings[2];
  bool has_rings = true;

  auto body = [&]() -> Task<void> {
    for (auto& reactor : *reactors) {
      auto make = [&rings, r = reactor.get()] {
        auto ring = ReactorRing::Make(*r, {});
        if (ring.ok()) rings[r->index()] = *std::move(ring);
        return rings[r->index()] != nullptr;
      };
      if (!co_await RunOn(*reactor, make)) has_rings = false;
    }
    for (int round = 0; has_rings && round < 5; ++round) {
      FileDiskOptions options{.name = "Aio0", .filename = folder.MakeFile("disk", kMib)};
      auto made = MakeFileDisk(options, *buffers);
      CHECK(made.ok());
      Result<BlockDevice*> disk = co_await devices.Register(*std::move(made));
      CHECK(disk.ok());
      std::atomic<int> running{2};
      std::vector<std::unique_ptr<FileChurnIo>> ios;
      for (size_t i = 0; i < 2; ++i) {
        ios.push_back(std::make_unique<FileChurnIo>(*(*disk)->channel(i), running));
        auto begin = [io = ios[i].get()] { io->Next(); };
        co_await RunOn((*reactors)[i], begin);
      }
      while ((*disk)->channel(0)->counters().read.operations.load() < 20 ||
             (*disk)->channel(1)->counters().read.operations.load() < 20) {
        co_await Sleep(kNsPerMs);
      }
      const Status removed = co_await devices.Unregister("Aio0");
      CHECK(removed.ok() && running.load() == 0);
    }
    for (auto& reactor : *reactors) {
      auto destroy = [&rings, r = reactor.get()] { rings[r->index()].reset(); };
      co_await RunOn(*reactor, destroy);
    }
  };
  RunOnLoop(control, body());
  reactors->Stop();
  if (!has_rings) GTEST_SKIP() << "no io_uring here";
}

// A file that is said to be on a device with polled queues, and is not.
class WronglyPolledDisk final : public BlockDevice {
 public:
  WronglyPolledDisk(const std::string& path, uint64_t bytes, ReactorBuffers& buffers)
      : BlockDevice("Polled", "test", {.block_bytes = 512, .blocks = bytes / 512},
                    *Uuid::ParseOrRandom("", "")) {
    shared_.file = *OpenBackingFile(path, /*readonly=*/false, 512);
    buffers_ = &buffers;
    for (const IoType type : {IoType::kRead, IoType::kWrite}) {
      executes_.set(static_cast<size_t>(type));
    }
  }

 private:
  Result<std::unique_ptr<BlockChannel>> MakeChannel(Reactor& reactor) override {
    FileChannel::Files files{*ReopenForIo(shared_.file, false), *ReopenForFlush(shared_.file)};
    return std::make_unique<FileChannel>(*this, reactor, shared_, std::move(files),
                                         *ReactorRing::Of(reactor), *ReactorRing::PolledOf(reactor),
                                         buffers_->of(reactor.index()));
  }
  FileShared shared_;
};

TEST_F(FileDiskTest, WhatCannotBePolledEndsAllTheSame) {
  auto made = std::make_unique<WronglyPolledDisk>(shm_.MakeFile("disk", kMib), kMib, *buffers_);
  BlockDevice* disk = *world_.Run(world_.devices.Register(std::move(made)));
  for (int round = 0; round < 3; ++round) {
    TestIo write(IoType::kWrite, 3, 2, 1024, 0x5a), read(IoType::kRead, 3, 2, 1024);
    write.fua = round == 1;
    EXPECT_EQ(Do(disk, write, 0), IoStatus::kSuccess);
    EXPECT_EQ(Do(disk, read, 1), IoStatus::kSuccess);
    EXPECT_EQ(read.buffer, write.buffer);
  }
}

}  // namespace
}  // namespace pollux
