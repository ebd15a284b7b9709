// Commands of the model, as the test writes them.
#include <gmock/gmock.h>

#include "tests/unit/models/raw_host.h"

namespace pollux::models {
namespace {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.
using testing::IsEmpty;

class ModelCommandsTest : public RawHost {
 protected:
  uint16_t Identify(uint8_t what, uint32_t nsid = 0, uint8_t csi = 0) {
    Sqe sqe = AdminOn(admin::kIdentify, data_, what, nsid);
    sqe.cdw11 = uint32_t{csi} << 24;
    return Status(Admin(sqe));
  }
  uint16_t LogPage(uint8_t id, uint32_t bytes) {
    return Status(Admin(AdminOn(admin::kGetLogPage, data_, id | (bytes / 4 - 1) << 16)));
  }
  uint16_t SetFeature(uint8_t id, uint32_t value, uint32_t nsid = 0) {
    Sqe sqe = AdminOn(admin::kSetFeatures, data_, id, nsid);
    sqe.cdw11 = value;
    return Status(Admin(sqe));
  }
  uint32_t Dword(size_t index) { return As<Le32>(data_ + index * 4); }
  std::byte* const data_ = Pages(4);
};

TEST_F(ModelCommandsTest, IdentifiesItself) {
  Start();
  ASSERT_EQ(Identify(cns::kController), 0);
  const auto controller = As<IdentifyController>(data_);
  EXPECT_EQ(controller.sqes, 0x66);
  EXPECT_EQ(controller.mdts, 5);
  ASSERT_EQ(Identify(cns::kNamespace, 1), 0);
  EXPECT_EQ(As<IdentifyNamespace>(data_).nsze, 65536u);
  ASSERT_EQ(Identify(cns::kNamespace, 2), 0);
  EXPECT_EQ(As<IdentifyNamespace>(data_).nsze, 0u);
  EXPECT_EQ(Identify(cns::kNamespace, 1000), status::kInvalidNamespace);
  ASSERT_EQ(Identify(cns::kActiveNamespaces), 0);
  EXPECT_EQ(Dword(0), 1u);
  EXPECT_EQ(Dword(1), 0u);
  ASSERT_EQ(Identify(cns::kNamespaceDescriptors, 1), 0);
  EXPECT_EQ(As<NamespaceDescriptor>(data_).nidt, kNidtNguid);
  ASSERT_EQ(Identify(cns::kIoCommandSets), 0);
  EXPECT_EQ(data_[0], std::byte{5});
  EXPECT_EQ(Identify(0x77), status::kInvalidField);
}

TEST_F(ModelCommandsTest, LiesInIdentifyDataWhenTheTestWants) {
  Start();
  model().edit_data = [](const SubmissionEntry& sqe, std::span<std::byte> data) {
    if (sqe.opc == admin::kIdentify) data[77] = std::byte{31};
  };
  ASSERT_EQ(Identify(cns::kController), 0);
  EXPECT_EQ(As<IdentifyController>(data_).mdts, 31);
}

TEST_F(ModelCommandsTest, GrantsAsManyQueuesAsSet) {
  options_.controller.io_queues_granted = 3;
  Enable();
  Sqe sqe{.opc = admin::kSetFeatures};
  sqe.cdw10 = feature::kNumberOfQueues;
  sqe.cdw11 = 0x00070007;
  EXPECT_EQ(Admin(sqe).dw0, 0x00020002u);
  ASSERT_EQ(CreateQueue(1), 0);
  EXPECT_EQ(Status(Admin(sqe)), status::kCommandSequenceError);
  Sqe cq{.opc = admin::kCreateCq};
  cq.cdw10 = 4 | 15u << 16;
  cq.cdw11 = 1;
  EXPECT_EQ(Status(Admin(cq)), status::kInvalidQueueIdentifier);
}

TEST_F(ModelCommandsTest, RemembersFeatures) {
  Start();
  EXPECT_EQ(SetFeature(feature::kArbitration, 0x01020307), 0);
  EXPECT_EQ(Admin(AdminOn(admin::kGetFeatures, data_, feature::kArbitration)).dw0, 0x01020307u);
  EXPECT_EQ(Admin(AdminOn(admin::kGetFeatures, data_, feature::kArbitration | 3 << 8)).dw0, 5u);
  EXPECT_EQ(SetFeature(0x7f, 1), status::kInvalidField);
  EXPECT_EQ(SetFeature(feature::kPowerManagement, 5), status::kInvalidField);
}

TEST_F(ModelCommandsTest, TellsOfNamespacesThatCame) {
  Start();
  EXPECT_EQ(SetFeature(feature::kAsyncEventConfiguration, 1 << 8), 0);
  Send(0, {.opc = admin::kAsyncEventRequest});
  model().Step();
  EXPECT_FALSE(Receive(0).has_value());
  EXPECT_EQ(model().AddNamespace({.blocks = 100}), 2u);
  EXPECT_EQ(Receive(0)->dw0, 0x00040002u);
  model().RemoveNamespace(2);  // Not told until the page has been read.
  Send(0, {.opc = admin::kAsyncEventRequest});
  model().Step();
  EXPECT_FALSE(Receive(0).has_value());
  ASSERT_EQ(LogPage(log_page::kChangedNamespaces, 4096), 0x0);
  EXPECT_EQ(Dword(0), 2u);
}

TEST_F(ModelCommandsTest, TakesOnlySoManyEventRequests) {
  Start();
  for (int i = 0; i < 4; ++i) Send(0, {.opc = admin::kAsyncEventRequest});
  EXPECT_EQ(Status(Admin({.opc = admin::kAsyncEventRequest})), status::kAsyncEventLimitExceeded);
  EXPECT_EQ(model().event_requests(), 4u);
}

TEST_F(ModelCommandsTest, WritesDownErrors) {
  Start();
  const Sqe bad = IoOn(io::kRead, 1 << 20, 1, data_);
  EXPECT_EQ(Status(Io(bad)), status::kLbaOutOfRange);
  ASSERT_EQ(LogPage(log_page::kError, 128), 0);
  EXPECT_EQ(As<ErrorLogEntry>(data_).sqid, 1);
  EXPECT_EQ(As<ErrorLogEntry>(data_).status >> 1 & 0x7ff, status::kLbaOutOfRange);
  ASSERT_EQ(LogPage(log_page::kHealth, 512), 0);
  EXPECT_EQ(As<HealthLog>(data_).num_err_log_entries[0], 1);
  EXPECT_EQ(LogPage(0xee, 512), status::kInvalidLogPage);
}

TEST_F(ModelCommandsTest, FormatsToAnotherBlockSize) {
  Start();
  std::memset(data_, 1, 512);
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 0, 1, data_))), 0);
  EXPECT_EQ(Status(Admin(AdminOn(admin::kFormatNvm, data_, 1, 1))), 0);
  EXPECT_EQ(model().FindNamespace(1)->block_bytes(), 4096u);
  EXPECT_EQ(Status(Io(IoOn(io::kRead, 0, 1, data_))), 0);
  EXPECT_EQ(data_[0], std::byte{0});
  EXPECT_EQ(Status(Admin(AdminOn(admin::kFormatNvm, data_, 15, 1))), status::kInvalidFormat);
}

