#include "core/uring/reactor_ring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/unique_fd.h"
#include "core/uring/worker_cores.h"

namespace pollux {
namespace {

constexpr int kTurnsMax = 200'000;

struct Recorder final : RingOperation {
  void OnRingDone(int32_t r, uint32_t) override {
    ++calls;
    result = r;
    if (then) then();
  }
  int calls = 0;
  int32_t result = 0;
  std::function<void()> then;
};

// A ring as current kernels have it, and as older ones do.
class ReactorRingTest : public testing::TestWithParam<bool> {
 protected:
  ReactorRingTest()
      : ring_(*ReactorRing::Make(loop_, {.entries = 8, .defer_taskrun = GetParam()})),
        file_(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)) {
    EXPECT_TRUE(file_.valid());
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    mine_.Reset(fds[0]);
    peer_.Reset(fds[1]);
  }

  void RunUntil(const std::function<bool()>& done) {
    for (int i = 0; i < kTurnsMax && !done(); ++i) loop_.RunTurn();
    ASSERT_TRUE(done());
  }
  void Write(std::string_view text) {
    ASSERT_EQ(write(file_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  std::string FileText() {
    std::string text(64, '\0');
    text.resize(static_cast<size_t>(pread(file_.get(), text.data(), text.size(), 0)));
    return text;
  }

  RealClock clock_;
  Loop loop_{{.name = "test"}, clock_, *MakeEpollWaiter()};
  std::unique_ptr<ReactorRing> ring_;
  UniqueFd file_, mine_, peer_;
};

TEST_P(ReactorRingTest, ReadsIntoSeveralParts) {
  Write("hello world");
  std::string a(4, '\0'), b(3, '\0');
  const iovec parts[] = {{a.data(), a.size()}, {b.data(), b.size()}};
  Recorder read;
  ASSERT_TRUE(ring_->Readv(read, file_.get(), parts, 2, 2));
  EXPECT_EQ(ring_->in_flight(), 1u);
  EXPECT_EQ(read.calls, 0) << "from within the call";
  RunUntil([&] { return read.calls == 1; });
  EXPECT_EQ(read.result, 7);
  EXPECT_EQ(a + b, "llo wor");
  EXPECT_EQ(ring_->in_flight(), 0u);
}

TEST_P(ReactorRingTest, WritesSyncsAndAllocates) {
  std::string text = "text";
  const iovec part{text.data(), text.size()};
  Recorder write, sync, sync_all, punch;
  ASSERT_TRUE(ring_->Writev(write, file_.get(), &part, 1, 3, /*dsync=*/true));
  RunUntil([&] { return write.calls == 1; });
  EXPECT_EQ(write.result, 4);
  EXPECT_EQ(FileText(), std::string("\0\0\0text", 7));
  ASSERT_TRUE(ring_->Fsync(sync, file_.get(), /*data_only=*/true));
  ASSERT_TRUE(ring_->Fsync(sync_all, file_.get(), /*data_only=*/false));
  ASSERT_TRUE(
      ring_->Fallocate(punch, file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4, 2));
  RunUntil([&] { return sync.calls + sync_all.calls + punch.calls == 3; });
  EXPECT_EQ(sync.result, 0);
  EXPECT_EQ(sync_all.result, 0);
  EXPECT_EQ(punch.result, 0);
  EXPECT_EQ(FileText(), std::string("\0\0\0t\0\0t", 7));
}

TEST_P(ReactorRingTest, AnErrorIsTheSystemCallsErrno) {
  std::string room(8, '\0');
  const iovec part{room.data(), room.size()};
  Recorder read;
  ASSERT_TRUE(ring_->Readv(read, /*fd=*/-1, &part, 1, 0));
  RunUntil([&] { return read.calls == 1; });
  EXPECT_EQ(read.result, -EBADF);
}

TEST_P(ReactorRingTest, AFileInTheTableStaysOpenUntilItIsRemoved) {
  Write("hello");
  const RingFile file = ring_->AddFile(file_.get());
  ASSERT_TRUE(file.in_table);
  std::string room(5, '\0'), half(2, '\0');
  const iovec parts[] = {{room.data(), room.size()}, {half.data(), half.size()}};
  Recorder write, sync, read, both, late;
  const int inode_only = file_.get();
  file_.Reset();
  EXPECT_EQ(fcntl(inode_only, F_GETFD), -1);
  ASSERT_TRUE(ring_->Readv(read, file, parts, 1, 0));
  RunUntil([&] { return read.calls == 1; });
  EXPECT_EQ(room, "hello");
  ASSERT_TRUE(ring_->Writev(write, file, parts, 1, 1, /*dsync=*/true));
  RunUntil([&] { return write.calls == 1; });
  EXPECT_EQ(write.result, 5);
  ASSERT_TRUE(ring_->Fsync(sync, file, /*data_only=*/true));
  ASSERT_TRUE(ring_->Readv(both, file, parts, 2, 0));
  RunUntil([&] { return sync.calls + both.calls == 2; });
  EXPECT_EQ(sync.result, 0);
  EXPECT_EQ(both.result, 6);
  EXPECT_EQ(room, "hhell");
  ring_->RemoveFile(file);
  ASSERT_TRUE(ring_->Readv(late, file, parts, 1, 0));
  RunUntil([&] { return late.calls == 1; });
  EXPECT_EQ(late.result, -EBADF);
}

TEST_P(ReactorRingTest, AFullTableLeavesDescriptorsAsTheyAre) {
  std::vector<RingFile> files;
  for (unsigned i = 0; i < ReactorRing::kFilesMax; ++i) {
    files.push_back(ring_->AddFile(file_.get()));
    ASSERT_TRUE(files.back().in_table) << i;
  }
  const RingFile one_more = ring_->AddFile(file_.get());
  EXPECT_FALSE(one_more.in_table);
  EXPECT_EQ(one_more.number, file_.get());
  ring_->RemoveFile(one_more);  // Nothing happens.
  ring_->RemoveFile(files[7]);
  const RingFile again = ring_->AddFile(file_.get());
  EXPECT_TRUE(again.in_table);
  EXPECT_EQ(again.number, files[7].number);
}

TEST_P(ReactorRingTest, ANumberThatIsNoDescriptorIsNotEntered) {
  const RingFile file = ring_->AddFile(12345);
  EXPECT_FALSE(file.in_table);
  EXPECT_TRUE(ring_->AddFile(file_.get()).in_table);
}

// Memory that nobody may touch is still reached through the pages that the ring holds: so one sees
// that it holds them.
TEST_P(ReactorRingTest, MemoryThatItWasGivenIsNotMappedAgain) {
  constexpr size_t kPage = 4096;
  auto* const memory = static_cast<std::byte*>(
      mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  memset(memory, 'a', 3 * kPage);
  ASSERT_TRUE(ring_->AddBuffers(memory, 2 * kPage).ok());
  mprotect(memory, 3 * kPage, PROT_NONE);
  const iovec within{memory + kPage, kPage}, across{memory + kPage, kPage + 1},
      behind{memory + 2 * kPage, kPage}, before{memory - 1, 1};
  Recorder write, read, refused[3];
  ASSERT_TRUE(ring_->Writev(write, file_.get(), &within, 1, 0, /*dsync=*/true));
  RunUntil([&] { return write.calls == 1; });
  EXPECT_EQ(write.result, static_cast<int>(kPage));
  EXPECT_EQ(FileText(), std::string(64, 'a'));
  ASSERT_EQ(pwrite(file_.get(), "b", 1, 0), 1);
  ASSERT_TRUE(ring_->Readv(read, file_.get(), &within, 1, 0));
  ASSERT_TRUE(ring_->Readv(refused[0], file_.get(), &behind, 1, 0));
  ASSERT_TRUE(ring_->Readv(refused[1], file_.get(), &before, 1, 0));
  ASSERT_TRUE(ring_->Writev(refused[2], file_.get(), &across, 1, 0, false));
  RunUntil([&] { return ring_->in_flight() == 0; });
  EXPECT_EQ(read.result, static_cast<int>(kPage));
  for (const Recorder& io : refused) EXPECT_EQ(io.result, -EFAULT);
  mprotect(memory, 3 * kPage, PROT_READ | PROT_WRITE);
  EXPECT_EQ(memory[kPage], std::byte{'b'});
  EXPECT_EQ(memory[0], std::byte{'a'});
  ring_.reset();
  munmap(memory, 3 * kPage);
}

TEST_P(ReactorRingTest, BuffersItCannotTakeAreRefused) {
  alignas(4096) static std::byte memory[4096];
  EXPECT_EQ(ErrnoOf(ring_->AddBuffers(nullptr, 4096)), EFAULT);
  for (unsigned i = 0; i < ReactorRing::kBuffersMax; ++i) {
    EXPECT_TRUE(ring_->AddBuffers(memory, sizeof(memory)).ok());
  }
  EXPECT_EQ(ErrnoOf(ring_->AddBuffers(memory, sizeof(memory))), ENOSPC);
}

TEST_P(ReactorRingTest, AFileIsNoBlockDeviceToDiscardFrom) {
  EXPECT_FALSE(ReactorRing::CanDiscard(file_.get()));
  EXPECT_FALSE(ReactorRing::CanDiscard(-1));
  Write("data");
  Recorder discard;
  ASSERT_TRUE(ring_->Discard(discard, file_.get(), 0, 4));
  RunUntil([&] { return discard.calls == 1; });
  EXPECT_EQ(discard.result, -EOPNOTSUPP);
  EXPECT_EQ(FileText(), "data");
}

TEST_P(ReactorRingTest, OneFailureDoesNotHoldUpWhatWasQueuedWithIt) {
  Write("good");
  std::string room(4, '\0');
  const iovec part{room.data(), room.size()};
  Recorder bad, good;
  ASSERT_TRUE(ring_->Fallocate(bad, file_.get(), ~0, 0, 1));
  ASSERT_TRUE(ring_->Readv(good, file_.get(), &part, 1, 0));
  RunUntil([&] { return bad.calls == 1 && good.calls == 1; });
  EXPECT_LT(bad.result, 0);
  EXPECT_EQ(good.result, 4);
}

TEST_P(ReactorRingTest, WhatATurnQueuesIsSubmittedInOneCall) {
  Write("12345678");
  std::string room(8, '\0');
  std::vector<Recorder> reads(8);
  const uint64_t before = ring_->submit_calls();
  std::vector<iovec> parts;
  for (size_t i = 0; i < reads.size(); ++i) parts.push_back({&room[i], 1});
  for (size_t i = 0; i < reads.size(); ++i) {
    ASSERT_TRUE(ring_->Readv(reads[i], file_.get(), &parts[i], 1, i));
  }
  RunUntil([&] { return ring_->in_flight() == 0; });
  EXPECT_EQ(ring_->submit_calls(), before + 1);
  EXPECT_EQ(room, "12345678");
}

TEST_P(ReactorRingTest, ATurnMayQueueMoreThanTheRingHasEntries) {
  Write("x");
  constexpr size_t kMany = 300;  // Of 8 entries, and more than its completion queue holds.
  std::vector<char> room(kMany);
  std::vector<iovec> parts(kMany);
  std::vector<Recorder> reads(kMany);
  size_t queued = 0, done = 0;
  for (auto& read : reads) read.then = [&] { ++done; };
  while (done < kMany && !HasFailure()) {
    for (; queued < kMany; ++queued) {
      parts[queued] = {&room[queued], 1};
      if (!ring_->Readv(reads[queued], file_.get(), &parts[queued], 1, 0)) break;
    }
    loop_.RunTurn();
  }
  EXPECT_EQ(room, std::vector<char>(kMany, 'x'));
  for (const auto& read : reads) EXPECT_EQ(read.calls, 1);
}

TEST_P(ReactorRingTest, AnOperationMayBeQueuedAgainFromWithin) {
  Write("x");
  char byte;
  const iovec part{&byte, 1};
  Recorder read;
  read.then = [&] {
    if (read.calls == 100) return;
    EXPECT_TRUE(ring_->Readv(read, file_.get(), &part, 1, 0));
  };
  ASSERT_TRUE(ring_->Readv(read, file_.get(), &part, 1, 0));
  RunUntil([&] { return read.calls == 100; });
}

TEST_P(ReactorRingTest, SendsAndReceives) {
  std::string text = "over the ring", room(64, '\0');
  iovec out{text.data(), text.size()}, in{room.data(), room.size()};
  msghdr sent{}, received{};
  sent.msg_iov = &out;
  received.msg_iov = &in;
  sent.msg_iovlen = received.msg_iovlen = 1;
  Recorder receive, send;
  ASSERT_TRUE(ring_->Receive(receive, mine_.get(), &received));
  loop_.RunTurn();
  ASSERT_TRUE(ring_->Send(send, peer_.get(), &sent));
  RunUntil([&] { return receive.calls == 1 && send.calls == 1; });
  EXPECT_EQ(send.result, 13);
  EXPECT_EQ(receive.result, 13);
  EXPECT_EQ(room.substr(0, 13), text);
}

TEST_P(ReactorRingTest, ACancelledOperationIsDoneOnce) {
  std::string room(8, '\0');
  iovec in{room.data(), room.size()};
  msghdr message{};
  message.msg_iov = &in;
  message.msg_iovlen = 1;
  Recorder receive;
  ASSERT_TRUE(ring_->Receive(receive, mine_.get(), &message));
  loop_.RunTurn();
  ASSERT_TRUE(ring_->Cancel(receive));
  RunUntil([&] { return receive.calls == 1; });
  EXPECT_EQ(receive.result, -ECANCELED);
  for (int i = 0; i < 10; ++i) loop_.RunTurn();
  EXPECT_EQ(receive.calls, 1);
  EXPECT_EQ(ring_->in_flight(), 0u);
}

TEST_P(ReactorRingTest, CancellingWhatIsDoneHarmsNothing) {
  Recorder sync;
  ASSERT_TRUE(ring_->Fsync(sync, file_.get(), true));
  RunUntil([&] { return sync.calls == 1; });
  ASSERT_TRUE(ring_->Cancel(sync));
  for (int i = 0; i < 10; ++i) loop_.RunTurn();
  EXPECT_EQ(sync.calls, 1);
}

TEST_P(ReactorRingTest, AwaitsAPeerThatHangsUp) {
  Recorder hangup;
  ASSERT_TRUE(ring_->Await(hangup, mine_.get(), POLLRDHUP));
  ASSERT_EQ(write(peer_.get(), "x", 1), 1);
  for (int i = 0; i < 100; ++i) loop_.RunTurn();
  EXPECT_EQ(hangup.calls, 0);
  peer_.Reset();
  RunUntil([&] { return hangup.calls == 1; });
  EXPECT_NE(hangup.result & POLLHUP, 0);
}

TEST_P(ReactorRingTest, AnIdleRingIsNeverAskedForEvents) {
  for (int i = 0; i < 100; ++i) EXPECT_EQ(loop_.RunTurn(), 0);
  EXPECT_EQ(ring_->submit_calls() + ring_->harvest_calls(), 0u);
}

TEST_P(ReactorRingTest, IsFoundByItsLoopWhileItLives) {
  EXPECT_EQ(ReactorRing::Of(loop_), ring_.get());
  Loop other({.name = "other"}, clock_, *MakeEpollWaiter());
  EXPECT_EQ(ReactorRing::Of(other), nullptr);
  ring_.reset();
  EXPECT_EQ(ReactorRing::Of(loop_), nullptr);
}

TEST_P(ReactorRingTest, DoesNotBlockWhileSomethingIsQueuedOrDone) {
  EXPECT_TRUE(ring_->MayBlock());
  Recorder sync;
  ASSERT_TRUE(ring_->Fsync(sync, file_.get(), true));
  EXPECT_FALSE(ring_->MayBlock());
  RunUntil([&] { return sync.calls == 1; });
  EXPECT_TRUE(ring_->MayBlock());
}

// A loop on a thread of its own, with nothing but the ring to wake it.
class BlockedLoopTest : public testing::TestWithParam<bool> {
 protected:
  // Runs `step` on the loop's thread and waits for it.
  void OnLoop(const std::function<void()>& step) {
    struct Call final : Message {
      void Run() override {
        (*step)();
        const std::lock_guard guard(mutex);
        done = true;
        changed.notify_one();
      }
      const std::function<void()>* step;
      std::mutex mutex;
      std::condition_variable changed;
      bool done = false;
    } call;
    call.step = &step;
    loop_.Post(call);
    std::unique_lock lock(call.mutex);
    call.changed.wait(lock, [&] { return call.done; });
  }
  void SetUp() override {
    loop_.StartThread();
    OnLoop([&] { ring_ = *ReactorRing::Make(loop_, {.defer_taskrun = GetParam()}); });
  }
  void TearDown() override {
    OnLoop([&] { ring_.reset(); });
    loop_.StopThread();
  }
  // Waits until the loop has blocked once more.
  void AwaitBlocked() {
    const uint64_t before = loop_.blocked_count();
    OnLoop([] {});
    while (loop_.blocked_count() <= before) std::this_thread::yield();
  }

  RealClock clock_;
  Loop loop_{{.name = "blocked"}, clock_, *MakeEpollWaiter()};
  std::unique_ptr<ReactorRing> ring_;
};

struct Signal final : RingOperation {
  void OnRingDone(int32_t r, uint32_t) override {
    const std::lock_guard guard(mutex);
    result = r;
    done = true;
    changed.notify_one();
  }
  int32_t Wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return done; });
    return result;
  }
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  int32_t result = 0;
};

TEST_P(BlockedLoopTest, WakesWhenADiskOperationIsDone) {
  // O_DIRECT, so that it cannot be done within the submission.
  UniqueFd file(open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC | O_DIRECT, 0600));
  if (!file.valid()) GTEST_SKIP() << "no O_DIRECT on /var/tmp";
  constexpr size_t kBytes = 4096;
  alignas(kBytes) static std::array<std::byte, kBytes> block;
  const iovec part{block.data(), block.size()};
  for (int i = 0; i < 200; ++i) {
    Signal write, sync;
    OnLoop([&] { ASSERT_TRUE(ring_->Writev(write, file.get(), &part, 1, 0, false)); });
    EXPECT_EQ(write.Wait(), static_cast<int32_t>(kBytes));
    OnLoop([&] { ASSERT_TRUE(ring_->Fsync(sync, file.get(), true)); });
    EXPECT_EQ(sync.Wait(), 0);
  }
}

TEST_P(BlockedLoopTest, WakesForEachThingThatHappensWhileItSleeps) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  const UniqueFd reader(fds[0]), writer(fds[1]);
  for (int i = 0; i < 200; ++i) {
    Signal readable;
    OnLoop([&] { ASSERT_TRUE(ring_->Await(readable, reader.get(), POLLIN)); });
    // Half of them after the loop has gone to sleep, half of them while it does.
    if (i % 2 == 0) AwaitBlocked();
    ASSERT_EQ(write(writer.get(), "x", 1), 1);
    EXPECT_EQ(readable.Wait(), POLLIN);
    char byte;
    ASSERT_EQ(read(reader.get(), &byte, 1), 1);
  }
}

