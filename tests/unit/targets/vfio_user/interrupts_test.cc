// SET_IRQS in all its forms, and what the device's interrupts become.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <atomic>

#include "tests/unit/targets/vfio_user/server_fixture.h"

namespace pollux::vfio_user {
namespace {

// Flags of SET_IRQS.
constexpr uint32_t kNone = 1, kBool = 2, kEventfd = 4;
constexpr uint32_t kMask = 8, kUnmask = 0x10, kTrigger = 0x20;
constexpr uint32_t kInvalid = EINVAL;

class InterruptsTest : public ServerTest {
 protected:
  uint32_t Set(uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
               std::vector<int> fds = {}) {
    return ErrorOf(8, SetIrqs(flags, index, start, count), std::move(fds));
  }
  uint32_t SetBools(uint32_t action, uint32_t index, uint32_t start, const std::string& bools) {
    const auto count = static_cast<uint32_t>(bools.size());
    return ErrorOf(8, SetIrqs(kBool | action, index, start, count) + bools);
  }
  // Eventfds for [0, count) of MSI-X.
  void GiveMsix(uint32_t count = ScratchDevice::kMsixVectors) {
    for (uint32_t i = 0; i < count; ++i) {
      ASSERT_EQ(Set(kEventfd | kTrigger, kMsix, i, 1, {events_[i].get()}), 0u);
    }
  }
  void GiveIntx() { ASSERT_EQ(Set(kEventfd | kTrigger, kIntx, 0, 1, {events_[0].get()}), 0u); }

