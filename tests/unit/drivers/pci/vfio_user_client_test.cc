// The client against servers that lie, stall, and die. They have the message layouts for
// themselves.
#include "drivers/pci/vfio_user_client.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <thread>

#include "core/mmio.h"
#include "tests/unit/drivers/pci/vfio_user_fixture.h"

namespace pollux::pci {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMax = ~uint64_t{0};

class Bytes {
 public:
  Bytes& U16(uint64_t v) { return Number(v, 2); }
  Bytes& U32(uint64_t v) { return Number(v, 4); }
  Bytes& U64(uint64_t v) { return Number(v, 8); }
  Bytes& Text(const std::string& text) {
    bytes_ += text;
    return *this;
  }
  operator std::string() const { return bytes_; }

 private:
  Bytes& Number(uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) bytes_.push_back(static_cast<char>(v >> (8 * i)));
    return *this;
  }
  std::string bytes_;
};

std::string Json(const std::string& text) { return text + '\0'; }

// 0: there is none.
int ErrorNumber(const Status& status) { return status.ok() ? 0 : ErrnoOf(status); }

UniqueFd MakeFile(size_t bytes) {
  UniqueFd fd(memfd_create("bar", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  return fd;
}

int OpenDescriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

void SendRaw(int socket, const std::string& bytes, const std::vector<int>& fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(64 * sizeof(int))] = {};
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  ASSERT_EQ(sendmsg(socket, &message, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()))
      << strerror(errno);
}

struct Message {
  std::string bytes;
  std::vector<int> fds = {};
};

// What a server says, in order. It is said before the client asks: a socket keeps it.
class Script {
 public:
  Script& Reply(uint16_t command, const std::string& payload, std::vector<int> fds = {}) {
    return Say(next_id_++, command, 1, 0, payload, std::move(fds));
  }
  Script& Error(uint16_t command, uint32_t error) {
    return Say(next_id_++, command, 0x21, error, "");
  }
  Script& Say(uint16_t id, uint16_t command, uint32_t flags, uint32_t error,
              const std::string& payload, std::vector<int> fds = {}) {
    const std::string header =
        Bytes().U16(id).U16(command).U32(16 + payload.size()).U32(flags).U32(error);
    messages.push_back({header + payload, std::move(fds)});
    return *this;
  }
  Script& Raw(const std::string& bytes) {
    messages.push_back({bytes});
    return *this;
  }

  // The beginning of every session.
  Script& Version(const std::string& json = std::string("{}\0", 3)) {
    return Reply(1, std::string(Bytes().U16(0).U16(1)) + json);
  }
  Script& Info(uint32_t flags = 3, uint32_t regions = 9, uint32_t irqs = 5) {
    return Reply(4, Bytes().U32(16).U32(flags).U32(regions).U32(irqs));
  }
  Script& Region(uint32_t index, uint64_t size, uint32_t flags = 3) {
    return Reply(5, Bytes().U32(32).U32(flags).U32(index).U32(0).U64(size).U64(0));
  }
  // A region with one area: in two steps.
  Script& Areas(uint32_t index, uint64_t size, uint64_t area_offset, uint64_t area_bytes, int fd,
                uint64_t file_offset = 0) {
    Reply(5, Bytes().U32(64).U32(7).U32(index).U32(0).U64(size).U64(file_offset));
    return Reply(5,
                 Bytes()
                     .U32(64)
                     .U32(0xf)
                     .U32(index)
                     .U32(32)
                     .U64(size)
                     .U64(file_offset)
                     .U16(1)
                     .U16(1)
                     .U32(0)
                     .U32(1)
                     .U32(0)
                     .U64(area_offset)
                     .U64(area_bytes),
                 {fd});
  }
  Script& Irqs(uint32_t index, uint32_t count) {
    return Reply(7, Bytes().U32(16).U32(1).U32(index).U32(count));
  }
  // All that Open() asks, with one area in BAR 0.
  Script& WholeOpening(int bar_file) {
    Version().Info().Areas(0, 8192, 4096, 4096, bar_file);
    for (uint32_t bar = 1; bar < 7; ++bar) Region(bar, 0, 0);
    return Region(7, 256).Irqs(2, 4);
  }

  std::vector<Message> messages;
  uint16_t next_id_ = 1;
};

class VfioUserClientTest : public testing::Test {
 protected:
  static constexpr uint64_t kPatienceNs = 20 * kNsPerSecond;  // For what does happen.
  static constexpr uint64_t kShortNs = 20 * kNsPerMs;         // For what does not.

  // A connection to a server that says all this and then nothing; `hang_up`: and then leaves.
  UniqueFd Play(const Script& script, bool hang_up = true) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    peer_ = UniqueFd(fds[1]);
    for (const Message& message : script.messages) SendRaw(peer_.get(), message.bytes, message.fds);
    if (hang_up) shutdown(peer_.get(), SHUT_WR);
    return UniqueFd(fds[0]);
  }
  Result<std::unique_ptr<VfioUserClient>> Adopt(const Script& script, bool hang_up = true,
                                                uint64_t timeout_ns = kPatienceNs) {
    return VfioUserClient::Adopt(Play(script, hang_up), "test", timeout_ns);
  }
  std::unique_ptr<VfioUserClient> Client(const Script& script, bool hang_up = true,
                                         uint64_t timeout_ns = kPatienceNs) {
    auto client = Adopt(script, hang_up, timeout_ns);
    EXPECT_TRUE(client.ok()) << client.status();
    return client.ok() ? *std::move(client) : nullptr;
  }
  Result<std::unique_ptr<PciDevice>> Open(const Script& script) {
    auto client = Adopt(script);
    if (!client.ok()) return client.status();
    return VfioUserDevice::Open(*std::move(client), registry_);
  }
  // What the client said, without waiting.
  std::string Heard() {
    std::string text(1 << 16, '\0');
    const ssize_t got = recv(peer_.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return text;
  }

  RegionRegistry registry_;
  UniqueFd peer_;
  UniqueFd file_ = MakeFile(8192);
};

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
    for (const Message& message : script.messages) {
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

// --- Lies about the device.

TEST_F(VfioUserClientTest, WhatIsNoPciDeviceIsRefused) {
  const auto error_of = [&](uint32_t flags, uint32_t regions) {
    return ErrorNumber(Client(Script().Version().Info(flags, regions))->GetDevice().status());
  };
  EXPECT_EQ(error_of(1, 9), ENOTSUP);
  EXPECT_EQ(error_of(3, 7), EBADMSG);
  EXPECT_EQ(error_of(3, 65), EBADMSG);
  EXPECT_EQ(error_of(3, 0xffffffff), EBADMSG);
  EXPECT_EQ(error_of(3, 8), 0);
}

TEST_F(VfioUserClientTest, ARegionThatCannotBeEndsTheConnection) {
  const auto error_of = [&](const std::string& reply) {
    const auto client = Client(Script().Version().Reply(5, reply));
    return ErrorNumber(client->GetRegion(0).status());
  };
  EXPECT_EQ(error_of(Bytes().U32(32).U32(3).U32(0).U32(0).U64(4096).U64(0)), 0);
  EXPECT_EQ(error_of(Bytes().U32(32).U32(3).U32(1).U32(0).U64(4096).U64(0)), EBADMSG);
  EXPECT_EQ(error_of(Bytes().U32(32).U32(3).U32(0).U32(0).U64(kMax).U64(0)), EBADMSG);
  EXPECT_EQ(error_of(Bytes().U32(32).U32(3).U32(0).U32(0).U64(4096).U64(kMax)), EBADMSG);
  EXPECT_EQ(error_of(Bytes().U32(kMax).U32(3).U32(0).U32(0).U64(4096).U64(0)), EBADMSG);
}

TEST_F(VfioUserClientTest, CapabilitiesThatCannotBeEndTheConnection) {
  // A region of 8192 bytes whose capabilities begin at `offset` of the payload.
  const auto error_of = [&](uint32_t cap_offset, const std::string& capabilities) {
    const size_t whole = 32 + capabilities.size();
    Script script;
    script.Version();
    script.Reply(5, Bytes().U32(whole).U32(7).U32(0).U32(0).U64(8192).U64(0));
    script.Reply(5,
                 std::string(Bytes().U32(whole).U32(0xf).U32(0).U32(cap_offset).U64(8192).U64(0)) +
                     capabilities,
                 {file_.get()});
    const auto client = Client(script);
    return ErrorNumber(client->GetRegion(0).status());
  };
  const auto sparse = [](uint32_t next, uint32_t count, uint64_t offset, uint64_t bytes) {
    return std::string(Bytes().U16(1).U16(1).U32(next).U32(count).U32(0).U64(offset).U64(bytes));
  };
  EXPECT_EQ(error_of(32, sparse(0, 1, 4096, 4096)), 0);
  EXPECT_EQ(error_of(32, sparse(0, 0, 0, 0)), 0);
  EXPECT_EQ(error_of(0, sparse(0, 1, 4096, 4096)), 0);  // There is none, it says.
  EXPECT_EQ(error_of(57, sparse(0, 1, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(64, sparse(0, 1, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(0xffffffff, sparse(0, 1, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(32, 1, 4096, 4096)), EINVAL);  // In a circle.
  EXPECT_EQ(error_of(32, sparse(1, 1, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0xffffffff, 1, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 2, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 0xffffffff, 4096, 4096)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 1, 4096, 4097)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 1, 8193, 1)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 1, kMax, 2)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 1, 4096, kMax)), EINVAL);
  EXPECT_EQ(error_of(32, sparse(0, 1, 0, 0)), EINVAL);
  // Another capability is passed over.
  EXPECT_EQ(error_of(32, std::string(Bytes().U16(9).U16(1).U32(40)) + sparse(0, 1, 0, 4096)), 0);
}

TEST_F(VfioUserClientTest, AreasThatItsFileDoesNotHaveAreReachedByMessages) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  const UniqueFd reader(pipe_fds[0]), writer(pipe_fds[1]);
  const UniqueFd shorter = MakeFile(8191);
  const UniqueFd zero(open("/dev/zero", O_RDWR | O_CLOEXEC));
  for (const int fd : {reader.get(), shorter.get(), zero.get()}) {
    const auto device = Open(Script().WholeOpening(fd));
    ASSERT_TRUE(device.ok()) << device.status();
    EXPECT_EQ((*device)->MapBar(0, 4096, 4), nullptr);
  }
}

TEST_F(VfioUserClientTest, AServerThatTakesItsRegistersAwayLosesItsDevice) {
  auto client = Client(Script().WholeOpening(file_.get()), /*hang_up=*/false);
  const auto device = VfioUserDevice::Open(std::move(client), registry_);
  ASSERT_TRUE(device.ok()) << device.status();
  std::byte* const page = (*device)->MapBar(0, 4096, 4096);
  ASSERT_NE(page, nullptr);
  ASSERT_EQ(ftruncate(file_.get(), 0), 0);
  MmioWrite<uint32_t>(page + 16, 1);
  EXPECT_EQ(MmioRead<uint32_t>(page + 20), 0xffffffffu);
  EXPECT_EQ(ErrorNumber((*device)->gone()), ENODEV);
  EXPECT_EQ((*device)->Read32(0, 4096), 0xffffffffu);
  pollfd state{.fd = (*device)->removal_fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&state, 1, 0), 1);
}

TEST_F(VfioUserClientTest, ARegionWithoutCapabilitiesIsMappedWhole) {
  Script script;
  script.Version().Info();
  script.Reply(5, Bytes().U32(32).U32(7).U32(0).U32(0).U64(8192).U64(0), {file_.get()});
  for (uint32_t bar = 1; bar < 7; ++bar) script.Region(bar, 0, 0);
  script.Region(7, 256).Irqs(2, 1);
  const auto device = Open(script);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_NE((*device)->MapBar(0, 0, 8192), nullptr);
}

TEST_F(VfioUserClientTest, ADeviceWithoutAConfigurationSpaceIsRefused) {
  Script script;
  script.Version().Info();
  for (uint32_t bar = 0; bar < 7; ++bar) script.Region(bar, 0, 0);
  script.Region(7, 63);
  EXPECT_EQ(ErrorNumber(Open(script).status()), EBADMSG);
}

TEST_F(VfioUserClientTest, InterruptsThatCannotBeEndTheConnection) {
  const auto vectors = [&](uint32_t flags, uint32_t index, uint32_t count) {
    const auto client =
        Client(Script().Version().Reply(7, Bytes().U32(16).U32(flags).U32(index).U32(count)));
    return client->GetVectors(2);
  };
  EXPECT_EQ(*vectors(1, 2, 2048), 2048u);
  EXPECT_EQ(*vectors(0, 2, 4), 0u);  // Without eventfds they are of no use.
  EXPECT_EQ(ErrorNumber(vectors(1, 2, 2049).status()), EBADMSG);
  EXPECT_EQ(ErrorNumber(vectors(1, 2, 0xffffffff).status()), EBADMSG);
  EXPECT_EQ(ErrorNumber(vectors(1, 1, 4).status()), EBADMSG);
}

TEST_F(VfioUserClientTest, DescriptorsThatNobodyAskedForAreClosed) {
  const int fd = file_.get();
  Script script;
  script.Version().Reply(4, Bytes().U32(16).U32(3).U32(9).U32(5), {fd, fd, fd});
  script.Reply(4, Bytes().U32(16).U32(3).U32(9).U32(5), std::vector<int>(50, fd));
  script.Info();
  const auto client = Client(script);
  const int open = OpenDescriptors();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(client->GetDevice().ok());
  EXPECT_EQ(OpenDescriptors(), open);
}

TEST_F(VfioUserClientTest, NoMoreMemoryIsMappedThanTheServerTakes) {
  const SharedMemory one(4096), two(4096);
  Script script;
  script.Version(Json(R"({"capabilities":{"max_dma_maps":1}})"));
  const auto client = Client(script.Reply(2, ""));
  EXPECT_TRUE(client->MapDma(one.region("one")).ok());
  const Status status = client->MapDma(two.region("two"));
  EXPECT_EQ(ErrorNumber(status), ENOSPC);
  EXPECT_THAT(std::string(status.message()), HasSubstr("two"));
}

TEST_F(VfioUserClientTest, MemoryThatTheServerRefusesIsRefusedByTheRegistry) {
  Script script;
  script.WholeOpening(file_.get()).Error(2, ENOMEM);
  const auto device = Open(script);
  ASSERT_TRUE(device.ok());
  const SharedMemory memory(4096);
  EXPECT_EQ(ErrorNumber(registry_.Add(memory.region())), ENOMEM);
  EXPECT_TRUE(registry_.regions().empty());
}

TEST_F(VfioUserClientTest, AServerThatKeepsMemoryLosesItsDevice) {
  Script script;
  script.WholeOpening(file_.get()).Reply(2, "").Error(3, EBUSY);
  auto client = Client(script, /*hang_up=*/false);
  const auto device = VfioUserDevice::Open(std::move(client), registry_);
  ASSERT_TRUE(device.ok());
  const SharedMemory memory(4096);
  ASSERT_TRUE(registry_.Add(memory.region()).ok());
  registry_.Remove(memory.address());
  EXPECT_EQ(ErrorNumber((*device)->gone()), EBUSY);
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
