// libFuzzer: the vfio-user client against any server. The input is what a server says, before it is
// asked: answers with right or wrong headers, with descriptors or without. Built with
// -DPOLLUX_FUZZ=ON by clang.
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory/region_registry.h"
#include "drivers/pci/vfio_user_device.h"

namespace pollux::pci {
namespace {

constexpr size_t kPage = 4096;
constexpr uint64_t kTimeoutNs = kNsPerSecond;  // It never comes: the server hangs up.

// Of the commands that opening a device sends, in order, until something is different.
constexpr std::array<uint8_t, 20> kCommands = {1, 4, 5, 5, 5, 5, 5, 5, 5,  5,
                                               5, 5, 5, 5, 7, 2, 9, 8, 10, 3};

void Say(int socket, const std::string& bytes, int fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  (void)sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// Each record: kind, length, payload. A kind below 0xe0 is an answer to the next command.
void SayAll(int socket, const uint8_t* data, size_t size, int file) {
  uint16_t id = 1;
  for (size_t at = 0; at + 2 <= size;) {
    const uint8_t kind = data[at];
    const size_t bytes = std::min<size_t>(data[at + 1], size - at - 2);
    const std::string payload(reinterpret_cast<const char*>(data + at + 2), bytes);
    at += 2 + bytes;
    if (kind == 0xff) {
      Say(socket, payload, -1);
      continue;
    }
    std::string header(16, '\0');
    const bool is_answer = kind < 0xe0;
    const uint8_t command = is_answer ? kCommands[(id - 1u) % kCommands.size()] : kind & 0x1f;
    header[0] = static_cast<char>(id & 0xff);
    header[1] = static_cast<char>(id >> 8);
    header[2] = static_cast<char>(kind % 64 == 63 ? kind / 64 + 5 : command);
    header[4] = static_cast<char>((16 + bytes) & 0xff);
    header[5] = static_cast<char>((16 + bytes) >> 8);
    header[8] = static_cast<char>(is_answer ? (kind % 16 == 15 ? 0x21 : 1) : 0);
    if (kind % 16 == 15) header[12] = static_cast<char>(kind);
    Say(socket, header + payload, kind % 4 == 1 ? file : -1);
    if (is_answer) ++id;
  }
}

void Use(PciDevice& device) {
  device.ReadConfig(0, 4);
  (void)device.SetInterrupt(0, -1);
  for (int bar = 0; bar < 6; ++bar) {
    const uint64_t bytes = device.bar_bytes(bar);
    device.Write32(bar, 0, 1);
    device.Read64(bar, 8);
    if (bytes >= 4) device.Read32(bar, bytes - 4);
    if (std::byte* const page = device.MapBar(bar, 0, 4); page != nullptr) page[0] = std::byte{1};
  }
  (void)device.Reset();
  (void)device.gone();
}

}  // namespace
}  // namespace pollux::pci

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pollux;
  SetLogLevel(LogLevel::kError);
  static const int file = memfd_create("bar", MFD_CLOEXEC);
  static const int pool = memfd_create("pool", MFD_CLOEXEC);
  static std::byte* const memory = [] {
    CHECK(ftruncate(file, 4 * pci::kPage) == 0 && ftruncate(pool, pci::kPage) == 0);
    return static_cast<std::byte*>(
        mmap(nullptr, pci::kPage, PROT_READ | PROT_WRITE, MAP_SHARED, pool, 0));
  }();
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  const UniqueFd server(fds[1]);
  pci::SayAll(server.get(), data, size, file);
  shutdown(server.get(), SHUT_WR);

  RegionRegistry registry;
  CHECK(registry.Add({.address = memory, .bytes = pci::kPage, .fd = pool, .name = "pool"}).ok());
  auto client = pci::VfioUserClient::Adopt(UniqueFd(fds[0]), "fuzz", pci::kTimeoutNs);
  if (!client.ok()) return 0;
  auto device = pci::VfioUserDevice::Open(*std::move(client), registry);
  if (device.ok()) pci::Use(**device);
  return 0;
}
