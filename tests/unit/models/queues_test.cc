// The model's registers, queues and what a test may decide.
#include <gmock/gmock.h>

#include "tests/unit/models/raw_host.h"

namespace pollux::models {
namespace {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.
using testing::HasSubstr;
using testing::IsEmpty;

class ModelQueuesTest : public RawHost {
 protected:
  Sqe Read(uint64_t lba) { return IoOn(io::kRead, lba, 1, data_); }
  std::byte* const data_ = Pages(4);
};

TEST_F(ModelQueuesTest, ReadsBackWhatWasWritten) {
  Start();
  std::byte* const other = Pages(2);
  std::memset(data_, 0x5a, 2 * kPage);
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 3, 16, data_))), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kRead, 3, 16, other))), 0);
  EXPECT_EQ(std::memcmp(data_, other, 2 * kPage), 0);
  EXPECT_EQ(Status(Io({.opc = io::kFlush, .nsid = 1})), 0);
  EXPECT_THAT(model().complaints(), IsEmpty());
}

TEST_F(ModelQueuesTest, GoesRoundItsRingsManyTimes) {
  Start();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(Status(Io(Read(0))), 0) << i;
  EXPECT_EQ(model().commands_fetched(1), 100u);
  EXPECT_EQ(model().doorbell_writes(1, false), 100u);
  EXPECT_THAT(model().complaints(), IsEmpty());
}

TEST_F(ModelQueuesTest, DoesNothingUntilStep) {
  Start();
  Send(1, Read(0));
  EXPECT_FALSE(Receive(1).has_value());
  EXPECT_EQ(model().Step(), 1u);
  EXPECT_TRUE(Receive(1).has_value());
}

TEST_F(ModelQueuesTest, BecomesReadyAfterAsManyStepsAndReadsAsTold) {
  options_.controller.ready_steps = 2;
  options_.controller.ready_reads = 3;
  Enable();
  EXPECT_EQ(csts::kRdy.Get(Csts()), 0u);
  model().Step();
  EXPECT_EQ(csts::kRdy.Get(Csts()), 0u);
  model().Step();
  EXPECT_EQ(csts::kRdy.Get(Csts()), 0u);
  EXPECT_EQ(csts::kRdy.Get(Csts()), 1u);
  WriteCc(0);
  EXPECT_EQ(csts::kRdy.Get(Csts()), 1u);
}

TEST_F(ModelQueuesTest, NeverBecomesReadyWhenToldSo) {
  options_.controller.ready_steps = NvmeModel::kNever;
  Enable();
  for (int i = 0; i < 10; ++i) {
    model().Step();
    EXPECT_EQ(csts::kRdy.Get(Csts()), 0u);
  }
}

TEST_F(ModelQueuesTest, ShutsDown) {
  options_.controller.shutdown_reads = 1;
  Start();
  WriteCc(cc::kShn.Set(EnabledCc(), 1));
  EXPECT_EQ(csts::kShst.Get(Csts()), 1u);
  EXPECT_EQ(csts::kShst.Get(Csts()), 2u);
}

TEST_F(ModelQueuesTest, IsFatalWhenEnabledWithAWrongPageSize) {
  Make();
  WriteCc(cc::kMps.Set(EnabledCc(), 9));
  EXPECT_EQ(csts::kCfs.Get(Csts()), 1u);
  EXPECT_THAT(model().complaints().front(), HasSubstr("CC.MPS"));
}

TEST_F(ModelQueuesTest, StartsAnewAfterAReset) {
  Start();
  model().HoldCommands(NvmeModel::Hold::kIo);
  Send(1, Read(0));
  model().Step();
  WriteCc(0);
  EXPECT_EQ(csts::kRdy.Get(Csts()), 0u);
  EXPECT_THAT(model().held(), IsEmpty());
  model().HoldCommands(NvmeModel::Hold::kNothing);
  Start();
  EXPECT_EQ(Status(Io(Read(0))), 0);
}

TEST_F(ModelQueuesTest, CompletesInTheOrderThatTheTestWants) {
  Start();
  model().HoldCommands(NvmeModel::Hold::kIo);
  const uint16_t first = Send(1, Read(0));
  const uint16_t second = Send(1, Read(1));
  model().Step();
  ASSERT_EQ(model().held().size(), 2u);
  model().Complete(1);
  model().Complete(0, status::kUnrecoveredReadError);
  const Cqe one = *Receive(1);
  const Cqe two = *Receive(1);
  EXPECT_EQ(one.cid, second);
  EXPECT_EQ(Status(one), 0);
  EXPECT_EQ(two.cid, first);
  EXPECT_EQ(Status(two), status::kUnrecoveredReadError);
}

