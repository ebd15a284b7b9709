// Clients that are slow, silent, hostile, or die.
#include <sys/wait.h>

#include <thread>

#include "tests/unit/targets/vfio_user/server_fixture.h"

namespace pollux::vfio_user {
namespace {

constexpr uint32_t kInvalid = EINVAL;

class DamageTest : public ServerTest {
 protected:
  // What is wrong with it or not: another client is served afterwards, and the device was reset.
  void ExpectServesTheNext() {
    client_.Reset();
    RunUntil([&] { return !server_->connected(); });
    EXPECT_EQ(device_.log.back(), "reset");
    client_ = Connect();
    EXPECT_EQ(Ask(1, MakeVersion()).error, 0u);
    ExpectAlive();
    client_.Reset();
    RunUntil([&] { return !server_->connected(); });
  }
  static std::string Header(uint16_t command, uint32_t size, uint32_t flags = 0) {
    return Bytes().U16(1).U16(command).U32(size).U32(flags).U32(0);
  }
};

// One of each command, with the descriptors that go along.
struct Step {
  std::string message;
  std::vector<int> fds;
};
std::vector<Step> WholeSession(int memory, int event) {
  const std::string map = Bytes().U32(32).U32(3).U64(0).U64(0x10000).U64(4096);
  const std::string unmap = Bytes().U32(24).U32(0).U64(0x10000).U64(4096);
  const std::string question = Bytes().U32(64).U32(0).U32(0).U32(0).U64(0).U64(0);
  const std::string irqs = Bytes().U32(20).U32(0x24).U32(2).U32(0).U32(1);
  const std::string access = Bytes().U64(64).U32(0).U32(4);
  return {{MakeMessage(1, MakeVersion()), {}},
          {MakeMessage(2, map), {memory}},
          {MakeMessage(4, Bytes().U32(16).U32(0).U32(0).U32(0)), {}},
          {MakeMessage(5, question), {}},
          {MakeMessage(7, Bytes().U32(16).U32(0).U32(2).U32(0)), {}},
          {MakeMessage(8, irqs), {event}},
          {MakeMessage(10, access + "abcd"), {}},
          {MakeMessage(9, access), {}},
          {MakeMessage(13, ""), {}},
          {MakeMessage(3, unmap), {memory}},
          {MakeMessage(2, map), {memory}}};
}

TEST_F(DamageTest, AConnectionCutAtAnyByteCostsItselfOnly) {
  const UniqueFd memory = MakeMemory(4096), event = MakeEventfd();
  const std::vector<Step> steps = WholeSession(memory.get(), event.get());
  Start();
  Turns();
  const int open = OpenDescriptors();
  for (size_t last = 0; last < steps.size(); ++last) {
    for (size_t cut = 0; cut < steps[last].message.size(); ++cut) {
      client_ = Connect();
      for (size_t i = 0; i < last; ++i) Send(steps[i].message, steps[i].fds);
      if (cut > 0) Send(steps[last].message.substr(0, cut), steps[last].fds);
      if (cut % 2 == 0) Turns(2);
      client_.Reset();
      RunUntil([&] { return device_.log.size() >= 2 && device_.log.back() == "reset"; });
      RunUntil([&] { return !server_->connected(); });
      device_.log.clear();
    }
  }
  EXPECT_EQ(OpenDescriptors(), open);
  EXPECT_EQ(server_->Memory(0x10000, 1, false), nullptr);
}

TEST_F(DamageTest, MessagesMayComeByteByByte) {
  const UniqueFd memory = MakeMemory(4096), event = MakeEventfd();
  Start();
  client_ = Connect();
  for (const Step& step : WholeSession(memory.get(), event.get())) {
    for (size_t i = 0; i < step.message.size(); ++i) {
      Send(step.message.substr(i, 1), i == 0 ? step.fds : std::vector<int>());
      Turns(1);
    }
    EXPECT_EQ(ReceiveReply().error, 0u);
  }
}

TEST_F(DamageTest, DescriptorsMayComeWithAnyByte) {
  const UniqueFd memory = MakeMemory(4096);
  StartSession();
  const std::string message = MakeMessage(2, DmaMap(0x10000, 4096));
  for (size_t at = 0; at < message.size(); ++at) {
    if (at > 0) Send(message.substr(0, at));
    Turns(1);
    Send(message.substr(at), {memory.get()});
    EXPECT_EQ(ReceiveReply().error, 0u);
    EXPECT_NE(server_->Memory(0x10000, 1, true), nullptr);
    EXPECT_EQ(ErrorOf(3, DmaUnmap(0x10000, 4096)), 0u);
  }
}

TEST_F(DamageTest, ManyCommandsInOnePieceAreAnsweredInOrder) {
  StartSession();
  std::string all;
  for (uint16_t id = 0; id < 500; ++id) all += MakeMessage(9, Access(0, id, 4), id);
  Send(all);
  for (uint16_t id = 0; id < 500; ++id) EXPECT_EQ(ReceiveReply().id, id);
  ExpectAlive();
}

TEST_F(DamageTest, DescriptorsGoToTheMessageTheyCameWith) {
  const UniqueFd one = MakeMemory(4096), two = MakeMemory(8192);
  StartSession();
  Send(MakeMessage(9, Access(0, 0, 4)));
  Send(MakeMessage(2, DmaMap(0x10000, 4096)), {one.get()});
  Send(MakeMessage(9, Access(0, 0, 4)));
  Send(MakeMessage(2, DmaMap(0x20000, 8192)), {two.get()});
  Send(MakeMessage(2, DmaMap(0x30000, 4096)));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ReceiveReply().error, 0u);
  EXPECT_NE(server_->Memory(0x10000, 4096, true), nullptr);
  EXPECT_NE(server_->Memory(0x20000, 8192, true), nullptr);
  EXPECT_EQ(server_->Memory(0x30000, 4096, true), nullptr);
}

TEST_F(DamageTest, ALengthThatCannotBeEndsTheConnection) {
  for (const uint32_t size : {0u, 1u, 15u, (1u << 20) + 16 + 65, 0x7fffffffu, 0xffffffffu}) {
    StartSession();
    Send(Header(9, size) + std::string(64, 'x'));
    const Reply reply = ReceiveReply();
    EXPECT_EQ(reply.error, kInvalid);
    EXPECT_TRUE(ServerHungUp());
    ExpectServesTheNext();
    Close();
  }
}

TEST_F(DamageTest, TheLongestMessageIsTaken) {
  StartSession({.data_bytes_max = 65536});
  const std::string data(65536, 'x');
  Send(MakeMessage(10, Access(0, 0, 65536) + data));
  EXPECT_EQ(ReceiveReply().error, kInvalid);  // The region is shorter.
  ExpectAlive();
  Send(Header(10, 16 + 65536 + 65));
  EXPECT_EQ(ReceiveReply().error, kInvalid);
  EXPECT_TRUE(ServerHungUp());
}

TEST_F(DamageTest, WhatIsNoCommandEndsTheConnection) {
  for (const uint32_t flags : {1u, 2u, 0xfu, 0x21u}) {
    StartSession();
    Send(Header(9, 32, flags) + Access(0, 0, 4));
    EXPECT_TRUE(ServerHungUp());
    ExpectServesTheNext();
    Close();
  }
}

TEST_F(DamageTest, FlagsThatNobodyKnowsAreLeftAlone) {
  StartSession();
  Send(Header(9, 32, 0xffffffc0) + Access(0, 0, 4));
  EXPECT_EQ(ReceiveReply().error, 0u);
}

TEST_F(DamageTest, TooManyDescriptorsAreClosed) {
  StartSession({.fds_max = 2});
  const UniqueFd memory = MakeMemory(4096);
  const int open = OpenDescriptors();
  const int fd = memory.get();
  EXPECT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), {fd, fd, fd}), kInvalid);
  EXPECT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), std::vector<int>(50, fd)), kInvalid);
  EXPECT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), {fd, fd}), kInvalid);  // As many as may come.
  ExpectAlive();
  EXPECT_EQ(OpenDescriptors(), open);
  EXPECT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), {fd}), 0u);
}

