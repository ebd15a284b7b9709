// The functions of nvme.h that take a queue: what they refuse, and what they put into the ring.
#include "tests/unit/drivers/nvme/queue_world.h"

namespace pollux::nvme {
namespace {

class IoCommandsTest : public testing::Test {
 protected:
  IoCommandsTest() { Describe(PlainFacts()); }
  ~IoCommandsTest() override { QueueRecorder::EndTest(*queue_); }

  void Describe(const Namespace::Facts& facts) {
    ns_ = std::make_unique<pollux_nvme_namespace>(facts);
    if (queue_ != nullptr) QueueRecorder::EndAll(*queue_);
    device_ = std::make_unique<QueueDevice>(1, uint16_t{64});
    queue_ = std::make_unique<pollux_nvme_queue>(device_->Parts(memory_.map()));
    queue_->Reopen();
  }
  // A namespace that has everything.
  static Namespace::Facts FullFacts() {
    Namespace::Facts facts = PlainFacts();
    pollux_nvme_namespace_info& info = facts.info;
    info.compare = info.write_zeroes = info.dsm = info.verify = info.copy = true;
    info.write_uncorrectable = info.reservations = true;
    info.copy_ranges_max = 4;
    info.copy_range_blocks_max = 16;
    info.copy_blocks_max = 40;
    info.zone_blocks = 0x100;
    info.zone_append_bytes_max = 4096;
    return facts;
  }

  pollux_nvme_io Io(uint64_t lba, uint32_t blocks, uint32_t flags = 0) {
    piece_ = {memory_.data(), size_t{blocks} * ns_->data_block_bytes()};
    pollux_nvme_io io{};
    io.lba = lba;
    io.blocks = blocks;
    io.flags = flags;
    io.data = &piece_;
    io.data_count = 1;
    return io;
  }
  static pollux_nvme_io Bare(uint64_t lba, uint32_t blocks, uint32_t flags = 0) {
    pollux_nvme_io io{};
    io.lba = lba;
    io.blocks = blocks;
    io.flags = flags;
    return io;
  }
  using Submission = int (*)(pollux_nvme_queue*, const pollux_nvme_namespace*, pollux_nvme_request*,
                             const pollux_nvme_io*);
  int Try(Submission submit, const pollux_nvme_io& io) {
    const uint32_t room = queue_->room();
    const int result = submit(q(), ns_.get(), request_.c(), &io);
    EXPECT_EQ(queue_->room(), result == 0 ? room - 1 : room) << "something was queued";
    return result;
  }
  int Read(void* data, size_t bytes, uint64_t lba, uint32_t blocks) {
    return pollux_nvme_read(q(), ns_.get(), request_.c(), data, bytes, lba, blocks);
  }
  pollux_nvme_queue* q() { return queue_.get(); }
  // What the device sees of the last submission.
  const SubmissionEntry& Sent() {
    queue_->Ring();
    return device_->held(device_->Step() - 1);
  }

