#include "io_fixture.h"

namespace pollux::nvmf::io_test {
namespace {

// Where a command can be when something happens to it.
enum class Stage { kBuffer, kHostData, kDisk, kSending };

class IoLifecycleTest : public IoTest {
 protected:
  IoLifecycleTest() : IoTest(Buffers{.small = 1, .large = 1}) {}

  // A command that waits for what the stage says. `disk` holds what it is given afterwards.
  HostCommand& StartUntil(Stage stage, OddDisk& disk) {
    switch (stage) {
      case Stage::kBuffer:
        blocker_ = small_->TryTake();
        return Start(Entry(nvme::io::kRead, 1), 512);
      case Stage::kHostData:
        return Start(Entry(nvme::io::kWrite, 1), 512, Pattern(512, 1), /*waits=*/true);
      case Stage::kDisk:
        disk.holds = true;
        return Start(Entry(nvme::io::kWrite, 1), 512, Pattern(512, 1));
      case Stage::kSending: {
        HostCommand& read = Start(Entry(nvme::io::kRead, 1), 512, {}, /*waits=*/true);
        Spin();
        return read;
      }
    }
    std::abort();
  }
  void Unblock() {
    if (blocker_ != nullptr) world_.On(0, [&] { small_->Give(std::exchange(blocker_, nullptr)); });
  }

