#include "drivers/nvme_disk/nvme_disk.h"

#include "tests/unit/drivers/nvme_disk/nvme_disk_world.h"

namespace pollux {
namespace {

constexpr uint8_t kWriteOpcode = 0x01, kReadOpcode = 0x02;
constexpr uint16_t kDoNotRetry = 0x4000;

class NvmeDiskTest : public NvmeDiskWorld {};

TEST_F(NvmeDiskTest, ANamespaceIsADisk) {
  Attach();
  BlockDevice* const disk = Disk();
  ASSERT_NE(disk, nullptr);
  EXPECT_EQ(disk->product_name(), "NVMe disk");
  EXPECT_EQ(disk->geometry().block_bytes, 512u);
  EXPECT_EQ(disk->geometry().blocks, 65536u);
  EXPECT_TRUE(disk->volatile_cache());
  EXPECT_NE(disk->DriverSpecificJson().find("\"pci_address\":\"0000:01:00.0\""), std::string::npos);
  EXPECT_NE(disk->DriverSpecificJson().find("\"nvme_version\":\"2.0\""), std::string::npos);
}

TEST_F(NvmeDiskTest, WhatWasWrittenIsRead) {
  Attach();
  EXPECT_EQ(DoDirect(IoType::kWrite, 100, 64, 0x5a), IoStatus::kSuccess);
  memset(data_, 0, 64 * 512);
  EXPECT_EQ(DoDirect(IoType::kRead, 100, 64), IoStatus::kSuccess);
  for (size_t i = 0; i < 64 * 512; ++i) ASSERT_EQ(data_[i], std::byte{0x5a}) << i;
}

TEST_F(NvmeDiskTest, EachReactorHasAQueueOfItsOwn) {
  Attach();
  TestIo write(IoType::kWrite, 0, 8, 4096, 1), read(IoType::kRead, 0, 8, 4096);
  EXPECT_EQ(Do(write, 0), IoStatus::kSuccess);
  EXPECT_EQ(Do(read, 1), IoStatus::kSuccess);
  EXPECT_EQ(read.buffer, write.buffer);
  EXPECT_GT(model_->commands_fetched(1), 0u);
  EXPECT_GT(model_->commands_fetched(2), 0u);
}

// Ordinary memory, which no device reaches, and more than a buffer holds.
TEST_F(NvmeDiskTest, DataThatTheDeviceCannotReachGoesThroughABuffer) {
  Attach();
  constexpr size_t kBytes = 640 << 10;
  TestIo write(IoType::kWrite, 7, kBytes / 512, kBytes);
  for (size_t i = 0; i < kBytes; ++i) write.buffer[i] = std::byte(i * 7 + i / 512);
  EXPECT_EQ(Do(write), IoStatus::kSuccess);
  TestIo read(IoType::kRead, 7, kBytes / 512, kBytes);
  EXPECT_EQ(Do(read), IoStatus::kSuccess);
  EXPECT_TRUE(read.buffer == write.buffer);
}

TEST_F(NvmeDiskTest, OddScatterListsAreTaken) {
  Attach();
  TestIo write(IoType::kWrite, 0, 4, 2048);
  for (size_t i = 0; i < 2048; ++i) write.buffer[i] = std::byte(i * 3);
  write.segments = {{write.buffer.data(), 1},
                    {write.buffer.data() + 1, 1022},
                    {write.buffer.data() + 1023, 1025}};
  write.data = write.segments;
  EXPECT_EQ(Do(write), IoStatus::kSuccess);
  // The same of memory that the device reaches, at an odd address.
  TestIo read(IoType::kRead, 0, 4);
  read.segments = {{data_ + 3, 2048}};
  read.data = read.segments;
  EXPECT_EQ(Do(read), IoStatus::kSuccess);
  EXPECT_EQ(memcmp(data_ + 3, write.buffer.data(), 2048), 0);
}

TEST_F(NvmeDiskTest, FlushUnmapAndWriteZeroesAreDoneByTheDevice) {
  Attach();
  EXPECT_EQ(DoDirect(IoType::kWrite, 0, 256, 0xff), IoStatus::kSuccess);
  EXPECT_EQ(Do(TestIo(IoType::kFlush, 0, 0)), IoStatus::kSuccess);
  EXPECT_EQ(Do(TestIo(IoType::kWriteZeroes, 0, 128)), IoStatus::kSuccess);
  TestIo unmap(IoType::kUnmap, 128, 64);
  unmap.fua = true;  // Is flushed.
  EXPECT_EQ(Do(unmap), IoStatus::kSuccess);
  EXPECT_EQ(DoDirect(IoType::kRead, 0, 256), IoStatus::kSuccess);
  EXPECT_EQ(data_[0], std::byte{0});
  EXPECT_EQ(data_[128 * 512 - 1], std::byte{0});
  EXPECT_EQ(data_[255 * 512], std::byte{0xff});
}

TEST_F(NvmeDiskTest, ACompareTellsWhereTheDifferenceIs) {
  Attach();
  EXPECT_EQ(DoDirect(IoType::kWrite, 0, 16, 9), IoStatus::kSuccess);
  TestIo compare(IoType::kCompare, 0, 16, 16 * 512, 9);
  EXPECT_EQ(Do(compare), IoStatus::kSuccess);
  compare.buffer[5000] = std::byte{8};
  EXPECT_EQ(Do(compare), IoStatus::kMiscompare);
  EXPECT_EQ(compare.miscompare_offset, 5000u);
}

TEST_F(NvmeDiskTest, ACompareAndWriteWritesOnlyWhatIsEqual) {
  Attach();
  EXPECT_EQ(DoDirect(IoType::kWrite, 5, 1, 1), IoStatus::kSuccess);
  TestIo io(IoType::kCompareAndWrite, 5, 1, 512, 2);
  std::vector<std::byte> expected(512, std::byte{1});
  const iovec segment{expected.data(), expected.size()};
  io.compare_data = {&segment, 1};
  EXPECT_EQ(Do(io), IoStatus::kSuccess);
  EXPECT_EQ(Do(io, 1), IoStatus::kMiscompare);
  EXPECT_EQ(io.miscompare_offset, 0u);
  EXPECT_EQ(DoDirect(IoType::kRead, 5, 1), IoStatus::kSuccess);
  EXPECT_EQ(data_[511], std::byte{2});
}

TEST_F(NvmeDiskTest, ManyCompareAndWritesTakeTurns) {
  Attach();
  std::vector<std::byte> expected(512);
  const iovec segment{expected.data(), expected.size()};
  std::vector<std::unique_ptr<TestIo>> ios;
  for (int i = 0; i < 40; ++i) {
    ios.push_back(std::make_unique<TestIo>(IoType::kCompareAndWrite, 3, 1, 512, i + 1));
    ios.back()->compare_data = {&segment, 1};
    Submit(*ios.back());
  }
  Until([&] { return Ended(ios) == ios.size(); });
  int written = 0;
  for (const auto& io : ios) written += io->status == IoStatus::kSuccess ? 1 : 0;
  EXPECT_EQ(written, 1);
}

TEST_F(NvmeDiskTest, WhatDoesNotFitIntoTheQueueWaitsInLine) {
  Attach();
  model_->HoldCommands(NvmeModel::Hold::kIo);
  std::vector<std::unique_ptr<TestIo>> ios;
  SubmitReads(ios, 1000);
  Turns(5);
  EXPECT_EQ(Ended(ios), 0u);
  EXPECT_GT(path_->queues()[0]->queued_count(), 0u);
  model_->HoldCommands(NvmeModel::Hold::kNothing);
  model_->CompleteAll();
  Until([&] { return Ended(ios) == ios.size(); });
  for (const auto& io : ios) EXPECT_EQ(io->status, IoStatus::kSuccess);
}

TEST_F(NvmeDiskTest, WhatMaySucceedIsSentAgain) {
  Attach();
  model_->faults().OnIo(kReadOpcode, 1, 0x082);
  model_->faults().OnIo(kReadOpcode, 2, 0x281);
  EXPECT_EQ(DoDirect(IoType::kRead, 0, 1), IoStatus::kSuccess);
}

TEST_F(NvmeDiskTest, ThreeRetriesAreEnough) {
  Attach();
  for (uint32_t nth = 1; nth <= 4; ++nth) model_->faults().OnIo(kReadOpcode, nth, 0x281);
  EXPECT_EQ(DoDirect(IoType::kRead, 0, 1), IoStatus::kMediumError);
  EXPECT_EQ(DoDirect(IoType::kRead, 0, 1), IoStatus::kSuccess);
}

TEST_F(NvmeDiskTest, WhatWouldFailAgainIsNotSentAgain) {
  Attach();
  model_->faults().OnIo(kWriteOpcode, 1, 0x280 | kDoNotRetry);
  EXPECT_EQ(DoDirect(IoType::kWrite, 0, 1), IoStatus::kMediumError);
  EXPECT_EQ(DoDirect(IoType::kWrite, 0, 1), IoStatus::kSuccess);
}

TEST_F(NvmeDiskTest, ErrorsAreCountedByStatusWhenThatIsWanted) {
  NvmeOptions options;
  options.nvme_error_stat = true;
  ASSERT_TRUE(controllers_->SetOptions(options).ok());
  Attach();
  model_->faults().OnIo(kReadOpcode, 1, 0x281 | kDoNotRetry);
  EXPECT_EQ(DoDirect(IoType::kRead, 0, 1), IoStatus::kMediumError);
  EXPECT_EQ(Disk()->StatisticsJson(),
            "{\"nvme_error\":{\"status_type\":{\"media_error\":1},"
            "\"status_code\":{\"unrecovered_read_error\":1}}}");
}

TEST_F(NvmeDiskTest, AnAbortEndsWhatWaitsAndWhatIsInFlight) {
  Attach();
  model_->HoldCommands(NvmeModel::Hold::kIo);
  std::vector<std::unique_ptr<TestIo>> ios;
  SubmitReads(ios, 400);
  Turns(3);
  for (TestIo* target : {ios.back().get(), ios.front().get()}) {
    TestIo abort(IoType::kAbort, 0, 0);
    abort.abort_target = target;
    Do(abort);
    Until([&] { return target->calls == 1; });
    EXPECT_EQ(target->status, IoStatus::kAborted);
  }
  model_->HoldCommands(NvmeModel::Hold::kNothing);
  model_->CompleteAll();
  Until([&] { return Ended(ios) == ios.size(); });
}

TEST_F(NvmeDiskTest, ACommandThatIsNeverAnsweredCostsAReset) {
  Attach();
  model_->faults().OnIo(kReadOpcode, 1, models::Faults::kLost);
  std::vector<std::unique_ptr<TestIo>> ios;
  SubmitReads(ios, 1);
  Turns(3);
  TestIo reset(IoType::kReset, 0, 0);
  EXPECT_EQ(Do(reset), IoStatus::kSuccess);
  EXPECT_EQ(ios[0]->status, IoStatus::kAborted);
  EXPECT_EQ(DoDirect(IoType::kRead, 0, 1), IoStatus::kSuccess);
}

TEST_F(NvmeDiskTest, MetadataGoesAlong) {
  device_.controller.namespaces[0].metadata_bytes = 16;
  Attach();
  ASSERT_EQ(Disk()->geometry().metadata_bytes, 16u);
  std::vector<std::byte> metadata(8 * 16, std::byte{3});
  TestIo write(IoType::kWrite, 0, 8, 4096, 4);
  write.metadata = metadata.data();
  EXPECT_EQ(Do(write), IoStatus::kSuccess);
  std::vector<std::byte> back(8 * 16);
  TestIo read(IoType::kRead, 0, 8, 4096);
  read.metadata = back.data();
  EXPECT_EQ(Do(read), IoStatus::kSuccess);
  EXPECT_EQ(back, metadata);
  EXPECT_EQ(read.buffer, write.buffer);
}

TEST_F(NvmeDiskTest, ProtectedDataNeedsNoMetadataOfTheCallers) {
  device_.controller.namespaces[0].metadata_bytes = 8;
  device_.controller.namespaces[0].protection = 1;
  attachment_.prchk_guard = attachment_.prchk_reftag = true;
  Attach();
  EXPECT_EQ(Disk()->geometry().protection_type, 1);
  EXPECT_EQ(DoDirect(IoType::kWrite, 20, 8, 0x11), IoStatus::kSuccess);
  memset(data_, 0, 4096);
  EXPECT_EQ(DoDirect(IoType::kRead, 20, 8), IoStatus::kSuccess);
  EXPECT_EQ(data_[4095], std::byte{0x11});
}

}  // namespace
}  // namespace pollux
