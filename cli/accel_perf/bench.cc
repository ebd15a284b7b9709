#include "cli/accel_perf/bench.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/accel_perf/worker.h"
#include "cli/tool/pass.h"
#include "cli/tool/ticks.h"
#include "core/accel/accel.h"
#include "core/clock.h"
#include "core/loop_task.h"
#include "core/memory/region_registry.h"
#include "core/reactors.h"
#include "core/run_on.h"
#include "drivers/ioat_accel/ioat_devices.h"

namespace pollux::cli {
namespace {

constexpr uint32_t kSweepFirst = 512, kSweepLast = 1 << 20;

// A small polluxd of its own: reactors, the accel layer, and I/OAT devices. The control loop is the
// calling thread's.
class Bench {
 public:
  Bench(const AccelPerfOptions& options, std::ostream* progress, const std::atomic<bool>& interrupt)
      : options_(options), progress_(progress), interrupt_(interrupt) {}

  Result<AccelOutcome> Run() {
    std::vector<int> cores(options_.cores.begin(), options_.cores.end());
    ASSIGN_OR_RETURN(reactors_, Reactors::Start({.cores = std::move(cores)}, clock_));
    accel_ = std::make_unique<Accel>(*reactors_);
    const IoatDevices::Environment environment{
        .accel = *accel_, .reactors = *reactors_, .control = control_, .regions = regions_};
    devices_ = std::make_unique<IoatDevices>(environment, nullptr);
    const Status status = RunOnLoop(control_, Measure());
    reactors_->Stop();
    RETURN_IF_ERROR(status);
    return std::move(outcome_);
  }

 private:
  Task<Status> Measure() {
    Status status = co_await MeasureAll();
    co_await devices_->Stop();
    co_return status;
  }

  Task<Status> MeasureAll() {
    co_await devices_->SetBytesMin(options_.bytes_min);
    for (const std::string& address : options_.devices) {
      CO_RETURN_IF_ERROR(co_await devices_->Attach(address));
    }
    for (const IoatDevices::DeviceView& device : devices_->devices()) {
      outcome_.devices.push_back(
          {device.info.address, device.info.model, static_cast<uint32_t>(device.channels.size())});
    }
    ns_per_tick_ = MeasureNsPerTick();
    for (const Shape& shape : Plan()) CO_RETURN_IF_ERROR(co_await MeasureOne(shape));
    co_return OkStatus();
  }

  struct Shape {
    uint32_t bytes;
    bool by_device;
  };
  std::vector<Shape> Plan() const {
    std::vector<Shape> plan;
    if (options_.sweep) {
      for (uint32_t bytes = kSweepFirst; bytes <= kSweepLast; bytes *= 2) {
        plan.insert(plan.end(), {{bytes, true}, {bytes, false}});
      }
      return plan;
    }
    if (!options_.devices.empty()) plan.push_back({options_.bytes, true});
    if (options_.wants_cpu()) plan.push_back({options_.bytes, false});
    return plan;
  }

  // Sends all operations that devices can execute there, or to the CPU.
  Task<Status> Assign(bool by_device) {
    for (const AccelOpcode opcode : options_.steps) {
      const bool offloaded = by_device && devices_->Available(opcode);
      CO_RETURN_IF_ERROR(co_await accel_->Assign(opcode, offloaded ? "ioat" : "software"));
    }
    co_return OkStatus();
  }

  Task<Status> MeasureOne(Shape shape) {
    const auto [bytes, by_device] = shape;
    if (interrupt_.load(std::memory_order_relaxed)) co_return OkStatus();
    CO_RETURN_IF_ERROR(co_await Assign(by_device));
    std::vector<std::unique_ptr<AccelWorker>> workers;
    for (auto& reactor : *reactors_) {
      ASSIGN_OR_CO_RETURN(
          std::unique_ptr<AccelWorker> worker,
          AccelWorker::Make(options_, bytes, accel_->channel(*reactor), regions_, ns_per_tick_));
      workers.push_back(std::move(worker));
    }
    AccelRun run{.by_device = by_device, .bytes = bytes};
    Counts before = Count(workers);  // Workers may be through before this loop's next turn.
    for (auto& worker : workers) {
      auto start = [w = worker.get()] { w->Start(); };
      co_await RunOn(worker->reactor(), start);
    }
    if (options_.warmup_ns > 0) {
      const bool in_peace = co_await AwaitPass(workers, run, options_.warmup_ns);
      run.interrupted = !in_peace;
      before = Count(workers);
    }
    const uint64_t ns = options_.duration_ns > 0 ? options_.duration_ns : Pass::kUnbounded;
    const bool in_peace = co_await AwaitPass(workers, run, ns);
    run.interrupted = run.interrupted || !in_peace;
    Conclude(before, Count(workers), run);
    for (auto& worker : workers) {
      auto finish = [w = worker.get()] { w->Finish(); };
      co_await RunOn(worker->reactor(), finish);
    }
    for (auto& worker : workers) {
      while (!worker->over()) co_await Sleep(kNsPerMs);
      auto stop = [w = worker.get()] { w->Stop(); };
      co_await RunOn(worker->reactor(), stop);
    }
    for (size_t i = 0; i < workers.size(); ++i) {
      run.cores[i].verified = workers[i]->verified();
      run.cores[i].failures = workers[i]->failures();
      run.cores[i].first_failure = workers[i]->first_failure();
    }
    outcome_.runs.push_back(std::move(run));
    co_return OkStatus();
  }