TEST_F(ModelCommandsTest, CreatesAttachesAndDeletesNamespaces) {
  Start();
  IdentifyNamespace wanted{};
  wanted.nsze = wanted.ncap = 2048;
  wanted.flbas = 1;
  std::memcpy(data_, &wanted, sizeof wanted);
  const Cqe created = Admin(AdminOn(admin::kNamespaceManagement, data_));
  ASSERT_EQ(Status(created), 0);
  const uint32_t nsid = created.dw0;
  EXPECT_EQ(Status(Io(IoOn(io::kRead, 0, 1, data_, nsid))), status::kInvalidNamespace);
  std::memset(data_, 0, kPage);
  data_[0] = data_[2] = std::byte{1};  // One controller, number 1.
  EXPECT_EQ(Status(Admin(AdminOn(admin::kNamespaceAttachment, data_, 0, nsid))), 0);
  EXPECT_EQ(Status(Admin(AdminOn(admin::kNamespaceAttachment, data_, 0, nsid))),
            status::kNamespaceAlreadyAttached);
  EXPECT_EQ(Status(Io(IoOn(io::kRead, 0, 1, data_, nsid))), 0);
  EXPECT_EQ(Status(Admin(AdminOn(admin::kNamespaceManagement, data_, 1, nsid))), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kRead, 0, 1, data_, nsid))), status::kInvalidNamespace);
}

TEST_F(ModelCommandsTest, TakesFirmware) {
  Start();
  std::memcpy(data_, "2.1     ", 8);
  Sqe download = AdminOn(admin::kFirmwareImageDownload, data_, 1023);
  EXPECT_EQ(Status(Admin(download)), 0);
  EXPECT_EQ(Status(Admin(AdminOn(admin::kFirmwareCommit, data_, 2 | 1 << 3))),
            status::kFirmwareNeedsControllerReset);
  ASSERT_EQ(LogPage(log_page::kFirmwareSlot, 512), 0);
  EXPECT_EQ(As<FirmwareSlotLog>(data_).afi, 0x21);
  WriteCc(0);
  Start();
  ASSERT_EQ(Identify(cns::kController), 0);
  EXPECT_EQ(std::memcmp(As<IdentifyController>(data_).fr, "2.1 ", 4), 0);
}

