#include <sys/mman.h>
#include <unistd.h>

#include "core/spec/nvme_spec.h"
#include "drivers/nvme_disk/nvme_ana.h"
#include "tests/unit/drivers/nvme_disk/nvme_disk_world.h"

namespace pollux {
namespace {

using models::ModelNamespace;

// A subsystem of two controllers, whose namespace lies in one file, as paths "01" and "02".
class NvmeMultipathTest : public NvmeDiskWorld {
 protected:
  static constexpr uint64_t kBlocks = 2048;

  NvmeMultipathTest() {
    file_ = memfd_create("namespace", 0);
    EXPECT_EQ(ftruncate(file_, kBlocks * 512), 0);
    device_.controller.namespaces = {ModelNamespace::Options{.blocks = kBlocks, .file = file_}};
  }
  ~NvmeMultipathTest() override {
    settled_ = true;
    Run(controllers_->Stop());
    close(file_);
  }

  // --- Words.

  struct Path {
    NvmePath* path = nullptr;
    NvmeModel* model = nullptr;
  };

  // ANA state of group 1 for the controllers attached from now on; 0: they do not report any.
  static constexpr int kNone = 0, kOptimized = 1, kNonOptimized = 2, kInaccessible = 3,
                       kChange = 15;
  Status TryAttachPath(Path& into, const char* traddr, int state = kNone, uint16_t cntlid = 0) {
    snprintf(attachment_.id.traddr, sizeof(attachment_.id.traddr), "0000:%s:00.0", traddr);
    edit_data_ = [this, state, cntlid](const nvme::SubmissionEntry& sqe,
                                       std::span<std::byte> data) {
      Edit(sqe, data, state != kNone, cntlid);
    };
    const Status status = TryAttach();
    if (status.ok()) into = {path_, model_};
    return status;
  }
  void AttachPath(Path& into, const char* traddr, int state = kNone) {
    ana_log_ = state == kNone ? std::vector<std::byte>() : LogOf(state);
    const uint16_t cntlid = static_cast<uint16_t>(strtol(traddr, nullptr, 16));
    const Status status = TryAttachPath(into, traddr, state, cntlid);
    ASSERT_TRUE(status.ok()) << status;
  }
  void AttachBoth(int first = kNone, int second = kNone) {
    AttachPath(a_, "01", first);
    AttachPath(b_, "02", second);
  }
  // The state changes, and the host is told.
  void Change(const Path& path, int state) {
    path.model->ana_log = LogOf(state);
    path.model->PostEvent(nvme::async_event::kNotice, 0x03, nvme::log_page::kAna);
    Turns(3000);  // Its controller is polled ten times a second.
  }
  void SetChoice(NvmePathChoice choice) {
    EXPECT_TRUE(Run(a_.path->subsystem().SetChoice("Nvme0n1", choice)).ok());
  }

  std::unique_ptr<TestIo> Begin(IoType type, uint64_t lba, int fill = 0, size_t reactor = 0) {
    auto io = std::make_unique<TestIo>(type, lba, 1);
    // Each in a place of its own, which the device reaches.
    std::byte* const place = data_ + 512 * (next_place_++ % 1024);
    memset(place, fill, 512);
    io->segments = {{place, 512}};
    io->data = io->segments;
    Submit(*io, reactor);
    Turn();
    return io;
  }
  IoStatus End(TestIo& io) {
    Until([&] { return io.calls > 0; });
    EXPECT_EQ(io.calls, 1);
    return io.status;
  }
  IoStatus Write(uint64_t lba, int fill, size_t reactor = 0) {
    const auto io = Begin(IoType::kWrite, lba, fill, reactor);
    return End(*io);
  }
  // What lies there, in the namespace itself.
  int ByteAt(uint64_t lba) {
    uint8_t byte = 0;
    EXPECT_EQ(pread(file_, &byte, 1, static_cast<off_t>(lba * 512)), 1);
    return byte;
  }
  void ExecuteLate(uint64_t lba, int fill) {
    const std::vector<std::byte> block(512, std::byte(fill));
    EXPECT_EQ(pwrite(file_, block.data(), block.size(), static_cast<off_t>(lba * 512)), 512);
  }
  static uint64_t Fetched(const Path& path) {
    return path.model->commands_fetched(1) + path.model->commands_fetched(2);
  }
  // How many commands the path gets while `count` reads are made.
  uint64_t SharesOf(const Path& path, int count) {
    const uint64_t before = Fetched(path);
    for (int i = 0; i < count; ++i) EXPECT_EQ(DoDirect(IoType::kRead, 0, 1), IoStatus::kSuccess);
    return Fetched(path) - before;
  }

