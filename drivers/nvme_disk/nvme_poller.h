#pragma once
#include <cstdint>

#include "core/loop.h"
#include "core/method_call.h"
#include "drivers/nvme/nvme.h"

namespace pollux {

// Polls a controller on the control loop: when its event descriptor is readable, and by a timer,
// which is fast only while its owner says so.
class NvmePoller {
 public:
  static constexpr uint64_t kBusyNs = kNsPerMs;
  static constexpr uint64_t kIdleNs = 100 * kNsPerMs;

  class Owner {
   public:
    // Until the next poll that nothing else causes.
    virtual uint64_t PollPeriodNs() const = 0;
    // After each poll. The poller may be stopped from within.
    virtual void OnPolled() = 0;

   protected:
    ~Owner() = default;
  };

  NvmePoller(Loop& loop, Owner& owner) : loop_(loop), owner_(owner) {}
  ~NvmePoller();  // Stopped, or never started.

  void Start(pollux_nvme_controller* controller);
  // Before the controller is released; not within a poll of it.
  void Stop();

  // Now. Nothing happens within a poll, or when it is stopped.
  void Poll();
  // The period, or the controller's descriptor, may be another one than before.
  void Arm();

 private:
  Loop& loop_;
  Owner& owner_;
  pollux_nvme_controller* controller_ = nullptr;
  bool polling_ = false;
  int watched_fd_ = -1;
  TimerCall<NvmePoller, &NvmePoller::Poll> ticker_{*this};
  ReadyCall<NvmePoller, &NvmePoller::Poll> waker_{*this};
};

}  // namespace pollux
