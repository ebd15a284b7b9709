#include "core/vfio_user/message_socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "core/check.h"

namespace pollux::vfio_user {
namespace {

constexpr size_t kFdsMax = 253;  // SCM_MAX_FD.

// Takes the descriptors out of a received message.
void CollectFds(msghdr& message, std::vector<UniqueFd>& fds) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr;
       control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
      fds.emplace_back(fd);
    }
  }
}

}  // namespace

MessageReader::Outcome MessageReader::Read(int socket) {
  if (complete_) {
    complete_ = false;
    received_ = payload_bytes_ = 0;
    fds_.clear();
    fds_lost_ = false;
  }
  if (received_ < sizeof(header_)) {
    auto* const place = reinterpret_cast<std::byte*>(&header_);
    const Outcome outcome = ReadInto(socket, place + received_, sizeof(header_) - received_);
    if (outcome != Outcome::kMessage) return outcome;

    const size_t size = header_.message_size;
    if (size < sizeof(header_) || size - sizeof(header_) > limits_.payload_bytes_max) {
      return Outcome::kViolation;
    }
    payload_bytes_ = size - sizeof(header_);
    if (payload_.size() < payload_bytes_) payload_.resize(payload_bytes_);
  }
  const size_t have = received_ - sizeof(header_);
  const Outcome outcome = ReadInto(socket, payload_.data() + have, payload_bytes_ - have);
  complete_ = outcome == Outcome::kMessage;
  return outcome;
}

// kMessage: all of `bytes` are there.
MessageReader::Outcome MessageReader::ReadInto(int socket, std::byte* place, size_t bytes) {
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * kFdsMax)];
  while (bytes > 0) {
    iovec part{.iov_base = place, .iov_len = bytes};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * limits_.fds_max);
    const ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return Outcome::kAgain;
      error_number_ = errno;
      return Outcome::kEnd;
    }
    CollectFds(message, fds_);
    if ((message.msg_flags & MSG_CTRUNC) != 0 || fds_.size() > limits_.fds_max) {
      fds_lost_ = true;
      fds_.clear();
    }
    if (got == 0) return Outcome::kEnd;
    place += got;
    bytes -= static_cast<size_t>(got);
    received_ += static_cast<size_t>(got);
  }
  return Outcome::kMessage;
}

int SendSome(int socket, std::span<const std::byte>& bytes, std::span<const int>& fds) {
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * kFdsMax)] = {};
  CHECK(fds.size() <= kFdsMax);
  while (!bytes.empty()) {
    iovec part{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(fds.size_bytes());
      cmsghdr* const header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds.size_bytes());
      std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    }
    const ssize_t sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    bytes = bytes.subspan(static_cast<size_t>(sent));
    fds = {};
  }
  return 0;
}

}  // namespace pollux::vfio_user