  static std::vector<std::byte> LogOf(int state) {
    std::vector<std::byte> log(16 + 32);
    log[8] = std::byte{1};                             // NGRPS.
    log[16] = std::byte{1};                            // ANAGID.
    log[32] = std::byte{static_cast<uint8_t>(state)};  // Of the group.
    return log;
  }

  int file_ = -1;
  Path a_, b_;
  std::function<void(std::span<std::byte>)> edit_namespace_;

 private:
  void Edit(const nvme::SubmissionEntry& sqe, std::span<std::byte> data, bool ana,
            uint16_t cntlid) {
    if (sqe.opc != nvme::admin::kIdentify) return;
    const auto set = [&data](size_t at, uint32_t value, size_t bytes) {
      memcpy(data.data() + at, &value, bytes);
    };
    if ((sqe.cdw10 & 0xff) == 1) {
      set(offsetof(nvme::IdentifyController, cmic), ana ? 0x0a : 0x02, 1);
      set(offsetof(nvme::IdentifyController, cntlid), cntlid, 2);
      set(offsetof(nvme::IdentifyController, anatt), 2, 1);
      set(offsetof(nvme::IdentifyController, anagrpmax), 4, 4);
      set(offsetof(nvme::IdentifyController, nanagrpid), 4, 4);
      if (ana) set(offsetof(nvme::IdentifyController, oaes), 1u << 8 | 1u << 11, 4);
    } else if ((sqe.cdw10 & 0xff) == 0) {
      set(offsetof(nvme::IdentifyNamespace, nmic), 1, 1);
      set(offsetof(nvme::IdentifyNamespace, anagrpid), 1, 4);
      if (edit_namespace_) edit_namespace_(data);
    }
  }