  SharedMemory memory_{64};
  std::unique_ptr<pollux_nvme_namespace> ns_;
  std::unique_ptr<QueueDevice> device_;
  std::unique_ptr<pollux_nvme_queue> queue_;
  QueueRecorder request_;
  iovec piece_{};
};

TEST_F(IoCommandsTest, AReadHasAllItsFields) {
  ASSERT_EQ(Read(memory_.page(3), 1024, 0x123, 2), 0);
  const SubmissionEntry& entry = Sent();
  EXPECT_EQ(entry.opc, io::kRead);
  EXPECT_EQ(entry.flags, 0);
  EXPECT_EQ(entry.nsid, 7u);
  EXPECT_EQ(entry.prp1, memory_.IovaOf(memory_.page(3)));
  EXPECT_EQ(entry.prp2, 0u);
  EXPECT_EQ(entry.cdw10, 0x123u);
  EXPECT_EQ(entry.cdw11, 0u);
  EXPECT_EQ(entry.cdw12, 1u);
}

TEST_F(IoCommandsTest, NothingOfAnOlderCommandIsLeftInAnEntry) {
  for (int lap = 0; lap < 2; ++lap) {
    for (int i = 0; i < 64; ++i) {
      pollux_nvme_command old{};
      std::memset(&old, 0xff, sizeof(old));
      old.fuse = 0;
      ASSERT_EQ(pollux_nvme_io_command(q(), request_.c(), &old, nullptr, 0, nullptr, 0), 0);
      Sent();
      device_->CompleteAll();
      queue_->Poll(0);
    }
    ASSERT_EQ(Read(memory_.data(), 512, 5, 1), 0);
    SubmissionEntry expected;
    expected.opc = io::kRead;
    expected.nsid = 7;
    expected.prp1 = SharedMemory::kIova;
    expected.cdw10 = 5;
    const SubmissionEntry& entry = Sent();
    expected.cid = entry.cid;
    EXPECT_EQ(std::memcmp(&entry, &expected, sizeof(entry)), 0);
    device_->CompleteAll();
    queue_->Poll(0);
  }
}

TEST_F(IoCommandsTest, AnLbaHas64Bits) {
  Namespace::Facts facts = PlainFacts();
  facts.info.blocks = UINT64_MAX;
  Describe(facts);
  ASSERT_EQ(Read(memory_.data(), 512, 0x1122'3344'5566'7788, 1), 0);
  EXPECT_EQ(Sent().cdw10, 0x5566'7788u);
  EXPECT_EQ(Sent().cdw11, 0x1122'3344u);
  EXPECT_EQ(Read(memory_.data(), 512, UINT64_MAX, 1), -EINVAL);
  EXPECT_EQ(Read(memory_.data(), 1024, UINT64_MAX - 1, 2), -EINVAL);
}

TEST_F(IoCommandsTest, FlagsAndTagsAreTold) {
  pollux_nvme_io io =
      Io(1, 1,
         POLLUX_NVME_FUA | POLLUX_NVME_LIMITED_RETRY | POLLUX_NVME_PRACT | POLLUX_NVME_CHECK_GUARD |
             POLLUX_NVME_CHECK_APPTAG | POLLUX_NVME_CHECK_REFTAG);
  io.reference_tag = 0xaabbccdd;
  io.application_tag = 0x1122;
  io.application_tag_mask = 0x3344;
  ASSERT_EQ(Try(pollux_nvme_writev, io), 0);
  const SubmissionEntry& entry = Sent();
  EXPECT_EQ(entry.opc, io::kWrite);
  EXPECT_EQ(entry.cdw12, 0xfc000000u);
  EXPECT_EQ(entry.cdw14, 0xaabbccddu);
  EXPECT_EQ(entry.cdw15, 0x33441122u);
}

TEST_F(IoCommandsTest, RefusesBlocksThatAreNotThere) {
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0, 0)), -EINVAL);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0x1000, 1)), -EINVAL);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0xfff, 2)), -EINVAL);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(UINT64_MAX, 1)), -EINVAL);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0xfff, 1)), 0);
}

TEST_F(IoCommandsTest, SizesFollowAResize) {
  ns_->Resize(0x800);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0x800, 1)), -EINVAL);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0x7ff, 1)), 0);
  ns_->Resize(0);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0, 1)), -EINVAL);
}

TEST_F(IoCommandsTest, RefusesTransfersThatAreTooLong) {
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0, 256)), 0);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0, 257)), -E2BIG);
}

TEST_F(IoCommandsTest, RefusesAWrongLength) {
  EXPECT_EQ(Read(memory_.data(), 511, 0, 1), -EINVAL);
  EXPECT_EQ(Read(memory_.data(), 513, 0, 1), -EINVAL);
  EXPECT_EQ(Read(memory_.data(), 0, 0, 1), -EINVAL);
  const iovec pieces[] = {{memory_.data(), 1024},
                          {memory_.data(), SIZE_MAX - 511}};  // 512, with a wrap.
  pollux_nvme_io io = Io(0, 1);
  io.data = pieces;
  io.data_count = 2;
  EXPECT_EQ(Try(pollux_nvme_readv, io), -EINVAL);
  io.data_count = 0;
  EXPECT_EQ(Try(pollux_nvme_readv, io), -EINVAL);
}

