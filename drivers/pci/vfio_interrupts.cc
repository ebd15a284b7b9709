#include "drivers/pci/vfio_interrupts.h"

#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <span>

namespace pollux::pci {
namespace {

constexpr uint32_t kVectorsMax = 2048;  // Of MSI-X. PCI 3.0 §6.8.2.

bool Query(int device_fd, uint32_t index, vfio_irq_info& info) {
  info = {.argsz = sizeof(info), .index = index};
  return ioctl(device_fd, VFIO_DEVICE_GET_IRQ_INFO, &info) == 0 && info.count > 0 &&
         (info.flags & VFIO_IRQ_INFO_EVENTFD) != 0;
}

// One VFIO_DEVICE_SET_IRQS with the eventfds of the vectors from `start` on.
bool SetIrqs(int device_fd, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
             std::span<const int> eventfds) {
  const size_t bytes = offsetof(vfio_irq_set, data) + eventfds.size_bytes();
  std::vector<std::byte> request(std::max(bytes, sizeof(vfio_irq_set)));
  const uint32_t fixed[] = {static_cast<uint32_t>(bytes), flags, index, start, count};
  static_assert(sizeof(fixed) == offsetof(vfio_irq_set, data));
  memcpy(request.data(), fixed, sizeof(fixed));
  if (!eventfds.empty()) {
    memcpy(request.data() + sizeof(fixed), eventfds.data(), eventfds.size_bytes());
  }
  return ioctl(device_fd, VFIO_DEVICE_SET_IRQS, request.data()) == 0;
}

bool SetEventfds(int device_fd, uint32_t index, uint32_t start, std::span<const int> eventfds) {
  return SetIrqs(device_fd, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, index, start,
                 static_cast<uint32_t>(eventfds.size()), eventfds);
}

bool Disable(int device_fd, uint32_t index) {
  return SetIrqs(device_fd, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 0, {});
}

Status Failed() {
  return ErrorOfErrno(errno, absl::StrFormat("VFIO_DEVICE_SET_IRQS: %s", strerror(errno)));
}

}  // namespace

VfioInterrupts::VfioInterrupts(int device_fd) : device_fd_(device_fd) {
  for (const uint32_t index :
       {VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_INTX_IRQ_INDEX}) {
    vfio_irq_info info{};
    if (!Query(device_fd, index, info)) continue;
    index_ = index;
    vectors_ = std::min(info.count, kVectorsMax);
    growable_ = (info.flags & VFIO_IRQ_INFO_NORESIZE) == 0;
    eventfds_.assign(vectors_, -1);
    return;
  }
}

Status VfioInterrupts::Set(uint32_t vector, int eventfd) {
  if (vector >= vectors_) {
    return OutOfRange("there is no interrupt vector %d: the device has %d", vector, vectors_);
  }
  if (vector >= enabled_ && eventfd < 0) return OkStatus();
  const int before = eventfds_[vector];
  eventfds_[vector] = eventfd;
  if (vector >= enabled_ && (!growable_ || enabled_ == 0)) {
    Status grown = Grow(vector + 1);
    if (!grown.ok()) eventfds_[vector] = before;
    return grown;
  }
  if (!SetEventfds(device_fd_, index_, vector, {&eventfd, 1})) {
    eventfds_[vector] = before;
    return Failed();
  }
  enabled_ = std::max(enabled_, vector + 1);
  return OkStatus();
}

Status VfioInterrupts::Grow(uint32_t enough) {
  // The kernel sets up as many vectors as the first request has, and most devices must drop all of
  // them before there can be more. Doubling makes that rare.
  if (enabled_ > 0 && !Disable(device_fd_, index_)) return Failed();
  const bool grows = enabled_ > 0;
  enabled_ = 0;
  for (const uint32_t count : {std::min(std::bit_ceil(enough), vectors_), enough}) {
    if (!SetEventfds(device_fd_, index_, 0, std::span(eventfds_).first(count))) continue;
    enabled_ = count;
    break;
  }
  const Status status = enabled_ > 0 ? OkStatus() : Failed();
  for (const int eventfd : eventfds_) {
    const uint64_t one = 1;
    if (grows && eventfd >= 0 && write(eventfd, &one, sizeof(one)) < 0) continue;  // It is full.
  }
  return status;
}

void VfioInterrupts::Unmask() {
  if (index_ != VFIO_PCI_INTX_IRQ_INDEX || enabled_ == 0) return;
  SetIrqs(device_fd_, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, index_, 0, 1, {});
}

bool VfioInterrupts::WatchEvent(int device_fd, uint32_t index, int eventfd) {
  vfio_irq_info info{};
  return Query(device_fd, index, info) && SetEventfds(device_fd, index, 0, {&eventfd, 1});
}

}  // namespace pollux::pci