  size_t next_place_ = 0;
};

TEST_F(NvmeMultipathTest, TwoPathsAreOneDisk) {
  AttachBoth();
  EXPECT_EQ(world_.devices.devices().size(), 1u);
  EXPECT_EQ(a_.path->subsystem().usable_paths().size(), 2u);
  const std::string json = Disk()->DriverSpecificJson();
  EXPECT_NE(json.find("0000:01:00.0"), std::string::npos) << json;
  EXPECT_NE(json.find("0000:02:00.0"), std::string::npos) << json;
  EXPECT_EQ(Write(5, 0x11), IoStatus::kSuccess);
  EXPECT_EQ(ByteAt(5), 0x11);
}

TEST_F(NvmeMultipathTest, OnePathIsUsedAndTheOtherWaits) {
  AttachBoth();
  EXPECT_EQ(SharesOf(a_, 10), 10u);
  EXPECT_EQ(SharesOf(b_, 10), 0u);
}

TEST_F(NvmeMultipathTest, RoundRobinTakesTurns) {
  AttachBoth();
  SetChoice({.policy = NvmePathChoice::Policy::kActiveActive});
  EXPECT_EQ(SharesOf(a_, 10), 5u);
  SetChoice({.policy = NvmePathChoice::Policy::kActiveActive, .min_io = 4});
  const uint64_t before = Fetched(a_);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(DoDirect(IoType::kRead, 0, 1), IoStatus::kSuccess);
  EXPECT_TRUE(Fetched(a_) - before == 4 || Fetched(a_) == before);
}

TEST_F(NvmeMultipathTest, QueueDepthFillsTheEmptierPath) {
  AttachBoth();
  SetChoice({.policy = NvmePathChoice::Policy::kActiveActive,
             .selector = NvmePathChoice::Selector::kQueueDepth});
  a_.model->HoldCommands(NvmeModel::Hold::kIo);
  const auto first = Begin(IoType::kRead, 0);
  const auto second = Begin(IoType::kRead, 1);
  EXPECT_EQ(End(*second), IoStatus::kSuccess);
  ASSERT_EQ(a_.model->held().size(), 1u);
  EXPECT_EQ(SharesOf(b_, 5), 5u);
  a_.model->HoldCommands(NvmeModel::Hold::kNothing);
  a_.model->CompleteAll();
  EXPECT_EQ(End(*first), IoStatus::kSuccess);
}

TEST_F(NvmeMultipathTest, ThePreferredPathIsTakenAndLeftWithIt) {
  AttachBoth();
  NvmeSubsystem& subsystem = a_.path->subsystem();
  NvmePathKey key{.cntlid = 77};
  EXPECT_EQ(ErrnoOf(Run(subsystem.SetPreferred("Nvme0n1", key)).status()), EINVAL);
  key.cntlid = 2;
  const Result<NvmePathKey> found = Run(subsystem.SetPreferred("Nvme0n1", key));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->traddr, "0000:02:00.0");
  EXPECT_EQ(SharesOf(b_, 4), 4u);
  EXPECT_TRUE(Run(controllers_->RemovePath(b_.path)).ok());
  EXPECT_EQ(SharesOf(a_, 4), 4u);
}

// What was saved names another controller by now.
TEST_F(NvmeMultipathTest, ThePreferredPathIsFoundByItsAddressWhateverItsNumber) {
  AttachBoth();
  NvmeSubsystem& subsystem = a_.path->subsystem();
  NvmePathKey key{.cntlid = 1, .traddr = "0000:02:00.0", .trsvcid = ""};
  const Result<NvmePathKey> found = Run(subsystem.SetPreferred("Nvme0n1", key));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->cntlid, 2);
  EXPECT_EQ(SharesOf(b_, 4), 4u);
  key.traddr = "0000:03:00.0";
  EXPECT_EQ(ErrnoOf(Run(subsystem.SetPreferred("Nvme0n1", key)).status()), EINVAL);
  EXPECT_EQ(SharesOf(b_, 4), 4u);
}

TEST_F(NvmeMultipathTest, ANamespaceThatComesAndGoesOnOnePathUsesNothingUp) {
  AttachBoth();
  SetChoice({.policy = NvmePathChoice::Policy::kActiveActive});
  const ModelNamespace::Options options{.blocks = kBlocks, .file = file_};
  const auto has_path = [this] { return static_cast<NvmeDisk*>(Disk())->HasPath(*a_.path); };
  for (size_t i = 0; i < NvmeChannel::kLanesMax + 6; ++i) {
    a_.model->RemoveNamespace(1);
    Until([&] { return !has_path(); });
    EXPECT_EQ(SharesOf(b_, 2), 2u);
    ASSERT_EQ(a_.model->AddNamespace(options), 1u);
    Until(has_path);
    EXPECT_EQ(SharesOf(a_, 4), 2u);
  }
  EXPECT_EQ(Write(5, 0x55), IoStatus::kSuccess);
  EXPECT_EQ(ByteAt(5), 0x55);
}

