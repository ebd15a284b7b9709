#pragma once
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/spec/pci_spec.h"
#include "drivers/pci/pci_device.h"

namespace pollux::pci {

// A function that is nothing but its configuration space.
class ConfigSpace final : public PciDevice {
 public:
  void Set(uint32_t offset, size_t bytes, uint32_t value) {
    memcpy(space_.data() + offset, &value, bytes);
  }
  const std::string& name() const override { return name_; }
  uint32_t ReadConfig(uint32_t offset, size_t bytes) override {
    uint32_t value = pci_spec::kAllOnes >> (32 - 8 * bytes);
    if (offset + bytes <= space_.size()) {
      value = 0;
      memcpy(&value, space_.data() + offset, bytes);
    }
    return value;
  }
  void WriteConfig(uint32_t offset, size_t bytes, uint32_t value) override {
    ++writes;
    Set(offset, bytes, value);
  }
  uint64_t bar_bytes(int) const override { return 0; }
  uint32_t Read32(int, uint64_t) override { return pci_spec::kAllOnes; }
  uint64_t Read64(int, uint64_t) override { return ~uint64_t{0}; }
  void Write32(int, uint64_t, uint32_t) override {}
  void Write64(int, uint64_t, uint64_t) override {}
  std::byte* MapBar(int, uint64_t, size_t) override { return nullptr; }
  DmaMap& dma() override { abort(); }
  uint32_t interrupt_vectors() const override { return 0; }
  Status SetInterrupt(uint32_t, int) override { return NotSupported("no interrupts"); }
  Status Reset() override { return OkStatus(); }
  Status gone() override { return OkStatus(); }
  int removal_fd() const override { return -1; }

  int writes = 0;

 private:
  std::array<uint8_t, pci_spec::kConfigBytes> space_{};
  const std::string name_ = "configuration space";
};

}  // namespace pollux::pci
