#pragma once
#include <cstdint>

#include "core/mmio.h"
#include "drivers/pci/pci_device.h"

namespace pollux::nvme {

// The controller's registers: BAR 0. Control thread.
//
// Where nothing answers, a read returns all ones (PCI Express §2.3.2). No register that we read may
// be so, since each has reserved bits; CRTO alone may, and is read by nobody else.
class Registers {
 public:
  explicit Registers(pci::PciDevice& device) : device_(device) {}

  uint32_t Read(Reg<uint32_t> reg) {
    const uint32_t value = device_.Read32(kBar, reg.offset);
    if (value == ~uint32_t{0}) gone_ = true;
    return value;
  }
  uint64_t Read(Reg<uint64_t> reg) {
    const uint64_t value = device_.Read64(kBar, reg.offset);
    if (value == ~uint64_t{0}) gone_ = true;
    return value;
  }
  uint32_t ReadAnything(Reg<uint32_t> reg) { return device_.Read32(kBar, reg.offset); }
  void Write(Reg<uint32_t> reg, uint32_t value) { device_.Write32(kBar, reg.offset, value); }
  void Write(Reg<uint64_t> reg, uint64_t value) { device_.Write64(kBar, reg.offset, value); }

  // Since a read that nothing answered.
  bool gone() const { return gone_; }
  uint64_t bytes() const { return device_.bar_bytes(kBar); }
  static constexpr int kBar = 0;

 private:
  pci::PciDevice& device_;
  bool gone_ = false;
};

}  // namespace pollux::nvme
