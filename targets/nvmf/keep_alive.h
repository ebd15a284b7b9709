#pragma once
#include <cstdint>

#include "core/loop.h"
#include "core/method_call.h"

namespace pollux::nvmf {

// Notices that a host is gone: no admin command came for the keep alive timeout. Base §3.9. The
// timer is not moved by every command, but looks, when it runs, when the host was last heard.
class KeepAlive {
 public:
  class Owner {
   public:
    // Once. `silent_ns`: since the host was last heard.
    virtual void OnSilence(uint64_t silent_ns) = 0;

   protected:
    ~Owner() = default;
  };
  // What a discovery controller without a timeout grants. §3.1.2.3.2
  static constexpr uint32_t kDiscoveryTimeoutMs = 120'000;

  KeepAlive(Loop& loop, Owner& owner) : loop_(loop), owner_(owner) {}
  ~KeepAlive() { Stop(); }

  // The timeout that a host gets for what it asks for: raised to the least, and to the next
  // multiple of the granularity (in units of 100 ms). 0 stays: it wants none.
  static uint32_t Grant(uint32_t asked_ms, uint16_t kas, uint32_t min_ms);

  // 0: none. Begins anew.
  void SetTimeout(uint32_t timeout_ms);
  void Heard() { last_heard_ns_ = loop_.NowNs(); }
  void Stop() { loop_.CancelTimer(timer_); }
  uint32_t timeout_ms() const { return timeout_ms_; }

 private:
  void OnTimer();

  Loop& loop_;
  Owner& owner_;
  uint32_t timeout_ms_ = 0;
  uint64_t last_heard_ns_ = 0;
  TimerCall<KeepAlive, &KeepAlive::OnTimer> timer_{*this};
};

}  // namespace pollux::nvmf