  std::byte* blocker_ = nullptr;
};

constexpr Stage kStages[] = {Stage::kBuffer, Stage::kHostData, Stage::kDisk, Stage::kSending};

// --- Queues

TEST_F(IoLifecycleTest, QueueBecomesAnIoQueue) {
  EXPECT_EQ(queue_->state(), Queue::State::kIo);
  EXPECT_EQ(queue_->qid(), 1);
  EXPECT_EQ(queue_->depth(), 128u);
  EXPECT_EQ(queue_->controller()->hostnqn, kHost);
  CloseQueue(queue_);
  EXPECT_EQ(control_side_.left, 1);
  EXPECT_TRUE(view_->queues().empty());
  EXPECT_TRUE(worker_->queues().empty());
}

TEST_F(IoLifecycleTest, CommandsBeforeConnectAreOutOfSequence) {
  AddMemoryDisk();
  std::unique_ptr<Queue> queue = MakeQueue();
  HostCommand& read = Make(Entry(nvme::io::kRead, 1), 512);
  world_.On(0, [&] { queue->Start(read); });
  EXPECT_ENDED_WITH(read, kCommandSequenceError | kDnr);
  EXPECT_EQ(queue->state(), Queue::State::kNew);
  CloseQueue(queue);
  EXPECT_EQ(control_side_.left, 0);
}

TEST_F(IoLifecycleTest, RefusedQueueMayTryAgain) {
  std::unique_ptr<Queue> queue = MakeQueue();
  control_side_.refuses = kConnectInvalidHost;
  Connect(*queue, 2);
  EXPECT_ENDED_WITH(commands_.back(), kConnectInvalidHost);
  EXPECT_EQ(queue->state(), Queue::State::kNew);
  control_side_.refuses = kSuccess;
  Connect(*queue, 2);
  EXPECT_EQ(queue->state(), Queue::State::kIo);
  CloseQueue(queue);
}

TEST_F(IoLifecycleTest, ConnectionThatGoesWhileItIsAdmittedLeaves) {
  std::unique_ptr<Queue> queue = MakeQueue();
  Completion<bool> goes_on;
  control_side_.holds = &goes_on;
  Connect(*queue, 2);
  EXPECT_EQ(queue->state(), Queue::State::kConnecting);
  carrier_.ended = false;
  world_.On(0, [&] { queue->Close(); });
  Spin();
  EXPECT_FALSE(carrier_.ended);
  world_.OnControl([&] { goes_on.Set(true); });
  Spin();
  EXPECT_TRUE(carrier_.ended);
  EXPECT_EQ(control_side_.admitted, 2);
  EXPECT_EQ(control_side_.left, 1);
}

TEST_F(IoLifecycleTest, IdentifierInUseIsAConflict) {
  AddOddDisk();
  HostCommand& write = Start(Entry(nvme::io::kWrite, 1), 512, Pattern(512, 1), true);
  HostCommand& twin = Make(Entry(nvme::io::kRead, 1), 512);
  twin.entry.cid = write.cid();
  world_.On(0, [&] { queue_->Start(twin); });
  EXPECT_ENDED_WITH(twin, kCommandIdConflict | kDnr);
  EXPECT_FALSE(twin.in_flight());
  EXPECT_FALSE(write.ended);
  world_.On(0, [&] { write.SendWanted(); });
  Spin();
  EXPECT_ENDED_WITH(write, kSuccess);
}

TEST_F(IoLifecycleTest, IdentifierIsFreeOnceTheAnswerIsOnItsWay) {
  AddMemoryDisk();
  HostCommand& read = Start(Entry(nvme::io::kRead, 1), 512, {}, true);
  HostCommand& next = Make(Entry(nvme::io::kRead, 1), 512);
  next.entry.cid = read.cid();
  world_.On(0, [&] { queue_->Start(next); });
  Spin();
  EXPECT_ENDED_WITH(next, kSuccess);
  world_.On(0, [&] {
    EXPECT_FALSE(queue_->Abort(read.cid()));
    read.TellSent();
  });
}

TEST_F(IoLifecycleTest, MoreCommandsThanEntriesEndTheQueue) {
  CloseQueue(queue_);
  queue_ = MakeQueue();
  Connect(*queue_, 1, 4);
  AddOddDisk();
  for (int i = 0; i < 4; ++i) Start(Entry(nvme::io::kWrite, 1), 512, Pattern(512, 1), true);
  EXPECT_EQ(queue_->in_flight(), 4u);
  EXPECT_EQ(carrier_.ends_wanted, 0);
  carrier_.then = [&] { queue_->Close(); };  // As a transport may.
  HostCommand& fifth = Start(Entry(nvme::io::kRead, 1), 512);
  EXPECT_TRUE(fifth.ended);
  EXPECT_EQ(carrier_.ends_wanted, 1);
  EXPECT_FALSE(carrier_.sent_first);
  Spin();
  EXPECT_TRUE(carrier_.ended);
  for (const HostCommand& command : commands_) EXPECT_TRUE(command.ended);
  queue_.reset();
}

TEST_F(IoLifecycleTest, DisconnectEndsTheQueueBehindItsAnswer) {
  nvme::SubmissionEntry entry;
  entry.opc = nvme::admin::kFabrics;
  reinterpret_cast<nvme::FabricsCommand&>(entry).fctype = nvme::fctype::kDisconnect;
  EXPECT_ENDED_WITH(Run(entry), kSuccess);
  EXPECT_EQ(carrier_.ends_wanted, 1);
  EXPECT_TRUE(carrier_.sent_first);
}

TEST_F(IoLifecycleTest, CommandsOfAClosedQueueAreAborted) {
  AddMemoryDisk();
  HostCommand& read = Make(Entry(nvme::io::kRead, 1), 512);
  world_.On(0, [&] {
    queue_->Close();
    queue_->Start(read);
  });
  EXPECT_ENDED_WITH(read, kAbortedSqDeletion);
  Spin();
  queue_.reset();
}

TEST_F(IoLifecycleTest, CommandMayBeStartedAnewAsItEnds) {
  AddOddDisk();
  HostCommand& command = Make(Entry(nvme::io::kWrite, 1), 512, Pattern(512, 1));
  int again = 3;
  command.then = [&] {
    if (again-- == 0) return;
    command.ended = false;
    queue_->Start(command);
  };
  world_.On(0, [&] { queue_->Start(command); });
  Spin();
  EXPECT_ENDED_WITH(command, kSuccess);
  EXPECT_EQ(command.completions, 4);
}

TEST_F(IoLifecycleTest, QueueClosesWithACommandInEveryStage) {
  OddDisk& disk = AddOddDisk();
  for (const Stage stage : kStages) {
    HostCommand& command = StartUntil(stage, disk);
    Spin();
    EXPECT_FALSE(command.ended);
    CloseQueue(queue_);
    EXPECT_TRUE(command.ended);
    EXPECT_FALSE(command.in_flight());
    EXPECT_EQ(command.completions, 1);
    EXPECT_EQ(command.unwanted, 0);
    Unblock();
    EXPECT_EQ(BuffersOut(), 0u);
    disk.holds = false;
    EXPECT_TRUE(disk.held.empty());
    queue_ = MakeQueue();
    Connect(*queue_, 1);
  }
}

TEST_F(IoLifecycleTest, QueueWaitsForADiskThatDoesNotAbort) {
  OddDisk& disk = AddOddDisk();
  disk.aborts = false;
  HostCommand& write = StartUntil(Stage::kDisk, disk);
  carrier_.ended = false;
  world_.On(0, [&] { queue_->Close(); });
  Spin();
  EXPECT_FALSE(carrier_.ended);
  EXPECT_FALSE(write.ended);
  disk.holds = false;
  world_.On(0, [&] { disk.ReleaseHeld(); });
  Spin();
  EXPECT_TRUE(write.ended);
  EXPECT_TRUE(carrier_.ended);
  queue_.reset();
}

TEST_F(IoLifecycleTest, LoansComeBackWhenTheQueueCloses) {
  OddDisk& disk = AddOddDisk();
  disk.lends = true;
  HostCommand& write = Start(Entry(nvme::io::kWrite, 1), 512, Pattern(512, 1), true);
  HostCommand& read = Start(Entry(nvme::io::kRead, 1), 512, {}, true);
  EXPECT_EQ(disk.channel(0)->loans(), 2u);
  CloseQueue(queue_);
  EXPECT_TRUE(write.ended);
  EXPECT_TRUE(read.ended);
  EXPECT_EQ(disk.channel(0)->loans(), 0u);
}

// --- Abort

TEST_F(IoLifecycleTest, CommandsAreAbortedInEveryStageButTheLast) {
  OddDisk& disk = AddOddDisk();
  for (const Stage stage : kStages) {
    HostCommand& command = StartUntil(stage, disk);
    Spin();
    const bool answered = stage == Stage::kSending;
    world_.On(0, [&] { EXPECT_EQ(queue_->Abort(command.cid()), !answered); });
    Spin();
    EXPECT_EQ(command.ended, !answered);
    if (answered) world_.On(0, [&] { command.TellSent(); });
    EXPECT_ENDED_WITH(command, answered ? kSuccess : kAbortRequested);
    EXPECT_EQ(command.unwanted, stage == Stage::kHostData ? 1 : 0);
    Unblock();
    EXPECT_EQ(BuffersOut(), 0u);
    disk.holds = false;
  }
  world_.On(0, [&] { EXPECT_FALSE(queue_->Abort(1)); });
  EXPECT_EQ(disk.data[0], std::byte{0});
}

TEST_F(IoLifecycleTest, BurstThatIsBeingSentIsSentBeforeAnAbort) {
  AddOddDisk();
  CloseQueue(queue_);
  limits_.io_bytes_max = 1 << 20;
  queue_ = MakeQueue();
  Connect(*queue_, 1);
  HostCommand& read = Start(Entry(nvme::io::kRead, 1, 0, 1024), 1 << 19, {}, true);
  Spin();
  EXPECT_EQ(read.bursts_in, 1);
  world_.On(0, [&] { EXPECT_TRUE(queue_->Abort(read.cid())); });
  Spin();
  EXPECT_FALSE(read.ended);
  world_.On(0, [&] { read.TellSent(); });
  Spin();
  EXPECT_ENDED_WITH(read, kAbortRequested);
  EXPECT_EQ(read.bursts_in, 1);
}

TEST_F(IoLifecycleTest, DataThatArrivesAfterItsAbortIsNotWritten) {
  OddDisk& disk = AddOddDisk();
  HostCommand& write = StartUntil(Stage::kHostData, disk);
  write.keeps = true;
  world_.On(0, [&] {
    EXPECT_TRUE(queue_->Abort(write.cid()));
    EXPECT_TRUE(queue_->Abort(write.cid()));  // Twice is as good.
    write.SendWanted();
  });
  Spin();
  EXPECT_ENDED_WITH(write, kAbortRequested);
  EXPECT_EQ(disk.writes, 0);
}

TEST_F(IoLifecycleTest, WriteThatTheDiskDoesNotAbortMayHaveSucceeded) {
  OddDisk& disk = AddOddDisk();
  disk.aborts = false;
  HostCommand& write = StartUntil(Stage::kDisk, disk);
  world_.On(0, [&] { EXPECT_TRUE(queue_->Abort(write.cid())); });
  Spin();
  EXPECT_FALSE(write.ended);
  disk.holds = false;
  world_.On(0, [&] { disk.ReleaseHeld(); });
  Spin();
  EXPECT_ENDED_WITH(write, kAbortRequested);
}

TEST_F(IoLifecycleTest, ClosingEndsWhatAnAbortCouldNot) {
  OddDisk& disk = AddOddDisk();
  HostCommand& write = StartUntil(Stage::kHostData, disk);
  write.keeps = true;
  world_.On(0, [&] { EXPECT_TRUE(queue_->Abort(write.cid())); });
  Spin();
  EXPECT_FALSE(write.ended);
  CloseQueue(queue_);
  EXPECT_TRUE(write.ended);
}

// --- Detach

TEST_F(IoLifecycleTest, NamespaceGoesWithACommandInEveryStage) {
  for (const Stage stage : kStages) {
    OddDisk& disk = AddOddDisk();
    HostCommand& command = StartUntil(stage, disk);
    Spin();
    BeginDetach(1);
    EXPECT_EQ(view_->Find(1), nullptr);
    const bool sending = stage == Stage::kSending;
    EXPECT_EQ(detached(), !sending);
    if (sending) {
      world_.On(0, [&] { command.TellSent(); });
      Spin();
      EXPECT_TRUE(detached());
    }
    EXPECT_ENDED_WITH(command, sending ? kSuccess : kInvalidNamespace | kDnr);
    EXPECT_ENDED_WITH(Run(Entry(nvme::io::kRead, 1), 512), kInvalidNamespace | kDnr);
    Unblock();
    EXPECT_EQ(BuffersOut(), 0u);
    EXPECT_TRUE(world_.Run(world_.devices.Unregister("disk1")).ok());
    disks_.clear();
    nsids_.clear();
  }
  EXPECT_EQ(carrier_.ends_wanted, 0);
}

TEST_F(IoLifecycleTest, OtherNamespacesGoOn) {
  AddOddDisk(1);
  AddOddDisk(2);
  HostCommand& write = Start(Entry(nvme::io::kWrite, 2), 512, Pattern(512, 1), true);
  BeginDetach(1);
  EXPECT_TRUE(detached());
  EXPECT_EQ(write.unwanted, 0);
  world_.On(0, [&] { write.SendWanted(); });
  Spin();
  EXPECT_ENDED_WITH(write, kSuccess);
  nsids_ = {2};
}

TEST_F(IoLifecycleTest, HostThatHoldsOnLosesItsQueue) {
  OddDisk& disk = AddOddDisk();
  disk.lends = true;
  for (const bool writes : {true, false}) {
    if (!writes) AddOddDisk(2).lends = true;
    const uint32_t nsid = writes ? 1 : 2;
    HostCommand& stuck =
        Start(Entry(writes ? nvme::io::kWrite : nvme::io::kRead, nsid), 512, Pattern(512, 1), true);
    stuck.keeps = true;
    carrier_.ends_wanted = 0;
    BeginDetach(nsid);
    world_.clock.Advance(SubsystemView::kDetachPatienceNs - 1);
    Spin();
    EXPECT_FALSE(detached());
    EXPECT_EQ(carrier_.ends_wanted, 0);
    world_.clock.Advance(1);
    Spin();
    EXPECT_EQ(carrier_.ends_wanted, 1);
    EXPECT_FALSE(detached());
    CloseQueue(queue_);
    EXPECT_TRUE(detached());
    EXPECT_TRUE(stuck.ended);
    queue_ = MakeQueue();
    Connect(*queue_, 1);
  }
  nsids_.clear();
}

TEST_F(IoLifecycleTest, DiskThatIsSlowDoesNotEndTheQueue) {
  OddDisk& disk = AddOddDisk();
  disk.aborts = false;
  HostCommand& write = StartUntil(Stage::kDisk, disk);
  BeginDetach(1);
  world_.clock.Advance(2 * SubsystemView::kDetachPatienceNs);
  Spin();
  EXPECT_FALSE(detached());
  EXPECT_EQ(carrier_.ends_wanted, 0);
  disk.holds = false;
  world_.On(0, [&] { disk.ReleaseHeld(); });
  Spin();
  EXPECT_TRUE(detached());
  EXPECT_ENDED_WITH(write, kInvalidNamespace | kDnr);
  nsids_.clear();
}

TEST_F(IoLifecycleTest, NamespaceComesBackAfterItsDetach) {
  AddOddDisk();
  BeginDetach(1);
  nsids_.clear();
  EXPECT_TRUE(world_.Run(world_.devices.Unregister("disk1")).ok());
  disks_.clear();
  AddMemoryDisk();
  EXPECT_ENDED_WITH(Read(0, 8), kSuccess);
}

TEST_F(IoLifecycleTest, QueueClosesWhileItsNamespaceGoes) {
  OddDisk& disk = AddOddDisk();
  disk.aborts = false;
  HostCommand& write = StartUntil(Stage::kDisk, disk);
  HostCommand& other = Start(Entry(nvme::io::kWrite, 1), 512, Pattern(512, 2), true);
  other.keeps = true;
  BeginDetach(1);
  carrier_.ended = false;
  world_.On(0, [&] { queue_->Close(); });
  Spin();
  EXPECT_TRUE(other.ended);
  EXPECT_FALSE(write.ended);
  EXPECT_FALSE(detached());
  disk.holds = false;
  world_.On(0, [&] { disk.ReleaseHeld(); });
  Spin();
  EXPECT_TRUE(detached());
  EXPECT_TRUE(carrier_.ended);
  queue_.reset();
  nsids_.clear();
}

}  // namespace
}  // namespace pollux::nvmf::io_test
