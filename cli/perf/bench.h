#pragma once
#include <atomic>
#include <memory>
#include <ostream>
#include <vector>

#include "cli/perf/job.h"
#include "cli/perf/options.h"
#include "cli/perf/outcome.h"
#include "cli/tool/job_run.h"

namespace pollux::cli {

// One run, on the control thread: attach, make the jobs, let threads run them, tell.
class Bench final : private JobRun::Owner {
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
    std::unique_ptr<Job> job;
  };

  size_t MemoryBytes() const;
  Status MakeJobs(size_t controller);
  Status MakeJobsOf(size_t controller, uint32_t nsid);
  std::vector<Totals> Snapshot() const;
  Outcome Tell(const JobRun& run, const std::vector<int>& cores) const;

  void OnWarm() override { baseline_ = Snapshot(); }
  void OnEnough() override { totals_ = Snapshot(); }
  void Tend() override;
  void ShowProgress(double at_seconds, double seconds) override;
  void OnLate() override;

  const PerfOptions options_;
  std::ostream* const progress_;
  double ns_per_tick_ = 1;
  nvme::Host host_;
  std::vector<Attached> attached_;
  std::vector<Target> targets_;
  std::vector<Totals> baseline_;   // What the warm-up did.
  std::vector<Totals> totals_;     // What that and the measured time did.
  std::unique_ptr<Totals> shown_;  // By the last line of progress; null before the first.
};

}  // namespace pollux::cli
