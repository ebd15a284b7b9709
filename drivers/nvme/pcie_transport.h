#pragma once
#include <memory>
#include <string>

#include "drivers/nvme/bring_up.h"
#include "drivers/nvme/controller_memory_buffer.h"
#include "drivers/nvme/host_memory_buffer.h"
#include "drivers/nvme/interrupts.h"
#include "drivers/nvme/registers.h"
#include "drivers/nvme/shadow_doorbells.h"
#include "drivers/nvme/transport.h"
#include "drivers/pci/pci_device.h"

namespace pollux::nvme {

// A PCI function, by VFIO or at a vfio-user socket: registers, rings in memory that it reaches,
// doorbells, interrupts. NVMe over PCIe Transport Specification 1.0.
class PcieTransport final : public Transport {
 public:
  PcieTransport(const Surroundings& around, std::unique_ptr<pci::PciDevice> device);

  const std::string& name() const override { return device_->name(); }
  Quirks quirks() const override { return quirks_; }
  const Capabilities& capabilities() const override { return capabilities_; }
  Status Describe(ControllerFacts& facts) override;

  Findings Look(uint64_t now_ns) override;
  Status Silence() override;
  int event_fd() const override { return interrupts_.controller_fd(); }
  void ClearEvents() override { interrupts_.Clear(); }

  Task<Status> MakeReady(bool first, uint16_t io_queues, uint16_t io_queue_depth) override;
  Task<Status> LendMemory(ControllerFacts& facts) override;
  Task<Status> PrepareQueues(ControllerFacts& facts, bool made) override;
  uint32_t io_queues_max() const override { return capabilities_.doorbell_queues_max - 1; }
  Result<QueueMemory> MakeQueue(QueuePair::Parts& parts, const ControllerFacts& facts) override;
  Task<Status> CreateQueue(QueuePair& queue) override;
  Task<void> DeleteQueue(QueuePair& queue) override;

  bool ready() const override { return bring_up_.state() == BringUp::State::kReady; }
  void Cut() override { device_->SetBusMaster(false); }
  Task<void> Stop() override;
  Task<void> TakeBackMemory() override { (void)co_await hmb_.TakeBack(around_.admin); }
  Task<Status> ShutDown(uint64_t limit_ns) override;

 private:
  Task<Status> AwaitBringUp();
  Status MakeAdminQueue();
  Status CheckUnchanged(const Capabilities& before, uint16_t io_queues,
                        uint16_t io_queue_depth) const;
  uint32_t Configuration() const;
  void FillInDoorbells(QueuePair::Parts& parts) const;
  Task<Completion> CreateCq(const QueuePair& queue);
  Task<Completion> CreateSq(const QueuePair& queue);
  Task<Completion> DeleteSq(uint16_t qid);
  Task<Completion> DeleteCq(uint16_t qid);
  uint64_t NowNs() const;

  const std::unique_ptr<pci::PciDevice> device_;
  const Quirks quirks_;
  uint64_t next_look_ns_ = 0;
  Registers registers_;
  BringUp bring_up_;
  Capabilities capabilities_;
  std::byte* doorbells_ = nullptr;  // Mapped, or null.
  Interrupts interrupts_;
  ControllerMemoryBuffer cmb_;
  HostMemoryBuffer hmb_;
  ShadowDoorbells shadows_;
};

}  // namespace pollux::nvme