TEST_F(IoCommandsTest, RefusesMemoryThatTheHostDoesNotKnow) {
  alignas(512) std::byte mine[512];
  EXPECT_EQ(Read(mine, 512, 0, 1), -EFAULT);
  EXPECT_EQ(Read(memory_.data() + 2, 512, 0, 1), -EFAULT);
}

TEST_F(IoCommandsTest, SeesMemoryThatIsNew) {
  struct alignas(kPage) Page {
    std::byte bytes[kPage];
  };
  const auto page = std::make_unique<Page>();
  EXPECT_EQ(Read(page->bytes, 512, 0, 1), -EFAULT);
  ASSERT_TRUE(memory_.registry().Add({.address = page->bytes, .bytes = kPage, .name = "new"}).ok());
  EXPECT_EQ(Read(page->bytes, 512, 0, 1), 0);
  memory_.registry().Remove(page->bytes);
  queue_->Poll(0);
  EXPECT_EQ(Read(page->bytes, 512, 0, 1), -EFAULT);
}

TEST_F(IoCommandsTest, RefusesANamespaceThatIsGone) {
  ns_->Deactivate();
  EXPECT_FALSE(pollux_nvme_namespace_active(ns_.get()));
  EXPECT_EQ(Read(memory_.data(), 512, 0, 1), -ENXIO);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0, 1, POLLUX_NVME_FUA)), -ENXIO);
  EXPECT_EQ(pollux_nvme_flush(q(), ns_.get(), request_.c()), -ENXIO);
}

TEST_F(IoCommandsTest, RefusesWhileTheQueueIsClosed) {
  queue_->Close();
  EXPECT_EQ(Read(memory_.data(), 512, 0, 1), -EAGAIN);
  queue_->Kill(POLLUX_NVME_HOST_PATHING_ERROR);
  EXPECT_EQ(Read(memory_.data(), 512, 0, 1), -ENXIO);
}

TEST_F(IoCommandsTest, RefusesAFullQueue) {
  for (int i = 0; i < 63; ++i) ASSERT_EQ(Read(memory_.data(), 512, 0, 1), 0);
  EXPECT_EQ(Read(memory_.data(), 512, 0, 1), -EAGAIN);
}

TEST_F(IoCommandsTest, RefusesFlagsOfOtherCommands) {
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0, 1, POLLUX_NVME_DEALLOCATE)), -EINVAL);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0, 1, POLLUX_NVME_FUSED_FIRST)), -EINVAL);
  EXPECT_EQ(Try(pollux_nvme_writev, Io(0, 1, POLLUX_NVME_FUSED_FIRST)), -EINVAL);
  EXPECT_EQ(Try(pollux_nvme_readv, Io(0, 1, 1u << 31)), -EINVAL);
}

TEST_F(IoCommandsTest, RefusesWhatTheControllerDoesNotHave) {
  EXPECT_EQ(Try(pollux_nvme_comparev, Io(0, 1)), -ENOTSUP);
  EXPECT_EQ(Try(pollux_nvme_zone_append, Io(0, 1)), -ENOTSUP);
  EXPECT_EQ(Try(pollux_nvme_write_zeroes, Bare(0, 1)), -ENOTSUP);
  EXPECT_EQ(Try(pollux_nvme_verify, Bare(0, 1)), -ENOTSUP);
  const pollux_nvme_range range = {0, 1};
  pollux_nvme_reservation_keys keys{};
  EXPECT_EQ(pollux_nvme_deallocate(q(), ns_.get(), request_.c(), &range, 1), -ENOTSUP);
  EXPECT_EQ(pollux_nvme_copy(q(), ns_.get(), request_.c(), 0, &range, 1, 0), -ENOTSUP);
  EXPECT_EQ(pollux_nvme_write_uncorrectable(q(), ns_.get(), request_.c(), 0, 1), -ENOTSUP);
  EXPECT_EQ(pollux_nvme_reservation_register(q(), ns_.get(), request_.c(), &keys, 0, false, 0),
            -ENOTSUP);
  EXPECT_EQ(pollux_nvme_zone_send(q(), ns_.get(), request_.c(), 0, POLLUX_NVME_ZONE_OPEN, false),
            -ENOTSUP);
}