class PolledRingTest : public testing::Test {
 protected:
  const RealClock clock_;
  Loop loop_{{.name = "test"}, clock_, *MakeEpollWaiter()};
  alignas(4096) std::array<std::byte, 4096> block_{};
};

TEST_F(PolledRingTest, IsOneForAllWhoHoldIt) {
  auto one = *ReactorRing::PolledOf(loop_);
  auto other = *ReactorRing::PolledOf(loop_);
  EXPECT_EQ(one, other);
  EXPECT_EQ(ReactorRing::Of(loop_), nullptr);
  const std::weak_ptr<ReactorRing> gone = one;
  one.reset();
  other.reset();
  EXPECT_TRUE(gone.expired());
  EXPECT_NE(*ReactorRing::PolledOf(loop_), nullptr);
}

TEST_F(PolledRingTest, HasTheBuffersOfTheOther) {
  auto plain = *ReactorRing::Make(loop_, {});
  ASSERT_TRUE(plain->AddBuffers(block_.data(), block_.size()).ok());
  auto polled = *ReactorRing::PolledOf(loop_);
  EXPECT_EQ(ReactorRing::Of(loop_), plain.get());
  polled.reset();
}

// Whether a device is polled is its driver's affair; a file in the page cache never is. Each ends,
// with what it asked for or with the word that it cannot be polled, and until then the loop may not
// sleep.
TEST_F(PolledRingTest, WhatCannotBePolledSaysSo) {
  auto ring = *ReactorRing::PolledOf(loop_);
  for (const int direct : {0, O_DIRECT}) {
    const UniqueFd file(open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC | direct, 0600));
    if (!file.valid()) continue;
    ASSERT_EQ(pwrite(file.get(), block_.data(), block_.size(), 0), 4096);
    Recorder read;
    const iovec part{block_.data(), block_.size()};
    EXPECT_TRUE(ring->MayBlock());
    ASSERT_TRUE(ring->Readv(read, file.get(), &part, 1, 0));
    EXPECT_FALSE(ring->MayBlock());
    EXPECT_FALSE(ring->Cancel(read));
    for (int i = 0; i < kTurnsMax && read.calls == 0; ++i) loop_.RunTurn(/*may_block=*/true);
    ASSERT_EQ(read.calls, 1);
    if (direct == 0) {
      EXPECT_EQ(read.result, -EOPNOTSUPP);
    } else {
      EXPECT_TRUE(read.result == 4096 || read.result == -EOPNOTSUPP) << read.result;
    }
    EXPECT_TRUE(ring->MayBlock());
  }
}

