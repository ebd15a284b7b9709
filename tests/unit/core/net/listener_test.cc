#include "core/net/listener.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/log.h"

namespace pollux {
namespace {

constexpr int kTurnsMax = 10'000;

class ListenerTest : public testing::Test, public Listener::Owner {
 protected:
  ListenerTest() {
    std::string name = (std::filesystem::temp_directory_path() / "pollux-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    path_ = name + "/rpc.sock";
  }
  ~ListenerTest() override { std::filesystem::remove_all(directory_); }

  void OnAccepted(UniqueFd socket) override {
    accepted_.push_back(std::move(socket));
    if (on_accepted_) on_accepted_();
  }

  std::unique_ptr<Listener> Tcp(std::string_view host, uint16_t port = 0) {
    auto listener = Listener::Tcp(loop_, *SocketAddress::Parse(host, port), *this);
    EXPECT_TRUE(listener.ok()) << listener.status();
    return *std::move(listener);
  }
  std::unique_ptr<Listener> Unix() {
    auto listener = Listener::Unix(loop_, path_, *this);
    EXPECT_TRUE(listener.ok()) << listener.status();
    return *std::move(listener);
  }
  UniqueFd ConnectTo(const SocketAddress& address) {
    UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), address.address(), address.length()), 0) << strerror(errno);
    return fd;
  }
  UniqueFd ConnectToPath() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0)
        << strerror(errno);
    return fd;
  }
  // Leaves a socket file behind, as a process that was killed does.
  void LeaveStaleSocket() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  void RunUntil(const std::function<bool()>& done) {
    for (int i = 0; i < kTurnsMax && !done(); ++i) loop_.RunTurn();
    ASSERT_TRUE(done());
  }
  bool Exists(const std::string& path) { return std::filesystem::exists(path); }

  ManualClock clock_;
  Loop loop_{{.name = "test"}, clock_, *MakeEpollWaiter()};
  std::filesystem::path directory_;
  std::string path_;
  std::vector<UniqueFd> accepted_;
  std::function<void()> on_accepted_;
};

TEST_F(ListenerTest, AcceptsOverIpv4) {
  const auto listener = Tcp("127.0.0.1");
  EXPECT_EQ(listener->address().host(), "127.0.0.1");
  EXPECT_NE(listener->address().port(), 0) << "the kernel's choice is told";
  const UniqueFd client = ConnectTo(listener->address());
  RunUntil([&] { return accepted_.size() == 1; });
  EXPECT_EQ(SocketAddress::PeerOf(accepted_[0].get())->ToString(),
            SocketAddress::LocalOf(client.get())->ToString());
}

TEST_F(ListenerTest, AcceptsOverIpv6) {
  const auto listener = Tcp("::1");
  const UniqueFd client = ConnectTo(listener->address());
  RunUntil([&] { return accepted_.size() == 1; });
  EXPECT_EQ(SocketAddress::PeerOf(accepted_[0].get())->host(), "::1");
}

TEST_F(ListenerTest, AnySocketOfEitherFamilyCanShareAPort) {
  const auto v4 = Tcp("0.0.0.0");
  const auto v6 = Tcp("::", v4->address().port());
  EXPECT_EQ(v4->address().port(), v6->address().port());
}

