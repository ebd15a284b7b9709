#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>

#include "drivers/nvme/bring_up.h"
#include "drivers/nvme/registers.h"
#include "drivers/pci/pci_device.h"

namespace pollux::nvme {

// Memory of the device's own, in a BAR, in which submission queues may lie: it then need not fetch
// commands over the bus. Base §8.5.
class ControllerMemoryBuffer {
 public:
  // Looks for it, and keeps what it finds. Only one that takes submission queues counts.
  void Find(pci::PciDevice& device, Registers& registers, const Capabilities& capabilities);
  // Tells the device where it lies; again after each reset. From 1.4 on nothing else enables it.
  void Enable(Registers& registers) const;

  struct Room {
    std::byte* memory;
    uint64_t address;  // As the device knows it.
  };
  // None: there is no more, or none at all. What is taken stays taken.
  std::optional<Room> Take(size_t bytes, size_t alignment);

 private:
  std::byte* memory_ = nullptr;
  uint64_t address_ = 0;
  uint64_t bytes_ = 0, used_ = 0;
  bool must_enable_ = false;
};

}  // namespace pollux::nvme
