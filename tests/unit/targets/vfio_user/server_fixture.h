#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/loop.h"
#include "core/unique_fd.h"
#include "targets/vfio_user/server.h"
#include "tests/unit/targets/vfio_user/scratch_device.h"

namespace pollux::vfio_user {

inline constexpr int kTurnsMax = 200'000;

// Numbers as bytes, least significant first: the tests have the message layouts for themselves.
class Bytes {
 public:
  Bytes& U8(uint64_t v) { return Number(v, 1); }
  Bytes& U16(uint64_t v) { return Number(v, 2); }
  Bytes& U32(uint64_t v) { return Number(v, 4); }
  Bytes& U64(uint64_t v) { return Number(v, 8); }
  Bytes& Text(std::string_view text) {
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

inline uint64_t NumberAt(const std::string& text, size_t at, size_t bytes) {
  uint64_t v = 0;
  for (size_t i = 0; i < bytes && at + i < text.size(); ++i) {
    v |= uint64_t{static_cast<unsigned char>(text[at + i])} << (8 * i);
  }
  return v;
}
inline uint32_t U32At(const std::string& text, size_t at) {
  return static_cast<uint32_t>(NumberAt(text, at, 4));
}
inline uint64_t U64At(const std::string& text, size_t at) { return NumberAt(text, at, 8); }

inline constexpr uint32_t kCommandFlags = 0, kNoReply = 0x10;

inline std::string MakeMessage(uint16_t command, const std::string& payload, uint16_t id = 7,
                               uint32_t flags = kCommandFlags) {
  return std::string(Bytes().U16(id).U16(command).U32(16 + payload.size()).U32(flags).U32(0)) +
         payload;
}

inline const char kProposal[] = R"({"capabilities":{"max_msg_fds":16,"write_multiple":true}})";
inline std::string MakeVersion(const std::string& json = std::string(kProposal, sizeof(kProposal)),
                               uint16_t major = 0, uint16_t minor = 1) {
  return std::string(Bytes().U16(major).U16(minor)) + json;
}

inline UniqueFd MakeMemory(size_t bytes) {
  UniqueFd fd(memfd_create("client", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  return fd;
}
inline UniqueFd MakeEventfd() { return UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }
// How often it was signalled since the last time.
inline uint64_t Signals(const UniqueFd& fd) {
  uint64_t count = 0;
  return read(fd.get(), &count, sizeof(count)) == sizeof(count) ? count : 0;
}
inline int OpenDescriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

struct Reply {
  uint16_t id = 0, command = 0;
  uint32_t flags = 0, error = 0;
  std::string payload;
  std::vector<UniqueFd> fds;
  bool end = false;  // The server closed instead.
};

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    std::string name = (std::filesystem::temp_directory_path() / "pollux-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    path_ = name + "/cntrl";
  }
  ~ServerTest() override {
    client_.Reset();
    device_.Release();
    if (server_ != nullptr) Close();
    std::filesystem::remove_all(directory_);
  }

  void Start(Server::Options options = {}) {
    options.path = path_;
    auto server = Server::Listen(options, device_, loop_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void Close() {
    Task<void> closing = server_->Close();
    Run([&] { closing.Start(); });
    RunUntil([&] { return closing.done(); });
    server_.reset();
  }
  UniqueFd Connect() {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0)
        << strerror(errno);
    return fd;
  }
  // A server, and a client that said VERSION.
  void StartSession(Server::Options options = {}) {
    Start(options);
    client_ = Connect();
    const Reply reply = Ask(1, MakeVersion());
    ASSERT_EQ(reply.error, 0u);
    ASSERT_FALSE(reply.end);
  }

  // On the loop's thread.
  void Run(std::function<void()> step) {
    struct Once final : Deferred {
      void RunDeferred() override { action(); }
      std::function<void()> action;
    } once;
    once.action = std::move(step);
    loop_.Defer(once);
    loop_.RunTurn();
  }
  void Turns(int count = 20) {
    for (int i = 0; i < count; ++i) loop_.RunTurn();
  }
  // A client in a process of its own gets the core as often as it wants it.
  void RunUntil(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!done() && std::chrono::steady_clock::now() < give_up) {
      if (loop_.RunTurn() == 0) std::this_thread::yield();
    }
    ASSERT_TRUE(done());
  }

  void Send(const std::string& bytes, std::vector<int> fds = {}) {
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
    ASSERT_EQ(sendmsg(client_.get(), &message, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()))
        << strerror(errno);
  }
  // Up to `bytes`, as they come; less at the end of the connection.
  std::string Receive(size_t bytes, std::vector<UniqueFd>& fds) {
    std::string text;
    for (int turn = 0; turn < kTurnsMax && text.size() < bytes; ++turn) {
      std::string piece(bytes - text.size(), '\0');
      alignas(cmsghdr) char control[CMSG_SPACE(64 * sizeof(int))];
      iovec part{.iov_base = piece.data(), .iov_len = piece.size()};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      const ssize_t got = recvmsg(client_.get(), &message, MSG_CMSG_CLOEXEC);
      if (got == 0 || (got < 0 && errno != EAGAIN)) return text;
      if (got < 0) {
        loop_.RunTurn();
        continue;
      }
      text.append(piece, 0, static_cast<size_t>(got));
      for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
          int fd;
          std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
          fds.emplace_back(fd);
        }
      }
    }
    return text;
  }
  Reply ReceiveReply() {
    Reply reply;
    const std::string header = Receive(16, reply.fds);
    if (header.size() < 16) {
      reply.end = true;
      return reply;
    }
    reply.id = static_cast<uint16_t>(NumberAt(header, 0, 2));
    reply.command = static_cast<uint16_t>(NumberAt(header, 2, 2));
    reply.flags = U32At(header, 8);
    reply.error = U32At(header, 12);
    reply.payload = Receive(U32At(header, 4) - 16, reply.fds);
    EXPECT_EQ(reply.payload.size(), U32At(header, 4) - 16);
    return reply;
  }
  Reply Ask(uint16_t command, const std::string& payload, std::vector<int> fds = {}) {
    Send(MakeMessage(command, payload), std::move(fds));
    Reply reply = ReceiveReply();
    if (!reply.end) {
      EXPECT_EQ(reply.id, 7);
      EXPECT_EQ(reply.command, command);
      EXPECT_EQ(reply.flags, reply.error != 0 ? 0x21u : 0x01u);
      if (reply.error != 0) {
        EXPECT_EQ(reply.payload, "");
      }
    }
    return reply;
  }
  // The errno of the answer.
  uint32_t ErrorOf(uint16_t command, const std::string& payload, std::vector<int> fds = {}) {
    const Reply reply = Ask(command, payload, std::move(fds));
    EXPECT_FALSE(reply.end);
    return reply.error;
  }
  // True when the server hung up, without a further answer.
  bool ServerHungUp() { return ReceiveReply().end; }
  // The connection works, and nothing is left over in it.
  void ExpectAlive() {
    const Reply reply = Ask(4, Bytes().U32(16).U32(0).U32(0).U32(0));
    EXPECT_FALSE(reply.end);
    EXPECT_EQ(reply.error, 0u);
  }

  // The protocol's words.
  static std::string DmaMap(uint64_t iova, uint64_t bytes, uint32_t flags = 3,
                            uint64_t offset = 0) {
    return Bytes().U32(32).U32(flags).U64(offset).U64(iova).U64(bytes);
  }
  static std::string DmaUnmap(uint64_t iova, uint64_t bytes, uint32_t flags = 0) {
    return Bytes().U32(24).U32(flags).U64(iova).U64(bytes);
  }
  static std::string Access(uint32_t region, uint64_t offset, uint32_t count) {
    return Bytes().U64(offset).U32(region).U32(count);
  }
  static std::string SetIrqs(uint32_t flags, uint32_t index, uint32_t start, uint32_t count) {
    return Bytes().U32(20).U32(flags).U32(index).U32(start).U32(count);
  }
  static std::string RegionQuestion(uint32_t index, uint32_t argsz = 32) {
    return Bytes().U32(argsz).U32(0).U32(index).U32(0).U64(0).U64(0);
  }

  ManualClock clock_;
  Loop loop_{{.name = "test"}, clock_, *MakeEpollWaiter()};
  std::filesystem::path directory_;
  std::string path_;
  ScratchDevice device_;
  std::unique_ptr<Server> server_;
  UniqueFd client_;
};

}  // namespace pollux::vfio_user
