#pragma once
#include <cstdint>
#include <vector>

#include "core/status.h"

namespace pollux::pci {

// The interrupts of a VFIO device: MSI-X, else MSI, else INTx, each vector to an eventfd.
// VFIO_DEVICE_SET_IRQS. The control thread's.
class VfioInterrupts {
 public:
  // `device_fd` is borrowed. What it does not tell counts as none.
  explicit VfioInterrupts(int device_fd);

  uint32_t vectors() const { return vectors_; }
  // -1: the vector does nothing. When more vectors than before come into use, those there are may
  // be signalled without reason, since one could have been lost.
  Status Set(uint32_t vector, int eventfd);
  // INTx, which the kernel masks when it fires. The others need none.
  void Unmask();

  // The kernel's own messages about the device, VFIO_PCI_REQ_IRQ_INDEX and VFIO_PCI_ERR_IRQ_INDEX.
  // False: this one is never sent.
  static bool WatchEvent(int device_fd, uint32_t index, int eventfd);

 private:
  Status Grow(uint32_t enough);

  int device_fd_;
  uint32_t index_ = 0;
  uint32_t vectors_ = 0;
  bool growable_ = false;      // Vectors may be added while others are in use.
  uint32_t enabled_ = 0;       // As many as the kernel has set up.
  std::vector<int> eventfds_;  // As long as vectors_.
};

}  // namespace pollux::pci
