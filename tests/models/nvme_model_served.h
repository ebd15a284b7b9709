#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/loop.h"
#include "targets/vfio_user/device.h"
#include "targets/vfio_user/server.h"
#include "tests/models/nvme_model.h"
#include "tests/models/pci_config.h"
#include "tests/models/served_dma.h"

namespace pollux::models {

// NvmeModel behind a vfio-user socket: registers by messages, doorbells in pages that the client
// maps, data in memory that the client gives. A loop's poller lets it step.
class NvmeModelServed final : public vfio_user::ServedDevice, private Poller {
 public:
  struct Options {
    NvmeModel::Options controller;
    // Otherwise doorbells come by messages, each of which wakes the loop: it may then block.
    bool map_doorbells = true;
  };
  // The loop outlives it. The server is set before it listens to a client, and closed before the
  // device dies.
  NvmeModelServed(const Options& options, Loop& loop);
  ~NvmeModelServed();
  void set_server(vfio_user::Server* server) { server_ = server; }

  NvmeModel& model() { return model_; }

  // --- vfio_user::ServedDevice.
  vfio_user::RegionInfo region(int index) const override;
  uint32_t irq_count(int irq_index) const override;
  int ReadRegion(int index, uint64_t offset, std::span<std::byte> data) override;
  int WriteRegion(int index, uint64_t offset, std::span<const std::byte> data) override;
  void Reset() override;
  void OnDmaMapped(const vfio_user::DmaRegion& region) override { memory_.Add(region); }
  Task<void> OnDmaUnmapping(vfio_user::DmaRegion region) override;

 private:
  // --- Poller.
  const char* name() const override { return "nvme_model"; }
  int Poll() override;
  bool MayBlock() override;

  const Options options_;
  Loop& loop_;
  vfio_user::Server* server_ = nullptr;
  ServedDma memory_;
  NvmeModel model_;
  PciConfig config_;
  std::vector<std::byte> msix_;  // The table and the pending bits, which mean nothing here.
};

}  // namespace pollux::models