TEST_F(NvmeMultipathTest, PathsAreCountedWithTheirLatencies) {
  NvmeOptions options;
  options.io_path_stat = true;
  ASSERT_TRUE(controllers_->SetOptions(options).ok());
  AttachBoth();
  EXPECT_EQ(Write(5, 0x11), IoStatus::kSuccess);
  a_.model->HoldCommands(NvmeModel::Hold::kIo);
  const auto read = Begin(IoType::kRead, 5);
  world_.clock.Advance(7 * kNsPerMs);
  a_.model->HoldCommands(NvmeModel::Hold::kNothing);
  a_.model->CompleteAll();
  EXPECT_EQ(End(*read), IoStatus::kSuccess);
  EXPECT_EQ(SharesOf(a_, 2), 2u);
  NvmePathCounters sum, other;
  for (const NvmeSubsystem::LaneInfo& lane : Run(a_.path->subsystem().Lanes())) {
    (lane.info.path == a_.path ? sum : other) += lane.info.lane.counters;
  }
  EXPECT_EQ(sum.read.operations, 3u);
  EXPECT_EQ(sum.read.bytes, 3u * 512);
  EXPECT_GE(sum.read.latency_max_ns, 7 * kNsPerMs);
  EXPECT_LT(sum.read.latency_min_ns, 7 * kNsPerMs);
  EXPECT_GT(sum.read.latency_min_ns, 0u);
  EXPECT_GE(sum.read.latency_ns, sum.read.latency_max_ns + 2 * sum.read.latency_min_ns);
  EXPECT_EQ(sum.write.operations, 1u);
  EXPECT_EQ(sum.others, 0u);
  EXPECT_EQ(other.read.operations + other.write.operations, 0u);
}

TEST_F(NvmeMultipathTest, OptimizedComesBeforeNonOptimized) {
  AttachBoth(kNonOptimized, kOptimized);
  EXPECT_EQ(SharesOf(b_, 4), 4u);
  Change(b_, kNonOptimized);
  Change(a_, kOptimized);
  EXPECT_EQ(SharesOf(a_, 4), 4u);
  Change(a_, kInaccessible);
  EXPECT_EQ(SharesOf(b_, 4), 4u);
}

// Nothing but the log page says so.
TEST_F(NvmeMultipathTest, ANamespaceThatIsMovedToAnotherGroupHasItsState) {
  AttachBoth(kOptimized, kNonOptimized);
  const auto move_to = [this](uint8_t group) {
    std::vector<std::byte> log(16 + 2 * (32 + 4));
    log[8] = std::byte{2};
    for (uint8_t id = 1, at = 16; id <= 2; ++id) {
      log[at] = std::byte{id};
      log[at + 16u] = std::byte{id == 1 ? uint8_t{kOptimized} : uint8_t{kInaccessible}};
      if (id == group) log[at + 4u] = log[at + 32u] = std::byte{1};  // NNSIDS, and nsid 1.
      at = static_cast<uint8_t>(at + (id == group ? 36 : 32));
    }
    a_.model->ana_log = log;
    a_.model->PostEvent(nvme::async_event::kNotice, 0x03, nvme::log_page::kAna);
    Turns(3000);
  };
  move_to(2);
  EXPECT_EQ(SharesOf(b_, 4), 4u);
  move_to(1);
  EXPECT_EQ(SharesOf(a_, 4), 4u);
}

TEST_F(NvmeMultipathTest, AnAccessStatusOfAnIoMovesIt) {
  AttachBoth(kOptimized, kNonOptimized);
  a_.model->HoldCommands(NvmeModel::Hold::kIo);
  const auto io = Begin(IoType::kWrite, 3, 0x33);
  ASSERT_EQ(a_.model->held().size(), 1u);
  a_.model->ana_log = LogOf(kInaccessible);
  a_.model->Complete(0, 0x302);
  EXPECT_EQ(End(*io), IoStatus::kSuccess);
  EXPECT_EQ(ByteAt(3), 0x33);
  EXPECT_EQ(SharesOf(b_, 4), 4u);
}

TEST_F(NvmeMultipathTest, IoWaitsForAChangeAndFailsWhenItTakesTooLong) {
  AttachPath(a_, "01", kOptimized);
  Change(a_, kChange);
  const auto patient = Begin(IoType::kRead, 0);
  Turns(1000);  // A tenth of a second.
  EXPECT_EQ(patient->calls, 0);
  Change(a_, kOptimized);
  EXPECT_EQ(End(*patient), IoStatus::kSuccess);

  Change(a_, kChange);
  const auto late = Begin(IoType::kRead, 0);
  EXPECT_EQ(End(*late), IoStatus::kGone);  // After ANATT.
  Change(a_, kOptimized);
  EXPECT_EQ(SharesOf(a_, 1), 1u);
}