TEST_F(ModelCommandsTest, SanitizesAndTellsOfIt) {
  Start();
  std::memset(data_, 1, 512);
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 0, 1, data_))), 0);
  EXPECT_EQ(Status(Admin(AdminOn(admin::kSanitize, data_, 2))), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kRead, 0, 1, data_))), 0);
  EXPECT_EQ(data_[0], std::byte{0});
  ASSERT_EQ(LogPage(log_page::kSanitizeStatus, 512), 0);
  EXPECT_EQ(Dword(0) & 0x7ffff, 0x1ffffu);
}

TEST_F(ModelCommandsTest, TakesAHostMemoryBuffer) {
  options_.controller.host_memory_preferred_pages = 8;
  options_.controller.host_memory_min_pages = 4;
  Start();
  std::byte* const buffer = Pages(4);
  const HostMemoryDescriptor list[] = {{.badd = Iova(buffer), .bsize = 4, .reserved = 0}};
  std::memcpy(data_, list, sizeof list);
  Sqe sqe{.opc = admin::kSetFeatures};
  sqe.cdw10 = feature::kHostMemoryBuffer;
  sqe.cdw11 = 1;
  sqe.cdw12 = 3;
  sqe.cdw13 = static_cast<uint32_t>(Iova(data_));
  sqe.cdw14 = static_cast<uint32_t>(Iova(data_) >> 32);
  sqe.cdw15 = 1;
  EXPECT_EQ(Status(Admin(sqe)), status::kInvalidField);
  sqe.cdw12 = 4;
  EXPECT_EQ(Status(Admin(sqe)), 0);
  EXPECT_EQ(model().features().host_memory.pages, 4u);
}

TEST_F(ModelCommandsTest, ComparesAndWritesAsOne) {
  Start();
  std::memset(data_, 0, kPage);
  std::memset(data_ + kPage, 0x33, kPage);
  Sqe compare = IoOn(io::kCompare, 4, 1, data_);
  compare.flags = kFuseFirst;
  Sqe write = IoOn(io::kWrite, 4, 1, data_ + kPage);
  write.flags = kFuseSecond;
  for (const uint16_t expected : {status::kSuccess, status::kCompareFailure}) {
    Put(1, compare);
    Put(1, write);
    RingDoorbell(1);
    model().Step();
    EXPECT_EQ(Status(*Receive(1)), expected);
    EXPECT_EQ(Status(*Receive(1)), expected == 0 ? 0 : status::kAbortedFailedFused);
  }
  EXPECT_EQ(Status(Io(compare)), status::kAbortedMissingFused);
}

TEST_F(ModelCommandsTest, ZeroesDeallocatesAndCopies) {
  Start();
  std::memset(data_, 0x21, 4 * kPage);
  ASSERT_EQ(Status(Io(IoOn(io::kWrite, 0, 16, data_))), 0);
  ASSERT_EQ(Status(Io(IoOn(io::kWriteZeroes, 0, 1, data_))), 0);
  const DsmRange range{.cattr = 0, .nlb = 1, .slba = 1};
  std::memcpy(data_, &range, sizeof range);
  Sqe dsm = AdminOn(io::kDatasetManagement, data_, 0, 1);
  dsm.cdw11 = 4;
  ASSERT_EQ(Status(Io(dsm)), 0);
  const CopyRange source{.slba = 0, .nlb = 2};
  std::memcpy(static_cast<void*>(data_), &source, sizeof source);
  Sqe copy = AdminOn(io::kCopy, data_, 100, 1);
  ASSERT_EQ(Status(Io(copy)), 0);
  ASSERT_EQ(Status(Io(IoOn(io::kRead, 100, 3, data_))), 0);
  EXPECT_EQ(data_[0], std::byte{0});
  EXPECT_EQ(data_[512], std::byte{0});
  EXPECT_EQ(data_[1024], std::byte{0x21});
  EXPECT_THAT(model().complaints(), IsEmpty());
}

TEST_F(ModelCommandsTest, CannotReadWhatWasMadeUncorrectable) {
  Start();
  ASSERT_EQ(Status(Io(IoOn(io::kWriteUncorrectable, 9, 1, data_))), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kRead, 8, 4, data_))), status::kUnrecoveredReadError);
  EXPECT_EQ(Status(Io(IoOn(io::kVerify, 9, 1, data_))), status::kUnrecoveredReadError);
  ASSERT_EQ(Status(Io(IoOn(io::kWrite, 9, 1, data_))), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kRead, 8, 4, data_))), 0);
}