TEST_F(IoCommandsTest, FusedCommandsLieSideBySide) {
  Describe(FullFacts());
  ASSERT_EQ(Try(pollux_nvme_comparev, Io(4, 1, POLLUX_NVME_FUSED_FIRST)), 0);
  EXPECT_EQ(Read(memory_.data(), 512, 0, 1), -EINVAL);
  EXPECT_EQ(Try(pollux_nvme_writev, Io(0x1000, 1, POLLUX_NVME_FUSED_SECOND)), -EINVAL);
  ASSERT_EQ(Try(pollux_nvme_writev, Io(4, 1, POLLUX_NVME_FUSED_SECOND)), 0);
  queue_->Ring();
  ASSERT_EQ(device_->Step(), 2u);
  EXPECT_EQ(device_->held(0).flags, kFuseFirst);
  EXPECT_EQ(device_->held(1).flags, kFuseSecond);
}

// --- Metadata.

TEST_F(IoCommandsTest, SeparateMetadataHasItsOwnPointer) {
  Namespace::Facts facts = PlainFacts();
  facts.info.metadata_bytes = 8;
  Describe(facts);
  pollux_nvme_io io = Io(0, 4);
  EXPECT_EQ(Try(pollux_nvme_writev, io), -EINVAL);
  EXPECT_EQ(Read(memory_.data(), 2048, 0, 4), -EINVAL);
  io.metadata = memory_.page(5) + 16;
  ASSERT_EQ(Try(pollux_nvme_writev, io), 0);
  EXPECT_EQ(Sent().mptr, memory_.IovaOf(memory_.page(5) + 16));
  std::byte mine[64];
  io.metadata = mine;
  EXPECT_EQ(Try(pollux_nvme_writev, io), -EFAULT);
}

TEST_F(IoCommandsTest, RefusesMetadataWhereThereIsNone) {
  pollux_nvme_io io = Io(0, 1);
  io.metadata = memory_.page(5);
  EXPECT_EQ(Try(pollux_nvme_writev, io), -EINVAL);
}

TEST_F(IoCommandsTest, ExtendedMetadataIsPartOfTheData) {
  Namespace::Facts facts = PlainFacts();
  facts.info.metadata_bytes = 8;
  facts.info.metadata_extended = true;
  Describe(facts);
  EXPECT_EQ(Read(memory_.data(), 1024, 0, 2), -EINVAL);
  EXPECT_EQ(Read(memory_.data(), 1040, 0, 2), 0);
}

TEST_F(IoCommandsTest, ProtectionThatTheControllerMakesIsNotTransferred) {
  Namespace::Facts facts = PlainFacts();
  facts.info.metadata_bytes = 8;
  facts.info.metadata_extended = true;
  facts.info.protection_type = 1;
  Describe(facts);
  pollux_nvme_io io = Io(0, 2, POLLUX_NVME_PRACT);
  EXPECT_EQ(Try(pollux_nvme_writev, io), -EINVAL);
  piece_.iov_len = 1024;
  EXPECT_EQ(Try(pollux_nvme_writev, io), 0);
  facts.info.metadata_extended = false;
  Describe(facts);
  EXPECT_EQ(Try(pollux_nvme_writev, Io(0, 2, POLLUX_NVME_PRACT)), 0);
  EXPECT_EQ(Sent().mptr, 0u);
}