TEST_F(NvmeMultipathTest, ALostPathsReadsGoOverTheOtherAtOnce) {
  AttachBoth();
  settled_ = false;
  a_.model->HoldCommands(NvmeModel::Hold::kIo);
  std::vector<std::unique_ptr<TestIo>> reads;
  SubmitReads(reads, 20, 0);
  SubmitReads(reads, 20, 1);
  Turns(3);
  a_.model->Disappear();
  Until([&] { return Ended(reads) == reads.size(); });
  for (const auto& io : reads) EXPECT_EQ(io->status, IoStatus::kSuccess);
  Until([&] { return !gone_.empty(); });
  EXPECT_TRUE(HasDisk("Nvme0n1"));
  EXPECT_EQ(controllers_->attached().size(), 1u);
}

// Damage: the target has the command of a lost path, and executes it late.
TEST_F(NvmeMultipathTest, ALateWriteOfALostPathNeverOverwritesANewerOne) {
  AttachBoth();
  settled_ = false;
  a_.model->HoldCommands(NvmeModel::Hold::kIo);
  const auto old_write = Begin(IoType::kWrite, 7, 0x01);
  ASSERT_EQ(a_.model->held().size(), 1u);
  a_.model->Disappear();
  Turns(2000);
  EXPECT_EQ(old_write->calls, 0);  // Or whoever hears of its end writes something newer.
  // Somebody does not wait for that, on either reactor.
  const auto newer = Begin(IoType::kWrite, 7, 0x02, 0);
  const auto newest = Begin(IoType::kWrite, 7, 0x03, 1);
  Turns(2000);
  EXPECT_EQ(newer->calls + newest->calls, 0);
  EXPECT_EQ(SharesOf(b_, 3), 3u);  // Reads do not wait.

  ExecuteLate(7, 0x01);
  settled_ = true;
  EXPECT_EQ(End(*old_write), IoStatus::kSuccess);
  EXPECT_EQ(End(*newer), IoStatus::kSuccess);
  EXPECT_EQ(End(*newest), IoStatus::kSuccess);
  EXPECT_EQ(Write(7, 0x04), IoStatus::kSuccess);
  EXPECT_EQ(ByteAt(7), 0x04);
}

TEST_F(NvmeMultipathTest, ALostWriteThatNobodyWantsAnyMoreStillHoldsBackOthers) {
  AttachBoth();
  settled_ = false;
  a_.model->HoldCommands(NvmeModel::Hold::kIo);
  const auto old_write = Begin(IoType::kWrite, 7, 0x01);
  a_.model->Disappear();
  Turns(2000);
  TestIo abort(IoType::kAbort, 0, 0);
  abort.abort_target = old_write.get();
  Submit(abort);
  Turns(200);
  EXPECT_EQ(old_write->calls, 0);
  settled_ = true;
  EXPECT_EQ(End(*old_write), IoStatus::kAborted);
  Until([&] { return abort.calls == 1; });
}

TEST_F(NvmeMultipathTest, OnlyTheLossCountsAndNotAnEarlierOne) {
  AttachBoth();
  // A first loss, settled at once.
  a_.model->HoldCommands(NvmeModel::Hold::kIo);
  const auto first = Begin(IoType::kWrite, 1, 0x11);
  EXPECT_TRUE(Run(a_.path->Reset()).ok());
  a_.model->HoldCommands(NvmeModel::Hold::kNothing);
  EXPECT_EQ(End(*first), IoStatus::kSuccess);
  // The second is not.
  settled_ = false;
  a_.model->HoldCommands(NvmeModel::Hold::kIo);
  const auto second = Begin(IoType::kWrite, 2, 0x22);
  EXPECT_TRUE(Run(a_.path->Reset()).ok());
  Turns(1000);
  EXPECT_EQ(second->calls, 0);
  a_.model->HoldCommands(NvmeModel::Hold::kNothing);
  settled_ = true;
  EXPECT_EQ(End(*second), IoStatus::kSuccess);
}

