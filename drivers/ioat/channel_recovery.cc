// The states of a channel other than running, and how it comes into and out of them.
#include <cerrno>
#include <cstring>

#include "drivers/ioat/channel.h"

namespace pollux::ioat {
namespace {

constexpr uint64_t kQuietNs = 20 * kNsPerMs;   // For the descriptor under way to finish.
constexpr uint64_t kResetNs = 200 * kNsPerMs;  // As Linux waits.
constexpr uint64_t kStartNs = 200 * kNsPerMs;  // For the first descriptor.
constexpr uint64_t kSuspendNs = 100 * kNsPerMs;
// How often a channel that says nothing is looked at, and after how many polls.
constexpr uint64_t kLookNs = 10 * kNsPerMs;
constexpr uint32_t kPollsPerLook = 16;
// A channel that stalls as often in a row, with nothing completed between, leaves service.
constexpr uint32_t kStallsMax = 3;

constexpr uint32_t kMismatches = chanerr::kXorMismatch | chanerr::kQMismatch;

}  // namespace

// Nothing answers: reads give all ones (PCI Express §2.3.2).
template <typename T>
T IoatChannel::Read(Reg<T> reg) {
  const uint64_t at = ChannelOffset(parts_.number) + reg.offset;
  if constexpr (sizeof(T) == 1) return parts_.device->Read8(0, at);
  if constexpr (sizeof(T) == 2) return parts_.device->Read16(0, at);
  if constexpr (sizeof(T) == 4) return parts_.device->Read32(0, at);
  if constexpr (sizeof(T) == 8) return parts_.device->Read64(0, at);
}
template <typename T>
void IoatChannel::Write(Reg<T> reg, T value) {
  const uint64_t at = ChannelOffset(parts_.number) + reg.offset;
  if constexpr (sizeof(T) == 1) parts_.device->Write8(0, at, value);
  if constexpr (sizeof(T) == 2) parts_.device->Write16(0, at, value);
  if constexpr (sizeof(T) == 4) parts_.device->Write32(0, at, value);
  if constexpr (sizeof(T) == 8) parts_.device->Write64(0, at, value);
}
template void IoatChannel::Write(Reg<uint16_t>, uint16_t);

void IoatChannel::Enter(State next, uint64_t limit_ns) {
  state_ = next;
  deadline_ns_ = parts_.clock->NowNs() + limit_ns;
}

void IoatChannel::EnterRunning() {
  state_ = State::kRunning;
  progress_ns_ = 0;
  idle_in_a_row_ = 0;
}

// --- What the owner asks for.

void IoatChannel::Start() {
  plan_ = Plan::kEndAll;
  Write<uint8_t>(kChancmd, chancmd::kSuspend);
  Enter(State::kQuieting, kQuietNs);
}

void IoatChannel::Stop() {
  if (state_ == State::kOut || state_ == State::kDown) return;
  BeginReset(Plan::kStop, {POLLUX_IOAT_OUT_OF_SERVICE, 0}, "it was stopped");
}

int IoatChannel::Reset() {
  if (polling_) return -EBUSY;
  if (state_ == State::kOut || state_ == State::kDown) return -ENXIO;
  // A reset that is under way for another reason ends everything too.
  if (state_ == State::kQuieting || state_ == State::kStarting || plan_ == Plan::kStop) {
    return -EAGAIN;
  }
  BeginReset(Plan::kEndAll, {POLLUX_IOAT_ABORTED, 0}, "it was asked for");
  return 0;
}

int IoatChannel::Suspend() {
  if (polling_) return -EBUSY;
  if (state_ != State::kRunning) return Refusal();
  Ring();
  Write<uint8_t>(kChancmd, chancmd::kSuspend);
  Enter(State::kSuspending, kSuspendNs);
  return 0;
}

// Nothing but a new chain makes a suspended channel go on.
int IoatChannel::Resume() {
  if (polling_) return -EBUSY;
  if (state_ != State::kSuspended) return Refusal();
  BeginReset(Plan::kResume, {}, "it was suspended");
  return 0;
}

// --- Trouble.

// A poll found nothing. Seldom the device is looked at itself.
int IoatChannel::LookWhenIdle() {
  if (Gone()) return LeaveService("the device is gone");
  if (tail_ == rung_) {
    idle_in_a_row_ = 0;
    return 0;
  }
  if (idle_in_a_row_++ % kPollsPerLook != 0) return 0;
  const uint64_t now = parts_.clock->NowNs();
  if (progress_ns_ == 0 || idle_in_a_row_ == 1) {
    progress_ns_ = now;
    next_look_ns_ = now + kLookNs;
    return 0;
  }
  if (now < next_look_ns_) return 0;
  next_look_ns_ = now + kLookNs;
  const uint64_t status = Read(kChansts);
  if (status == ~uint64_t{0}) return LeaveService("the device's registers read as all ones");
  // The status that would have told us was lost, or is on its way. Nothing follows it.
  if (chansts::kState.Get(status) == chansts::kHalted) {
    std::memcpy(parts_.status, &status, sizeof status);
    return TakeStatus(status);
  }
  if (now - progress_ns_ < parts_.timeout_ns) return 0;
  if (++failures_in_a_row_ >= kStallsMax) return LeaveService("the device makes no progress");
  BeginReset(Plan::kEndAll, {POLLUX_IOAT_TIMEOUT, 0}, "the device made no progress");
  return 0;
}

// The first in flight is the one that failed: what the device completed has been taken.
void IoatChannel::OnHalted() {
  errors_.Add(1);
  const uint32_t bits = Read(kChanerr);
  if (bits == ~uint32_t{0}) {
    LeaveService("the device's registers read as all ones");
    return;
  }
  if (tail_ == rung_ || bits == 0) {
    LeaveService("the device halted without a reason");
    return;
  }
  const bool mismatch = (bits & ~kMismatches) == 0;
  BeginReset(Plan::kSkipFirst, {mismatch ? POLLUX_IOAT_MISMATCH : POLLUX_IOAT_FAILED, bits},
             mismatch ? "a validation found a difference" : "an operation failed");
}

void IoatChannel::BeginReset(Plan plan, pollux_ioat_completion ending, const char* why) {
  plan_ = plan;
  ending_ = ending;
  reason_.store(why, std::memory_order_relaxed);
  WriteReset();
}

void IoatChannel::WriteReset() {
  resets_.Add(1);
  Write(kChanerr, Read(kChanerr));
  if (parts_.clear_error_interrupt) parts_.clear_error_interrupt();
  Write<uint8_t>(kChancmd, chancmd::kReset);
  Enter(State::kResetting, kResetNs);
}

// For good. What is in flight ends when the device has stopped.
int IoatChannel::LeaveService(const char* why) {
  reason_.store(why, std::memory_order_relaxed);
  plan_ = Plan::kStop;
  ending_ = {POLLUX_IOAT_OUT_OF_SERVICE, 0};
  if (Gone()) return GoOut();
  WriteReset();
  return 0;
}

int IoatChannel::GoOut() {
  state_ = State::kOut;
  return EndUpTo(head_, ending_);
}

// --- Going on.

int IoatChannel::Advance() {
  if (state_ == State::kOut || state_ == State::kDown) return 0;
  if (Gone()) {
    reason_.store("the device is gone", std::memory_order_relaxed);
    ending_ = {POLLUX_IOAT_OUT_OF_SERVICE, 0};
    return GoOut();
  }
  const bool late = parts_.clock->NowNs() >= deadline_ns_;
  switch (state_) {
    case State::kQuieting: {
      const uint64_t now = chansts::kState.Get(Read(kChansts));
      if (late || (now != chansts::kActive && now != chansts::kIdle)) WriteReset();
      return 0;
    }
    case State::kResetting: {
      const uint8_t command = Read(kChancmd);
      if ((command & chancmd::kReset) == 0) return AfterReset();
      if (!late && command != 0xff) return 0;
      parts_.cut();
      reason_.store(command == 0xff ? "the device's registers read as all ones"
                                    : "a reset of the channel does not end",
                    std::memory_order_relaxed);
      ending_ = {POLLUX_IOAT_OUT_OF_SERVICE, 0};
      return GoOut();
    }
    case State::kStarting: {
      const int ended = TakeCompletions();
      if (state_ != State::kStarting) return ended;
      if (tail_ == head_) {
        EnterRunning();
      } else if (late) {
        return ended + LeaveService("the first descriptor was not executed");
      }
      return ended;
    }
    case State::kSuspending: {
      const int ended = TakeCompletions();
      if (state_ != State::kSuspending) return ended;
      const uint64_t now = Read(kChansts);
      if (now == ~uint64_t{0}) {
        return ended + LeaveService("the device's registers read as all ones");
      }
      const uint64_t is = chansts::kState.Get(now);
      if (is == chansts::kSuspended || is == chansts::kHalted) {
        state_ = State::kSuspended;
      } else if (late) {
        BeginReset(Plan::kResume, {}, "it did not suspend");
      }
      return ended;
    }
    case State::kSuspended:
      return TakeCompletions();
    case State::kDown:
    case State::kRunning:
    case State::kOut:
      return 0;
  }
  return 0;
}

// The device has stopped, and writes nothing any more. What it had completed is in memory.
int IoatChannel::AfterReset() {
  int ended = 0;
  if (plan_ == Plan::kStop) return GoOut();
  const uint32_t before = tail_;
  ended += TakeCompletions();
  if (state_ != State::kResetting || plan_ == Plan::kStop) return ended;
  switch (plan_) {
    case Plan::kEndAll:
      ended += EndUpTo(head_, ending_);
      break;
    case Plan::kSkipFirst:
      if (tail_ == before && tail_ != rung_) {
        uint32_t end = tail_;
        while (slots_[end & mask_].request == nullptr && end + 1 != head_) ++end;
        ended += EndUpTo(end + 1, ending_);
      }
      break;
    case Plan::kResume:
    case Plan::kStop:
      break;
  }
  Arm();
  return ended;
}

// A new chain of what is in flight; of a descriptor that moves nothing when nothing is.
void IoatChannel::Arm() {
  const bool empty = tail_ == head_;
  if (empty) {
    Descriptor& first = ring_[head_ & mask_];
    first.size = 8;
    first.control = control::kNull | control::kCompletionUpdate;
    first.source = 0;
    first.destination = 0;
    slots_[head_ & mask_] = {nullptr, false};
    ++head_;
  }
  chained_ = tail_;
  rung_ = head_;
  // As if the one before it had been reported last.
  last_status_ = IovaOf(tail_ - 1) | chansts::kIdle;
  std::memcpy(parts_.status, &last_status_, sizeof last_status_);
  Write(kChanerr, Read(kChanerr));
  Write<uint16_t>(kChanctrl, chanctrl::kAnyErrorAbort | chanctrl::kErrorCompletion);
  Write<uint64_t>(kChancmp, parts_.status_iova);
  Write<uint64_t>(kChainaddr, IovaOf(tail_));
  WriteDoorbell();
  if (empty) {
    Enter(State::kStarting, kStartNs);
  } else {
    EnterRunning();
  }
}

}  // namespace pollux::ioat
