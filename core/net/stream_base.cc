#include "core/net/stream_base.h"

#include <sys/socket.h>

#include <array>
#include <cstring>

#include "core/check.h"

namespace pollux {

StreamBase::~StreamBase() {
  CHECK(state_ == State::kNew || state_ == State::kClosed, "a stream died before OnClosed");
}

void StreamBase::Start(Owner& owner) {
  CHECK(state_ == State::kNew);
  owner_ = &owner;
  state_ = State::kOpen;
  StartIo();
}

void StreamBase::Send(SendItem& item) {
  CHECK(state_ != State::kNew && state_ != State::kClosed);
  if (state_ != State::kOpen) return dropped_.PushBack(item);
  queue_.Push(item);
  FlushLater();
}

void StreamBase::Close() {
  CHECK(state_ != State::kNew);
  BeginClose(OkStatus());
}

void StreamBase::CloseWhenSent() {
  CHECK(state_ != State::kNew);
  Drain(OkStatus());
}

void StreamBase::RunFlush() {
  if (state_ == State::kOpen || state_ == State::kDraining) Flush();
}

void StreamBase::Delivered(size_t bytes) {
  counters_.bytes_sent += bytes;
  queue_.Advance(bytes);
  while (SendItem* item = queue_.PopSent()) item->OnSent(true);
  if (state_ == State::kDraining && queue_.empty()) {
    drained_ = true;
    BeginClose(why_);
  }
}

void StreamBase::OnEndOfInput() {
  Drain(ErrorOfErrno(ESHUTDOWN, "the peer closed the connection"));
}

void StreamBase::Fail(int error_number, const char* what) {
  BeginClose(
      ErrorOfErrno(error_number, absl::StrFormat("%s: %s", what, std::strerror(error_number))));
}

int StreamBase::SocketError() const {
  int error = 0;
  socklen_t length = sizeof(error);
  getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error != 0 ? error : ECONNRESET;
}

void StreamBase::Drain(Status why) {
  if (state_ != State::kOpen) return;
  if (queue_.empty()) {
    drained_ = true;
    return BeginClose(std::move(why));
  }
  state_ = State::kDraining;
  why_ = std::move(why);
  loop_.ArmTimerIn(drain_timer_, kDrainNs);
  StopReceiving();
}

void StreamBase::OnDrainTimeout() {
  BeginClose(ErrorOfErrno(ETIMEDOUT, "the peer did not take the last bytes within a second"));
}

void StreamBase::BeginClose(Status why) {
  if (state_ == State::kClosing || state_ == State::kClosed) return;
  state_ = State::kClosing;
  // What made it drain explains more than what went wrong with the last bytes, unless that was us.
  if (why_.ok()) why_ = std::move(why);
  loop_.CancelTimer(drain_timer_);
  loop_.CancelDeferred(flush_);
  StopIo();
  ReportLater();
}

void StreamBase::ReportLater() {
  if (!report_.deferred()) loop_.Defer(report_);
}

void StreamBase::Report() {
  if (!IoStopped()) return;
  queue_.TakeAll(dropped_);
  while (SendItem* item = dropped_.PopFront()) item->OnSent(false);
  if (drained_) DiscardInput();
  socket_.Reset();
  state_ = State::kClosed;
  const Status why = std::move(why_);
  owner_->OnClosed(why);  // It may destroy this stream.
}

// A socket closed over unread input resets the connection, and the peer may lose the last bytes
// that it was sent. So what has arrived is read and thrown away, within bounds.
void StreamBase::DiscardInput() {
  constexpr int kReadsMax = 64;
  shutdown(socket_.get(), SHUT_WR);
  std::array<std::byte, 4096> buffer;
  for (int i = 0; i < kReadsMax; ++i) {
    if (recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT) <= 0) return;
  }
}

}  // namespace pollux
