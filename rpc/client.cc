#include "rpc/client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstring>

#include "core/net/address.h"

namespace pollux::rpc {
namespace {

Status CannotConnect(std::string_view where, int error_number) {
  return ErrorOfErrno(error_number, absl::StrFormat("cannot connect to %s: %s", where,
                                                    std::strerror(error_number)));
}

Result<UniqueFd> BeginConnect(std::string_view where, const sockaddr* address, socklen_t length) {
  UniqueFd fd(socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return CannotConnect(where, errno);
  if (connect(fd.get(), address, length) != 0 && errno != EINPROGRESS) {
    return CannotConnect(where, errno);
  }
  return fd;
}

Result<UniqueFd> BeginConnect(std::string_view where) {
  if (const auto address = SocketAddress::ParseHostPort(where); address.ok()) {
    return BeginConnect(where, address->address(), address->length());
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (where.empty() || where.size() >= sizeof(address.sun_path)) {
    return InvalidField("socket", where, "is neither ADDR:PORT nor the path of a socket");
  }
  std::memcpy(address.sun_path, where.data(), where.size());
  return BeginConnect(where, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

}  // namespace

Client::Client(UniqueFd socket)
    : socket_(std::move(socket)), scanner_({.bytes_max = kAnswerBytesMax}) {}

Result<Client> Client::Connect(std::string_view where, uint64_t timeout_ns) {
  ASSIGN_OR_RETURN(UniqueFd fd, BeginConnect(where));
  Client client(std::move(fd));
  RETURN_IF_ERROR(client.WaitFor(POLLOUT, client.clock_.NowNs() + timeout_ns));
  int error = 0;
  socklen_t length = sizeof(error);
  getsockopt(client.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return CannotConnect(where, error);
  return client;
}

Status Client::WaitFor(short events, uint64_t deadline_ns) {
  for (;;) {
    const uint64_t now = clock_.NowNs();
    const uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
    const timespec timeout{.tv_sec = static_cast<time_t>(left / kNsPerSecond),
                           .tv_nsec = static_cast<long>(left % kNsPerSecond)};
    pollfd ready{.fd = fd(), .events = events, .revents = 0};
    const int count = ppoll(&ready, 1, &timeout, nullptr);
    if (count > 0) return OkStatus();
    if (count == 0) return TimedOut("the server does not answer in time");
    if (errno != EINTR) return ErrorOfErrno(errno, std::strerror(errno));
  }
}

Status Client::Send(std::string_view text, uint64_t timeout_ns) {
  const uint64_t deadline = clock_.NowNs() + timeout_ns;
  while (!text.empty()) {
    const ssize_t sent = send(fd(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      text.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      RETURN_IF_ERROR(WaitFor(POLLOUT, deadline));
    } else if (errno != EINTR) {
      return ErrorOfErrno(errno, absl::StrFormat("cannot send: %s", std::strerror(errno)));
    }
  }
  return OkStatus();
}

Result<std::string> Client::Receive(uint64_t timeout_ns) {
  const uint64_t deadline = clock_.NowNs() + timeout_ns;
  std::array<char, 64 * 1024> buffer;
  for (;;) {
    size_t taken = 0;
    const std::string_view unseen = std::string_view(received_).substr(scanned_);
    const JsonScanner::Outcome outcome = scanner_.Scan(unseen, taken);
    scanned_ += taken;
    if (outcome == JsonScanner::Outcome::kComplete) {
      const size_t begin = received_.find_first_not_of(" \t\r\n");
      std::string value = received_.substr(begin, scanned_ - begin);
      received_.erase(0, scanned_);
      scanned_ = 0;
      return value;
    }
    if (outcome == JsonScanner::Outcome::kBroken) {
      return DataLoss("the server's text %s", scanner_.error());
    }
    const ssize_t count = recv(fd(), buffer.data(), buffer.size(), 0);
    if (count > 0) {
      received_.append(buffer.data(), static_cast<size_t>(count));
    } else if (count == 0) {
      return ErrorOfErrno(ECONNRESET, "the server closed the connection");
    } else if (errno == EAGAIN) {
      RETURN_IF_ERROR(WaitFor(POLLIN, deadline));
    } else if (errno != EINTR) {
      return ErrorOfErrno(errno, absl::StrFormat("cannot receive: %s", std::strerror(errno)));
    }
  }
}

Status Client::AwaitAnswer(uint64_t timeout_ns) {
  return WaitFor(POLLIN, clock_.NowNs() + timeout_ns);
}

void Client::ShutdownSend() { shutdown(fd(), SHUT_WR); }

}  // namespace pollux::rpc
