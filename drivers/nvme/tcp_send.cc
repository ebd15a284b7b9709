// How a queue sends: in order, many PDUs to a system call.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "drivers/nvme/tcp_queue.h"

namespace pollux::nvme {
namespace {

using nvme_tcp::kDigestBytes;

// System calls of one turn, so that a slow target does not hold the owner.
constexpr int kSendsMax = 8;
constexpr size_t kSendPartsMax = 256;

}  // namespace

// What is to be sent, as far as there is room for its parts.
size_t TcpQueue::Gather(std::span<iovec> parts) const {
  size_t count = 0;
  for (const TcpCommand* command = first_; command != nullptr && count < parts.size();
       command = command->next) {
    uint32_t skip = command->sent;
    if (skip < command->header_bytes) {
      parts[count++] = {const_cast<std::byte*>(command->header.data()) + skip,
                        command->header_bytes - skip};
      skip = 0;
    } else {
      skip -= command->header_bytes;
    }
    if (skip < command->data_bytes) {
      uint32_t gathered = 0;
      command->ForPieces(command->data_at + skip, command->data_bytes - skip,
                         [&](std::byte* at, uint32_t bytes) {
                           if (count == parts.size()) return false;
                           parts[count++] = {at, bytes};
                           gathered += bytes;
                           return true;
                         });
      if (gathered < command->data_bytes - skip) return count;
      skip = 0;
    } else {
      skip -= command->data_bytes;
    }
    if (command->digested && count < parts.size()) {
      parts[count++] = {
          const_cast<std::byte*>(reinterpret_cast<const std::byte*>(&command->digest)) + skip,
          kDigestBytes - skip};
    } else if (command->digested) {
      return count;
    }
  }
  return count;
}

void TcpQueue::Flush() {
  blocked_ = false;
  for (int i = 0; i < kSendsMax && first_ != nullptr && state_ != State::kBroken; ++i) {
    std::array<iovec, kSendPartsMax> parts;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = Gather(parts);
    const ssize_t sent = sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        blocked_ = true;
        return;
      }
      const int error = errno;
      Receive();  // What the target said last may lie in the socket still, and says more.
      return Break(ErrorOfErrno(error, absl::StrFormat("queue %u: the connection failed: %s",
                                                       parts_.id, strerror(error))));
    }
    Sent(static_cast<size_t>(sent));
  }
}

void TcpQueue::Sent(size_t bytes) {
  while (bytes > 0) {
    TcpCommand& command = *first_;
    const size_t whole =
        size_t{command.header_bytes} + command.data_bytes + (command.digested ? kDigestBytes : 0);
    const size_t taken = std::min(bytes, whole - command.sent);
    command.sent += static_cast<uint32_t>(taken);
    bytes -= taken;
    if (command.sent < whole) return;
    first_ = command.next;
    if (first_ == nullptr) last_ = nullptr;
    command.queued = false;
    WholePduSent(command);
  }
}

void TcpQueue::WholePduSent(TcpCommand& command) {
  if (!command.asked) return;
  if (command.given == command.asked_until) {
    command.asked = false;
    return;
  }
  // Behind what others have to send.
  BuildData(command);
  Enqueue(command);
}

}  // namespace pollux::nvme
