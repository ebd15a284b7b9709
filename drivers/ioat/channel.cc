#include "drivers/ioat/channel.h"

#include <cerrno>

#include "core/check.h"

namespace pollux::ioat {

IoatChannel::IoatChannel(const Parts& parts)
    : mask_(parts.descriptors - 1),
      ring_(parts.ring),
      slots_(new Slot[parts.descriptors]()),
      transfer_max_(parts.transfer_bytes_max),
      to_(*parts.dma),
      from_(*parts.dma),
      parts_(parts),
      slot_memory_(slots_) {
  for (uint32_t i = 0; i <= mask_; ++i) ring_[i].next = IovaOf(i + 1);
}

IoatChannel::~IoatChannel() { CHECK(idle(), "a channel goes while requests are in flight"); }

enum pollux_ioat_state IoatChannel::state() const {
  switch (state_) {
    case State::kRunning:
      return POLLUX_IOAT_STATE_RUNNING;
    case State::kSuspended:
      return POLLUX_IOAT_STATE_SUSPENDED;
    case State::kDown:
    case State::kOut:
      return POLLUX_IOAT_STATE_OUT_OF_SERVICE;
    case State::kQuieting:
    case State::kResetting:
    case State::kStarting:
    case State::kSuspending:
      return POLLUX_IOAT_STATE_RECOVERING;
  }
  return POLLUX_IOAT_STATE_OUT_OF_SERVICE;
}

int IoatChannel::Refusal() const {
  return state_ == State::kOut || state_ == State::kDown ? -ENXIO : -EAGAIN;
}

void IoatChannel::ReadStatistics(pollux_ioat_statistics& into) const {
  into = {submitted_.Get(), completed_.Get(),  failed_.Get(), descriptors_.Get(), doorbells_.Get(),
          polls_.Get(),     idle_polls_.Get(), errors_.Get(), resets_.Get()};
}

// --- Doorbell.

void IoatChannel::WriteDoorbell() {
  const auto count = static_cast<uint16_t>(rung_ - chained_);
  doorbells_.Add(1);
  if (parts_.doorbell != nullptr) return MmioWrite(parts_.doorbell, count);
  Write(kDmacount, count);
}

void IoatChannel::Ring() {
  if (rung_ == head_ || state_ != State::kRunning) return;
  descriptors_.Add(head_ - rung_);
  rung_ = head_;
  WriteDoorbell();
}

// --- Completion.

uint64_t IoatChannel::StatusWord() const {
  return __atomic_load_n(reinterpret_cast<const uint64_t*>(parts_.status), __ATOMIC_ACQUIRE);
}

// Everything up to `end`, in order. A callback may submit, which moves head_ alone.
int IoatChannel::EndUpTo(uint32_t end, pollux_ioat_completion completion) {
  int ended = 0;
  while (tail_ != end) {
    Slot& slot = slots_[tail_ & mask_];
    pollux_ioat_request* const request = slot.request;
    slot.request = nullptr;
    ++tail_;
    if (request == nullptr) continue;
    ++ended;
    request->on_complete(request, completion);
  }
  completed_.Add(static_cast<uint64_t>(ended));
  if (completion.status != POLLUX_IOAT_OK) failed_.Add(static_cast<uint64_t>(ended));
  return ended;
}

// The device says which descriptor was its last. It is believed only where that is one in flight.
int IoatChannel::TakeStatus(uint64_t status) {
  if (status == last_status_) return 0;
  const uint64_t before = last_status_;
  last_status_ = status;
  int ended = 0;
  const uint64_t address = status & chansts::kAddressMask;
  // It has none before the first descriptor of a chain was completed.
  const bool first_failed = address == 0 && tail_ == chained_;
  if (address != (before & chansts::kAddressMask) && !first_failed) {
    const uint64_t offset = address - parts_.ring_iova;
    const auto place = static_cast<uint32_t>(offset / kDescriptorBytes);
    if (offset >= (uint64_t{mask_} + 1) * kDescriptorBytes) {
      return LeaveService("the device reported a descriptor that is not in the ring");
    }
    const uint32_t ahead = (place - tail_) & mask_;
    if (ahead >= rung_ - tail_) {
      return LeaveService("the device reported a descriptor that is not in flight");
    }
    if (slots_[place].extension) {
      return LeaveService("the device reported the second half of a descriptor");
    }
    uint32_t end = tail_ + ahead + 1;
    if (end != rung_ && slots_[end & mask_].extension) ++end;
    ended = EndUpTo(end, {POLLUX_IOAT_OK, 0});
    if (ended > 0) failures_in_a_row_ = 0;
  }
  const uint64_t now = chansts::kState.Get(status);
  if (now == chansts::kHalted) [[unlikely]] {
    if (state_ == State::kRunning || state_ == State::kStarting) OnHalted();
  } else if (now > chansts::kArmed) [[unlikely]] {
    return ended + LeaveService("the device reported a state that does not exist");
  }
  return ended;
}

int IoatChannel::Poll() {
  if (polling_) return 0;
  polling_ = true;
  to_.Refresh();
  from_.Refresh();
  polls_.Add(1);
  int ended = 0;
  if (state_ == State::kRunning) [[likely]] {
    ended = TakeCompletions();
    if (ended != 0) {
      idle_in_a_row_ = 0;
    } else {
      idle_polls_.Add(1);
      ended += LookWhenIdle();
    }
    Ring();
  } else {
    ended = Advance();
  }
  polling_ = false;
  return ended;
}

}  // namespace pollux::ioat
