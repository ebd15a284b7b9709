#pragma once
#include <cstdint>

#include "core/spec/nvme_spec.h"
#include "core/status.h"
#include "core/task.h"
#include "drivers/nvme/admin.h"
#include "drivers/nvme/arena.h"
#include "drivers/nvme/bring_up.h"
#include "drivers/nvme/queue_pair.h"

namespace pollux::nvme {

// Doorbells in memory, for devices made of software: they tell by the event index when a write to
// the register is wanted. Base §5.8, annex B.5. For I/O queues only: many devices do not heed it
// for the admin queue, where it would save nothing.
class ShadowDoorbells {
 public:
  // Fails when the device, or the memory, does not have them; then there are none.
  Task<Status> Configure(AdminQueue& admin, pci::DmaMap& dma, Capabilities capabilities);
  bool used() const { return used_; }
  void FillIn(QueuePair::Parts& parts) const;

 private:
  Piece shadow_, event_;
  uint32_t stride_ = 4;
  bool used_ = false;
};

}  // namespace pollux::nvme