TEST_F(DamageTest, AClientThatSaysNothingIsSentAway) {
  Start();
  client_ = Connect();
  Turns();
  EXPECT_TRUE(server_->connected());
  clock_.Advance(4 * kNsPerSecond);
  Send(MakeMessage(1, MakeVersion()).substr(0, 10));  // Nor does a beginning help.
  Turns();
  EXPECT_TRUE(server_->connected());
  clock_.Advance(2 * kNsPerSecond);
  RunUntil([&] { return !server_->connected(); });
  EXPECT_TRUE(ServerHungUp());
  ExpectServesTheNext();
}

TEST_F(DamageTest, AMessageThatHasBegunMustEnd) {
  StartSession();
  clock_.Advance(100 * kNsPerSecond);
  Send(MakeMessage(9, Access(0, 0, 4)).substr(0, 20));
  Turns();
  clock_.Advance(4 * kNsPerSecond);
  Turns();
  EXPECT_TRUE(server_->connected());
  clock_.Advance(2 * kNsPerSecond);
  RunUntil([&] { return !server_->connected(); });
  ExpectServesTheNext();
}

TEST_F(DamageTest, AClientThatSendsItsOwnSocketIsForgottenAllTheSame) {
  const std::string message = MakeMessage(4, Bytes().U32(16).U32(0).U32(0).U32(0));
  StartSession();
  for (int i = 0; i < 32; ++i) Send(message, {client_.get()});  // As many as in one turn.
  Turns();
  client_.Reset();
  RunUntil([&] { return !server_->connected(); });

  client_ = Connect();
  ASSERT_EQ(Ask(1, MakeVersion()).error, 0u);
  Send(message.substr(0, 20), {client_.get()});
  Turns();
  client_.Reset();
  Turns();
  EXPECT_TRUE(server_->connected());  // Its socket is ours too now.
  clock_.Advance(6 * kNsPerSecond);
  RunUntil([&] { return !server_->connected(); });
}