TEST_F(IoCommandsTest, OtherMetadataIsTransferredWithProtectionToo) {
  Namespace::Facts facts = PlainFacts();
  facts.info.metadata_bytes = 16;
  facts.info.protection_type = 1;
  Describe(facts);
  pollux_nvme_io io = Io(0, 2, POLLUX_NVME_PRACT);
  EXPECT_EQ(Try(pollux_nvme_writev, io), -EINVAL);
  io.metadata = memory_.page(5);
  EXPECT_EQ(Try(pollux_nvme_writev, io), 0);
}

// --- Commands without data, and with data that is copied.

class FullTest : public IoCommandsTest {
 protected:
  FullTest() { Describe(FullFacts()); }
};

TEST_F(FullTest, WriteZeroesTakesWhatATransferCannot) {
  Namespace::Facts facts = FullFacts();
  facts.info.blocks = 1 << 20;
  Describe(facts);
  ASSERT_EQ(Try(pollux_nvme_write_zeroes, Bare(3, 65536, POLLUX_NVME_DEALLOCATE)), 0);
  EXPECT_EQ(Sent().opc, io::kWriteZeroes);
  EXPECT_EQ(Sent().cdw12, 0xffffu | 1u << 25);
  EXPECT_EQ(Sent().prp1, 0u);
  EXPECT_EQ(Try(pollux_nvme_write_zeroes, Bare(3, 65537)), -E2BIG);
  EXPECT_EQ(Try(pollux_nvme_write_zeroes, Io(3, 1)), -EINVAL);
  EXPECT_EQ(Try(pollux_nvme_verify, Bare(0, 0)), -EINVAL);
  ASSERT_EQ(Try(pollux_nvme_verify, Bare(9, 2)), 0);
  EXPECT_EQ(Sent().opc, io::kVerify);
}

TEST_F(FullTest, WriteUncorrectableNamesItsBlocks) {
  ASSERT_EQ(pollux_nvme_write_uncorrectable(q(), ns_.get(), request_.c(), 7, 3), 0);
  EXPECT_EQ(Sent().opc, io::kWriteUncorrectable);
  EXPECT_EQ(Sent().cdw10, 7u);
  EXPECT_EQ(Sent().cdw12, 2u);
}

TEST_F(FullTest, FlushNamesItsNamespace) {
  ASSERT_EQ(pollux_nvme_flush(q(), ns_.get(), request_.c()), 0);
  EXPECT_EQ(Sent().opc, io::kFlush);
  EXPECT_EQ(Sent().nsid, 7u);
}

TEST_F(FullTest, DeallocateCopiesItsRanges) {
  std::vector<pollux_nvme_range> ranges;
  for (uint32_t i = 0; i < POLLUX_NVME_RANGES_MAX; ++i) ranges.push_back({i * 2, 1 + i % 5});
  ASSERT_EQ(pollux_nvme_deallocate(q(), ns_.get(), request_.c(), ranges.data(), 256), 0);
  EXPECT_EQ(Sent().opc, io::kDatasetManagement);
  EXPECT_EQ(Sent().cdw10, 255u);
  EXPECT_EQ(Sent().cdw11, 4u);
  const auto* wire = reinterpret_cast<const DsmRange*>(device_->AtList(Sent().prp1));
  for (uint32_t i = 0; i < 256; ++i) {
    ASSERT_EQ(wire[i].slba, ranges[i].lba);
    ASSERT_EQ(wire[i].nlb, ranges[i].blocks);
    ASSERT_EQ(wire[i].cattr, 0u);
  }
}

