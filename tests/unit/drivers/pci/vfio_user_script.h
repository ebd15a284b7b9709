#pragma once
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/unique_fd.h"
#include "drivers/pci/vfio_user_client.h"
#include "tests/unit/drivers/pci/vfio_user_fixture.h"

// Servers that say what a test wrote down. They have the message layouts for themselves.

namespace pollux::pci {

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

inline std::string Json(const std::string& text) { return text + '\0'; }

// 0: there is none.
inline int ErrorNumber(const Status& status) { return status.ok() ? 0 : ErrnoOf(status); }

inline UniqueFd MakeFile(size_t bytes) {
  UniqueFd fd(memfd_create("bar", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  return fd;
}

inline int OpenDescriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

inline void SendRaw(int socket, const std::string& bytes, const std::vector<int>& fds) {
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

struct ScriptedMessage {
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

  std::vector<ScriptedMessage> messages;
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
    for (const ScriptedMessage& message : script.messages)
      SendRaw(peer_.get(), message.bytes, message.fds);
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

}  // namespace pollux::pci
