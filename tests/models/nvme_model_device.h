#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/memory/region_registry.h"
#include "drivers/pci/pci_device.h"
#include "tests/models/nvme_model.h"
#include "tests/models/pci_config.h"

namespace pollux::models {

// What an in-process device is told of our memory. Its addresses differ from ours on purpose: who
// gives a device a pointer is found out.
class ModelMapper final : public pci::DmaMapper, public DmaSpace {
 public:
  // page_bytes 0: one piece per region, as with an IOMMU; else pages of that size, none of which
  // has a neighbour, as without one.
  explicit ModelMapper(size_t page_bytes) : page_bytes_(page_bytes) {}

  Result<Mapping> Map(const Region& region) override;
  void Unmap(const Region& region, const Mapping& mapping) override;
  std::byte* At(uint64_t iova, uint64_t bytes, bool write) override;

 private:
  struct Piece {
    std::byte* address;
    uint64_t bytes;
  };
  const size_t page_bytes_;
  uint64_t next_ = 0x40'0000'0000;
  std::map<uint64_t, Piece> pieces_;  // By IOVA.
};

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
