// The client against servers that stall, answer something else, and die.
#include "drivers/pci/vfio_user_client.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <thread>

#include "tests/unit/drivers/pci/vfio_user_script.h"

namespace pollux::pci {
namespace {

using testing::HasSubstr;

// --- Beginning.

TEST_F(VfioUserClientTest, ProposesItsVersionInJson) {
  Client(Script().Version());
  const std::string json = R"({"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576,)"
                           R"("max_dma_maps":65535,"pgsizes":4096}})";
  const std::string payload = std::string(Bytes().U16(0).U16(1)) + json + '\0';
  EXPECT_EQ(Heard(),
            std::string(Bytes().U16(1).U16(1).U32(16 + payload.size()).U32(0).U32(0)) + payload);
}

TEST_F(VfioUserClientTest, TakesTheServersLimits) {
  const auto client = Client(Script().Version(Json(
      R"({"capabilities":{"max_msg_fds":3,"max_dma_maps":1,"max_data_xfer_size":64,"new":[{}]}})")));
  EXPECT_EQ(client->server().max_msg_fds, 3u);
  EXPECT_EQ(client->server().max_dma_maps, 1u);
  std::byte data[65];
  EXPECT_EQ(ErrorNumber(client->ReadRegion(0, 0, data)), EINVAL);
  EXPECT_EQ(ErrorNumber(client->WriteRegion(0, 0, data)), EINVAL);
}

TEST_F(VfioUserClientTest, AVersionThatItDoesNotSpeakIsRefused) {
  EXPECT_EQ(ErrorNumber(Adopt(Script().Reply(1, Bytes().U16(1).U16(0))).status()), ENOTSUP);
  EXPECT_EQ(ErrorNumber(Adopt(Script().Reply(1, Bytes().U16(0).U16(2))).status()), ENOTSUP);
  EXPECT_EQ(ErrorNumber(Adopt(Script().Reply(1, Bytes().U16(0))).status()), EBADMSG);
  EXPECT_EQ(ErrorNumber(Adopt(Script().Version("{}")).status()), EINVAL);
  EXPECT_EQ(ErrorNumber(Adopt(Script().Version(std::string("{]\0", 3))).status()), EINVAL);
  EXPECT_TRUE(Adopt(Script().Reply(1, Bytes().U16(0).U16(0))).ok());
}

TEST_F(VfioUserClientTest, AServerThatRefusesTheVersionIsReported) {
  const Status status = Adopt(Script().Error(1, EPERM)).status();
  EXPECT_EQ(ErrorNumber(status), EPERM);
  EXPECT_THAT(std::string(status.message()), HasSubstr("VERSION"));
}

TEST_F(VfioUserClientTest, AWholeOpeningGivesADevice) {
  const auto device = Open(Script().WholeOpening(file_.get()));
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->bar_bytes(0), 8192u);
  EXPECT_NE((*device)->MapBar(0, 4096, 4096), nullptr);
  EXPECT_EQ((*device)->interrupt_vectors(), 4u);
}

TEST_F(VfioUserClientTest, AnOpeningCutAtAnyByteFails) {
  Script whole;
  whole.WholeOpening(file_.get());
  const int open = OpenDescriptors();
  for (size_t last = 0; last < whole.messages.size(); ++last) {
    for (size_t cut = 0; cut < whole.messages[last].bytes.size(); ++cut) {
      Script script;
      for (size_t i = 0; i < last; ++i) script.messages.push_back(whole.messages[i]);
      if (cut > 0) {
        script.messages.push_back(
            {whole.messages[last].bytes.substr(0, cut), whole.messages[last].fds});
      }
      EXPECT_EQ(ErrorNumber(Open(script).status()), ENODEV);
    }
  }
  peer_.Reset();
  EXPECT_EQ(OpenDescriptors(), open);
}

TEST_F(VfioUserClientTest, AnOpeningInPiecesWorks) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const UniqueFd peer(fds[1]);
  Script script;
  script.WholeOpening(file_.get());
  std::thread saying([&] {  // The socket does not hold so many pieces at once.
    for (const ScriptedMessage& message : script.messages) {
      for (size_t i = 0; i < message.bytes.size(); ++i) {
        SendRaw(peer.get(), message.bytes.substr(i, 1), i == 20 ? message.fds : std::vector<int>());
      }
    }
    shutdown(peer.get(), SHUT_WR);
  });
  auto client = VfioUserClient::Adopt(UniqueFd(fds[0]), "test", kPatienceNs);
  ASSERT_TRUE(client.ok()) << client.status();
  const auto device = VfioUserDevice::Open(*std::move(client), registry_);
  EXPECT_TRUE(device.ok()) << device.status();
  saying.join();
  EXPECT_NE((*device)->MapBar(0, 4096, 4096), nullptr);
}