TEST_F(NvmeMultipathTest, ARemovedPathTakesNothingWithIt) {
  AttachBoth();
  for (int cycle = 0; cycle < 20; ++cycle) {
    std::vector<std::unique_ptr<TestIo>> ios;
    SubmitReads(ios, 300, 0);  // More than a queue takes.
    SubmitReads(ios, 50, 1);
    EXPECT_TRUE(Run(controllers_->RemovePath(a_.path)).ok());
    Until([&] { return Ended(ios) == ios.size(); });
    for (const auto& io : ios) ASSERT_EQ(io->status, IoStatus::kSuccess);
    a_ = b_;
    AttachPath(b_, cycle % 2 == 0 ? "01" : "02");
  }
}

TEST_F(NvmeMultipathTest, AllPathsLostAndOneBackLosesNothing) {
  AttachBoth();
  a_.model->HoldCommands(NvmeModel::Hold::kIo);
  b_.model->HoldCommands(NvmeModel::Hold::kIo);
  const auto write = Begin(IoType::kWrite, 9, 0x99);
  Task<Status> first = a_.path->Reset();
  Task<Status> second = b_.path->Reset();
  world_.Begin(first);
  world_.Begin(second);
  const auto read = Begin(IoType::kRead, 9, 0, 1);
  a_.model->HoldCommands(NvmeModel::Hold::kNothing);
  b_.model->HoldCommands(NvmeModel::Hold::kNothing);
  EXPECT_EQ(End(*write), IoStatus::kSuccess);
  EXPECT_EQ(End(*read), IoStatus::kSuccess);
  Until([&] { return first.done() && second.done(); });
  EXPECT_EQ(ByteAt(9), 0x99);
}

TEST_F(NvmeMultipathTest, TheDiskGoesWithItsLastPath) {
  AttachBoth();
  a_.model->Disappear();
  Until([&] { return gone_.size() == 1; });
  EXPECT_TRUE(HasDisk("Nvme0n1"));
  b_.model->Disappear();
  Until([&] { return gone_.size() == 2; });
  EXPECT_FALSE(HasDisk("Nvme0n1"));
}

TEST_F(NvmeMultipathTest, ANamespaceOfAnotherIdentityIsNotTakenIntoTheDisk) {
  AttachPath(a_, "01");
  edit_namespace_ = [](std::span<std::byte> data) {
    data[offsetof(nvme::IdentifyNamespace, nguid)] ^= std::byte{1};
  };
  AttachPath(b_, "02");
  EXPECT_EQ(Disk()->DriverSpecificJson().find("0000:02:00.0"), std::string::npos);
  a_.model->Disappear();
  Until([&] { return gone_.size() == 1; });
  EXPECT_FALSE(HasDisk("Nvme0n1"));  // Its only path is gone.
}

TEST_F(NvmeMultipathTest, ANamespaceOfAnotherSizeIsNotTakenIntoTheDisk) {
  AttachPath(a_, "01");
  edit_namespace_ = [](std::span<std::byte> data) { data[0] ^= std::byte{1}; };  // NSZE.
  AttachPath(b_, "02");
  EXPECT_EQ(SharesOf(b_, 4), 0u);
}

TEST_F(NvmeMultipathTest, SecondPathsAreRefusedWhereTheyDoNotBelong) {
  AttachPath(a_, "01");
  attachment_.hostnqn = "nqn.2026-01.io.pollux:another-host";
  EXPECT_EQ(ErrnoOf(TryAttachPath(b_, "02")), EINVAL);
  attachment_.hostnqn.clear();
  attachment_.multipath = NvmeAttachment::Multipath::kDisable;
  EXPECT_EQ(ErrnoOf(TryAttachPath(b_, "02")), EALREADY);
  attachment_.multipath = NvmeAttachment::Multipath::kMultipath;
  device_.controller.subnqn = "nqn.2026-01.io.pollux:other";
  EXPECT_EQ(ErrnoOf(TryAttachPath(b_, "02")), EINVAL);
  EXPECT_EQ(controllers_->attached().size(), 1u);
  EXPECT_EQ(SharesOf(a_, 4), 4u);
}