TEST_F(DamageTest, AClientMayBeSilentAfterVersion) {
  StartSession();
  clock_.Advance(1000 * kNsPerSecond);
  Turns();
  ExpectAlive();
}

TEST_F(DamageTest, AClientThatTakesNoAnswersIsSentAway) {
  StartSession();
  // More answers than the socket holds.
  const std::string question = MakeMessage(9, Access(0, 0, 16384));
  int asked = 0;
  while (send(client_.get(), question.data(), question.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(question.size())) {
    ++asked;
    Turns(1);
    ASSERT_LT(asked, 1'000'000);
  }
  Turns();
  EXPECT_TRUE(server_->connected());
  clock_.Advance(6 * kNsPerSecond);
  RunUntil([&] { return !server_->connected(); });
  ExpectServesTheNext();
}

TEST_F(DamageTest, AClientThatTakesAnswersLateGetsThemAll) {
  StartSession();
  constexpr uint16_t kAsked = 200;
  const std::string expected(16384, '\0');
  for (uint16_t id = 0; id < kAsked; ++id) {
    Send(MakeMessage(9, Access(0, 0, 16384), id));
    Turns(1);
  }
  Turns();
  for (uint16_t id = 0; id < kAsked; ++id) {
    const Reply reply = ReceiveReply();
    ASSERT_EQ(reply.id, id);
    ASSERT_EQ(reply.payload.substr(16), expected);
  }
  ExpectAlive();
}

TEST_F(DamageTest, ClosingDoesNotWaitForAClientThatTakesNoAnswers) {
  StartSession();
  const std::string question = MakeMessage(9, Access(0, 0, 16384));
  while (send(client_.get(), question.data(), question.size(), MSG_NOSIGNAL) > 0) Turns(1);
  Close();
}

TEST_F(DamageTest, ASecondClientWaitsForItsTurn) {
  StartSession();
  UniqueFd first = std::move(client_);
  client_ = Connect();
  Send(MakeMessage(1, MakeVersion()));
  Turns();
  char byte;
  EXPECT_EQ(recv(client_.get(), &byte, 1, 0), -1);
  std::swap(first, client_);
  ExpectAlive();
  std::swap(first, client_);
  first.Reset();
  EXPECT_EQ(ReceiveReply().error, 0u);
  ExpectAlive();
}

TEST_F(DamageTest, ADeadSocketDoesNotKeepTheLoopBusy) {
  StartSession();
  const UniqueFd memory = MakeMemory(4096);
  ASSERT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), {memory.get()}), 0u);
  device_.hold_unmaps = true;
  client_.Reset();
  Turns();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(loop_.RunTurn(), 0);
  device_.Release();
  RunUntil([&] { return !server_->connected(); });
}

TEST_F(DamageTest, ClientsThatAreKilledLeaveNothingBehind) {
  constexpr int kClients = 200;
  Start();
  const int open = OpenDescriptors();
  for (int i = 0; i < kClients; ++i) {
    device_.log.clear();
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // It works away until it is killed: the commands of a session, again and again.
      const UniqueFd memory = MakeMemory(4096), event = MakeEventfd();
      client_ = Connect();
      fcntl(client_.get(), F_SETFL, 0);  // It waits where the server is slow.
      for (;;) {
        for (const Step& step : WholeSession(memory.get(), event.get()))
          Send(step.message, step.fds);
        char drop[4096];
        while (recv(client_.get(), drop, sizeof(drop), MSG_DONTWAIT) > 0) {
        }
      }
    }
    // At different moments: after so many turns in which it had something to say.
    RunUntil([&] { return server_->connected(); });
    for (int worked = 0, turns = 0; worked < i * 2 && turns < 2000; ++turns) {
      worked += loop_.RunTurn();
    }
    ASSERT_EQ(kill(child, SIGKILL), 0);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    RunUntil([&] { return !server_->connected(); });
    ASSERT_EQ(device_.log.back(), "reset");
    ASSERT_EQ(server_->Memory(0x10000, 1, false), nullptr);
  }
  EXPECT_EQ(OpenDescriptors(), open);
  client_ = Connect();
  EXPECT_EQ(Ask(1, MakeVersion()).error, 0u);
}

// --- Memory that the client takes away.

