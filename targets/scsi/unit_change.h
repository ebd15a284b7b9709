#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/task.h"
#include "targets/scsi/persistent_reservations.h"

namespace pollux::scsi {

struct LogicalUnit;

// A change of what all nexuses of a logical unit share, which a command asks for and waits for
// while it is on its way from the command's reactor to the control loop and back. The command may
// be aborted as long as the change has not begun; then it never does.
class UnitChange {
 public:
  virtual ~UnitChange() = default;
  // Begins and ends on the reactor of the command; false when it was aborted before. `unit` is
  // there until the first wait only.
  virtual Task<bool> Execute(LogicalUnit& unit) = 0;

  // The first of the two decides.
  bool Begin() { return Leave(Stage::kUnderWay); }
  virtual bool Abort() { return Leave(Stage::kAborted); }

  // Who asks, set by Execution::Await.
  NexusName who;
  uint64_t nexus = 0;        // Its number.
  size_t reactor_index = 0;  // Where it is.

 private:
  enum class Stage : uint8_t { kWaiting, kUnderWay, kAborted };
  bool Leave(Stage next) {
    Stage expected = Stage::kWaiting;
    return stage_.compare_exchange_strong(expected, next);
  }
  std::atomic<Stage> stage_{Stage::kWaiting};
};

}  // namespace pollux::scsi
