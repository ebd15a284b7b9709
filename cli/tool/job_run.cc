#include "cli/tool/job_run.h"

#include <algorithm>

#include "cli/tool/threads.h"

namespace pollux::cli {
namespace {

constexpr uint64_t kWatchNs = 2 * kNsPerMs;
constexpr uint64_t kProgressNs = kNsPerSecond;
constexpr uint64_t kLateNs = 10 * kNsPerSecond;

double Seconds(uint64_t ns) { return static_cast<double>(ns) / static_cast<double>(kNsPerSecond); }

}  // namespace

JobRun::JobRun(const MeasuringOptions& options, bool shows_progress, Owner& owner)
    : options_(options), shows_progress_(shows_progress), owner_(owner) {}

void JobRun::Spread(const std::vector<PolledJob*>& jobs, std::vector<int>& cores) {
  const size_t count = std::min(std::max<size_t>(1, options_.cores.size()), jobs.size());
  for (size_t i = 0; i < count; ++i) {
    auto& worker = *workers_.emplace_back(std::make_unique<Worker>());
    if (!options_.cores.empty()) worker.core = static_cast<int>(options_.cores[i]);
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    Worker& worker = *workers_[i % count];
    worker.jobs.push_back(jobs[i]);
    cores.push_back(worker.core);
  }
}

void JobRun::Work(Worker& worker) const {
  for (PolledJob* job : worker.jobs) job->Start();
  const auto over = [](const PolledJob* job) { return job->over(); };
  // Also those that are over, for the others of their device may need a reset.
  while (!std::all_of(worker.jobs.begin(), worker.jobs.end(), over)) {
    for (PolledJob* job : worker.jobs) job->Poll();
  }
  worker.ended_ns.store(clock_.NowNs(), std::memory_order_release);
}

bool JobRun::AllEnded() const {
  return std::all_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->ended_ns.load(std::memory_order_acquire) != 0;
  });
}

void JobRun::Watch(const std::atomic<bool>& interrupt) {
  const uint64_t warm_ns = started_ns_ + options_.warmup_ns;
  bool warm = options_.warmup_ns == 0;
  uint64_t shown_ns = started_ns_;
  while (!AllEnded()) {
    const uint64_t now_ns = clock_.NowNs();
    if (!warm && now_ns >= warm_ns) {
      owner_.OnWarm();
      measured_from_ns_ = now_ns;
      warm = true;
    }
    const bool bounded = warm && options_.duration_ns > 0;
    const uint64_t end_ns = bounded ? measured_from_ns_ + options_.duration_ns : UINT64_MAX;
    interrupted_ = interrupt.load(std::memory_order_relaxed);
    if (now_ns >= end_ns || interrupted_) return;
    if (shows_progress_ && now_ns - shown_ns >= kProgressNs) {
      owner_.ShowProgress(Seconds(now_ns - started_ns_), Seconds(now_ns - shown_ns));
      shown_ns = now_ns;
    }
    owner_.Tend();
    SleepFor(std::min(kWatchNs, end_ns - now_ns));
  }
}

void JobRun::Drain() {
  uint64_t late_ns = clock_.NowNs() + kLateNs;
  while (!AllEnded()) {
    if (clock_.NowNs() > late_ns) {
      owner_.OnLate();
      late_ns = UINT64_MAX;
    }
    owner_.Tend();
    SleepFor(kNsPerMs / 4);
  }
}

Status JobRun::Run(const std::atomic<bool>& interrupt) {
  started_ns_ = measured_from_ns_ = clock_.NowNs();
  Status status = OkStatus();
  for (const auto& worker : workers_) {
    worker->thread = std::thread([this, &worker = *worker] { Work(worker); });
    if (worker->core >= 0 && status.ok()) {
      status = PinTo(worker->thread, static_cast<unsigned>(worker->core));
    }
  }
  if (status.ok()) Watch(interrupt);

  measured_to_ns_ = clock_.NowNs();
  owner_.OnEnough();
  for (const auto& worker : workers_) {
    for (PolledJob* job : worker->jobs) job->Stop();
  }
  if (AllEnded()) {  // By themselves, a moment ago.
    measured_to_ns_ = 0;
    for (const auto& worker : workers_) {
      measured_to_ns_ = std::max(measured_to_ns_, worker->ended_ns.load());
    }
  }
  Drain();
  for (const auto& worker : workers_) worker->thread.join();
  return status;
}

double JobRun::seconds() const { return Seconds(measured_to_ns_ - measured_from_ns_); }

}  // namespace pollux::cli