TEST_F(ModelCommandsTest, HoldsAReservation) {
  Start();
  const Le64 keys[2] = {0, 0x77};
  std::memcpy(data_, keys, sizeof keys);
  EXPECT_EQ(Status(Io(AdminOn(io::kReservationRegister, data_, 0, 1))), 0);
  EXPECT_EQ(Status(Io(AdminOn(io::kReservationAcquire, data_, 1 << 8, 1))),
            status::kReservationConflict);
  const Le64 own[2] = {0x77, 0};
  std::memcpy(data_, own, sizeof own);
  EXPECT_EQ(Status(Io(AdminOn(io::kReservationAcquire, data_, 1 << 8, 1))), 0);
  EXPECT_EQ(Status(Io(AdminOn(io::kReservationReport, data_, 11, 1))), 0);
  EXPECT_EQ(data_[4], std::byte{1});
  EXPECT_EQ(As<Le64>(data_ + 24 + 16), 0x77u);
}

TEST_F(ModelCommandsTest, FailsAtTheRateOfItsSeed) {
  options_.controller.faults.error_rate = 0.5;
  Start();
  int failed = 0;
  for (int i = 0; i < 100; ++i) failed += Status(Io(IoOn(io::kRead, 0, 1, data_))) != 0 ? 1 : 0;
  EXPECT_GT(failed, 20);
  EXPECT_LT(failed, 80);
}

// --- Zones.

class ModelZonesTest : public ModelCommandsTest {
 protected:
  void StartZoned() {
    ModelNamespace::Options ns{.blocks = 4 * 64};
    ns.zones =
        ZoneSet::Options{.zone_blocks = 64, .capacity_blocks = 48, .open_max = 1, .active_max = 2};
    options_.controller.namespaces = {ns};
    Start();
  }
  uint16_t Manage(uint64_t lba, uint32_t action) {
    Sqe sqe = IoOn(io::kZoneManagementSend, lba, 1, data_);
    sqe.cdw12 = 0;
    sqe.cdw13 = action;
    return Status(Io(sqe));
  }
};

TEST_F(ModelZonesTest, AreDescribed) {
  StartZoned();
  ASSERT_EQ(Identify(cns::kCsNamespace, 1, kCsiZoned), 0);
  EXPECT_EQ(As<IdentifyZonedNamespace>(data_).lbafe[0].zsze, 64u);
  EXPECT_EQ(As<IdentifyZonedNamespace>(data_).mar, 1u);
  ASSERT_EQ(Identify(cns::kCsActiveNamespaces, 0, kCsiZoned), 0);
  EXPECT_EQ(Dword(0), 1u);
}

TEST_F(ModelZonesTest, TakeWritesOnlyAtTheWritePointer) {
  StartZoned();
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 1, 1, data_))), status::kZoneInvalidWrite);
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 0, 8, data_))), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 8, 8, data_))), 0);
  const Cqe appended = Io(IoOn(io::kZoneAppend, 0, 16, data_));
  EXPECT_EQ(Status(appended), 0);
  EXPECT_EQ(appended.dw0, 16u);
  EXPECT_EQ(Status(Io(IoOn(io::kZoneAppend, 32, 1, data_))), status::kInvalidField);
  EXPECT_EQ(Status(Io(IoOn(io::kZoneAppend, 0, 16, data_))), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kZoneAppend, 0, 1, data_))), status::kZoneFull);
}

TEST_F(ModelZonesTest, AreLimitedInWhatIsOpenAndActive) {
  StartZoned();
  EXPECT_EQ(Manage(0, 3), 0);
  EXPECT_EQ(Manage(64, 3), status::kTooManyOpenZones);
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 0, 1, data_))), 0);
  EXPECT_EQ(Manage(0, 1), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 64, 1, data_))), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 128, 1, data_))), status::kTooManyActiveZones);
  EXPECT_EQ(Manage(0, 4), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 128, 1, data_))), 0);
}

TEST_F(ModelZonesTest, AreReported) {
  StartZoned();
  ASSERT_EQ(Status(Io(IoOn(io::kWrite, 64, 2, data_))), 0);
  Sqe sqe = IoOn(io::kZoneManagementReceive, 64, 1, data_);
  sqe.cdw12 = (64 + 2 * 64) / 4 - 1;
  sqe.cdw13 = 1 << 16;
  ASSERT_EQ(Status(Io(sqe)), 0);
  EXPECT_EQ(As<ZoneReportHeader>(data_).number_of_zones, 2u);
  const auto zone = As<ZoneDescriptor>(data_ + 64);
  EXPECT_EQ(zone.zslba, 64u);
  EXPECT_EQ(zone.zcap, 48u);
  EXPECT_EQ(zone.wp, 66u);
  EXPECT_EQ(zone.zs >> 4, 2);
}

}  // namespace
}  // namespace pollux::models
