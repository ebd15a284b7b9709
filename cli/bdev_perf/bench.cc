#include "cli/bdev_perf/bench.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "cli/bdev_perf/disks.h"
#include "cli/bdev_perf/worker.h"
#include "cli/tool/pass.h"
#include "cli/tool/ticks.h"
#include "cli/workload/io_range.h"
#include "core/clock.h"
#include "core/loop_task.h"
#include "core/run_on.h"

namespace pollux::cli {
namespace {

// A small polluxd of its own: reactors, the block layer, and disks. The control loop is the calling
// thread's.
class Bench final : private BlockUser, private Pass::Owner {
 public:
  Bench(const BdevPerfOptions& options, std::ostream* progress, const std::atomic<bool>& interrupt)
      : options_(options),
        progress_(progress),
        pass_(clock_, progress != nullptr, interrupt, *this) {}

  Result<BdevOutcome> Run() {
    std::vector<int> cores(options_.cores.begin(), options_.cores.end());
    ASSIGN_OR_RETURN(reactors_, Reactors::Start({.cores = std::move(cores)}, clock_));
    disks_ = std::make_unique<Disks>(control_, *reactors_, regions_);
    const Status status = RunOnLoop(control_, MeasureAndRemove());
    reactors_->Stop();
    disks_.reset();
    RETURN_IF_ERROR(status);
    return std::move(outcome_);
  }

 private:
  Task<Status> MeasureAndRemove() {
    Status status = co_await Open();
    if (status.ok()) status = MakeWorkers();
    if (status.ok()) co_await Measure();
    workers_.clear();
    for (BlockDevice* disk : std::exchange(opened_, {})) disk->Close(*this);
    co_await disks_->Remove();
    co_return status;
  }

  Task<Status> Open() {
    for (const DiskSpec& spec : options_.disks) {
      CO_RETURN_IF_ERROR(co_await disks_->Make(spec, options_.block_bytes, !options_.writes()));
    }
    const bool changes = options_.writes() || options_.unmap > 0;
    for (BlockDevice* disk : disks_->all()) {
      CO_RETURN_IF_ERROR(disk->Open(*this, changes));
      opened_.push_back(disk);
      outcome_.disks.push_back({.name = disk->name(),
                                .product = disk->product_name(),
                                .block_bytes = disk->geometry().block_bytes,
                                .blocks = disk->geometry().blocks});
    }
    co_await SetLimits(options_.limits);
    co_return OkStatus();
  }

  // Nothing to do where the command line has none. A disk that is going needs none.
  Task<void> SetLimits(RateLimits limits) {
    if (!options_.limits.any()) co_return;
    for (size_t i = 0; i < opened_.size(); ++i) {
      (co_await disks_->registry().SetRateLimits(*opened_[i], limits)).IgnoreError();
    }
  }

  Status MakeWorkers() {
    const double ns_per_tick = MeasureNsPerTick();
    for (size_t i = 0; i < disks_->all().size(); ++i) {
      RETURN_IF_ERROR(MakeWorkersOf(i, ns_per_tick));
    }
    return OkStatus();
  }

  Status MakeWorkersOf(size_t index, double ns_per_tick) {
    BlockDevice& disk = *disks_->all()[index];
    const std::string size = std::to_string(options_.io_bytes);
    const uint32_t block_bytes = disk.geometry().block_bytes;
    if (options_.io_bytes % block_bytes != 0) {
      return InvalidField("-o", size, "must be a multiple of the %d bytes of a block of %s",
                          block_bytes, disk.name());
    }
    if (options_.unmap > 0 && !disk.Supports(IoType::kUnmap)) {
      return NotSupported("%s has no unmap", disk.name());
    }
    if (options_.flush > 0 && !disk.Supports(IoType::kFlush)) {
      return NotSupported("%s has no flush", disk.name());
    }
    const uint32_t io_blocks = options_.io_bytes / block_bytes;
    ASSIGN_OR_RETURN(const IoRange range,
                     FindRange(options_, disk.name(), disk.geometry().blocks, io_blocks,
                               static_cast<unsigned>(reactors_->size())));
    for (auto& reactor : *reactors_) {
      BdevWorker::Parts parts;
      parts.options = &options_;
      parts.disk = &disk;
      parts.reactor = reactor.get();
      parts.first_block = range.FirstBlockOf(reactor->index());
      parts.io_blocks = io_blocks;
      parts.ns_per_tick = ns_per_tick;
      parts.shape = ShapeOf(options_, range, workers_.size());
      parts.shape.unmap = options_.unmap;
      ASSIGN_OR_RETURN(std::unique_ptr<BdevWorker> worker, BdevWorker::Make(parts, regions_));
      workers_.push_back(std::move(worker));
      outcome_.workers.push_back({.disk = index, .core = reactor->core()});
    }
    return OkStatus();
  }