TEST_F(ListenerTest, SocketsAreNonBlockingCloseOnExecAndWithoutDelay) {
  const auto listener = Tcp("127.0.0.1");
  const UniqueFd client = ConnectTo(listener->address());
  RunUntil([&] { return accepted_.size() == 1; });
  const int fd = accepted_[0].get();
  EXPECT_TRUE(fcntl(fd, F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  int no_delay = 0;
  socklen_t length = sizeof(no_delay);
  ASSERT_EQ(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &length), 0);
  EXPECT_EQ(no_delay, 1);
}

TEST_F(ListenerTest, TakesMoreThanOneTurnsWorth) {
  const auto listener = Tcp("127.0.0.1");
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(ConnectTo(listener->address()));
  RunUntil([&] { return accepted_.size() == 100; });
}

TEST_F(ListenerTest, ConnectionsWaitWhilePaused) {
  const auto listener = Tcp("127.0.0.1");
  listener->Pause();
  const UniqueFd client = ConnectTo(listener->address());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(loop_.RunTurn(), 0);
  EXPECT_TRUE(accepted_.empty());
  listener->Resume();
  RunUntil([&] { return accepted_.size() == 1; });
}

TEST_F(ListenerTest, MayBePausedFromOnAccepted) {
  const auto listener = Tcp("127.0.0.1");
  on_accepted_ = [&] { listener->Pause(); };
  const UniqueFd a = ConnectTo(listener->address()), b = ConnectTo(listener->address());
  RunUntil([&] { return accepted_.size() == 1; });
  for (int i = 0; i < 50; ++i) EXPECT_EQ(loop_.RunTurn(), 0);
  EXPECT_EQ(accepted_.size(), 1u);
}

TEST_F(ListenerTest, TellsAnAddressInUseFromOneThatIsNotHere) {
  const auto listener = Tcp("127.0.0.1");
  EXPECT_EQ(ErrnoOf(Listener::Tcp(loop_, listener->address(), *this).status()), EADDRINUSE);
  const auto elsewhere = *SocketAddress::Parse("192.0.2.1", 0);
  const Status absent = Listener::Tcp(loop_, elsewhere, *this).status();
  EXPECT_EQ(ErrnoOf(absent), EADDRNOTAVAIL);
  EXPECT_NE(absent.message().find("192.0.2.1:0"), absl::string_view::npos) << absent;
}

TEST_F(ListenerTest, APortCanBeTakenAgainAtOnce) {
  auto listener = Tcp("127.0.0.1");
  const SocketAddress address = listener->address();
  UniqueFd client = ConnectTo(address);
  RunUntil([&] { return accepted_.size() == 1; });
  accepted_.clear();  // This side closes first, so the port is left in TIME_WAIT.
  client.Reset();
  listener.reset();
  EXPECT_EQ(Tcp("127.0.0.1", address.port())->address().port(), address.port());
}

TEST_F(ListenerTest, WaitsWhenThereIsNoDescriptorLeft) {
  const auto listener = Tcp("127.0.0.1");
  const UniqueFd client = ConnectTo(listener->address());
  testing::internal::CaptureStderr();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 3, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  for (int i = 0; i < 5; ++i) {
    for (int turn = 0; turn < 3; ++turn) loop_.RunTurn();
    EXPECT_EQ(loop_.RunTurn(), 0) << "it spins";
    clock_.Advance(Listener::kRetryNs);
  }
  setrlimit(RLIMIT_NOFILE, &before);
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(accepted_.empty());
  EXPECT_NE(log.find("Too many open files"), std::string::npos) << log;
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
  clock_.Advance(Listener::kRetryNs);
  RunUntil([&] { return accepted_.size() == 1; });
}

TEST_F(ListenerTest, AUnixSocketIsForItsOwnerOnly) {
  const mode_t before = umask(0);
  const auto listener = Unix();
  umask(before);
  struct stat found;
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600u);
  ASSERT_EQ(stat((path_ + ".lock").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 07777, 0600u);
}

TEST_F(ListenerTest, AcceptsOverAUnixSocketAndCleansUp) {
  auto listener = Unix();
  const UniqueFd client = ConnectToPath();
  RunUntil([&] { return accepted_.size() == 1; });
  listener.reset();
  EXPECT_FALSE(Exists(path_));
  EXPECT_FALSE(Exists(path_ + ".lock"));
}

TEST_F(ListenerTest, ABoundUnixSocketRefusesUntilItListens) {
  auto listener = Listener::BoundUnix(loop_, path_, *this);
  ASSERT_TRUE(listener.ok()) << listener.status();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const UniqueFd early(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(connect(early.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), -1);
  EXPECT_EQ(errno, ECONNREFUSED);

  ASSERT_TRUE((*listener)->Listen().ok());
  const UniqueFd client = ConnectToPath();
  RunUntil([&] { return accepted_.size() == 1; });
}

TEST_F(ListenerTest, ASecondListenerOnAPathIsRefusedAndHarmsNothing) {
  const auto listener = Unix();
  const Status second = Listener::Unix(loop_, path_, *this).status();
  EXPECT_EQ(ErrnoOf(second), EADDRINUSE);
  EXPECT_NE(second.message().find(path_), absl::string_view::npos) << second;
  EXPECT_TRUE(Exists(path_ + ".lock"));
  const UniqueFd client = ConnectToPath();
  RunUntil([&] { return accepted_.size() == 1; });
}

TEST_F(ListenerTest, ReplacesTheSocketOfAProcessThatIsGone) {
  LeaveStaleSocket();
  const UniqueFd lock(open((path_ + ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  const auto listener = Unix();
  const UniqueFd client = ConnectToPath();
  RunUntil([&] { return accepted_.size() == 1; });
}

TEST_F(ListenerTest, LeavesTheSocketOfAProcessThatHoldsTheLock) {
  LeaveStaleSocket();
  const UniqueFd lock(open((path_ + ".lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(flock(lock.get(), LOCK_EX), 0);
  EXPECT_EQ(ErrnoOf(Listener::Unix(loop_, path_, *this).status()), EADDRINUSE);
  EXPECT_TRUE(Exists(path_));
}

TEST_F(ListenerTest, NeverRemovesAFileThatIsNoSocket) {
  const UniqueFd file(open(path_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  EXPECT_EQ(ErrnoOf(Listener::Unix(loop_, path_, *this).status()), EADDRINUSE);
  EXPECT_TRUE(Exists(path_));
  EXPECT_FALSE(Exists(path_ + ".lock")) << "what it made itself";
}

TEST_F(ListenerTest, NamesAPathThatIsTooLong) {
  path_ = directory_ / std::string(120, 'x');
  const Status status = Listener::Unix(loop_, path_, *this).status();
  EXPECT_EQ(ErrnoOf(status), EINVAL);
  EXPECT_NE(status.message().find(path_), absl::string_view::npos) << status;
}

TEST_F(ListenerTest, NamesAPathWhoseDirectoryIsMissing) {
  path_ = directory_ / "missing" / "rpc.sock";
  const Status status = Listener::Unix(loop_, path_, *this).status();
  EXPECT_EQ(ErrnoOf(status), ENOENT);
  EXPECT_NE(status.message().find(path_), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace pollux
