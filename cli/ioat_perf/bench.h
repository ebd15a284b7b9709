#pragma once
#include <atomic>
#include <memory>
#include <ostream>
#include <vector>

#include "cli/ioat_perf/job.h"
#include "cli/ioat_perf/options.h"
#include "cli/ioat_perf/outcome.h"
#include "cli/tool/job_run.h"

namespace pollux::cli {

// One run, on the control thread: attach, make the jobs, let threads run them, tell. First the
// devices, then the CPU.
class IoatBench final : private JobRun::Owner {
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
    std::unique_ptr<IoatJob> job;
  };
  using Readings = std::vector<std::unique_ptr<Reading>>;

  uint32_t Descriptors() const;
  Status MakeTargets(int device);
  Status RunTargets(bool cpu, const std::atomic<bool>& interrupt);
  Readings Snapshot() const;
  void Tell(const JobRun& run, const std::vector<int>& cores);

  void OnWarm() override { baseline_ = Snapshot(); }
  void OnEnough() override { readings_ = Snapshot(); }
  void Tend() override;
  void ShowProgress(double at_seconds, double seconds) override;

  const IoatPerfOptions options_;
  std::ostream* const progress_;
  double ns_per_tick_ = 1;
  ioat::Host host_;
  std::vector<ioat::Device> devices_;
  IoatOutcome outcome_;

  // Of the turn that is under way.
  bool by_cpu_ = false;
  std::vector<Target> targets_;
  Readings baseline_;               // What the warm-up did.
  Readings readings_;               // What that and the measured time did.
  std::unique_ptr<Reading> shown_;  // By the last line of progress; null before the first.
};

}  // namespace pollux::cli