// The cores that the kernel's workers for this thread may use.
std::vector<std::string> CoresOfWorkers() {
  const std::string name = absl::StrFormat("iou-wrk-%d\n", gettid());
  std::vector<std::string> found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream comm(task.path() / "comm"), status(task.path() / "status");
    const std::string text{std::istreambuf_iterator<char>(comm), {}};
    if (text != name) continue;
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("Cpus_allowed_list:")) found.push_back(line.substr(19));
    }
  }
  return found;
}

TEST(ReactorRingWorkers, WorkWhereTheyAreToldToAndNotWhereTheReactorPolls) {
  const std::vector<int> all = WorkerCores({});
  ASSERT_FALSE(all.empty());
  const std::vector<int> others = WorkerCores({all[0]});
  if (others == all) GTEST_SKIP() << "needs two cores";
  EXPECT_EQ(std::ranges::find(others, all[0]), others.end());
  EXPECT_EQ(WorkerCores(all), all);
  std::thread reactor([&] {
    cpu_set_t mine;
    CPU_ZERO(&mine);
    CPU_SET(static_cast<size_t>(all[0]), &mine);
    ASSERT_EQ(pthread_setaffinity_np(pthread_self(), sizeof(mine), &mine), 0);
    const RealClock clock;
    Loop loop({.name = "test"}, clock, *MakeEpollWaiter());
    auto ring = *ReactorRing::Make(loop, {.worker_cores = {others[0]}});
    const UniqueFd file(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    Recorder sync;  // Never done without a worker: it would block.
    ASSERT_TRUE(ring->Fsync(sync, file.get(), false));
    while (sync.calls == 0) loop.RunTurn();
    const std::vector<std::string> cores = CoresOfWorkers();
    ASSERT_FALSE(cores.empty());
    for (const std::string& core : cores) EXPECT_EQ(core, std::to_string(others[0]));
  });
  reactor.join();
}

std::string NameOf(const testing::TestParamInfo<bool>& deferred) {
  return deferred.param ? "DeferTaskrun" : "Plain";
}
INSTANTIATE_TEST_SUITE_P(Rings, ReactorRingTest, testing::Bool(), NameOf);
INSTANTIATE_TEST_SUITE_P(Rings, BlockedLoopTest, testing::Bool(), NameOf);

}  // namespace
}  // namespace pollux
