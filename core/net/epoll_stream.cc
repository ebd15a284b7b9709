#include "core/net/epoll_stream.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>

#include "core/check.h"

namespace pollux {

void EpollStream::StartIo() { Watch(); }

void EpollStream::OnReady(uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    send_blocked_ = false;
    FlushLater();
  }
  if ((events & ~uint32_t{EPOLLOUT}) == 0) return UpdateWatch();
  if (receiving()) {
    Receive(events);
  } else if ((events & EPOLLERR) != 0) {
    Fail(SocketError(), "the connection failed");
  } else if (state() == State::kOpen) {
    LookWhilePaused(events);
  } else if ((events & EPOLLHUP) != 0) {
    Fail(ECONNRESET, "the connection failed");  // While draining: nobody will read the rest.
  }
  UpdateWatch();
}

void EpollStream::Receive(uint32_t events) {
  for (int i = 0; i < kReadsPerTurnMax && receiving(); ++i) {
    if (!ReceiveOnce(events)) return;
  }
}

bool EpollStream::ReceiveOnce(uint32_t events) {
  std::array<iovec, kReceivePartsMax> parts;
  const size_t count = owner().ReceiveInto(parts);
  CHECK(count <= parts.size());
  if (count == 0) paused_ = true;
  if (!receiving()) return false;
  size_t room = 0;
  for (size_t i = 0; i < count; ++i) room += parts[i].iov_len;

  const ssize_t received = readv(fd(), parts.data(), static_cast<int>(count));
  ++counters_.receive_calls;
  if (received > 0) {
    const auto bytes = static_cast<size_t>(received);
    counters_.bytes_received += bytes;
    owner().OnReceived(bytes);
    return bytes == room;
  }
  if (received == 0) {
    OnEndOfInput();
  } else if (errno == EAGAIN || errno == EINTR) {
    // An error that left no trace in the socket would be announced again and again.
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) Fail(SocketError(), "the connection failed");
  } else {
    Fail(errno, "cannot receive");
  }
  return false;
}

// The owner wants nothing now. A peer that is gone is noticed all the same, but not before the
// owner had what it sent.
void EpollStream::LookWhilePaused(uint32_t events) {
  if ((events & EPOLLIN) != 0) input_known_ = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP)) == 0) return;
  std::byte next;
  const ssize_t waiting = recv(fd(), &next, sizeof(next), MSG_PEEK | MSG_DONTWAIT);
  if (waiting == 0) return OnEndOfInput();
  if (waiting < 0) return Fail(errno, "the connection failed");
  end_known_ = true;
  // EPOLLHUP cannot be masked.
  if ((events & EPOLLHUP) == 0) return;
  Unwatch();
  send_blocked_ = false;
  FlushLater();
}

void EpollStream::ResumeReceive() {
  if (!paused_ || state() != State::kOpen) return;
  paused_ = input_known_ = end_known_ = false;
  if (watched_) {
    UpdateWatch();
  } else {
    Watch();
  }
}

void EpollStream::Flush() {
  if (send_blocked_) return;
  std::array<iovec, IOV_MAX> parts;
  for (int i = 0; i < kSendsPerTurnMax; ++i) {
    const size_t count = queue().Gather(parts);
    if (count == 0) return Delivered(0);  // Items without bytes.
    const bool all = count < parts.size();
    size_t gathered = all ? queue().bytes() : 0;
    for (size_t p = 0; p < count && !all; ++p) gathered += parts[p].iov_len;

    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t sent = sendmsg(fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    ++counters_.send_calls;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return Fail(errno, "cannot send");
    const auto bytes = static_cast<size_t>(std::max<ssize_t>(sent, 0));
    send_blocked_ = bytes < gathered;
    Delivered(bytes);
    if (state() != State::kOpen && state() != State::kDraining) return;
    if (send_blocked_ || all) return UpdateWatch();
  }
  FlushLater();  // Others have their turn first.
}

void EpollStream::Watch() {
  watched_events_ = WantedEvents();
  if (const Status status = loop().Watch(fd(), watched_events_, *this); !status.ok()) {
    return Fail(ErrnoOf(status), "cannot watch the connection");
  }
  watched_ = true;
}

void EpollStream::Unwatch() {
  if (!watched_) return;
  loop().Unwatch(fd(), *this);
  watched_ = false;
}

// Pausing alone changes nothing here: most owners resume before there is input.
uint32_t EpollStream::WantedEvents() const {
  uint32_t events = send_blocked_ ? EPOLLOUT : 0u;
  if (state() != State::kOpen) return events;
  if (!input_known_) events |= EPOLLIN;
  if (!end_known_) events |= EPOLLRDHUP;
  return events;
}

void EpollStream::UpdateWatch() {
  if (!watched_) return;
  const uint32_t wanted = WantedEvents();
  if (wanted == watched_events_) return;
  watched_events_ = wanted;
  loop().Rewatch(fd(), wanted, *this);
}

}  // namespace pollux
