#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/memory/region_registry.h"
#include "drivers/pci/pci_device.h"
#include "tests/models/model_mapper.h"
#include "tests/models/nvme_model.h"
#include "tests/models/pci_config.h"

namespace pollux::models {

// NvmeModel as a PCI device of this process.
class NvmeModelDevice final : public pci::PciDevice {
 public:
  struct Options {
    NvmeModel::Options controller;
    uint16_t vendor = NvmeModel::kVendorId, device = 0x0010;  // As PCI has them.
    size_t dma_page_bytes = 0;                                // See ModelMapper.
    // Null from MapBar() otherwise: then every doorbell is written by a call, and counted.
    bool map_doorbells = true;
    bool has_interrupts = true;
    int removal_fd = -1;  // Borrowed.
  };
  // The registry outlives the device.
  NvmeModelDevice(const Options& options, RegionRegistry& registry);
  ~NvmeModelDevice() override;

  NvmeModel& model() { return model_; }

  // --- pci::PciDevice.
  const std::string& name() const override { return name_; }
  uint32_t ReadConfig(uint32_t offset, size_t bytes) override;
  void WriteConfig(uint32_t offset, size_t bytes, uint32_t value) override;
  uint64_t bar_bytes(int bar) const override;
  uint32_t Read32(int bar, uint64_t offset) override;
  uint64_t Read64(int bar, uint64_t offset) override;
  void Write32(int bar, uint64_t offset, uint32_t value) override;
  void Write64(int bar, uint64_t offset, uint64_t value) override;
  std::byte* MapBar(int bar, uint64_t offset, size_t bytes) override;
  pci::DmaMap& dma() override { return *dma_; }
  uint32_t interrupt_vectors() const override;
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
  NvmeModel model_;
  PciConfig config_;
  std::vector<int> eventfds_;  // By vector; -1: none.
};

}  // namespace pollux::models
