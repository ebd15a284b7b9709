#include "drivers/nvme/interrupts.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace pollux::nvme {

Interrupts::~Interrupts() {
  for (uint32_t vector = 0; vector < fds_.size(); ++vector) {
    // The descriptors close next. A device that is gone needs no telling, so errors mean nothing.
    (void)device_.SetInterrupt(vector, -1);
  }
}

Status Interrupts::Start(bool wanted, uint32_t io_queues) {
  const uint32_t vectors = wanted ? std::min(device_.interrupt_vectors(), io_queues + 1) : 0;
  if (vectors > 0 || device_.removal_fd() >= 0) {
    all_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
    if (!all_.valid()) return ErrorOfErrno(errno, "no epoll descriptor");
  }
  if (device_.removal_fd() >= 0) RETURN_IF_ERROR(Watch(device_.removal_fd()));
  for (uint32_t vector = 0; vector < vectors; ++vector) {
    UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd.valid()) return ErrorOfErrno(errno, "no event descriptor for an interrupt");
    RETURN_IF_ERROR(device_.SetInterrupt(vector, fd.get()));
    if (vector == 0) RETURN_IF_ERROR(Watch(fd.get()));
    fds_.push_back(std::move(fd));
  }
  return OkStatus();
}

Status Interrupts::Watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(all_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrorOfErrno(errno, "an event descriptor cannot be waited for");
  }
  return OkStatus();
}

void Interrupts::Clear() {
  if (fds_.empty()) return;
  uint64_t count = 0;
  if (read(fds_[0].get(), &count, sizeof(count)) == sizeof(count)) device_.UnmaskInterrupt(0);
}

bool Interrupts::RemovalAnnounced() const {
  const int fd = device_.removal_fd();
  if (fd < 0) return false;
  pollfd announced = {fd, POLLIN, 0};
  return poll(&announced, 1, 0) > 0;
}

}  // namespace pollux::nvme