  UniqueFd events_[4] = {MakeEventfd(), MakeEventfd(), MakeEventfd(), MakeEventfd()};
};

TEST_F(InterruptsTest, InfoTellsWhatThereIs) {
  StartSession();
  const auto info = [&](uint32_t index) {
    return Ask(7, Bytes().U32(16).U32(0).U32(index).U32(0)).payload;
  };
  EXPECT_EQ(info(0), std::string(Bytes().U32(16).U32(7).U32(0).U32(1)));
  EXPECT_EQ(info(1), std::string(Bytes().U32(16).U32(3).U32(1).U32(0)));
  EXPECT_EQ(info(2), std::string(Bytes().U32(16).U32(3).U32(2).U32(4)));
  EXPECT_EQ(info(3), std::string(Bytes().U32(16).U32(1).U32(3).U32(1)));
  EXPECT_EQ(info(4), std::string(Bytes().U32(16).U32(1).U32(4).U32(1)));
  EXPECT_EQ(ErrorOf(7, Bytes().U32(16).U32(0).U32(5).U32(0)), kInvalid);
  EXPECT_EQ(ErrorOf(7, Bytes().U32(15).U32(0).U32(0).U32(0)), kInvalid);
  EXPECT_EQ(ErrorOf(7, "short"), kInvalid);
}

TEST_F(InterruptsTest, AVectorSignalsItsOwnEventfd) {
  StartSession();
  GiveMsix();
  server_->Trigger(kMsix, 2);
  EXPECT_EQ(Signals(events_[2]), 1u);
  EXPECT_EQ(Signals(events_[0]) + Signals(events_[1]) + Signals(events_[3]), 0u);
  server_->Trigger(kMsix, 2);
  server_->Trigger(kMsix, 2);
  EXPECT_EQ(Signals(events_[2]), 2u);
}

TEST_F(InterruptsTest, SeveralEventfdsComeInOneMessage) {
  StartSession();
  ASSERT_EQ(
      Set(kEventfd | kTrigger, kMsix, 1, 3, {events_[1].get(), events_[2].get(), events_[3].get()}),
      0u);
  for (uint32_t i = 0; i < 4; ++i) server_->Trigger(kMsix, i);
  EXPECT_EQ(Signals(events_[0]), 0u);
  for (uint32_t i = 1; i < 4; ++i) EXPECT_EQ(Signals(events_[i]), 1u);
}

TEST_F(InterruptsTest, AnEventfdIsReplacedAndTheOldOneClosed) {
  StartSession();
  GiveMsix(1);
  ExpectAlive();
  const int open = OpenDescriptors();
  ASSERT_EQ(Set(kEventfd | kTrigger, kMsix, 0, 1, {events_[1].get()}), 0u);
  ExpectAlive();
  EXPECT_EQ(OpenDescriptors(), open);
  server_->Trigger(kMsix, 0);
  EXPECT_EQ(Signals(events_[0]), 0u);
  EXPECT_EQ(Signals(events_[1]), 1u);
}

TEST_F(InterruptsTest, VectorsAreTakenBackOneByOneAndAllAtOnce) {
  StartSession();
  ExpectAlive();
  const int open = OpenDescriptors();
  GiveMsix();
  ASSERT_EQ(Set(kEventfd | kTrigger, kMsix, 1, 2), 0u);  // No descriptors: de-assign.
  for (uint32_t i = 0; i < 4; ++i) server_->Trigger(kMsix, i);
  EXPECT_EQ(Signals(events_[0]), 1u);
  EXPECT_EQ(Signals(events_[1]) + Signals(events_[2]), 0u);
  EXPECT_EQ(Signals(events_[3]), 1u);

  ASSERT_EQ(Set(kNone | kTrigger, kMsix, 0, 0), 0u);
  for (uint32_t i = 0; i < 4; ++i) server_->Trigger(kMsix, i);
  for (const UniqueFd& event : events_) EXPECT_EQ(Signals(event), 0u);
  ExpectAlive();
  EXPECT_EQ(OpenDescriptors(), open);
}

TEST_F(InterruptsTest, MsixWithoutVectorsIsSwitchedOnAsQemuDoesIt) {
  StartSession();
  EXPECT_EQ(Set(kEventfd | kTrigger, kMsix, 0, 1), 0u);
}

TEST_F(InterruptsTest, AClientMayFireVectorsItself) {
  StartSession();
  GiveMsix();
  ASSERT_EQ(Set(kNone | kTrigger, kMsix, 1, 2), 0u);
  EXPECT_EQ(Signals(events_[0]), 0u);
  EXPECT_EQ(Signals(events_[1]), 1u);
  EXPECT_EQ(Signals(events_[2]), 1u);
  ASSERT_EQ(SetBools(kTrigger, kMsix, 0, std::string("\1\0\0\1", 4)), 0u);
  EXPECT_EQ(Signals(events_[0]), 1u);
  EXPECT_EQ(Signals(events_[1]), 0u);
  EXPECT_EQ(Signals(events_[3]), 1u);
}

TEST_F(InterruptsTest, AMaskedVectorIsKeptUntilItIsUnmasked) {
  StartSession();
  GiveMsix();
  ASSERT_EQ(Set(kNone | kMask, kMsix, 0, 2), 0u);
  for (int i = 0; i < 3; ++i) server_->Trigger(kMsix, 0);
  EXPECT_EQ(Signals(events_[0]), 0u);
  ASSERT_EQ(SetBools(kUnmask, kMsix, 0, "\1\1"), 0u);
  EXPECT_EQ(Signals(events_[0]), 1u);
  EXPECT_EQ(Signals(events_[1]), 0u);
  server_->Trigger(kMsix, 0);
  EXPECT_EQ(Signals(events_[0]), 1u);
}

TEST_F(InterruptsTest, IntxIsHeldWhileMasked) {
  StartSession();
  GiveIntx();
  server_->Trigger(kIntx, 0);
  server_->Trigger(kIntx, 0);  // Signalling has masked it.
  EXPECT_EQ(Signals(events_[0]), 1u);
  ASSERT_EQ(Set(kNone | kUnmask, kIntx, 0, 1), 0u);
  EXPECT_EQ(Signals(events_[0]), 1u);  // The level is still up.
  server_->LowerIntx();
  ASSERT_EQ(Set(kNone | kUnmask, kIntx, 0, 1), 0u);
  EXPECT_EQ(Signals(events_[0]), 0u);
  server_->Trigger(kIntx, 0);
  EXPECT_EQ(Signals(events_[0]), 1u);
}

TEST_F(InterruptsTest, IntxThatIsUpWhenItsEventfdComesIsSignalled) {
  StartSession();
  server_->Trigger(kIntx, 0);
  GiveIntx();
  EXPECT_EQ(Signals(events_[0]), 1u);
  // Disabled and given again, as around MSI-X.
  ASSERT_EQ(Set(kNone | kTrigger, kIntx, 0, 0), 0u);
  server_->Trigger(kIntx, 0);
  EXPECT_EQ(Signals(events_[0]), 0u);
  GiveIntx();
  EXPECT_EQ(Signals(events_[0]), 1u);
}

TEST_F(InterruptsTest, IntxIsUnmaskedAndMaskedByEventfdsOfTheClients) {
  StartSession();
  GiveIntx();
  ASSERT_EQ(Set(kEventfd | kUnmask, kIntx, 0, 1, {events_[1].get()}), 0u);
  ASSERT_EQ(Set(kEventfd | kMask, kIntx, 0, 1, {events_[2].get()}), 0u);
  const auto ring = [&](const UniqueFd& event) {
    const uint64_t one = 1;
    ASSERT_EQ(write(event.get(), &one, sizeof(one)), 8);
    Turns();
  };
  server_->Trigger(kIntx, 0);
  EXPECT_EQ(Signals(events_[0]), 1u);
  for (int i = 0; i < 3; ++i) {
    ring(events_[1]);
    EXPECT_EQ(Signals(events_[0]), 1u);
  }
  server_->LowerIntx();
  ring(events_[1]);
  EXPECT_EQ(Signals(events_[0]), 0u);
  ring(events_[2]);
  server_->Trigger(kIntx, 0);
  EXPECT_EQ(Signals(events_[0]), 0u);
  ring(events_[1]);
  EXPECT_EQ(Signals(events_[0]), 1u);
  // Taken back.
  ASSERT_EQ(Set(kEventfd | kUnmask, kIntx, 0, 1), 0u);
  ring(events_[1]);
  EXPECT_EQ(Signals(events_[0]), 0u);
  EXPECT_EQ(Set(kEventfd | kUnmask, kMsix, 0, 1, {events_[1].get()}), kInvalid);
}

TEST_F(InterruptsTest, ErrorsAndRequestsAreTriggeredOnly) {
  StartSession();
  for (const uint32_t index : {3u, 4u}) {
    EXPECT_EQ(Set(kEventfd | kTrigger, index, 0, 1, {events_[index - 1].get()}), 0u);
    EXPECT_EQ(Set(kNone | kMask, index, 0, 1), kInvalid);
    EXPECT_EQ(Set(kNone | kUnmask, index, 0, 1), kInvalid);
    EXPECT_EQ(Set(kNone | kTrigger, index, 0, 2), kInvalid);
    server_->Trigger(static_cast<int>(index), 0);
    EXPECT_EQ(Signals(events_[index - 1]), 1u);
  }
}

TEST_F(InterruptsTest, WhatCannotBeIsRefused) {
  StartSession();
  GiveMsix();
  const int fd = events_[0].get();
  EXPECT_EQ(Set(kEventfd | kTrigger, 5, 0, 1, {fd}), kInvalid);
  EXPECT_EQ(Set(kEventfd | kTrigger, kMsi, 0, 1, {fd}), kInvalid);  // It has none.
  EXPECT_EQ(Set(kEventfd | kTrigger, kMsix, 4, 1, {fd}), kInvalid);
  EXPECT_EQ(Set(kEventfd | kTrigger, kMsix, 3, 2, {fd, fd}), kInvalid);
  EXPECT_EQ(Set(kNone | kTrigger, kMsix, 1, 0xffffffff), kInvalid);
  EXPECT_EQ(Set(kNone | kTrigger, kMsix, 0xffffffff, 1), kInvalid);
  EXPECT_EQ(Set(kEventfd | kTrigger, kMsix, 0, 2, {fd}), kInvalid);
  EXPECT_EQ(Set(kEventfd | kTrigger, kMsix, 0, 0), kInvalid);
  EXPECT_EQ(Set(kNone | kTrigger, kMsix, 1, 0), kInvalid);
  EXPECT_EQ(Set(kNone | kMask, kMsix, 0, 0), kInvalid);
  EXPECT_EQ(Set(kTrigger, kMsix, 0, 1), kInvalid);
  EXPECT_EQ(Set(kNone, kMsix, 0, 1), kInvalid);
  EXPECT_EQ(Set(kNone | kBool | kTrigger, kMsix, 0, 1), kInvalid);
  EXPECT_EQ(Set(kNone | kMask | kUnmask, kMsix, 0, 1), kInvalid);
  EXPECT_EQ(Set(0x40 | kNone | kTrigger, kMsix, 0, 1), kInvalid);
  EXPECT_EQ(Set(kBool | kTrigger, kMsix, 0, 1), kInvalid);  // No byte follows.
  EXPECT_EQ(ErrorOf(8, SetIrqs(kBool | kTrigger, kMsix, 0, 1) + "ab"), kInvalid);
  EXPECT_EQ(ErrorOf(8, "short"), kInvalid);
  for (const UniqueFd& event : events_) EXPECT_EQ(Signals(event), 0u);
}

TEST_F(InterruptsTest, WhatIsNoEventfdIsRefused) {
  StartSession();
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  const UniqueFd reader(pipe_fds[0]), writer(pipe_fds[1]);
  const UniqueFd memory = MakeMemory(4096);
  for (const int fd : {writer.get(), memory.get(), client_.get()}) {
    EXPECT_EQ(Set(kEventfd | kTrigger, kMsix, 0, 1, {fd}), kInvalid);
    EXPECT_EQ(Set(kEventfd | kUnmask, kIntx, 0, 1, {fd}), kInvalid);
  }
  EXPECT_EQ(Set(kEventfd | kTrigger, kMsix, 0, 2, {events_[0].get(), writer.get()}), kInvalid);
  server_->Trigger(kMsix, 0);
  EXPECT_EQ(Signals(events_[0]), 0u);  // Nothing of it was taken.
}

TEST_F(InterruptsTest, AFullCounterDoesNotStopTheServer) {
  StartSession();
  const UniqueFd full(eventfd(0, EFD_CLOEXEC));  // A write that does not fit would wait.
  ASSERT_EQ(Set(kEventfd | kTrigger, kMsix, 0, 1, {full.get()}), 0u);
  const uint64_t most = ~uint64_t{0} - 1;
  ASSERT_EQ(write(full.get(), &most, sizeof(most)), 8);
  server_->Trigger(kMsix, 0);
  ExpectAlive();
}

TEST_F(InterruptsTest, ManyInterruptsAreAllCounted) {
  StartSession();
  GiveMsix();
  for (int i = 0; i < 1000; ++i) server_->Trigger(kMsix, 1);
  EXPECT_EQ(Signals(events_[1]), 1000u);
}

// A client that lets writes of its eventfd wait: it makes room, and fills the counter in the hope
// to do so between a look at the room and the write. Once nothing happens any more it leaves it
// full.
[[noreturn]] void FillAgainAndAgain(int event, const std::atomic<int>& triggered) {
  struct sigaction interrupt {};
  interrupt.sa_handler = [](int) {};  // So that it does not wait for ever itself.
  sigaction(SIGALRM, &interrupt, nullptr);
  const itimerval often{.it_interval = {.tv_sec = 0, .tv_usec = 500},
                        .it_value = {.tv_sec = 0, .tv_usec = 500}};
  setitimer(ITIMER_REAL, &often, nullptr);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int before = -1;;) {
    const int now = triggered.load(std::memory_order_relaxed);
    if (now == before) continue;
    before = now;
    eventfd_t count = 0;
    const iovec taken{.iov_base = &count, .iov_len = sizeof(count)};
    [[maybe_unused]] const ssize_t got = preadv2(event, &taken, 1, -1, RWF_NOWAIT);
    for (int spin = now % 997; spin > 0; --spin) (void)triggered.load(std::memory_order_relaxed);
    eventfd_write(event, UINT64_MAX - 1);
  }
}

TEST_F(InterruptsTest, AHostileClientDoesNotStopTheServer) {
  constexpr int kTriggers = 200'000;
  StartSession();
  const UniqueFd event(eventfd(0, EFD_CLOEXEC));
  ASSERT_EQ(Set(kEventfd | kTrigger, kMsix, 0, 1, {event.get()}), 0u);
  auto* const triggered = static_cast<std::atomic<int>*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t hostile = fork();
  ASSERT_GE(hostile, 0);
  if (hostile == 0) FillAgainAndAgain(event.get(), *triggered);
  for (int i = 0; i < kTriggers; ++i) {
    server_->Trigger(kMsix, 0);
    triggered->store(i, std::memory_order_relaxed);
  }
  ASSERT_EQ(kill(hostile, SIGKILL), 0);
  ASSERT_EQ(waitpid(hostile, nullptr, 0), hostile);
  munmap(triggered, 4096);
  ExpectAlive();
}

TEST_F(InterruptsTest, EventfdsStayOverAReset) {
  StartSession();
  GiveMsix();
  ASSERT_EQ(Set(kNone | kMask, kMsix, 0, 1), 0u);
  server_->Trigger(kMsix, 0);
  ASSERT_EQ(ErrorOf(13, ""), 0u);
  EXPECT_EQ(Signals(events_[0]), 0u);  // What was kept is gone with the mask.
  server_->Trigger(kMsix, 0);
  EXPECT_EQ(Signals(events_[0]), 1u);
}

TEST_F(InterruptsTest, TheNextClientHasNoneOfTheLast) {
  StartSession();
  GiveMsix();
  GiveIntx();
  server_->Trigger(kIntx, 0);
  (void)Signals(events_[0]);
  client_.Reset();
  RunUntil([&] { return !server_->connected(); });
  server_->Trigger(kMsix, 1);
  EXPECT_EQ(Signals(events_[1]), 0u);

  client_ = Connect();
  ASSERT_EQ(Ask(1, MakeVersion()).error, 0u);
  server_->Trigger(kMsix, 1);
  EXPECT_EQ(Signals(events_[1]), 0u);
  GiveIntx();
  EXPECT_EQ(Signals(events_[0]), 0u);
}

}  // namespace
}  // namespace pollux::vfio_user