TEST_F(FullTest, DeallocateRefusesWhatIsNotThere) {
  std::vector<pollux_nvme_range> ranges(257, {0, 1});
  const auto try_it = [&](uint32_t count) {
    return pollux_nvme_deallocate(q(), ns_.get(), request_.c(), ranges.data(), count);
  };
  EXPECT_EQ(try_it(0), -EINVAL);
  EXPECT_EQ(try_it(257), -E2BIG);
  ranges[1] = {0xfff, 2};
  EXPECT_EQ(try_it(2), -EINVAL);
  ranges[1] = {0, 0};
  EXPECT_EQ(try_it(2), -EINVAL);
}

TEST_F(FullTest, KeepsWithinTheLimitsOfCommandsThatMoveNothing) {
  Namespace::Facts facts = FullFacts();
  facts.info.write_zeroes_blocks_max = 8;
  facts.info.verify_blocks_max = 4;
  facts.info.write_uncorrectable_blocks_max = 2;
  facts.info.deallocate_ranges_max = 3;
  facts.info.deallocate_range_blocks_max = 10;
  facts.info.deallocate_blocks_max = 25;
  Describe(facts);
  EXPECT_EQ(Try(pollux_nvme_write_zeroes, Bare(0, 9)), -E2BIG);
  ASSERT_EQ(Try(pollux_nvme_write_zeroes, Bare(0, 8)), 0);
  EXPECT_EQ(Sent().opc, io::kWriteZeroes);
  EXPECT_EQ(Try(pollux_nvme_verify, Bare(0, 5)), -E2BIG);
  EXPECT_EQ(pollux_nvme_write_uncorrectable(q(), ns_.get(), request_.c(), 0, 3), -E2BIG);
  const auto deallocate = [&](std::vector<pollux_nvme_range> ranges) {
    return pollux_nvme_deallocate(q(), ns_.get(), request_.c(), ranges.data(),
                                  static_cast<uint32_t>(ranges.size()));
  };
  EXPECT_EQ(deallocate({{0, 1}, {1, 1}, {2, 1}, {3, 1}}), -E2BIG);
  EXPECT_EQ(deallocate({{0, 11}}), -E2BIG);
  EXPECT_EQ(deallocate({{0, 10}, {10, 10}, {20, 6}}), -E2BIG);
  EXPECT_EQ(deallocate({{0, 10}, {10, 10}, {20, 5}}), 0);
}

TEST_F(FullTest, CopyTellsItsRanges) {
  const pollux_nvme_range ranges[] = {{0x10, 16}, {0x40, 1}};
  ASSERT_EQ(pollux_nvme_copy(q(), ns_.get(), request_.c(), 0x100, ranges, 2, POLLUX_NVME_FUA), 0);
  EXPECT_EQ(Sent().opc, io::kCopy);
  EXPECT_EQ(Sent().cdw10, 0x100u);
  EXPECT_EQ(Sent().cdw12, 1u | 1u << 30);
  const auto* wire = reinterpret_cast<const CopyRange*>(device_->AtList(Sent().prp1));
  EXPECT_EQ(wire[0].slba, 0x10u);
  EXPECT_EQ(wire[0].nlb, 15u);
  EXPECT_EQ(wire[1].slba, 0x40u);
  EXPECT_EQ(wire[1].nlb, 0u);
}

TEST_F(FullTest, CopyKeepsToTheControllersLimits) {
  std::vector<pollux_nvme_range> ranges(5, {0, 1});
  const auto try_it = [&](uint64_t to, uint32_t count, uint32_t flags = 0) {
    return pollux_nvme_copy(q(), ns_.get(), request_.c(), to, ranges.data(), count, flags);
  };
  EXPECT_EQ(try_it(0, 0), -EINVAL);
  EXPECT_EQ(try_it(0, 5), -E2BIG);
  EXPECT_EQ(try_it(0, 1, POLLUX_NVME_DEALLOCATE), -EINVAL);
  ranges[0] = {0, 17};
  EXPECT_EQ(try_it(0, 1), -E2BIG);
  ranges.assign(3, {0, 16});
  EXPECT_EQ(try_it(0, 3), -E2BIG);
  EXPECT_EQ(try_it(0xfe1, 2), -EINVAL);
  EXPECT_EQ(try_it(0xfe0, 2), 0);
}

