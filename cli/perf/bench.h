#pragma once
#include <atomic>
#include <memory>
#include <ostream>
#include <thread>
#include <vector>

#include "cli/perf/job.h"
#include "cli/perf/options.h"
#include "cli/perf/outcome.h"
#include "core/clock.h"

namespace pollux::cli {

// One run, on the control thread: attach, make the jobs, let threads run them, tell.
class Bench {
 public:
  // `progress`: where a line goes each second, or null.
  Bench(const PerfOptions& options, std::ostream* progress);
  ~Bench();

  Status Attach();
  // Until time is up, there is nothing left to do, or `interrupt` is set.
  Result<Outcome> Run(const std::atomic<bool>& interrupt);

 private:
  struct Attached {
    pollux_nvme_transport_id id{};
    nvme::Controller controller;
  };
  struct Target {  // A job and where it works.
    size_t controller;
    uint32_t nsid;
    int core = -1;
    std::unique_ptr<Job> job;
  };
  struct Worker {
    int core = -1;
    std::vector<Job*> jobs;
    std::thread thread;
    std::atomic<uint64_t> ended_ns{0};  // 0: it works.
  };

  size_t MemoryBytes() const;
  Status MakeJobs(size_t controller);
  Status MakeJobsOf(size_t controller, uint32_t nsid);
  void StartWorkers();
  void Work(Worker& worker) const;
  // Waits, looks after the controllers, shows progress. Returns when that was enough.
  void Watch(const std::atomic<bool>& interrupt);
  void Drain();
  void PollControllers();
  bool AllEnded() const;
  std::vector<Totals> Snapshot() const;
  void ShowProgress(uint64_t now_ns);
  Outcome Tell(std::vector<Totals> totals) const;

  const PerfOptions options_;
  std::ostream* const progress_;
  const RealClock clock_;
  double ns_per_tick_ = 1;
  nvme::Host host_;
  std::vector<Attached> attached_;
  std::vector<Target> targets_;
  std::vector<std::unique_ptr<Worker>> workers_;

  uint64_t started_ns_ = 0, measured_from_ns_ = 0, measured_to_ns_ = 0;
  std::vector<Totals> baseline_;   // What the warm-up did.
  std::unique_ptr<Totals> shown_;  // By the last line of progress; null before the first.
  uint64_t shown_ns_ = 0;
  bool interrupted_ = false;
};

}  // namespace pollux::cli
