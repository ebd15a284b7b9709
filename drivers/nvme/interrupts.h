#pragma once
#include <cstdint>
#include <vector>

#include "core/status.h"
#include "core/unique_fd.h"
#include "drivers/pci/pci_device.h"

namespace pollux::nvme {

// Event descriptors for whoever sleeps: vector 0 for the admin queue, vector n for I/O queue n as
// long as there are vectors. Each is a set as event_set.h has it. And the descriptor that says when
// to poll the controller, which is also readable when the device is to be given back.
class Interrupts {
 public:
  explicit Interrupts(pci::PciDevice& device) : device_(device) {}
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // Without `wanted` only what tells of the removal. Once.
  Status Start(bool wanted, uint32_t io_queues);

  int controller_fd() const { return controller_set_.get(); }
  int admin_fd() const { return vectors_.empty() ? -1 : vectors_[0].set; }
  // -1: the queue has none.
  int QueueFd(uint16_t qid) const { return qid < vectors_.size() ? vectors_[qid].set : -1; }
  uint32_t vectors() const { return static_cast<uint32_t>(vectors_.size()); }

  // Before the admin queue is polled: what comes from now on is announced again.
  void Clear();
  // Whether somebody wants the device back, or it is lost.
  bool RemovalAnnounced() const;

 private:
  struct Vector {
    UniqueFd eventfd;  // The device rings it.
    UniqueFd own_set;
    int set = -1;  // own_set; of vector 0 the controller's.
  };
  Status AddVector(uint32_t number);

  pci::PciDevice& device_;
  UniqueFd controller_set_;
  std::vector<Vector> vectors_;
};

}  // namespace pollux::nvme