// --- The ANA log page of a lying target.

std::vector<std::byte> AnaPage(size_t groups) {
  std::vector<std::byte> page(16 + 32 * groups);
  page[8] = std::byte{static_cast<uint8_t>(groups)};
  for (size_t i = 0; i < groups; ++i) {
    page[16 + 32 * i] = std::byte{static_cast<uint8_t>(i + 1)};
    page[32 + 32 * i] = std::byte{1};
  }
  return page;
}

TEST(NvmeAnaTest, GroupsHaveTheirStates) {
  std::vector<std::byte> page = AnaPage(3);
  page[32 + 32] = std::byte{0xf2};  // The upper bits are reserved.
  page[32 + 64] = std::byte{0x0f};
  std::string complaint;
  const auto groups = ParseAnaLog(page, 8, complaint).groups;
  EXPECT_EQ(complaint, "");
  EXPECT_EQ(groups, (std::map<uint32_t, NvmeAccess>{{1, NvmeAccess::kOptimized},
                                                    {2, NvmeAccess::kNonOptimized},
                                                    {3, NvmeAccess::kChange}}));
}

TEST(NvmeAnaTest, NamespacesAreInTheirGroups) {
  std::vector<std::byte> page = AnaPage(2);
  const std::byte nsids[] = {std::byte{7}, {}, {}, {}, std::byte{9}, {}, {}, {}};
  page[20] = std::byte{2};
  page.insert(page.begin() + 48, std::begin(nsids), std::end(nsids));
  std::string complaint;
  AnaLog log = ParseAnaLog(page, 8, complaint);
  EXPECT_EQ(complaint, "");
  EXPECT_EQ(log.group_of, (std::map<uint32_t, uint32_t>{{7, 1}, {9, 1}}));
  EXPECT_EQ(log.groups.size(), 2u);
  page[52] = std::byte{7};  // Twice.
  log = ParseAnaLog(page, 8, complaint);
  EXPECT_NE(complaint, "");
  EXPECT_EQ(log.group_of, (std::map<uint32_t, uint32_t>{{7, 1}}));
  page[20] = std::byte{200};  // More than there are.
  EXPECT_EQ(ParseAnaLog(page, 8, complaint).groups.size(), 1u);
  EXPECT_NE(complaint, "");
}

TEST(NvmeAnaTest, APageThatPromisesMoreThanItHasIsReadAsFarAsItGoes) {
  const std::vector<std::byte> whole = AnaPage(3);
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    const std::vector<std::byte> page(whole.begin(), whole.begin() + static_cast<long>(bytes));
    std::string complaint;
    const auto groups = ParseAnaLog(page, 8, complaint).groups;
    EXPECT_NE(complaint, "") << bytes;
    EXPECT_EQ(groups.size(), bytes < 48 ? 0 : (bytes - 16) / 32) << bytes;
  }
}

TEST(NvmeAnaTest, ImpossibleGroupsAreLeftOut) {
  std::string complaint;
  std::vector<std::byte> page = AnaPage(2);
  page[16] = std::byte{9};  // Beyond ANAGRPMAX.
  EXPECT_EQ(ParseAnaLog(page, 8, complaint).groups.size(), 1u);
  EXPECT_NE(complaint, "");
  page[16] = std::byte{0};
  EXPECT_EQ(ParseAnaLog(page, 8, complaint).groups.size(), 1u);
  page[16] = std::byte{2};  // Twice.
  EXPECT_EQ(ParseAnaLog(page, 8, complaint).groups.size(), 1u);
  page[16] = std::byte{1};
  page[32] = std::byte{7};  // No state.
  EXPECT_EQ(ParseAnaLog(page, 8, complaint).groups.size(), 1u);
  page[32] = std::byte{1};
  memset(page.data() + 20, 0xff, 4);  // As many namespaces as can be counted.
  EXPECT_EQ(ParseAnaLog(page, 8, complaint).groups.size(), 1u);
  EXPECT_NE(complaint, "");
}

}  // namespace
}  // namespace pollux
