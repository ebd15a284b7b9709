#pragma once
#include <string>

#include "core/status.h"
#include "core/task.h"

namespace pollux::scsi {

// Where reservations are kept that outlive a power cycle (APTPL). Control loop only.
class ReservationStore {
 public:
  // Durable when it returns. Empty text: nothing is kept under the name any more.
  virtual Task<Status> Keep(std::string name, std::string text) = 0;
  // What was kept, or nothing.
  virtual std::string Kept(const std::string& name) const = 0;

 protected:
  ~ReservationStore() = default;
};

}  // namespace pollux::scsi
