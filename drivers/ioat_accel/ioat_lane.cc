#include "drivers/ioat_accel/ioat_lane.h"

#include <array>
#include <cerrno>
#include <new>

#include "core/accel/accel_on_cpu.h"
#include "core/check.h"

namespace pollux {

// An operation on its way through the channel, in its module area.
struct IoatLane::Request : pollux_ioat_request {
  IoatLane* lane;
  AccelOperation* operation;
};

IoatLane::~IoatLane() {
  CHECK(channel_ == nullptr && !notice_under_way_.load(), "an I/OAT lane died while it is used");
}

void IoatLane::Open(pollux_ioat_channel& channel) {
  CHECK(channel_ == nullptr);
  channel_ = &channel;
  closing_ = false;
  seen_.store(pollux_ioat_channel_state(channel_), std::memory_order_relaxed);
  reactor_.AddPoller(*this);
}

void IoatLane::Empty() {
  CHECK(closing_ && drained());
  reactor_.CancelDeferred(ringer_);
  reactor_.RemovePoller(*this);
  channel_ = nullptr;
}

bool IoatLane::TryBegin(AccelOperation& operation) {
  if (channel_ == nullptr || closing_ || BytesOf(operation) < bytes_min_) return false;
  static_assert(sizeof(Request) <= AccelOperation::kModuleAreaBytes);
  auto* const request =
      new (operation.module_area) Request{{&IoatLane::OnComplete}, this, &operation};
  // Whatever the reason is, the CPU can do it: no room, memory that the device does not reach, too
  // many pieces, a channel that recovers.
  if (Submit(*request, operation) != 0) return false;
  reactor_.AtEndOfTurn(ringer_);
  return true;
}

int IoatLane::Submit(Request& request, AccelOperation& operation) {
  const std::span<const iovec> to = operation.destination, from = operation.source;
  switch (operation.opcode) {
    case AccelOpcode::kCopy:
      return pollux_ioat_copyv(channel_, &request, to.data(), static_cast<uint32_t>(to.size()),
                               from.data(), static_cast<uint32_t>(from.size()));
    case AccelOpcode::kFill:
      if (to.size() != 1) return -E2BIG;
      return pollux_ioat_fill(channel_, &request, to[0].iov_base, operation.pattern, to[0].iov_len);
    case AccelOpcode::kXor: {
      std::array<const void*, POLLUX_IOAT_SOURCES_MAX> sources;
      if (from.size() > sources.size()) return -E2BIG;
      for (size_t i = 0; i < from.size(); ++i) sources[i] = from[i].iov_base;
      return pollux_ioat_xor(channel_, &request, to[0].iov_base, sources.data(),
                             static_cast<uint32_t>(from.size()), to[0].iov_len);
    }
    default:
      return -ENOTSUP;
  }
}

void IoatLane::OnComplete(pollux_ioat_request* request, pollux_ioat_completion completion) {
  const Request mine = *static_cast<Request*>(request);
  if (completion.status == POLLUX_IOAT_OK) {
    mine.lane->Complete(*mine.operation, AccelStatus::kSuccess);
  } else {
    // The driver lets a request end only when the device writes no more on its behalf.
    mine.lane->GiveBack(*mine.operation);
  }
}

int IoatLane::Poll() {
  const int done = pollux_ioat_channel_poll(channel_);
  const pollux_ioat_state state = pollux_ioat_channel_state(channel_);
  if (state != seen_.load(std::memory_order_relaxed)) [[unlikely]] {
    seen_.store(state, std::memory_order_relaxed);
    if (state == POLLUX_IOAT_STATE_OUT_OF_SERVICE && !notice_under_way_.exchange(true)) {
      control_.Post(notice_);
    }
  }
  return done;
}

// While something is in flight its completion is near, and no descriptor announces it.
bool IoatLane::MayBlock() {
  return drained() && pollux_ioat_channel_state(channel_) != POLLUX_IOAT_STATE_RECOVERING;
}

void IoatLane::Notice::Run() {
  lane_.notice_under_way_.store(false);
  lane_.keeper_.OnOutOfService();
}

}  // namespace pollux