TEST_F(FullTest, ReservationsTellTheirKeys) {
  const pollux_nvme_reservation_keys keys = {0x1111, 0x2222};
  ASSERT_EQ(pollux_nvme_reservation_register(q(), ns_.get(), request_.c(), &keys, 2, true, 3), 0);
  EXPECT_EQ(Sent().opc, io::kReservationRegister);
  EXPECT_EQ(Sent().cdw10, 2u | 1u << 3 | 3u << 30);
  const auto* wire = reinterpret_cast<const Le64*>(device_->AtList(Sent().prp1));
  EXPECT_EQ(wire[0], 0x1111u);
  EXPECT_EQ(wire[1], 0x2222u);
  ASSERT_EQ(pollux_nvme_reservation_acquire(q(), ns_.get(), request_.c(), &keys, 1,
                                            POLLUX_NVME_EXCLUSIVE_ACCESS, false),
            0);
  EXPECT_EQ(Sent().opc, io::kReservationAcquire);
  EXPECT_EQ(Sent().cdw10, 1u | 2u << 8);
  ASSERT_EQ(pollux_nvme_reservation_release(q(), ns_.get(), request_.c(), &keys, 0,
                                            POLLUX_NVME_WRITE_EXCLUSIVE, false),
            0);
  EXPECT_EQ(Sent().opc, io::kReservationRelease);
  EXPECT_EQ(Sent().cdw10, 1u << 8);
  ASSERT_EQ(
      pollux_nvme_reservation_report(q(), ns_.get(), request_.c(), memory_.page(2), 4096, true), 0);
  EXPECT_EQ(Sent().opc, io::kReservationReport);
  EXPECT_EQ(Sent().cdw10, 1023u);
  EXPECT_EQ(Sent().cdw11, 1u);
  EXPECT_EQ(Sent().prp1, memory_.IovaOf(memory_.page(2)));
}

TEST_F(FullTest, ReservationsRefuseWhatDoesNotExist) {
  const pollux_nvme_reservation_keys keys{};
  const auto type = static_cast<pollux_nvme_reservation_type>(7);
  EXPECT_EQ(pollux_nvme_reservation_register(q(), ns_.get(), request_.c(), &keys, 3, false, 0),
            -EINVAL);
  EXPECT_EQ(pollux_nvme_reservation_register(q(), ns_.get(), request_.c(), &keys, 0, false, 1),
            -EINVAL);
  EXPECT_EQ(pollux_nvme_reservation_acquire(q(), ns_.get(), request_.c(), &keys, 0, type, false),
            -EINVAL);
  EXPECT_EQ(pollux_nvme_reservation_release(q(), ns_.get(), request_.c(), &keys, 0, type, false),
            -EINVAL);
  EXPECT_EQ(pollux_nvme_reservation_report(q(), ns_.get(), request_.c(), memory_.data(), 6, false),
            -EINVAL);
  EXPECT_EQ(pollux_nvme_reservation_report(q(), ns_.get(), request_.c(), memory_.data(), 0, false),
            -EINVAL);
}

TEST_F(FullTest, ZonesAreSentAndReported) {
  ASSERT_EQ(
      pollux_nvme_zone_send(q(), ns_.get(), request_.c(), 0x200, POLLUX_NVME_ZONE_RESET, false), 0);
  EXPECT_EQ(Sent().opc, io::kZoneManagementSend);
  EXPECT_EQ(Sent().cdw10, 0x200u);
  EXPECT_EQ(Sent().cdw13, 4u);
  ASSERT_EQ(pollux_nvme_zone_send(q(), ns_.get(), request_.c(), 0, POLLUX_NVME_ZONE_FINISH, true),
            0);
  EXPECT_EQ(Sent().cdw13, 2u | 1u << 8);
  ASSERT_EQ(
      pollux_nvme_zone_report(q(), ns_.get(), request_.c(), 0x100, 2, true, memory_.page(1), 8192),
      0);
  EXPECT_EQ(Sent().opc, io::kZoneManagementReceive);
  EXPECT_EQ(Sent().cdw10, 0x100u);
  EXPECT_EQ(Sent().cdw12, 2047u);
  EXPECT_EQ(Sent().cdw13, 2u << 8 | 1u << 16);
  ASSERT_EQ(Try(pollux_nvme_zone_append, Io(0x100, 8)), 0);
  EXPECT_EQ(Sent().opc, io::kZoneAppend);
  EXPECT_EQ(Sent().cdw12, 7u);
}

