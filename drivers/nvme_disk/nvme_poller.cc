#include "drivers/nvme_disk/nvme_poller.h"

#include <sys/epoll.h>

#include <utility>

#include "core/check.h"

namespace pollux {
namespace {

// Of what is ready at once: other things of the loop have their turn.
constexpr int kPollsMax = 64;

}  // namespace

NvmePoller::~NvmePoller() { CHECK(controller_ == nullptr, "an NVMe controller is still polled"); }

void NvmePoller::Start(pollux_nvme_controller* controller) {
  CHECK(controller_ == nullptr);
  controller_ = controller;
  Arm();
}

void NvmePoller::Stop() {
  CHECK(!polling_);
  controller_ = nullptr;
  loop_.CancelTimer(ticker_);
  if (watched_fd_ >= 0) loop_.Unwatch(std::exchange(watched_fd_, -1), waker_);
}

void NvmePoller::Poll() {
  if (controller_ == nullptr || polling_) return;
  polling_ = true;
  for (int i = 0; i < kPollsMax && pollux_nvme_controller_poll(controller_) > 0; ++i) {
  }
  polling_ = false;
  Arm();
  owner_.OnPolled();
}

void NvmePoller::Arm() {
  const int fd = pollux_nvme_controller_event_fd(controller_);
  if (fd != watched_fd_) {
    if (watched_fd_ >= 0) loop_.Unwatch(watched_fd_, waker_);
    watched_fd_ = fd;
    if (fd >= 0 && !loop_.Watch(fd, EPOLLIN, waker_).ok()) watched_fd_ = -1;
  }
  loop_.ArmTimerIn(ticker_, owner_.PollPeriodNs());
}

}  // namespace pollux