class LostDmaTest : public DamageTest {
 protected:
  void MapTwoPages() {
    ASSERT_EQ(ErrorOf(2, DmaMap(0x10000, 8192), {memory_.get()}), 0u);
    address_ = server_->Memory(0x10000, 8192, true);
    ASSERT_NE(address_, nullptr);
    std::memset(address_, 7, 8192);
  }
  void TakeAway(off_t left = 0) { ASSERT_EQ(ftruncate(memory_.get(), left), 0); }
  int Read(size_t offset) const {
    return static_cast<int>(*const_cast<const volatile std::byte*>(address_ + offset));
  }

  UniqueFd memory_ = MakeMemory(8192);
  std::byte* address_ = nullptr;
};

TEST_F(LostDmaTest, CostsItsOwnConnection) {
  StartSession();
  MapTwoPages();
  TakeAway(4096);
  EXPECT_EQ(Read(0), 7);
  ExpectAlive();  // Nobody missed it yet.
  EXPECT_EQ(Read(4096), 0);
  *address_ = std::byte{1};  // What the device still does is of no consequence.
  RunUntil([&] { return !server_->connected(); });
  EXPECT_TRUE(ServerHungUp());
  ExpectServesTheNext();
}

TEST_F(LostDmaTest, LeavesOtherServersAlone) {
  ScratchDevice other_device;
  StartSession();
  MapTwoPages();
  std::unique_ptr<Server> first = std::move(server_);
  path_ += ".other";
  auto second = Server::Listen({.path = path_}, other_device, loop_);
  ASSERT_TRUE(second.ok());
  server_ = *std::move(second);
  UniqueFd first_client = std::exchange(client_, Connect());
  ASSERT_EQ(Ask(1, MakeVersion()).error, 0u);
  const UniqueFd kept = MakeMemory(4096);
  ASSERT_EQ(ErrorOf(2, DmaMap(0x10000, 4096), {kept.get()}), 0u);

  TakeAway();
  EXPECT_EQ(Read(100), 0);
  RunUntil([&] { return !first->connected(); });
  ExpectAlive();
  *server_->Memory(0x10000, 1, true) = std::byte{5};
  char back = 0;
  EXPECT_EQ(pread(kept.get(), &back, 1, 0), 1);
  EXPECT_EQ(back, 5);

  client_.Reset();
  Close();
  server_ = std::move(first);
}

TEST_F(LostDmaTest, IsFoundByAnyThread) {
  StartSession();
  MapTwoPages();
  TakeAway();
  std::thread reactor([&] { EXPECT_EQ(Read(8000), 0); });
  reactor.join();
  RunUntil([&] { return !server_->connected(); });
  EXPECT_TRUE(ServerHungUp());
  ExpectServesTheNext();
}

TEST_F(LostDmaTest, MayBeFoundWhileItIsUnmapped) {
  StartSession();
  MapTwoPages();
  TakeAway();
  Send(MakeMessage(3, DmaUnmap(0x10000, 8192)));  // The device writes to it once more.
  Turns();
  client_.Reset();
  RunUntil([&] { return !server_->connected(); });
  ExpectServesTheNext();  // Which is not blamed for it.
}

TEST_F(LostDmaTest, MayBeFoundWhenTheClientIsGone) {
  StartSession();
  MapTwoPages();
  TakeAway();
  client_.Reset();
  RunUntil([&] { return !server_->connected(); });
  for (int i = 0; i < 3; ++i) {
    client_ = Connect();
    ASSERT_EQ(Ask(1, MakeVersion()).error, 0u);
    Turns();
    ExpectAlive();
    client_.Reset();
    RunUntil([&] { return !server_->connected(); });
  }
}

TEST_F(LostDmaTest, DoesNotWaitForAClientThatTakesNoAnswers) {
  StartSession();
  MapTwoPages();
  const std::string question = MakeMessage(9, Access(0, 0, 16384));
  while (send(client_.get(), question.data(), question.size(), MSG_NOSIGNAL) > 0) Turns(1);
  TakeAway();
  EXPECT_EQ(Read(0), 0);
  RunUntil([&] { return !server_->connected(); });
  ExpectServesTheNext();
}

TEST_F(DamageTest, OptionsThatCannotBeAreRefused) {
  const auto error_of = [&](Server::Options options) {
    options.path = path_;
    return ErrnoOf(Server::Listen(options, device_, loop_).status());
  };
  EXPECT_EQ(error_of({.data_bytes_max = 4095}), EINVAL);
  EXPECT_EQ(error_of({.fds_max = 0}), EINVAL);
  EXPECT_EQ(error_of({.fds_max = 65}), EINVAL);
  Start();
  EXPECT_EQ(error_of({}), EADDRINUSE);
}

}  // namespace
}  // namespace pollux::vfio_user
