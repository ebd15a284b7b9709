#pragma once
#include <cstdint>
#include <vector>

#include "core/status.h"
#include "core/unique_fd.h"
#include "drivers/pci/pci_device.h"

namespace pollux::nvme {

// Event descriptors for whoever sleeps: vector 0 for the admin queue, vector n for I/O queue n as
// long as there are vectors. And the descriptor that says when to poll the controller, which is
// also readable when the device is to be given back.
class Interrupts {
 public:
  explicit Interrupts(pci::PciDevice& device) : device_(device) {}
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Without `wanted` only what tells of the removal. Once.
  Status Start(bool wanted, uint32_t io_queues);

  int controller_fd() const { return all_.get(); }
  int admin_fd() const { return fds_.empty() ? -1 : fds_[0].get(); }
  // -1: the queue has none.
  int QueueFd(uint16_t qid) const { return qid < fds_.size() ? fds_[qid].get() : -1; }
  uint32_t vectors() const { return static_cast<uint32_t>(fds_.size()); }

  // Before the admin queue is polled: what comes from now on is announced again.
  void Clear();
  // Whether somebody wants the device back, or it is lost.
  bool RemovalAnnounced() const;

 private:
  Status Watch(int fd);

  pci::PciDevice& device_;
  UniqueFd all_;               // An epoll descriptor.
  std::vector<UniqueFd> fds_;  // By vector.
};

}  // namespace pollux::nvme
