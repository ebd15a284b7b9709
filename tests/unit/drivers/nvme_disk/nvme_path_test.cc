#include "drivers/nvme_disk/nvme_path.h"

#include "drivers/null/null_disk.h"
#include "tests/unit/drivers/nvme_disk/nvme_disk_world.h"

namespace pollux {
namespace {

using models::ModelNamespace;

class NvmePathTest : public NvmeDiskWorld {};

TEST_F(NvmePathTest, EveryNamespaceIsADiskUntilTheDetach) {
  device_.controller.namespaces.resize(3);
  Attach();
  EXPECT_EQ(path_->subsystem().disk_names(),
            (std::vector<std::string>{"Nvme0n1", "Nvme0n2", "Nvme0n3"}));
  EXPECT_STREQ(path_->state_name(), "enabled");
  EXPECT_TRUE(Detach().ok());
  EXPECT_TRUE(world_.devices.devices().empty());
  EXPECT_TRUE(controllers_->attached().empty());
  Attach();
  EXPECT_TRUE(HasDisk("Nvme0n3"));
}

TEST_F(NvmePathTest, NamesAndDevicesAreTakenOnce) {
  Attach();
  EXPECT_EQ(ErrnoOf(TryAttach()), EALREADY);
  attachment_.name = "Other";
  EXPECT_EQ(ErrnoOf(TryAttach()), EEXIST);
  attachment_.name = "Nvme0";
  strcpy(attachment_.id.traddr, "0000:02:00.0");
  EXPECT_EQ(ErrnoOf(TryAttach()), EINVAL);  // The first has its subsystem alone.
  EXPECT_EQ(ErrnoOf(Run(controllers_->Remove("Nobody"))), ENODEV);
}

TEST_F(NvmePathTest, OptionsAreSetBeforeTheFirstController) {
  Attach();
  EXPECT_EQ(ErrnoOf(controllers_->SetOptions({})), EPERM);
}

TEST_F(NvmePathTest, ATakenDiskNameUndoesTheAttach) {
  auto other = MakeNullDisk({.name = "Nvme0n2", .block_size = 512, .num_blocks = 8});
  ASSERT_TRUE(Run(world_.devices.Register(*std::move(other))).ok());
  device_.controller.namespaces.resize(2);
  EXPECT_EQ(ErrnoOf(TryAttach()), EEXIST);
  EXPECT_FALSE(HasDisk("Nvme0n1"));
  EXPECT_TRUE(Run(world_.devices.Unregister("Nvme0n2")).ok());
  Attach();
  EXPECT_TRUE(HasDisk("Nvme0n2"));
}

TEST_F(NvmePathTest, MoreNamespacesThanWantedAreRefused) {
  device_.controller.namespaces.resize(3);
  attachment_.max_bdevs = 2;
  EXPECT_EQ(ErrnoOf(TryAttach()), ERANGE);
  EXPECT_TRUE(world_.devices.devices().empty());
}

TEST_F(NvmePathTest, AControllerWithTooFewQueuesIsRefused) {
  device_.controller.io_queues_granted = 1;
  EXPECT_EQ(ErrnoOf(TryAttach()), ENOSPC);
}

TEST_F(NvmePathTest, ADeviceThatNeverGetsReadyIsGivenUp) {
  device_.controller.ready_steps = NvmeModel::kNever;
  device_.controller.timeout_500ms = 1;
  EXPECT_FALSE(TryAttach().ok());
  EXPECT_TRUE(controllers_->attached().empty());
}

TEST_F(NvmePathTest, AnAttachCanBeGivenUp) {
  device_.controller.ready_steps = NvmeModel::kNever;
  path_ = *controllers_->Reserve(attachment_);
  Task<Status> connect = path_->Connect();
  world_.Begin(connect);
  Turns(20);
  EXPECT_FALSE(connect.done());
  world_.OnControl([&] { controllers_->CancelConnects(); });
  Until([&] { return connect.done(); });
  EXPECT_EQ(ErrnoOf(connect.TakeResult()), ECANCELED);
  EXPECT_TRUE(Detach().ok());
}

TEST_F(NvmePathTest, NamespacesComeGoAndGrow) {
  Attach();
  const uint32_t added = model_->AddNamespace(ModelNamespace::Options{.blocks = 1000});
  const std::string name = "Nvme0n" + std::to_string(added);
  Until([&] { return HasDisk(name); });
  EXPECT_EQ(Disk(name)->geometry().blocks, 1000u);
  model_->ResizeNamespace(added, 900);
  Until([&] { return Disk(name)->geometry().blocks == 900; });
  model_->RemoveNamespace(added);
  Until([&] { return !HasDisk(name); });
  EXPECT_TRUE(HasDisk("Nvme0n1"));
}

TEST_F(NvmePathTest, ANamespaceThatGoesUnderIoEndsItAll) {
  device_.controller.namespaces.resize(2);
  Attach();
  std::vector<std::unique_ptr<TestIo>> ios;
  SubmitReads(ios, 100);
  model_->RemoveNamespace(1);
  Until([&] { return !HasDisk("Nvme0n1"); });
  EXPECT_EQ(Ended(ios), ios.size());
  EXPECT_TRUE(HasDisk("Nvme0n2"));
}

TEST_F(NvmePathTest, IoGoesOnAfterAReset) {
  Attach();
  model_->HoldCommands(NvmeModel::Hold::kIo);
  std::vector<std::unique_ptr<TestIo>> ios;
  SubmitReads(ios, 300, 0);
  SubmitReads(ios, 300, 1);
  Turns(3);
  model_->HoldCommands(NvmeModel::Hold::kNothing);
  EXPECT_TRUE(Run(path_->Reset()).ok());
  Until([&] { return Ended(ios) == ios.size(); });
  for (const auto& io : ios) EXPECT_EQ(io->status, IoStatus::kSuccess);
  EXPECT_STREQ(path_->state_name(), "enabled");
}

TEST_F(NvmePathTest, ADisabledControllerRefusesIoUntilItIsEnabled) {
  Attach();
  EXPECT_TRUE(Run(path_->Disable()).ok());
  EXPECT_STREQ(path_->state_name(), "disabled");
  EXPECT_EQ(DoDirect(IoType::kRead, 0, 1), IoStatus::kNoResources);
  EXPECT_TRUE(Run(path_->Enable()).ok());
  EXPECT_EQ(DoDirect(IoType::kRead, 0, 1), IoStatus::kSuccess);
}

TEST_F(NvmePathTest, ADisabledControllerCanBeDetached) {
  Attach();
  EXPECT_TRUE(Run(path_->Disable()).ok());
  EXPECT_TRUE(Detach().ok());
}

TEST_F(NvmePathTest, AnUnpluggedDeviceEndsEveryCommandAndIsForgotten) {
  Attach();
  model_->HoldCommands(NvmeModel::Hold::kIo);
  std::vector<std::unique_ptr<TestIo>> ios;
  SubmitReads(ios, 500, 0);
  SubmitReads(ios, 10, 1);
  Turns(3);
  const uint64_t before = world_.clock.NowNs();
  model_->Disappear();
  Until([&] { return Ended(ios) == ios.size(); });
  EXPECT_LT(world_.clock.NowNs() - before, kNsPerSecond);
  for (const auto& io : ios) EXPECT_EQ(io->status, IoStatus::kGone);
  Until([&] { return !gone_.empty(); });
  EXPECT_EQ(gone_, std::vector<std::string>{"Nvme0"});
  EXPECT_TRUE(world_.devices.devices().empty());
  EXPECT_TRUE(controllers_->attached().empty());
  Attach();  // Another one in its place.
}

TEST_F(NvmePathTest, AdminAndIoCommandsOfTheUsersAreAnswered) {
  Attach();
  {
    const NvmePath::Use use(*path_);
    const nvme::Memory memory = path_->Allocate(4096);
    auto identify = Run(path_->Admin(pollux_nvme_make_identify(1, 0, 0, 0), memory.get(), 4096));
    ASSERT_TRUE(identify.ok()) << identify.status();
    EXPECT_TRUE(pollux_nvme_ok(*identify));
    pollux_nvme_command read{};
    read.opc = 0x02;
    read.nsid = 1;
    auto got = Run(path_->Io(read, {memory.get(), 512}, nullptr, 0));
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_TRUE(pollux_nvme_ok(*got));
    read.opc = 0xc1;
    got = Run(path_->Io(read, {}, nullptr, 0));
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(pollux_nvme_code(*got), 0x001);
  }
  char unknown[512];
  const auto refused = Run(path_->Io({}, {unknown, sizeof(unknown)}, nullptr, 0));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(ErrnoOf(refused.status()), EFAULT);
}

TEST_F(NvmePathTest, ADetachEndsACommandThatIsNeverAnswered) {
  Attach();
  model_->HoldCommands(NvmeModel::Hold::kIo);
  pollux_nvme_command flush{};
  flush.nsid = 1;
  Task<Result<nvme::Completion>> call = path_->Io(flush, {}, nullptr, 0);
  world_.Begin(call);
  Turns(3);
  EXPECT_TRUE(Detach().ok());
  ASSERT_TRUE(call.done());
  EXPECT_EQ(pollux_nvme_code(*call.TakeResult()), POLLUX_NVME_ABORTED_BY_HOST);
}

TEST_F(NvmePathTest, ManyResetsUnderLoadLoseNothing) {
  Attach();
  for (int cycle = 0; cycle < 50; ++cycle) {
    std::vector<std::unique_ptr<TestIo>> ios;
    SubmitReads(ios, 50, 0);
    SubmitReads(ios, 50, 1);
    EXPECT_TRUE(Run(path_->Reset()).ok());
    Until([&] { return Ended(ios) == ios.size(); });
    for (const auto& io : ios) ASSERT_EQ(io->status, IoStatus::kSuccess);
  }
}

TEST_F(NvmePathTest, ManyRemovalsUnderLoadLoseNothing) {
  for (int cycle = 0; cycle < 50; ++cycle) {
    gone_.clear();
    Attach();
    std::vector<std::unique_ptr<TestIo>> ios;
    SubmitReads(ios, 50, 0);
    SubmitReads(ios, 50, 1);
    model_->Disappear();
    Until([&] { return Ended(ios) == ios.size() && !gone_.empty(); });
  }
}

}  // namespace
}  // namespace pollux