// --- Answers that are none.

TEST_F(VfioUserClientTest, AnAnswerToSomethingElseEndsTheConnection) {
  const std::string info = Bytes().U32(16).U32(3).U32(9).U32(5);
  for (const auto& say : std::vector<std::function<void(Script&)>>{
           [&](Script& s) { s.Say(3, 4, 1, 0, info); },            // Another id.
           [&](Script& s) { s.Say(2, 5, 1, 0, info); },            // Another command.
           [&](Script& s) { s.Say(2, 4, 2, 0, info); },            // No type that there is.
           [&](Script& s) { s.Say(2, 4, 1, 0, info.substr(1)); },  // Too short.
           [&](Script& s) { s.Say(2, 4, 1, 0, ""); },
           [&](Script& s) { s.Raw(Bytes().U16(2).U16(4).U32(15).U32(1).U32(0)); },
           [&](Script& s) { s.Raw(Bytes().U16(2).U16(4).U32(0).U32(1).U32(0)); },
           [&](Script& s) { s.Raw(Bytes().U16(2).U16(4).U32(0xffffffff).U32(1).U32(0)); }}) {
    Script script;
    script.Version();
    say(script);
    const auto client = Client(script, /*hang_up=*/false);
    EXPECT_EQ(ErrorNumber(client->GetDevice().status()), EBADMSG);
    EXPECT_EQ(ErrorNumber(client->broken()), EBADMSG);
    EXPECT_EQ(ErrorNumber(client->Reset()), EBADMSG);  // Everything afterwards fails with it.
    pollfd state{.fd = peer_.get(), .events = POLLRDHUP, .revents = 0};
    EXPECT_EQ(poll(&state, 1, 0), 1);  // The server sees it too.
  }
}

TEST_F(VfioUserClientTest, AnErrorCostsTheCommandOnly) {
  Script script;
  script.Version().Error(4, ENOSPC).Error(4, 0).Error(4, 123456).Info();
  const auto client = Client(script);
  EXPECT_EQ(ErrorNumber(client->GetDevice().status()), ENOSPC);
  EXPECT_EQ(ErrorNumber(client->GetDevice().status()), EIO);  // Without a number,
  EXPECT_EQ(ErrorNumber(client->GetDevice().status()), EIO);  // or with none that there is.
  EXPECT_TRUE(client->GetDevice().ok());
}

TEST_F(VfioUserClientTest, ReadsMustBringWhatWasAsked) {
  const auto read = [&](uint32_t count, const std::string& data) {
    const auto client =
        Client(Script().Version().Reply(9, std::string(Bytes().U64(0).U32(0).U32(count)) + data));
    std::byte place[4] = {};
    return ErrorNumber(client->ReadRegion(0, 0, place));
  };
  EXPECT_EQ(read(4, "abcd"), 0);
  EXPECT_EQ(read(4, "abc"), EBADMSG);
  EXPECT_EQ(read(4, "abcde"), EBADMSG);
  EXPECT_EQ(read(3, "abcd"), EBADMSG);
  EXPECT_EQ(read(0xffffffff, "abcd"), EBADMSG);
}

TEST_F(VfioUserClientTest, WritesMustBeTakenWhole) {
  const auto write = [&](uint32_t count) {
    const auto client = Client(Script().Version().Reply(10, Bytes().U64(0).U32(0).U32(count)));
    return ErrorNumber(client->WriteRegion(0, 0, std::array<std::byte, 4>{}));
  };
  EXPECT_EQ(write(4), 0);
  EXPECT_EQ(write(3), EBADMSG);
}

// --- A server's own commands.

TEST_F(VfioUserClientTest, CommandsOfTheServerAreRefused) {
  const std::string read = Bytes().U64(0x1000).U64(4);
  Script script;
  script.Version();
  script.Say(77, 11, 0, 0, read);
  script.Say(78, 12, 0, 0, read + "abcd");
  script.Say(79, 11, 0x10, 0, read);  // This one wants no reply.
  script.Say(80, 99, 0, 0, "");
  script.Info();
  const auto client = Client(script);
  EXPECT_TRUE(client->GetDevice().ok());
  const std::string heard = Heard();
  const auto refusal = [](uint16_t id, uint16_t command) {
    return std::string(Bytes().U16(id).U16(command).U32(16).U32(0x21).U32(ENOTSUP));
  };
  EXPECT_THAT(heard, testing::EndsWith(refusal(77, 11) + refusal(78, 12) + refusal(80, 99)));
}

