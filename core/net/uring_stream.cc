#include "core/net/uring_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include "core/check.h"

namespace pollux {

void UringStream::Receive() {
  if (state() != State::kOpen || paused_ || receive_op_.in_flight) return;
  const size_t count = owner().ReceiveInto(receive_parts_);
  CHECK(count <= receive_parts_.size());
  if (state() != State::kOpen) return;
  if (count == 0) {
    paused_ = true;
    return AwaitHangup();
  }
  receive_message_ = {};
  receive_message_.msg_iov = receive_parts_.data();
  receive_message_.msg_iovlen = count;
  receive_op_.in_flight = ring_.Receive(receive_op_, fd(), &receive_message_);
  if (!receive_op_.in_flight) loop().AtEndOfTurn(receive_);  // The ring is full: next turn.
}

void UringStream::OnReceiveDone(int32_t result) {
  ++counters_.receive_calls;
  if (state() != State::kOpen) return;
  if (result > 0) {
    const auto bytes = static_cast<size_t>(result);
    counters_.bytes_received += bytes;
    owner().OnReceived(bytes);
    Receive();
  } else if (result == 0) {
    OnEndOfInput();
  } else if (result == -EINTR || result == -EAGAIN) {
    loop().AtEndOfTurn(receive_);
  } else {
    Fail(-result, "cannot receive");
  }
}

void UringStream::ResumeReceive() {
  if (!paused_ || state() != State::kOpen) return;
  paused_ = end_known_ = false;
  loop().AtEndOfTurn(receive_);
}

// With no receive in flight, a peer that is gone is noticed by this.
void UringStream::AwaitHangup() {
  if (hangup_op_.in_flight || end_known_) return;
  hangup_op_.in_flight = ring_.Await(hangup_op_, fd(), POLLRDHUP);
  if (hangup_op_.in_flight) return;
  paused_ = false;  // The ring is full: the owner is asked again next turn.
  loop().AtEndOfTurn(receive_);
}

void UringStream::OnHangup(int32_t result) {
  if (state() != State::kOpen || !paused_) return;  // Receiving finds out by itself.
  std::byte next;
  if (result < 0) return Fail(-result, "the connection failed");
  if ((result & POLLERR) != 0) return Fail(SocketError(), "the connection failed");
  const ssize_t waiting = recv(fd(), &next, sizeof(next), MSG_PEEK | MSG_DONTWAIT);
  if (waiting == 0) return OnEndOfInput();
  if (waiting < 0) return Fail(errno, "the connection failed");
  end_known_ = true;  // After what the owner has not had yet.
}

void UringStream::Flush() {
  if (send_op_.in_flight) return;
  const size_t count = queue().Gather(send_parts_);
  if (count == 0) return Delivered(0);  // Items without bytes.
  send_message_ = {};
  send_message_.msg_iov = send_parts_.data();
  send_message_.msg_iovlen = count;
  send_op_.in_flight = ring_.Send(send_op_, fd(), &send_message_);
  if (!send_op_.in_flight) FlushLater();
}

void UringStream::OnSendDone(int32_t result) {
  ++counters_.send_calls;
  if (result > 0) Delivered(static_cast<size_t>(result));
  if (state() != State::kOpen && state() != State::kDraining) return;
  if (result < 0 && result != -EINTR && result != -EAGAIN) return Fail(-result, "cannot send");
  if (!queue().empty()) FlushLater();
}

void UringStream::StopReceiving() {
  loop().CancelDeferred(receive_);
  Cancel(receive_op_);
}

void UringStream::StopIo() {
  loop().CancelDeferred(receive_);
  Cancel(receive_op_);
  Cancel(send_op_);
  Cancel(hangup_op_);
}

bool UringStream::IoStopped() const {
  return !receive_op_.in_flight && !send_op_.in_flight && !hangup_op_.in_flight;
}

template <typename Op>
void UringStream::Cancel(Op& op) {
  if (!op.in_flight || ring_.Cancel(op)) return;
  // The ring is full. This ends whatever waits on the socket, for the price of a system call.
  shutdown(fd(), SHUT_RDWR);
}

}  // namespace pollux
