#pragma once
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "cli/accel_perf/options.h"
#include "cli/accel_perf/work.h"
#include "cli/tool/meter.h"
#include "core/accel/accel_channel.h"
#include "core/memory/memory.h"
#include "core/reactors.h"

namespace pollux::cli {

// Keeps the accel channel of one reactor busy with chains. Made and destroyed on the control loop,
// started and stopped on the reactor.
class AccelWorker final : private Poller {
 public:
  // `bytes` in place of the options'. The options, and what else is borrowed, outlive it.
  static Result<std::unique_ptr<AccelWorker>> Make(const AccelPerfOptions& options, uint32_t bytes,
                                                   AccelChannel& channel, RegionRegistry& regions,
                                                   double ns_per_tick);
  ~AccelWorker() override;  // Stopped.

  // --- The reactor.
  void Start();
  // Nothing new begins; it is idle soon.
  void Finish() { finishing_ = true; }
  bool idle() const { return in_flight_ == 0; }
  void Stop();

  // --- Any thread.
  const Meter& meter() const { return meter_; }
  // It has made as many as it should, or something went wrong.
  bool over() const { return over_.load(std::memory_order_acquire); }
  uint64_t verified() const { return verified_.load(std::memory_order_relaxed); }
  uint64_t failures() const { return failures_.load(std::memory_order_relaxed); }
  // The first of them, once it is over or stopped.
  const std::string& first_failure() const { return first_failure_; }
  Reactor& reactor() const { return channel_.reactor(); }

 private:
  class Chain;
  class Idle;

  AccelWorker(const AccelPerfOptions& options, uint32_t bytes, AccelChannel& channel,
              double ns_per_tick);

  const char* name() const override { return "accel_perf"; }
  int Poll() override;
  bool MayBlock() override { return finishing_; }
  void Account(Chain& chain);
  void Fail(const std::string& what);

  const AccelPerfOptions& options_;
  const uint32_t bytes_;
  AccelChannel& channel_;
  const double ns_per_tick_;
  std::unique_ptr<SharedPages> memory_;
  std::deque<Chain> chains_;
  std::unique_ptr<Idle> idle_;  // The one that has been idle for longest first.
  size_t in_flight_ = 0;
  uint64_t begun_ = 0;
  bool finishing_ = false;
  Meter meter_;
  std::atomic<uint64_t> verified_{0}, failures_{0};
  std::atomic<bool> over_{false};
  std::string first_failure_;
};

}  // namespace pollux::cli
