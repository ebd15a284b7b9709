#include "cli/accel_perf/bench.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/accel_perf/worker.h"
#include "cli/tool/ticks.h"
#include "core/accel/accel.h"
#include "core/clock.h"
#include "core/memory/region_registry.h"
#include "core/reactors.h"
#include "core/run_on.h"
#include "drivers/ioat_accel/ioat_devices.h"

namespace pollux::cli {
namespace {

constexpr uint64_t kLookEveryNs = 20 * kNsPerMs;
constexpr uint64_t kProgressEveryNs = kNsPerSecond;
constexpr uint64_t kCalibrationNs = 20 * kNsPerMs;
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
    Task<Status> measuring = Measure();
    struct Starter final : Message {
      explicit Starter(Task<Status>& its_task) : task(its_task) {}
      void Run() override { task.Start(); }
      Task<Status>& task;
    } starter(measuring);
    control_.Post(starter);
    while (!measuring.done()) control_.RunTurn(/*may_block=*/true);
    reactors_->Stop();
    RETURN_IF_ERROR(measuring.TakeResult());
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
    ns_per_tick_ = MeasureNsPerTick(kCalibrationNs);
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
      co_await Pass(workers, run, options_.warmup_ns);
      before = Count(workers);
    }
    co_await Pass(workers, run, options_.duration_ns > 0 ? options_.duration_ns : Loop::kNever / 2);
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

  // Until so long has passed, all workers are through, one has failed, or somebody interrupts.
  Task<void> Pass(const std::vector<std::unique_ptr<AccelWorker>>& workers, AccelRun& run,
                  uint64_t ns) {
    const uint64_t start_ns = clock_.NowNs();
    uint64_t shown_ns = start_ns;
    Reading shown = Sum(workers);
    for (uint64_t now_ns = start_ns; now_ns - start_ns < ns; now_ns = clock_.NowNs()) {
      if (interrupt_.load(std::memory_order_relaxed)) {
        run.interrupted = true;
        co_return;
      }
      const auto over = [](const auto& worker) { return worker->over(); };
      const auto failed = [](const auto& worker) { return worker->failures() > 0; };
      if (std::all_of(workers.begin(), workers.end(), over)) co_return;
      if (std::any_of(workers.begin(), workers.end(), failed)) co_return;
      co_await Sleep(std::min(kLookEveryNs, ns - (now_ns - start_ns)));
      if (progress_ == nullptr || clock_.NowNs() - shown_ns < kProgressEveryNs) continue;
      Show(workers, run, start_ns, shown_ns, shown);
    }
  }

  static Reading Sum(const std::vector<std::unique_ptr<AccelWorker>>& workers) {
    Reading sum;
    for (const auto& worker : workers) sum.Add(Reading(worker->meter()));
    return sum;
  }

  void Show(const std::vector<std::unique_ptr<AccelWorker>>& workers, const AccelRun& run,
            uint64_t start_ns, uint64_t& shown_ns, Reading& shown) {
    const uint64_t now_ns = clock_.NowNs();
    Reading since = Sum(workers);
    since.Subtract(shown);
    shown.Add(since);
    *progress_ << AccelProgressLine(run, static_cast<double>(now_ns - start_ns) / kNsPerSecond,
                                    static_cast<double>(now_ns - shown_ns) / kNsPerSecond, since)
               << std::endl;
    shown_ns = now_ns;
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
