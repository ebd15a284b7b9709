// libFuzzer: the vfio-user server against any client. The input is a list of steps; each sends a
// message whose header is right or not, with descriptors of several kinds, or bytes without any
// order. Built with -DPOLLUX_FUZZ=ON by clang.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/unique_fd.h"
#include "targets/vfio_user/server.h"
#include "tests/unit/targets/vfio_user/scratch_device.h"

namespace pollux::vfio_user {
namespace {

constexpr int kTurnsMax = 10'000;
constexpr size_t kMemoryBytes = 1 << 16;

// Takes the input apart; zeros where it has ended.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t Byte() { return left_ == 0 ? uint8_t{0} : (--left_, *data_++); }
  std::string Take(size_t bytes) {
    bytes = std::min(bytes, left_);
    std::string taken(reinterpret_cast<const char*>(data_), bytes);
    data_ += bytes;
    left_ -= bytes;
    return taken;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

class World {
 public:
  World() {
    SetLogLevel(LogLevel::kError);
    std::string directory = "/tmp/pollux-fuzz-XXXXXX";
    CHECK(mkdtemp(directory.data()) != nullptr);
    Server::Options options;
    options.path = path_ = directory + "/cntrl";
    options.data_bytes_max = 4096;
    options.dma_regions_max = 16;
    options.fds_max = 4;
    server_ = *Server::Listen(options, device_, loop_);
    memory_ = UniqueFd(memfd_create("fuzz", MFD_CLOEXEC));
    CHECK(ftruncate(memory_.get(), kMemoryBytes) == 0);
  }

  void Play(Input input) {
    client_ = Connect();
    if (input.Byte() % 8 != 0) {
      const std::string json = R"({"capabilities":{"write_multiple":true}})";
      Send(Message(1, std::string("\0\0\1\0", 4) + json + '\0'), 0);
    }
    while (!input.empty()) Step(input);
    Settle();
    client_.Reset();
    device_.Release();
    Turn();
    // It may have left with half a message, which the server may only come to now.
    for (int i = 0; i < kTurnsMax && server_->connected(); ++i) {
      clock_.Advance(kNsPerSecond);
      Turn();
    }
    CHECK(!server_->connected(), "a client that left was not forgotten");
    CHECK(server_->Memory(0, 1, false) == nullptr);
    device_.log.clear();
  }

 private:
  void Step(Input& input) {
    const uint8_t kind = input.Byte();
    const int fds = kind >> 6;
    if (kind % 16 == 15) {  // Bytes without any order.
      Send(input.Take(input.Byte()), fds);
    } else if (kind % 16 == 14) {
      device_.hold_unmaps = !device_.hold_unmaps;
      if (!device_.hold_unmaps) device_.Release();
    } else if (kind % 16 == 13) {
      for (int i = 0; i < 4; ++i) server_->Trigger(kMsix, static_cast<uint32_t>(i));
      server_->Trigger(kIntx, 0);
      if (std::byte* memory = server_->Memory(input.Byte() * 4096u, 16, true)) {
        std::memset(memory, 1, 16);
      }
    } else {
      const uint8_t command = input.Byte() % 20;
      std::string message = Message(command, input.Take(input.Byte() % 96));
      if (kind % 16 == 12) message[4 + input.Byte() % 8] = static_cast<char>(input.Byte());
      Send(message, fds);
    }
    if ((kind & 0x10) != 0) Settle();
  }

  static std::string Message(uint8_t command, const std::string& payload) {
    std::string header(16, '\0');
    header[2] = static_cast<char>(command);
    header[4] = static_cast<char>(16 + payload.size());
    return header + payload;
  }

  UniqueFd Connect() {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    CHECK(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    return fd;
  }

  // A server that hung up, or whose socket is full, does not get it.
  void Send(const std::string& bytes, int fd_count) {
    if (bytes.empty()) return;
    const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    const std::array<int, 3> fds = {fd_count == 2 ? event.get() : memory_.get(), event.get(),
                                    client_.get()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(fds))] = {};
    iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const size_t fds_bytes = sizeof(int) * (fd_count == 2 ? 1u : static_cast<size_t>(fd_count));
    if (fds_bytes > 0) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(fds_bytes);
      cmsghdr* const header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds_bytes);
      std::memcpy(CMSG_DATA(header), fds.data(), fds_bytes);
    }
    (void)sendmsg(client_.get(), &message, MSG_NOSIGNAL);
  }

  void Settle() {
    for (int i = 0; i < 4; ++i) Turn();
    char drop[4096];
    while (recv(client_.get(), drop, sizeof(drop), 0) > 0) {
    }
  }
  void Turn() { loop_.RunTurn(); }

  ManualClock clock_;
  Loop loop_{{.name = "fuzz"}, clock_, *MakeEpollWaiter()};
  ScratchDevice device_;
  std::string path_;
  std::unique_ptr<Server> server_;
  UniqueFd memory_;
  UniqueFd client_;
};

}  // namespace
}  // namespace pollux::vfio_user

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* const world = new pollux::vfio_user::World;  // It lives as long as the process.
  world->Play({data, size});
  return 0;
}
