#pragma once
#include <atomic>
#include <memory>
#include <ostream>
#include <thread>
#include <vector>

#include "cli/ioat_perf/job.h"
#include "cli/ioat_perf/options.h"
#include "cli/ioat_perf/outcome.h"
#include "core/clock.h"

namespace pollux::cli {

// One run, on the control thread: attach, make the jobs, let threads run them, tell. First the
// devices, then the CPU.
class IoatBench {
 public:
  // `progress`: where a line goes each second, or null.
  IoatBench(const IoatPerfOptions& options, std::ostream* progress);
  ~IoatBench();

  Status Attach();
  // Until time is up, there is nothing left to do, or `interrupt` is set.
  Result<IoatOutcome> Run(const std::atomic<bool>& interrupt);

 private:
  struct Target {  // A job and where it works.
    int device = -1;
    unsigned number = 0;
    int core = -1;
    std::unique_ptr<IoatJob> job;
  };
  struct Worker {
    int core = -1;
    std::vector<IoatJob*> jobs;
    std::thread thread;
    std::atomic<uint64_t> ended_ns{0};  // 0: it works.
  };

  uint32_t Descriptors() const;
  Status MakeTargets(int device);
  Status RunTargets(bool cpu, const std::atomic<bool>& interrupt);
  void StartWorkers();
  void Work(Worker& worker) const;
  // Waits, looks after the devices, shows progress. Returns when that was enough.
  void Watch(bool cpu, const std::atomic<bool>& interrupt);
  void PollDevices();
  bool AllEnded() const;
  void ShowProgress(bool cpu, uint64_t now_ns);
  void Tell(const std::vector<std::unique_ptr<Reading>>& readings);

  const IoatPerfOptions options_;
  std::ostream* const progress_;
  const RealClock clock_;
  double ns_per_tick_ = 1;
  ioat::Host host_;
  std::vector<ioat::Device> devices_;
  IoatOutcome outcome_;

  // Of the turn that is under way.
  std::vector<Target> targets_;
  std::vector<std::unique_ptr<Worker>> workers_;
  uint64_t started_ns_ = 0, measured_from_ns_ = 0, measured_to_ns_ = 0;
  std::vector<std::unique_ptr<Reading>> baseline_;  // What the warm-up did.
  std::unique_ptr<Reading> shown_;  // By the last line of progress; null before the first.
  uint64_t shown_ns_ = 0;
};

}  // namespace pollux::cli
