#include "drivers/stacked/error_disk.h"

#include <gtest/gtest.h>

#include "tests/unit/drivers/stacked/stacked_world.h"

namespace pollux {
namespace {

using testing_world::ManualDisk;
using testing_world::StackedTest;
using testing_world::TestIo;
using Io = ErrorInjection::Io;
using Kind = ErrorInjection::Kind;

class ErrorDiskTest : public StackedTest {
 protected:
  BlockDevice& Error() {
    return Stack("EE_disk", [](BlockDevice& base) { return MakeErrorDisk("", base); });
  }
  Status Inject(const ErrorInjection& injection) {
    return world_.Run(InjectErrors(world_.devices, "EE_disk", injection));
  }
  IoStatus Read(BlockDevice& disk, size_t reactor = 0) {
    TestIo io(IoType::kRead, 0, 1, 512);
    return Do(disk, io, reactor);
  }
  IoStatus Write(BlockDevice& disk) {
    TestIo io(IoType::kWrite, 0, 1, 512);
    return Do(disk, io);
  }
};

TEST_F(ErrorDiskTest, FailsAsOftenAsItIsToldOnAllReactorsTogether) {
  ManualDisk& base = AddBase();
  BlockDevice& disk = Error();
  EXPECT_EQ(disk.product_name(), "Error Injection Disk");
  EXPECT_EQ(disk.DriverSpecificJson(), R"({"error_disk":{"base_bdev":"disk"}})");
  EXPECT_EQ(Read(disk), IoStatus::kSuccess);
  ASSERT_TRUE(Inject({.io = Io::kRead, .kind = Kind::kFailure, .num = 3}).ok());
  EXPECT_EQ(Write(disk), IoStatus::kSuccess);
  const size_t before = base.at(0).submitted + base.at(1).submitted;
  EXPECT_EQ(Read(disk, 0), IoStatus::kInternalError);
  EXPECT_EQ(Read(disk, 1), IoStatus::kInternalError);
  EXPECT_EQ(Read(disk, 1), IoStatus::kInternalError);
  EXPECT_EQ(base.at(0).submitted + base.at(1).submitted, before);
  EXPECT_EQ(Read(disk, 0), IoStatus::kSuccess);
}

TEST_F(ErrorDiskTest, EachKindHasItsStatus) {
  AddBase();
  BlockDevice& disk = Error();
  ASSERT_TRUE(Inject({.io = Io::kAll, .kind = Kind::kNomem}).ok());
  EXPECT_EQ(Read(disk), IoStatus::kNoResources);
  EXPECT_EQ(Write(disk), IoStatus::kNoResources);
  TestIo unmap(IoType::kUnmap, 0, 1), flush(IoType::kFlush, 0, 0),
      zeroes(IoType::kWriteZeroes, 0, 1);
  EXPECT_EQ(Do(disk, unmap), IoStatus::kNoResources);
  EXPECT_EQ(Do(disk, flush), IoStatus::kNoResources);
  EXPECT_EQ(Do(disk, zeroes), IoStatus::kSuccess);
  ASSERT_TRUE(
      Inject({.io = Io::kRead, .kind = Kind::kNvmeFailure, .nvme_sct = 2, .nvme_sc = 0x81}).ok());
  TestIo read(IoType::kRead, 0, 1, 512);
  EXPECT_EQ(Do(disk, read), IoStatus::kNvmeFailure);
  EXPECT_EQ(read.nvme_status, 0x281);
}

TEST_F(ErrorDiskTest, ClearEndsErrorsOfEveryType) {
  AddBase();
  BlockDevice& disk = Error();
  ASSERT_TRUE(Inject({.io = Io::kAll, .kind = Kind::kFailure, .num = 100}).ok());
  ASSERT_TRUE(Inject({.io = Io::kClear}).ok());
  EXPECT_EQ(Read(disk), IoStatus::kSuccess);
  EXPECT_EQ(Write(disk), IoStatus::kSuccess);
}

TEST_F(ErrorDiskTest, ADeepQueueMayBeNeededToFail) {
  ManualDisk::Options options = AnyBase();
  options.at_once = false;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Error();
  ASSERT_TRUE(Inject({.io = Io::kRead, .kind = Kind::kFailure, .num = 9, .queue_depth = 2}).ok());
  TestIo first(IoType::kRead, 0, 1, 512), second(IoType::kRead, 1, 1, 512),
      third(IoType::kRead, 2, 1, 512);
  Submit(disk, first);
  Submit(disk, second);
  EXPECT_EQ(Do(disk, third), IoStatus::kInternalError);
  base.at(0).EndAll();
  world_.Turns(4);
  EXPECT_EQ(first.status, IoStatus::kSuccess);
  EXPECT_EQ(second.status, IoStatus::kSuccess);
}

TEST_F(ErrorDiskTest, OneByteOfWhatIsReadIsAnother) {
  ManualDisk& base = AddBase();
  base.memory()[700] = std::byte{0x0f};
  BlockDevice& disk = Error();
  ASSERT_TRUE(Inject({.io = Io::kRead,
                      .kind = Kind::kCorruptData,
                      .corrupt_offset = 700,
                      .corrupt_value = 0xff})
                  .ok());
  TestIo read(IoType::kRead, 0, 2, 1024);
  read.segments = {{read.buffer.data(), 512}, {read.buffer.data() + 512, 512}};
  read.data = read.segments;
  EXPECT_EQ(Read(disk), IoStatus::kSuccess);  // It is too short, and does not count.
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer[700], std::byte{0xf0});
  EXPECT_EQ(read.buffer[699], std::byte{0});
  EXPECT_EQ(base.memory()[700], std::byte{0x0f});
  EXPECT_EQ(Do(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer[700], std::byte{0x0f});
}

TEST_F(ErrorDiskTest, OneByteOfWhatIsWrittenIsAnotherAndTheWritersBufferStays) {
  ManualDisk& base = AddBase();
  BlockDevice& disk = Error();
  ASSERT_TRUE(
      Inject({.io = Io::kAll, .kind = Kind::kCorruptData, .corrupt_offset = 3, .corrupt_value = 1})
          .ok());
  TestIo write(IoType::kWrite, 0, 1, 512, 0x40);
  EXPECT_EQ(Do(disk, write), IoStatus::kSuccess);
  EXPECT_EQ(base.memory()[3], std::byte{0x41});
  EXPECT_EQ(base.memory()[4], std::byte{0x40});
  EXPECT_EQ(write.buffer[3], std::byte{0x40});
}

TEST_F(ErrorDiskTest, ACorruptWriteThatFailsLeavesTheWritersBufferToo) {
  ManualDisk::Options options = AnyBase();
  options.at_once = false;
  options.abortable = true;
  ManualDisk& base = AddBase(options);
  BlockDevice& disk = Error();
  ASSERT_TRUE(
      Inject({.io = Io::kWrite, .kind = Kind::kCorruptData, .num = 9, .corrupt_value = 1}).ok());
  TestIo failing(IoType::kWrite, 0, 1, 512, 0x40), aborted(IoType::kWrite, 0, 1, 512, 0x40);
  Submit(disk, failing);
  base.at(0).End(IoStatus::kMediumError);
  Submit(disk, aborted);
  EXPECT_EQ(Abort(disk, aborted), IoStatus::kSuccess);
  world_.Turns(4);
  EXPECT_EQ(failing.buffer[0], std::byte{0x40});
  EXPECT_EQ(aborted.buffer[0], std::byte{0x40});
}

TEST_F(ErrorDiskTest, WhatIsPendingGoesOnWhenItIsResumed) {
  ManualDisk& base = AddBase();
  BlockDevice& disk = Error();
  ASSERT_TRUE(Inject({.io = Io::kAll, .kind = Kind::kPending, .num = 100}).ok());
  TestIo first(IoType::kWrite, 0, 1, 512, 1), second(IoType::kWrite, 0, 1, 512, 2);
  Submit(disk, first, 0);
  Submit(disk, second, 1);
  world_.Turns(20);
  EXPECT_EQ(first.calls + second.calls, 0);
  EXPECT_EQ(base.memory()[0], std::byte{0});
  ASSERT_TRUE(world_.Run(ResumePending(world_.devices, "EE_disk")).ok());
  world_.Turns(4);
  EXPECT_EQ(first.status, IoStatus::kSuccess);
  EXPECT_EQ(second.calls, 1);
  EXPECT_EQ(Write(disk), IoStatus::kSuccess);
}

TEST_F(ErrorDiskTest, WhatIsPendingCanBeAborted) {
  AddBase();
  BlockDevice& disk = Error();
  ASSERT_TRUE(Inject({.io = Io::kRead, .kind = Kind::kPending, .num = 2}).ok());
  TestIo read(IoType::kRead, 0, 1, 512), other(IoType::kRead, 0, 1, 512);
  Submit(disk, read);
  Submit(disk, other);
  EXPECT_EQ(Abort(disk, read), IoStatus::kSuccess);
  EXPECT_EQ(read.status, IoStatus::kAborted);
  EXPECT_EQ(other.calls, 0);
  TestIo reset(IoType::kReset, 0, 0);
  EXPECT_EQ(Do(disk, reset), IoStatus::kSuccess);
  EXPECT_EQ(other.status, IoStatus::kAborted);
}

TEST_F(ErrorDiskTest, WhatIsPendingEndsWhenTheDiskGoes) {
  AddBase();
  BlockDevice& disk = Error();
  ASSERT_TRUE(Inject({.io = Io::kAll, .kind = Kind::kPending, .num = 100}).ok());
  TestIo read(IoType::kRead, 0, 1, 512), flush(IoType::kFlush, 0, 0);
  Submit(disk, read);
  Submit(disk, flush);
  world_.Turns(3);
  Remove("disk");
  EXPECT_EQ(read.status, IoStatus::kGone);
  EXPECT_EQ(flush.status, IoStatus::kGone);
}

TEST_F(ErrorDiskTest, ParametersThatMakeNoSenseAreRefused) {
  AddBase();
  Error();
  EXPECT_EQ(DetailOf(Inject({.kind = Kind::kNvmeFailure})).field, "nvme_sc");
  EXPECT_EQ(DetailOf(Inject({.kind = Kind::kFailure, .nvme_sc = 1})).field, "nvme_sc");
  EXPECT_EQ(DetailOf(Inject({.kind = Kind::kNvmeFailure, .nvme_sct = 8})).field, "nvme_sct");
  EXPECT_EQ(DetailOf(Inject({.kind = Kind::kNvmeFailure, .nvme_sc = 256})).field, "nvme_sc");
  EXPECT_EQ(DetailOf(Inject({.kind = Kind::kCorruptData})).field, "corrupt_value");
  EXPECT_EQ(DetailOf(Inject({.kind = Kind::kCorruptData, .corrupt_value = 256})).field,
            "corrupt_value");
  EXPECT_EQ(
      DetailOf(Inject({.io = Io::kFlush, .kind = Kind::kCorruptData, .corrupt_value = 1})).field,
      "error_type");
  EXPECT_EQ(ErrnoOf(world_.Run(InjectErrors(world_.devices, "disk", {}))), ENODEV);
  EXPECT_EQ(ErrnoOf(world_.Run(ResumePending(world_.devices, "nothing"))), ENODEV);
}

TEST_F(ErrorDiskTest, TheDiskMayGoWhileErrorsAreInjected) {
  for (int turns = 0; turns < 12; ++turns) {
    AddBase();
    Error();
    Task<Status> injection = InjectErrors(world_.devices, "EE_disk", {.kind = Kind::kFailure});
    Task<Status> removal = world_.devices.Unregister("disk");
    world_.Begin(injection);
    world_.Turns(turns);
    world_.Begin(removal);
    world_.Until([&] { return injection.done() && removal.done(); });
    const Status status = injection.TakeResult();
    EXPECT_TRUE(status.ok() || ErrnoOf(status) == ENODEV);
  }
}

}  // namespace
}  // namespace pollux