  // What all have counted up to now.
  struct Counts {
    uint64_t at_ns = 0;
    std::vector<AccelRun::Core> cores;
    uint64_t by_module = 0, by_cpu = 0, given_back = 0;
  };
  Counts Count(const std::vector<std::unique_ptr<AccelWorker>>& workers) const {
    Counts now{.at_ns = clock_.NowNs()};
    for (const auto& worker : workers) {
      now.cores.push_back({.core = worker->reactor().core(),
                           .reading = Reading(worker->meter()),
                           .busy_ns = static_cast<double>(worker->reactor().busy_ns())});
    }
    const AccelStatistics statistics = accel_->statistics();
    for (const AccelOperationStatistics& one : statistics.operations) {
      (one.module == "ioat" ? now.by_module : now.by_cpu) += one.executed + one.failed;
    }
    now.given_back = statistics.given_back;
    return now;
  }

  static void Conclude(const Counts& before, Counts after, AccelRun& run) {
    run.seconds = static_cast<double>(after.at_ns - before.at_ns) / kNsPerSecond;
    for (size_t i = 0; i < after.cores.size(); ++i) {
      after.cores[i].reading.Subtract(before.cores[i].reading);
      after.cores[i].busy_ns -= before.cores[i].busy_ns;
    }
    run.cores = std::move(after.cores);
    run.by_module = after.by_module - before.by_module;
    run.by_cpu = after.by_cpu - before.by_cpu;
    run.given_back = after.given_back - before.given_back;
  }

  using Workers = std::vector<std::unique_ptr<AccelWorker>>;

  // What a pass asks: it is over when all workers are through, or one has failed.
  class Watch final : public Pass::Owner {
   public:
    Watch(const Workers& workers, const AccelRun& run, std::ostream* progress)
        : workers_(workers), run_(run), progress_(progress), shown_(Sum()) {}

    bool IsOver() const override {
      const auto over = [](const auto& worker) { return worker->over(); };
      const auto failed = [](const auto& worker) { return worker->failures() > 0; };
      return std::all_of(workers_.begin(), workers_.end(), over) ||
             std::any_of(workers_.begin(), workers_.end(), failed);
    }
    void ShowProgress(double at_seconds, double seconds) override {
      Reading since = Sum();
      since.Subtract(shown_);
      shown_.Add(since);
      *progress_ << AccelProgressLine(run_, at_seconds, seconds, since) << std::endl;
    }

   private:
    Reading Sum() const {
      Reading sum;
      for (const auto& worker : workers_) sum.Add(Reading(worker->meter()));
      return sum;
    }
    const Workers& workers_;
    const AccelRun& run_;
    std::ostream* const progress_;
    Reading shown_;
  };

  // False: somebody interrupts.
  Task<bool> AwaitPass(const Workers& workers, const AccelRun& run, uint64_t ns) {
    Watch watch(workers, run, progress_);
    Pass pass(clock_, progress_ != nullptr, interrupt_, watch);
    co_return co_await pass.Await(ns);
  }

  const AccelPerfOptions& options_;
  std::ostream* const progress_;
  const std::atomic<bool>& interrupt_;
  const RealClock clock_;
  Loop control_{{.name = "control"}, clock_, *MakeEpollWaiter()};
  RegionRegistry regions_;
  std::unique_ptr<Reactors> reactors_;
  std::unique_ptr<Accel> accel_;
  std::unique_ptr<IoatDevices> devices_;
  double ns_per_tick_ = 1;
  AccelOutcome outcome_;
};

}  // namespace

Result<AccelOutcome> RunAccelBench(const AccelPerfOptions& options, std::ostream* progress,
                                   const std::atomic<bool>& interrupt) {
  return Bench(options, progress, interrupt).Run();
}

}  // namespace pollux::cli