TEST_F(ModelQueuesTest, CompletesTwiceOrNever) {
  Start();
  model().HoldCommands(NvmeModel::Hold::kIo);
  const uint16_t first = Send(1, Read(0));
  Send(1, Read(1));
  model().Step();
  model().CompleteTwice(0);
  EXPECT_EQ(Receive(1)->cid, first);
  EXPECT_EQ(Receive(1)->cid, first);
  model().Forget(0);
  model().Step();
  EXPECT_FALSE(Receive(1).has_value());
}

TEST_F(ModelQueuesTest, PostsAnyCompletion) {
  Start();
  Cqe entry;
  entry.cid = 0x7777;
  entry.sqid = 9;
  model().Post(1, entry);
  const Cqe seen = *Receive(1);
  EXPECT_EQ(seen.cid, 0x7777);
  EXPECT_EQ(seen.sqid, 9);
  model().Post(1, entry, false);
  EXPECT_FALSE(Receive(1).has_value());
  EXPECT_EQ(Status(Io(Read(0))), 0);  // The slot is used again.
}

TEST_F(ModelQueuesTest, WaitsForRoomInAFullCompletionQueue) {
  Start();
  model().HoldCommands(NvmeModel::Hold::kIo);
  for (int i = 0; i < kEntries - 1; ++i) Send(1, Read(0));
  model().Step();
  model().CompleteAll();
  Cqe entry;
  entry.cid = 0x7777;
  model().Post(1, entry);
  for (int i = 0; i < kEntries - 1; ++i) EXPECT_NE(Receive(1)->cid, 0x7777);
  EXPECT_FALSE(Receive(1).has_value());
  model().Step();
  EXPECT_EQ(Receive(1)->cid, 0x7777);
}

TEST_F(ModelQueuesTest, TakesAsLongAsItsSeedSays) {
  options_.controller.faults.latency_min = 3;
  options_.controller.faults.latency_max = 3;
  Start();
  Send(1, Read(0));
  for (int i = 0; i < 3; ++i) {
    model().Step();
    EXPECT_FALSE(Receive(1).has_value()) << i;
  }
  model().Step();
  EXPECT_TRUE(Receive(1).has_value());
}

TEST_F(ModelQueuesTest, FailsTheNthAdminCommand) {
  Enable();
  model().faults().OnAdmin(admin::kIdentify, 2, status::kInternalError);
  EXPECT_EQ(Status(Admin(AdminOn(admin::kIdentify, data_, cns::kController))), 0);
  EXPECT_EQ(Status(Admin(AdminOn(admin::kIdentify, data_, cns::kController))),
            status::kInternalError);
  EXPECT_EQ(Status(Admin(AdminOn(admin::kIdentify, data_, cns::kController))), 0);
}

TEST_F(ModelQueuesTest, FetchesNothingOnceFatal) {
  Start();
  model().GoFatal();
  Send(1, Read(0));
  EXPECT_EQ(model().Step(), 0u);
  EXPECT_EQ(csts::kCfs.Get(Csts()), 1u);
  WriteCc(0);
  EXPECT_EQ(csts::kCfs.Get(Csts()), 0u);
}

TEST_F(ModelQueuesTest, ReadsAllOnesFromTheAccessAtWhichItDisappears) {
  Start();
  model().DisappearAtAccess(2);
  EXPECT_NE(Csts(), 0xffffffffu);
  EXPECT_EQ(Csts(), 0xffffffffu);
  EXPECT_EQ(device_->ReadConfig(0, 2), 0xffffu);
  EXPECT_FALSE(device_->gone().ok());
  EXPECT_EQ(model().Step(), 0u);
}

TEST_F(ModelQueuesTest, ReachesNoMemoryWithoutBusMastering) {
  Start();
  Send(1, Read(0));
  device_->SetBusMaster(false);
  EXPECT_EQ(model().Step(), 0u);
  device_->SetBusMaster(true);
  EXPECT_EQ(model().Step(), 1u);
}

TEST_F(ModelQueuesTest, ComplainsOfADoorbellThatIsNotThere) {
  Start();
  device_->Write32(0, kDoorbells + 3 * 8, 1);
  EXPECT_THAT(model().complaints().front(), HasSubstr("does not exist"));
  model().ForgetComplaints();
  device_->Write32(0, kDoorbells + 8, 99);
  model().Step();
  EXPECT_THAT(model().complaints().front(), HasSubstr("tail 99"));
}

TEST_F(ModelQueuesTest, ComplainsOfACompletionHeadBeyondTheTail) {
  Start();
  device_->Write32(0, kDoorbells + 12, 5);
  model().Step();
  EXPECT_THAT(model().complaints().front(), HasSubstr("head 5"));
}

TEST_F(ModelQueuesTest, RefusesAnIdentifierThatIsInUse) {
  Start();
  model().HoldCommands(NvmeModel::Hold::kIo);
  const uint16_t cid = Send(1, Read(0));
  next_cid_ = cid;
  Send(1, Read(0));
  model().Step();
  EXPECT_EQ(Status(*Receive(1)), status::kCommandIdConflict);
}

