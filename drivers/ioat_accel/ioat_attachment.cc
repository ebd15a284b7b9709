#include "drivers/ioat_accel/ioat_attachment.h"

#include <sys/epoll.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "drivers/ioat/host.h"
#include "drivers/ioat_accel/ioat_self_test.h"

namespace pollux {
namespace {

// While it starts or stops; and else, where nothing announces that it has gone.
constexpr uint64_t kShortTickNs = 1 * kNsPerMs;
constexpr uint64_t kLongTickNs = 100 * kNsPerMs;

}  // namespace

IoatAttachment::IoatAttachment(Loop& control, pollux_ioat_host* host,
                               const AttachBegin& attach_begin, std::string address, Owner& owner)
    : control_(control),
      host_(host),
      attach_begin_(attach_begin),
      address_(std::move(address)),
      owner_(owner) {}

IoatAttachment::~IoatAttachment() { CHECK(device_ == nullptr, "an I/OAT device was not detached"); }

Status IoatAttachment::Failure() const {
  const char* text = "";
  const int error = pollux_ioat_device_failure(device_, &text);
  return ErrorOfField(error < 0 ? -error : EIO, "address", address_, text);
}

Task<Status> IoatAttachment::Connect() {
  const Status greeted = co_await host_->Greet(address_, &cancelled_);
  if (!greeted.ok()) {
    co_return ErrorOfField(ErrnoOf(greeted), "address", address_, std::string(greeted.message()));
  }
  const int error = attach_begin_(host_, address_.c_str(), nullptr, &device_);
  if (error != 0) {
    device_ = nullptr;
    co_return ErrorOfField(-error, "address", address_, pollux_ioat_error_text());
  }
  event_fd_ = pollux_ioat_device_event_fd(device_);
  if (event_fd_ >= 0) {
    if (const Status watched = control_.Watch(event_fd_, EPOLLIN, waker_); !watched.ok()) {
      LogWarning("ioat", "%s: its event descriptor cannot be watched: %s", address_,
                 watched.message());
      event_fd_ = -1;
    }
  }
  ArmTicker();
  while (pollux_ioat_device_state(device_) == POLLUX_IOAT_DEVICE_ATTACHING && !cancelled_) {
    co_await looked_;
  }
  if (cancelled_) co_return Cancelled("%s: the attach was given up", address_);
  if (pollux_ioat_device_state(device_) != POLLUX_IOAT_DEVICE_READY) co_return Failure();
  CO_RETURN_IF_ERROR(co_await TestChannels());
  if (cancelled_) co_return Cancelled("%s: the attach was given up", address_);
  if (pollux_ioat_device_state(device_) != POLLUX_IOAT_DEVICE_READY) co_return Failure();
  state_ = State::kReady;
  co_return OkStatus();
}

void IoatAttachment::Cancel() {
  cancelled_ = true;
  looked_.Pulse();
}

Task<Status> IoatAttachment::TestChannels() {
  const ioat::Memory memory = ioat::Allocate(host_, kIoatSelfTestBytes);
  if (memory == nullptr) {
    co_return OutOfMemory("no memory for the test of %s: %s", address_, pollux_ioat_error_text());
  }
  Status refused = NoDevice("%s has no channel", address_);
  bool usable = false;
  for (uint32_t i = 0; i < info().channels && !cancelled_; ++i) {
    pollux_ioat_channel* channel = nullptr;
    const int error = pollux_ioat_channel_take(device_, static_cast<int>(i), &channel);
    if (error != 0) co_return ErrorOfErrno(-error, pollux_ioat_error_text());
    places_.push_back({absl::StrFormat("%s channel %u", address_, i), channel, {}, nullptr});
    const Status tested =
        co_await TestIoatChannel(channel, info(), static_cast<std::byte*>(memory.get()));
    if (tested.ok()) {
      usable = true;
      continue;
    }
    refused = tested;
    places_.back().fault = std::string(tested.message());
    LogWarning("ioat", "%s is not used: %s", places_.back().name, tested.message());
  }
  co_return usable ? OkStatus() : refused;
}

void IoatAttachment::BeginLeaving() { state_ = State::kLeaving; }

Task<void> IoatAttachment::Disconnect() {
  state_ = State::kLeaving;
  if (device_ == nullptr) co_return;
  for (const Place& place : places_) {
    CHECK(place.lane == nullptr);
    pollux_ioat_channel_return(place.channel);
  }
  places_.clear();
  CHECK(pollux_ioat_detach_begin(device_) == 0);
  ArmTicker();
  while (pollux_ioat_device_state(device_) != POLLUX_IOAT_DEVICE_DETACHED) co_await looked_;
  control_.CancelTimer(ticker_);
  if (event_fd_ >= 0) control_.Unwatch(event_fd_, waker_);
  pollux_ioat_release(std::exchange(device_, nullptr));
}

void IoatAttachment::Tick() {
  ArmTicker();
  Look();
}

void IoatAttachment::ArmTicker() {
  const auto now = pollux_ioat_device_state(device_);
  const bool moving = now == POLLUX_IOAT_DEVICE_ATTACHING || now == POLLUX_IOAT_DEVICE_DETACHING;
  control_.ArmTimerIn(ticker_, moving ? kShortTickNs : kLongTickNs);
}

void IoatAttachment::Look() {
  pollux_ioat_device_poll(device_);
  if (state_ == State::kReady && pollux_ioat_device_state(device_) == POLLUX_IOAT_DEVICE_GONE) {
    owner_.OnGone(*this, Failure());
  }
  looked_.Pulse();  // The last thing: it may be the end of this object.
}

}  // namespace pollux
