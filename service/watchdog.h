#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/loop.h"
#include "core/method_call.h"

namespace pollux::service {

// Looks four times a second whether every loop it watches still turns. One that neither turns nor
// sleeps for a second is stuck: in a handler that does not end, or kept from its core by others.
// What it has to do waits meanwhile, and hosts with it. Costs the loops nothing. Control loop only.
class Watchdog {
 public:
  static constexpr uint64_t kLookEveryNs = 250 * kNsPerMs;
  static constexpr uint64_t kStuckNs = kNsPerSecond;

  class Observer {
   public:
    // Told once, and once when it turns again.
    virtual void OnStuck(const Loop& loop, const std::string& why) = 0;
    virtual void OnTurnsAgain(const Loop& loop, const std::string& how_long) = 0;

   protected:
    ~Observer() = default;
  };

  Watchdog(Loop& control, Observer& observer) : control_(control), observer_(observer) {}
  ~Watchdog() { Stop(); }

  // Outlives the watchdog, or its Stop().
  void Watch(const Loop& loop) { watched_.push_back({.loop = &loop}); }
  void Start();
  void Stop() { control_.CancelTimer(timer_); }
  // 0: it turns, or sleeps.
  uint64_t StuckNs(const Loop& loop) const;

 private:
  struct Watched {
    const Loop* loop;
    uint64_t progress_ns = 0;  // Loop::progress_ns() when it was another than before,
    uint64_t since_ns = 0;     // which was then.
    bool stuck = false;
  };
  void Look();
  void LookAt(Watched& watched, uint64_t now_ns);

  Loop& control_;
  Observer& observer_;
  std::vector<Watched> watched_;
  uint64_t looked_ns_ = 0;
  TimerCall<Watchdog, &Watchdog::Look> timer_{*this};
};

}  // namespace pollux::service
