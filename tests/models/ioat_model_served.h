#pragma once
#include <cstddef>
#include <cstdint>

#include "core/loop.h"
#include "targets/vfio_user/device.h"
#include "targets/vfio_user/server.h"
#include "tests/models/ioat_model.h"
#include "tests/models/pci_config.h"
#include "tests/models/served_dma.h"

namespace pollux::models {

// IoatModel behind a vfio-user socket: registers by messages, data in memory that the client gives.
// A loop's poller lets it step.
class IoatModelServed final : public vfio_user::ServedDevice, private Poller {
 public:
  // The loop outlives it. The server is set before it listens to a client, and closed before the
  // device dies.
  IoatModelServed(const IoatModel::Options& options, Loop& loop);
  ~IoatModelServed();
  void set_server(vfio_user::Server* server) { server_ = server; }

  IoatModel& model() { return model_; }
  // What goes wrong, counted from now, and from when a client comes. 0: never.
  struct Faults {
    uint32_t fail_nth = 0, fail_every = 0;  // Descriptors of each channel,
    uint32_t chanerr = ioat::chanerr::kReadData;
    uint64_t stall_after = 0, lie_after = 0;  // and of all channels together.
  };
  void SetFaults(const Faults& faults);
  // Every nth descriptor fails in this way; 0: none does.
  void FailEvery(uint32_t nth, uint32_t chanerr) {
    SetFaults({.fail_every = nth, .chanerr = chanerr});
  }

  // --- vfio_user::ServedDevice.
  vfio_user::RegionInfo region(int index) const override;
  uint32_t irq_count(int irq_index) const override;
  int ReadRegion(int index, uint64_t offset, std::span<std::byte> data) override;
  int WriteRegion(int index, uint64_t offset, std::span<const std::byte> data) override;
  void Reset() override;
  void OnDmaMapped(const vfio_user::DmaRegion& region) override { memory_.Add(region); }
  Task<void> OnDmaUnmapping(vfio_user::DmaRegion region) override;
  void OnClientConnected() override { SetFaults(faults_); }

 private:
  void PowerOn();

  // --- Poller.
  const char* name() const override { return "ioat_model"; }
  int Poll() override;
  bool MayBlock() override { return !model_.busy(); }

  const IoatModel::Options options_;
  Loop& loop_;
  vfio_user::Server* server_ = nullptr;
  ServedDma memory_;
  IoatModel model_;
  PciConfig config_;
  Faults faults_;
  uint64_t executed_ = 0;  // Since the faults were set.
};

}  // namespace pollux::models
