#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "cli/tool/measuring.h"
#include "core/clock.h"
#include "core/status.h"

namespace pollux::cli {

// Keeps something full of work: a queue, a channel. The control thread makes and destroys it; in
// between one thread calls Start() and then Poll() until it is over.
class PolledJob {
 public:
  virtual ~PolledJob() = default;

  // --- Its thread.
  virtual void Start() = 0;
  virtual void Poll() = 0;
  // Nothing is in flight, and nothing will be.
  virtual bool over() const = 0;

  // --- Any thread.
  // Begins nothing more, and what still ends is not counted.
  virtual void Stop() = 0;
};

// Threads run jobs, until the time is up, there is nothing left to do, or somebody interrupts.
// Meanwhile the control thread waits here, and tells its owner of each stage.
class JobRun {
 public:
  class Owner {
   public:
    // The warm-up is over.
    virtual void OnWarm() = 0;
    // It was enough: what is counted from here on does not belong to it.
    virtual void OnEnough() = 0;
    // Now and then, until the last job is over: a controller may want to be looked after.
    virtual void Tend() = 0;
    // Each second, when progress is wanted: `seconds` since the last time.
    virtual void ShowProgress(double at_seconds, double seconds) = 0;
    // What is in flight takes long to end.
    virtual void OnLate() {}

   protected:
    ~Owner() = default;
  };

  JobRun(const MeasuringOptions& options, bool shows_progress, Owner& owner);

  // Spreads the jobs over the cores. `cores` gets the core of each, -1: none in particular.
  void Spread(const std::vector<PolledJob*>& jobs, std::vector<int>& cores);
  Status Run(const std::atomic<bool>& interrupt);

  // What was measured, without the warm-up.
  double seconds() const;
  bool interrupted() const { return interrupted_; }

 private:
  struct Worker {
    int core = -1;
    std::vector<PolledJob*> jobs;
    std::thread thread;
    std::atomic<uint64_t> ended_ns{0};  // 0: it works.
  };

  void Work(Worker& worker) const;
  void Watch(const std::atomic<bool>& interrupt);
  void Drain();
  bool AllEnded() const;

  const MeasuringOptions& options_;
  const bool shows_progress_;
  Owner& owner_;
  const RealClock clock_;
  std::vector<std::unique_ptr<Worker>> workers_;
  uint64_t started_ns_ = 0, measured_from_ns_ = 0, measured_to_ns_ = 0;
  bool interrupted_ = false;
};

}  // namespace pollux::cli