TEST_F(FullTest, ZonesRefuseWhatIsNotThere) {
  EXPECT_EQ(Try(pollux_nvme_zone_append, Io(0x100, 9)), -E2BIG);
  EXPECT_EQ(
      pollux_nvme_zone_send(q(), ns_.get(), request_.c(), 0x1000, POLLUX_NVME_ZONE_RESET, false),
      -EINVAL);
  EXPECT_EQ(pollux_nvme_zone_send(q(), ns_.get(), request_.c(), 0,
                                  static_cast<pollux_nvme_zone_action>(6), false),
            -EINVAL);
  EXPECT_EQ(
      pollux_nvme_zone_report(q(), ns_.get(), request_.c(), 0x1000, 0, true, memory_.page(1), 8192),
      -EINVAL);
}

TEST_F(FullTest, AnyCommandIsSentAsItIs) {
  pollux_nvme_command command{};
  std::memset(&command, 0xab, sizeof(command));
  command.opc = 0xc1;
  command.fuse = 0;
  const iovec piece = {memory_.page(3), 512};
  ASSERT_EQ(pollux_nvme_io_command(q(), request_.c(), &command, &piece, 1, memory_.page(4), 64), 0);
  const SubmissionEntry& entry = Sent();
  EXPECT_EQ(entry.opc, 0xc1);
  EXPECT_EQ(entry.nsid, 0xababababu);
  EXPECT_EQ(entry.cdw2, 0xababababu);
  EXPECT_EQ(entry.cdw15, 0xababababu);
  EXPECT_EQ(entry.prp1, memory_.IovaOf(memory_.page(3)));
  EXPECT_EQ(entry.mptr, memory_.IovaOf(memory_.page(4)));
  command.fuse = 3;
  EXPECT_EQ(pollux_nvme_io_command(q(), request_.c(), &command, nullptr, 0, nullptr, 0), -EINVAL);
}

// --- Words.

std::string TextOf(uint16_t status) {
  char text[96];
  return pollux_nvme_status_text(status, text, sizeof(text));
}

TEST(StatusText, SaysWhatTheSpecificationSays) {
  EXPECT_EQ(TextOf(0), "Successful Completion (000h)");
  EXPECT_EQ(TextOf(0x4281), "Unrecovered Read Error (281h), do not retry");
  EXPECT_EQ(TextOf(POLLUX_NVME_ABORTED_BY_HOST), "Command Aborted By Host (371h)");
}

TEST(StatusText, HasAWordForEveryStatus) {
  for (uint32_t code = 0; code < 0x800; ++code) {
    EXPECT_FALSE(TextOf(static_cast<uint16_t>(code)).empty());
  }
  EXPECT_EQ(TextOf(0x7ff), "Vendor Specific (7ffh)");
  EXPECT_EQ(TextOf(0x0c0), "Vendor Specific (0c0h)");
  EXPECT_EQ(TextOf(0x412), "Reserved Status (412h)");
}

TEST(StatusText, FitsWhatItIsGiven) {
  char text[4] = "???";
  pollux_nvme_status_text(1, text, sizeof(text));
  EXPECT_STREQ(text, "Inv");
}

}  // namespace
}  // namespace pollux::nvme