TEST_F(ModelQueuesTest, AbortsAHeldCommand) {
  Start();
  model().HoldCommands(NvmeModel::Hold::kIo);
  const uint16_t cid = Send(1, Read(0));
  model().Step();
  Sqe abort{.opc = admin::kAbort};
  abort.cdw10 = 1u | uint32_t{cid} << 16;
  EXPECT_EQ(Admin(abort).dw0, 0u);
  EXPECT_EQ(Status(*Receive(1)), status::kAbortRequested);
  EXPECT_EQ(Admin(abort).dw0, 1u);
}

TEST_F(ModelQueuesTest, RefusesQueuesThatCannotBe) {
  Start();
  EXPECT_EQ(CreateQueue(1), status::kInvalidQueueIdentifier);
  Sqe sqe{.opc = admin::kCreateCq};
  sqe.prp1 = Iova(Pages(1)) + 64;
  sqe.cdw10 = 2 | 15u << 16;
  sqe.cdw11 = 1;
  EXPECT_EQ(Status(Admin(sqe)), status::kInvalidPrpOffset);
  sqe.prp1 = 0x1000;
  EXPECT_EQ(Status(Admin(sqe)), status::kDataTransferError);
  sqe.prp1 = Iova(Pages(1));
  sqe.cdw10 = 2;
  EXPECT_EQ(Status(Admin(sqe)), status::kInvalidQueueSize);
  sqe.cdw10 = 2 | 15u << 16;
  sqe.cdw11 = 3 | 4000u << 16;
  EXPECT_EQ(Status(Admin(sqe)), status::kInvalidInterruptVector);
  sqe.opc = admin::kCreateSq;
  sqe.cdw11 = 1 | 2u << 16;
  EXPECT_EQ(Status(Admin(sqe)), status::kCompletionQueueInvalid);
  sqe.opc = admin::kDeleteCq;
  sqe.cdw10 = 1;
  EXPECT_EQ(Status(Admin(sqe)), status::kInvalidQueueDeletion);
}

TEST_F(ModelQueuesTest, ReadsTailsFromShadowDoorbells) {
  Start();
  std::byte* const shadow = Pages(1);
  std::byte* const event_index = Pages(1);
  Sqe sqe = AdminOn(admin::kDoorbellBufferConfig, shadow);
  sqe.prp2 = Iova(event_index);
  ASSERT_EQ(Status(Admin(sqe)), 0);
  const uint64_t writes = model().doorbell_writes(1, false);
  Put(1, Read(0));
  const uint32_t tail = queues_[1].tail;
  std::memcpy(shadow + 8, &tail, 4);
  model().Step();
  EXPECT_TRUE(Receive(1).has_value());
  EXPECT_EQ(model().doorbell_writes(1, false), writes);
  EXPECT_EQ(As<uint32_t>(event_index + 8), tail);
}

TEST_F(ModelQueuesTest, WorksFromControllerMemory) {
  options_.controller.cmb_bytes = 1 << 20;
  Start();
  EXPECT_EQ(device_->Read32(0, kCmbsz.offset), 0u);
  device_->Write64(0, kCmbmsc.offset, 1);
  EXPECT_EQ(cmbsz::kSz.Get(device_->Read32(0, kCmbsz.offset)), 256u);
  const uint64_t base = uint64_t{1} << 50;
  device_->Write64(0, kCmbmsc.offset, base | 3);
  std::byte* const cmb = device_->MapBar(2, 0, 1 << 20);
  ASSERT_NE(cmb, nullptr);
  std::memset(cmb, 0x77, 512);
  Sqe write = IoOn(io::kWrite, 0, 1, data_);
  write.prp1 = base;
  EXPECT_EQ(Status(Io(write)), 0);
  EXPECT_EQ(Status(Io(Read(0))), 0);
  EXPECT_EQ(data_[511], std::byte{0x77});
}

TEST_F(ModelQueuesTest, GivesAddressesThatAreNotPointers) {
  Make();
  EXPECT_NE(Iova(data_), reinterpret_cast<uintptr_t>(data_));
  options_.dma_page_bytes = kPage;
  device_.reset();
  Make();
  EXPECT_NE(Iova(data_ + kPage), Iova(data_) + kPage);
  pci::DmaView view(device_->dma());
  EXPECT_EQ(view.Translate(data_ + 100).bytes, kPage - 100);
}

TEST_F(ModelQueuesTest, WorksWithScatteredPages) {
  options_.dma_page_bytes = kPage;
  Start();
  std::memset(data_, 0x11, 2 * kPage);
  EXPECT_EQ(Status(Io(IoOn(io::kWrite, 0, 16, data_))), 0);
  EXPECT_EQ(Status(Io(IoOn(io::kRead, 8, 1, data_ + 2 * kPage))), 0);
  EXPECT_EQ(data_[2 * kPage], std::byte{0x11});
}

}  // namespace
}  // namespace pollux::models
