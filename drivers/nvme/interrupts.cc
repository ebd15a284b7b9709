#include "drivers/nvme/interrupts.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "drivers/nvme/event_set.h"

namespace pollux::nvme {

Interrupts::~Interrupts() {
  for (uint32_t vector = 0; vector < vectors_.size(); ++vector) {
    // The descriptors close next. A device that is gone needs no telling, so errors mean nothing.
    (void)device_.SetInterrupt(vector, -1);
  }
}

Status Interrupts::Start(bool wanted, uint32_t io_queues) {
  const uint32_t vectors = wanted ? std::min(device_.interrupt_vectors(), io_queues + 1) : 0;
  if (vectors == 0 && device_.removal_fd() < 0) return OkStatus();
  ASSIGN_OR_RETURN(controller_set_, MakeEventSet());
  if (device_.removal_fd() >= 0) {
    RETURN_IF_ERROR(HearLevel(controller_set_.get(), device_.removal_fd()));
  }
  for (uint32_t number = 0; number < vectors; ++number) RETURN_IF_ERROR(AddVector(number));
  return OkStatus();
}

Status Interrupts::AddVector(uint32_t number) {
  Vector vector;
  vector.eventfd = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!vector.eventfd.valid()) return ErrorOfErrno(errno, "no event descriptor for an interrupt");
  vector.set = controller_set_.get();
  if (number > 0) {
    ASSIGN_OR_RETURN(vector.own_set, MakeEventSet());
    vector.set = vector.own_set.get();
  }
  RETURN_IF_ERROR(HearRings(vector.set, vector.eventfd.get()));
  RETURN_IF_ERROR(device_.SetInterrupt(number, vector.eventfd.get()));
  vectors_.push_back(std::move(vector));
  return OkStatus();
}

void Interrupts::Clear() {
  if (vectors_.empty()) return;
  if (ClearRings(vectors_[0].set, vectors_[0].eventfd.get())) device_.UnmaskInterrupt(0);
}

bool Interrupts::RemovalAnnounced() const {
  const int fd = device_.removal_fd();
  if (fd < 0) return false;
  pollfd announced = {fd, POLLIN, 0};
  return poll(&announced, 1, 0) > 0;
}

}  // namespace pollux::nvme