TEST_F(VfioUserClientTest, AServerThatAsksForeverIsLate) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const UniqueFd peer(fds[1]);
  std::thread asking([&] {
    Script script;
    script.Version();
    SendRaw(peer.get(), script.messages[0].bytes, {});
    const std::string ask = Bytes().U16(1).U16(11).U32(32).U32(0x10).U32(0).U64(0).U64(4);
    while (send(peer.get(), ask.data(), ask.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  auto client = VfioUserClient::Adopt(UniqueFd(fds[0]), "test", kShortNs);
  if (client.ok()) {
    EXPECT_EQ(ErrorNumber((*client)->GetDevice().status()), ETIMEDOUT);
  } else {
    EXPECT_EQ(ErrorNumber(client.status()), ETIMEDOUT);
  }
  client = TimedOut("so that its socket is closed");
  asking.join();
}

// --- Servers that stall.

TEST_F(VfioUserClientTest, AServerThatDoesNotAnswerIsGone) {
  const auto client = Client(Script().Version(), /*hang_up=*/false, kShortNs);
  const Status status = client->GetDevice().status();
  EXPECT_EQ(ErrorNumber(status), ETIMEDOUT);
  EXPECT_THAT(std::string(status.message()), HasSubstr("DEVICE_GET_INFO"));
  EXPECT_EQ(ErrorNumber(client->broken()), ETIMEDOUT);
}

TEST_F(VfioUserClientTest, AServerThatAnswersByHalfIsGone) {
  Script script;
  script.Version().Info();
  script.messages.back().bytes.resize(20);
  const auto client = Client(script, /*hang_up=*/false, kShortNs);
  EXPECT_EQ(ErrorNumber(client->GetDevice().status()), ETIMEDOUT);
}

TEST_F(VfioUserClientTest, AServerThatTakesNoCommandsIsGone) {
  const auto client = Client(Script().Version(), /*hang_up=*/false, kShortNs);
  const std::vector<std::byte> much(1 << 20);
  EXPECT_EQ(ErrorNumber(client->WriteRegion(0, 0, much)), ETIMEDOUT);
}

TEST_F(VfioUserClientTest, AServerThatTakesNoConnectionsIsGivenUp) {
  const TemporaryDirectory directory;
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (directory / "cntrl").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listener.get(), 0), 0);
  std::vector<UniqueFd> waiting;  // Until the backlog is full.
  for (int i = 0; i < 3; ++i) {
    waiting.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    (void)connect(waiting.back().get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }
  EXPECT_EQ(ErrorNumber(VfioUserClient::Connect(directory.path(), kShortNs).status()), ETIMEDOUT);
}

// --- Servers that are killed.

TEST_F(VfioUserClientTest, ServersThatAreKilledCostTheirDevices) {
  constexpr int kServers = 200;
  const TemporaryDirectory directory;
  const SharedMemory memory(1 << 16);
  ASSERT_TRUE(registry_.Add(memory.region()).ok());
  int open = 0;
  for (int i = 0; i < kServers; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      RealClock clock;
      Loop loop({.name = "server"}, clock, *MakeEpollWaiter());
      vfio_user::ScratchDevice scratch;
      vfio_user::Server::Options options;
      options.path = directory / "cntrl";
      std::unique_ptr<vfio_user::Server> server =
          *vfio_user::Server::Listen(options, scratch, loop);
      loop.Run();
      _exit(0);
    }
    Result<std::unique_ptr<PciDevice>> device = NotFound("the server has not come up yet");
    const uint64_t give_up_ns = RealClock().NowNs() + kPatienceNs;
    while (!device.ok() && RealClock().NowNs() < give_up_ns) {
      device = VfioUserDevice::Open(directory.path(), registry_);
    }
    ASSERT_TRUE(device.ok()) << device.status();

    // It is killed while commands are under way, after some of them.
    std::thread killer;
    for (int commands = 0; (*device)->gone().ok(); ++commands) {
      (*device)->Write32(0, 8, 1);
      (*device)->Write32(0, 4096, 1);
      (*device)->ReadConfig(0, 4);
      if (commands == i % 20) killer = std::thread([child] { kill(child, SIGKILL); });
    }
    killer.join();
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    EXPECT_EQ(ErrorNumber((*device)->gone()), ENODEV);
    EXPECT_EQ((*device)->Read32(0, 8), 0xffffffffu);
    EXPECT_EQ((*device)->Read32(0, 4096), 0xffffffffu);
    device = NotFound("closed");
    if (i == 0) open = OpenDescriptors();
  }
  EXPECT_EQ(OpenDescriptors(), open);
  registry_.Remove(memory.address());
}

}  // namespace
}  // namespace pollux::pci
