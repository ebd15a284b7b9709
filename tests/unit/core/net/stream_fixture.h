#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/loop.h"
#include "core/net/byte_stream.h"
#include "core/uring/reactor_ring.h"

namespace pollux {

inline constexpr int kTurnsMax = 200'000;
inline constexpr int kQuietTurns = 64;

// Bytes of which each says where it stands.
inline std::string Pattern(size_t bytes, size_t from = 0) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i)
    text[i] = static_cast<char>((from + i) * 31 + (from + i) / 251);
  return text;
}

// What it sends, and what became of it.
struct TestItem final : SendItem {
  explicit TestItem(std::string t = "", size_t cuts = 1) : text(std::move(t)) {
    part_count = cuts;
    const size_t each = text.size() / cuts;
    for (size_t i = 0; i < cuts; ++i) {
      parts[i] = {text.data() + i * each, i + 1 == cuts ? text.size() - i * each : each};
    }
  }
  void OnSent(bool ok) override {
    ++calls;
    sent = ok;
    if (on_sent) on_sent();
  }
  std::string text;
  int calls = 0;
  bool sent = false;
  std::function<void()> on_sent;
};

// Receives into `part_sizes`, keeps all it got, and destroys the stream when it has closed.
class TestOwner final : public ByteStream::Owner {
 public:
  size_t ReceiveInto(std::span<iovec> parts) override {
    if (paused) return 0;
    EXPECT_LE(part_sizes.size(), parts.size());
    buffers_.resize(part_sizes.size());
    for (size_t i = 0; i < part_sizes.size(); ++i) {
      buffers_[i].resize(part_sizes[i]);
      parts[i] = {buffers_[i].data(), buffers_[i].size()};
    }
    return part_sizes.size();
  }
  void OnReceived(size_t bytes) override {
    EXPECT_FALSE(paused);
    EXPECT_GT(bytes, 0u);
    ++receptions;
    for (const std::string& buffer : buffers_) {
      const size_t n = std::min(bytes, buffer.size());
      received.append(buffer, 0, n);
      bytes -= n;
    }
    EXPECT_EQ(bytes, 0u);
    if (on_received) on_received();
  }
  void OnClosed(const Status& status) override {
    ++closed;
    why = status;
    if (on_closed) on_closed();
    stream.reset();
  }

  std::unique_ptr<ByteStream> stream;
  std::vector<size_t> part_sizes = {4096};
  bool paused = false;
  std::string received;
  int receptions = 0;
  int closed = 0;
  Status why;
  std::function<void()> on_received, on_closed;

 private:
  std::vector<std::string> buffers_;
};

enum class Transport { kUnix, kTcp };

// Two connected sockets: [0] for the stream, [1] for the test, which does not block either.
inline std::pair<UniqueFd, UniqueFd> MakePair(Transport transport) {
  if (transport == Transport::kUnix) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    return {UniqueFd(fds[0]), UniqueFd(fds[1])};
  }
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length);
  UniqueFd peer(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(peer.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  UniqueFd accepted(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const int on = 1;
  setsockopt(peer.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  fcntl(peer.get(), F_SETFL, O_NONBLOCK);
  return {std::move(accepted), std::move(peer)};
}

// A loop, a stream of each kind on it, and the other end of its socket in the hands of the test.
// Time stands still unless the test moves it.
class StreamFixture : public testing::Test {
 protected:
  explicit StreamFixture(StreamKind kind) : kind_(kind) {
    if (kind == StreamKind::kUring) ring_ = *ReactorRing::Make(loop_, {});
  }
  ~StreamFixture() override { CloseStream(); }

  void Connect(Transport transport) {
    auto [mine, peer] = MakePair(transport);
    peer_ = std::move(peer);
    owner_.stream = *MakeByteStream(kind_, loop_, std::move(mine));
    owner_.stream->Start(owner_);
  }

  // A test calls it before what it queued goes out of scope.
  void CloseStream() {
    if (owner_.stream == nullptr) return;
    stream().Close();
    RunUntil([&] { return owner_.stream == nullptr; });
  }

  ByteStream& stream() { return *owner_.stream; }

  void RunUntil(const std::function<bool()>& done) {
    for (int i = 0; i < kTurnsMax && !done(); ++i) loop_.RunTurn();
    ASSERT_TRUE(done());
  }
  // Runs until there is nothing to do any more. Fails when the loop spins.
  void Settle() {
    int quiet = 0;
    for (int i = 0; i < kTurnsMax && quiet < kQuietTurns; ++i) {
      quiet = loop_.RunTurn() == 0 ? quiet + 1 : 0;
    }
    ASSERT_EQ(quiet, kQuietTurns) << "the loop spins";
  }

  void PeerSends(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = send(peer_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n < 0) {
        ASSERT_EQ(errno, EAGAIN);
        loop_.RunTurn();
        continue;
      }
      text.remove_prefix(static_cast<size_t>(n));
    }
  }
  // What has arrived at the peer, without waiting; `ended` and `broken` tell how it ended.
  std::string PeerReads(size_t bytes_max = SIZE_MAX) {
    std::string text;
    std::array<char, 65536> buffer;
    while (text.size() < bytes_max) {
      const size_t room = std::min(buffer.size(), bytes_max - text.size());
      const ssize_t n = recv(peer_.get(), buffer.data(), room, 0);
      if (n == 0) ended_ = true;
      if (n < 0 && errno != EAGAIN) broken_ = true;
      if (n <= 0) break;
      text.append(buffer.data(), static_cast<size_t>(n));
    }
    return text;
  }
  std::string PeerReadsUntil(size_t bytes) {
    std::string text;
    RunUntil([&] {
      text += PeerReads(bytes - text.size());
      return text.size() >= bytes || ended_ || broken_;
    });
    return text;
  }
  void PeerResets() {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    setsockopt(peer_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    peer_.Reset();
  }

  const StreamKind kind_;
  ManualClock clock_;
  Loop loop_{{.name = "test"}, clock_, *MakeEpollWaiter()};
  std::unique_ptr<ReactorRing> ring_;
  UniqueFd peer_;
  TestOwner owner_;
  bool ended_ = false, broken_ = false;
};

}  // namespace pollux
