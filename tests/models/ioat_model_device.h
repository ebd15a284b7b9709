#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/memory/region_registry.h"
#include "drivers/pci/pci_device.h"
#include "tests/models/ioat_model.h"
#include "tests/models/model_mapper.h"
#include "tests/models/pci_config.h"

namespace pollux::models {

// The configuration space of an I/OAT device: MSI-X within BAR 0, and the error registers beyond
// the first 256 bytes.
PciConfig MakeIoatConfig(const IoatModel::Options& options);
inline constexpr uint32_t kIoatMsixTable = 0x2000, kIoatMsixPba = 0x3000;

// IoatModel as a PCI device of this process.
class IoatModelDevice : public pci::PciDevice {
 public:
  struct Options {
    IoatModel::Options device;
    size_t dma_page_bytes = 0;     // See ModelMapper.
    bool map_doorbells = true;     // Otherwise null from MapBar().
    bool steps_when_read = false;  // The device works while its registers are looked at.
    int removal_fd = -1;           // Borrowed.
  };
  // The registry outlives the device.
  IoatModelDevice(const Options& options, RegionRegistry& registry);
  ~IoatModelDevice() override;

  IoatModel& model() { return model_; }
  PciConfig& config() { return config_; }

  // --- pci::PciDevice.
  const std::string& name() const override { return name_; }
  uint32_t ReadConfig(uint32_t offset, size_t bytes) override;
  void WriteConfig(uint32_t offset, size_t bytes, uint32_t value) override;
  uint64_t bar_bytes(int bar) const override { return bar == 0 ? ioat::kBarBytes : 0; }
  uint32_t Read32(int bar, uint64_t offset) override;
  uint64_t Read64(int bar, uint64_t offset) override;
  void Write32(int bar, uint64_t offset, uint32_t value) override;
  void Write64(int bar, uint64_t offset, uint64_t value) override;
  uint8_t Read8(int bar, uint64_t offset) override;
  uint16_t Read16(int bar, uint64_t offset) override;
  void Write8(int bar, uint64_t offset, uint8_t value) override;
  void Write16(int bar, uint64_t offset, uint16_t value) override;
  std::byte* MapBar(int bar, uint64_t offset, size_t bytes) override;
  pci::DmaMap& dma() override { return *dma_; }
  uint32_t interrupt_vectors() const override { return options_.device.channels; }
  Status SetInterrupt(uint32_t vector, int eventfd) override;
  Status Reset() override;
  Status gone() override;
  int removal_fd() const override { return options_.removal_fd; }

 private:
  uint64_t Read(int bar, uint64_t offset, size_t bytes);
  void Write(int bar, uint64_t offset, size_t bytes, uint64_t value);

  const Options options_;
  const std::string name_ = "model";
  ModelMapper mapper_;
  std::unique_ptr<pci::DmaMap> dma_;
  IoatModel model_;
  PciConfig config_;
  std::array<int, ioat::kChannelsMax> eventfds_{-1, -1, -1, -1};
};

}  // namespace pollux::models
