#pragma once
#include <atomic>
#include <cstdint>

#include "core/clock.h"
#include "core/task.h"

namespace pollux::cli {

// A stretch of time in which reactors work, and the control loop watches.
class Pass {
 public:
  class Owner {
   public:
    // There is nothing left to do.
    virtual bool IsOver() const = 0;
    // Each second, when progress is wanted: `seconds` since the last time.
    virtual void ShowProgress(double at_seconds, double seconds) = 0;

   protected:
    ~Owner() = default;
  };
  static constexpr uint64_t kUnbounded = UINT64_MAX / 4;

  // All outlive it.
  Pass(const Clock& clock, bool shows_progress, const std::atomic<bool>& interrupt, Owner& owner)
      : clock_(clock), shows_progress_(shows_progress), interrupt_(interrupt), owner_(owner) {}

  // Until so long has passed, it is over, or somebody interrupts. The latter: false.
  Task<bool> Await(uint64_t ns);

 private:
  const Clock& clock_;
  const bool shows_progress_;
  const std::atomic<bool>& interrupt_;
  Owner& owner_;
};

}  // namespace pollux::cli
