#pragma once
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "core/memory/region_registry.h"
#include "core/vfio_user/file_mapping.h"
#include "drivers/pci/dma_map.h"
#include "drivers/pci/pci_device.h"
#include "drivers/pci/vfio_user_client.h"

namespace pollux::pci {

// A PCI function that another process serves at a vfio-user socket. It reaches our memory through
// the files behind it, so every region of the registry needs one.
class VfioUserDevice final : public PciDevice, private DmaMapper {
 public:
  // `address` as in VfioUserClient::Connect. The registry outlives the device.
  static Result<std::unique_ptr<PciDevice>> Open(const std::string& address,
                                                 RegionRegistry& registry,
                                                 uint64_t timeout_ns = VfioUserClient::kTimeoutNs);
  // The same over a connection that is there.
  static Result<std::unique_ptr<PciDevice>> Open(std::unique_ptr<VfioUserClient> client,
                                                 RegionRegistry& registry);
  ~VfioUserDevice() override;

  const std::string& name() const override { return client_->name(); }
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
  DmaMap& dma() override { return *dma_; }
  uint32_t interrupt_vectors() const override { return vectors_; }
  Status SetInterrupt(uint32_t vector, int eventfd) override;
  void UnmaskInterrupt(uint32_t vector) override;
  Status Reset() override;
  Status gone() override;
  int removal_fd() const override { return removal_.get(); }

 private:
  struct MappedArea {
    uint64_t offset, bytes;  // In the BAR.
    vfio_user::FileMapping memory;
  };
  struct Bar {
    uint64_t bytes = 0;
    std::vector<MappedArea> areas;
  };

  explicit VfioUserDevice(std::unique_ptr<VfioUserClient> client);
  Status Start(RegionRegistry& registry);
  Status FindRegions(uint32_t count);
  Status FindInterrupts(uint32_t indexes);
  Status WatchRemoval();
  Status MapAreas(const VfioUserClient::DeviceRegion& region, Bar& bar);

  Result<Mapping> Map(const Region& region) override;
  void Unmap(const Region& region, const Mapping& mapping) override;

  template <typename T>
  T Read(int bar, uint64_t offset);
  template <typename T>
  void Write(int bar, uint64_t offset, T value);
  bool Contains(int bar, uint64_t offset, size_t bytes) const;

  // Lets the device send interrupts of the kind in use, or not: what the kernel does under VFIO.
  void EnableInterrupts(bool on);
  bool any_armed() const;

  const std::unique_ptr<VfioUserClient> client_;
  UniqueFd removal_;  // An epoll set that is readable when the socket has hung up.
  bool can_reset_ = false;
  uint64_t config_bytes_ = 0;
  std::array<Bar, 6> bars_;
  uint32_t irq_index_ = 0;
  uint32_t vectors_ = 0;
  uint64_t mapped_bytes_ = 0;
  std::vector<bool> armed_;  // Which vectors have an eventfd.
  std::unique_ptr<DmaMap> dma_;
};

}  // namespace pollux::pci
