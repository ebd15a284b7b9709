#pragma once
#include <array>
#include <memory>
#include <string>

#include "core/spec/pci_spec.h"
#include "core/status.h"
#include "core/unique_fd.h"
#include "drivers/pci/pci_bus.h"
#include "drivers/pci/pci_device.h"
#include "drivers/pci/vfio_bar.h"
#include "drivers/pci/vfio_group.h"
#include "drivers/pci/vfio_interrupts.h"

namespace pollux::pci {

// A PCI function of this machine, through VFIO. See VfioHost, which opens them.
class VfioDevice final : public PciDevice {
 public:
  static Result<std::unique_ptr<PciDevice>> Open(std::shared_ptr<VfioGroup> group,
                                                 const PciFunction& function);
  ~VfioDevice() override;

  const std::string& name() const override { return name_; }
  int numa_node() const override { return numa_node_; }
  uint32_t ReadConfig(uint32_t offset, size_t bytes) override;
  void WriteConfig(uint32_t offset, size_t bytes, uint32_t value) override;
  uint64_t bar_bytes(int bar) const override;
  uint32_t Read32(int bar, uint64_t offset) override;
  uint64_t Read64(int bar, uint64_t offset) override;
  void Write32(int bar, uint64_t offset, uint32_t value) override;
  void Write64(int bar, uint64_t offset, uint64_t value) override;
  uint8_t Read8(int bar, uint64_t offset) override;
  uint16_t Read16(int bar, uint64_t offset) override;
  void Write8(int bar, uint64_t offset, uint8_t value) override;
  void Write16(int bar, uint64_t offset, uint16_t value) override;
  std::byte* MapBar(int bar, uint64_t offset, size_t bytes) override;
  DmaMap& dma() override { return group_->container()->dma(); }
  uint32_t interrupt_vectors() const override { return interrupts_.vectors(); }
  Status SetInterrupt(uint32_t vector, int eventfd) override;
  void UnmaskInterrupt(uint32_t vector) override;
  Status Reset() override;
  Status gone() override;
  int removal_fd() const override { return removal_.get(); }

 private:
  VfioDevice(std::shared_ptr<VfioGroup> group, const PciFunction& function, UniqueFd fd);
  Status Start();
  Status OpenBars();
  const VfioBar& Bar(int bar) const;
  Status WatchRemoval();

  const std::string name_;
  const int numa_node_;
  const std::shared_ptr<VfioGroup> group_;
  const UniqueFd fd_;
  bool resettable_ = false;
  RegionInfo config_;
  std::array<VfioBar, pci_spec::kBars + 1> bars_;  // The last stands for all that there cannot be.
  VfioInterrupts interrupts_;
  UniqueFd requested_;  // An eventfd: the kernel wants the device back.
  UniqueFd failed_;     // An eventfd: it had an error that cannot be corrected.
  UniqueFd removal_;    // An epoll descriptor of both.
};

}  // namespace pollux::pci
