#pragma once
#include <cstdint>

namespace pollux::nvme {

// What lies behind the rings of a queue where no device reaches them by itself: it takes submission
// entries, carries them away, and writes completion entries as a device would, with their phase
// tag. The queue's owner calls it, as long as the queue is open or closed: a queue that drains, or
// is drained, is not carried on.
class QueueWire {
 public:
  // The submission ring is filled up to `tail`.
  virtual void OnDoorbell(uint16_t tail) = 0;
  // Carries what it can without waiting.
  virtual void Work() = 0;
  // Before the owner sleeps. False: there is something to do.
  virtual bool PrepareSleep() = 0;

 protected:
  ~QueueWire() = default;
};

}  // namespace pollux::nvme