  Task<void> Measure() {
    std::vector<BdevTotals> baseline = Snapshot();
    uint64_t from_ns = clock_.NowNs();
    for (auto& worker : workers_) {
      auto start = [w = worker.get()] { w->Start(); };
      co_await RunOn(worker->reactor(), start);
    }
    bool in_peace = true;
    if (options_.warmup_ns > 0) {
      in_peace = co_await pass_.Await(options_.warmup_ns);
      baseline = Snapshot();
      from_ns = clock_.NowNs();
    }
    const uint64_t ns = options_.duration_ns > 0 ? options_.duration_ns : Pass::kUnbounded;
    if (in_peace) in_peace = co_await pass_.Await(ns);
    outcome_.interrupted = !in_peace;
    outcome_.seconds = static_cast<double>(clock_.NowNs() - from_ns) / kNsPerSecond;
    const std::vector<BdevTotals> totals = Snapshot();

    for (auto& worker : workers_) {
      auto finish = [w = worker.get()] { w->Finish(); };
      co_await RunOn(worker->reactor(), finish);
    }
    const RateLimits none;
    co_await SetLimits(none);  // What they hold back would keep us.
    for (auto& worker : workers_) {
      while (!worker->over()) co_await Sleep(kNsPerMs);
      auto stop = [w = worker.get()] { w->Stop(); };
      co_await RunOn(worker->reactor(), stop);
    }
    for (size_t i = 0; i < workers_.size(); ++i) Tell(i, totals[i], baseline[i]);
  }

  void Tell(size_t index, const BdevTotals& totals, const BdevTotals& baseline) {
    const BdevWorker& worker = *workers_[index];
    BdevOutcome::Worker& told = outcome_.workers[index];
    told.totals.Add(totals);
    told.totals.Subtract(baseline);
    told.passes = worker.passes();
    if (told.failure.empty()) told.failure = worker.failure();
    if (outcome_.first_difference.empty()) outcome_.first_difference = worker.first_difference();
  }

  std::vector<BdevTotals> Snapshot() const {
    std::vector<BdevTotals> totals;
    for (const auto& worker : workers_) totals.emplace_back(worker->meters());
    return totals;
  }

  // --- Pass::Owner.
  bool IsOver() const override {
    return std::all_of(workers_.begin(), workers_.end(),
                       [](const auto& worker) { return worker->over(); });
  }
  void ShowProgress(double at_seconds, double seconds) override {
    auto sum = std::make_unique<BdevTotals>();
    for (const BdevTotals& totals : Snapshot()) sum->Add(totals);
    BdevTotals since(*sum);
    if (shown_ != nullptr) since.Subtract(*shown_);
    *progress_ << BdevProgressLine(at_seconds, seconds, since) << std::endl;
    shown_ = std::move(sum);
  }

  // --- BlockUser.
  std::string description() const override { return "pollux-bdev-perf"; }
  // An NVMe controller that goes by itself.
  Task<void> OnDeviceRemoving(BlockDevice& device) override {
    std::erase(opened_, &device);
    for (size_t i = 0; i < workers_.size(); ++i) {
      BdevWorker& worker = *workers_[i];
      if (&worker.disk() != &device) continue;
      outcome_.workers[i].failure = "the disk has gone";
      auto finish = [&worker] { worker.Finish(); };
      co_await RunOn(worker.reactor(), finish);
      while (!worker.over()) co_await Sleep(kNsPerMs);
    }
  }
  void OnDeviceResized(BlockDevice& /*device*/) override {}

  const BdevPerfOptions& options_;
  std::ostream* const progress_;
  const RealClock clock_;
  Loop control_{{.name = "control"}, clock_, *MakeEpollWaiter()};
  RegionRegistry regions_;
  std::unique_ptr<Reactors> reactors_;
  std::unique_ptr<Disks> disks_;
  std::vector<BlockDevice*> opened_;
  std::vector<std::unique_ptr<BdevWorker>> workers_;
  Pass pass_;
  std::unique_ptr<BdevTotals> shown_;  // By the last line of progress; null before the first.
  BdevOutcome outcome_;
};

}  // namespace

Result<BdevOutcome> RunBdevBench(const BdevPerfOptions& options, std::ostream* progress,
                                 const std::atomic<bool>& interrupt) {
  return Bench(options, progress, interrupt).Run();
}

}  // namespace pollux::cli
