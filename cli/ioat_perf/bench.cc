#include "cli/ioat_perf/bench.h"

#include <algorithm>
#include <bit>

#include "cli/tool/threads.h"
#include "cli/tool/ticks.h"

namespace pollux::cli {
namespace {

constexpr uint64_t kCalibrationNs = 20 * kNsPerMs;
constexpr uint64_t kWatchNs = 2 * kNsPerMs;
constexpr uint32_t kDescriptorsMin = 1024, kDescriptorsMax = 32768;

Status DriverError(int error) { return ErrorOfErrno(-error, pollux_ioat_error_text()); }

double Seconds(uint64_t ns) { return static_cast<double>(ns) / static_cast<double>(kNsPerSecond); }

std::vector<std::unique_ptr<Reading>> Snapshot(const auto& targets) {
  std::vector<std::unique_ptr<Reading>> readings;
  for (const auto& target : targets) {
    readings.push_back(std::make_unique<Reading>(target.job->meter()));
  }
  return readings;
}

}  // namespace

IoatBench::IoatBench(const IoatPerfOptions& options, std::ostream* progress)
    : options_(options), progress_(progress) {}

IoatBench::~IoatBench() = default;

// Room for all that is in flight, also where an operation takes several. What does not fit waits.
uint32_t IoatBench::Descriptors() const {
  constexpr uint64_t kPieceBytes = 1 << 20;
  const uint64_t each = 2 * (options_.bytes / kPieceBytes + 1);
  return std::bit_ceil(static_cast<uint32_t>(
      std::clamp<uint64_t>(each * options_.depth, kDescriptorsMin, kDescriptorsMax)));
}

Status IoatBench::Attach() {
  pollux_ioat_host_options host_options{};
  host_options.allow_no_iommu = options_.allow_no_iommu;
  pollux_ioat_host* host = nullptr;
  if (const int error = pollux_ioat_host_create(&host_options, &host); error < 0) {
    return DriverError(error);
  }
  host_.reset(host);
  pollux_ioat_attach_options attach{};
  attach.descriptors = Descriptors();
  for (const std::string& address : options_.devices) {
    pollux_ioat_device* device = nullptr;
    const int error = pollux_ioat_attach(host, address.c_str(), &attach, &device);
    if (error < 0) return DriverError(error);
    devices_.emplace_back(device);
    const pollux_ioat_device_info& info = *pollux_ioat_get_device_info(device);
    outcome_.devices.push_back({.address = info.address,
                                .model = info.model,
                                .version = info.version,
                                .transfer_bytes_max = info.transfer_bytes_max});
  }
  ns_per_tick_ = MeasureNsPerTick(kCalibrationNs);
  return OkStatus();
}

Status IoatBench::MakeTargets(int device) {
  for (unsigned number = 0; number < options_.channels; ++number) {
    IoatJob::Parts parts;
    parts.host = host_.get();
    parts.device = device < 0 ? nullptr : devices_[static_cast<size_t>(device)].get();
    parts.depth = options_.depth;
    parts.operations_max = options_.operations_max;
    parts.seed = options_.seed + targets_.size() * kIoatDepthMax;
    parts.verify = options_.verify;
    parts.ns_per_tick = ns_per_tick_;
    parts.shape = IoatWork::Shape::Of(options_);
    ASSIGN_OR_RETURN(std::unique_ptr<IoatJob> job, IoatJob::Make(parts));
    targets_.push_back({.device = device, .number = number, .job = std::move(job)});
  }
  return OkStatus();
}

void IoatBench::Work(Worker& worker) const {
  for (IoatJob* job : worker.jobs) job->Start();
  const auto over = [](const IoatJob* job) { return job->over(); };
  while (!std::all_of(worker.jobs.begin(), worker.jobs.end(), over)) {
    for (IoatJob* job : worker.jobs) job->Poll();
  }
  worker.ended_ns.store(clock_.NowNs(), std::memory_order_release);
}

void IoatBench::StartWorkers() {
  const size_t count = std::min(std::max<size_t>(1, options_.cores.size()), targets_.size());
  for (size_t i = 0; i < count; ++i) {
    auto& worker = *workers_.emplace_back(std::make_unique<Worker>());
    if (!options_.cores.empty()) worker.core = static_cast<int>(options_.cores[i]);
  }
  for (size_t i = 0; i < targets_.size(); ++i) {
    Worker& worker = *workers_[i % count];
    worker.jobs.push_back(targets_[i].job.get());
    targets_[i].core = worker.core;
  }
}

void IoatBench::PollDevices() {
  for (const ioat::Device& device : devices_) pollux_ioat_device_poll(device.get());
}

bool IoatBench::AllEnded() const {
  return std::all_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->ended_ns.load(std::memory_order_acquire) != 0;
  });
}

void IoatBench::ShowProgress(bool cpu, uint64_t now_ns) {
  auto sum = std::make_unique<Reading>();
  uint64_t errors = 0;
  for (const Target& target : targets_) {
    sum->Add(Reading(target.job->meter()));
    errors += target.job->error_count();
  }
  Reading since;
  since.Add(*sum);
  if (shown_ != nullptr) since.Subtract(*shown_);
  *progress_ << IoatProgressLine(cpu, Seconds(now_ns - started_ns_), Seconds(now_ns - shown_ns_),
                                 since, errors)
             << std::endl;
  shown_ = std::move(sum);
  shown_ns_ = now_ns;
}

void IoatBench::Watch(bool cpu, const std::atomic<bool>& interrupt) {
  const uint64_t warm_ns = started_ns_ + options_.warmup_ns;
  bool warm = options_.warmup_ns == 0;
  while (!AllEnded()) {
    const uint64_t now_ns = clock_.NowNs();
    if (!warm && now_ns >= warm_ns) {
      baseline_ = Snapshot(targets_);
      measured_from_ns_ = now_ns;
      warm = true;
    }
    const bool bounded = warm && options_.duration_ns > 0;
    const uint64_t end_ns = bounded ? measured_from_ns_ + options_.duration_ns : UINT64_MAX;
    outcome_.interrupted = interrupt.load(std::memory_order_relaxed);
    if (now_ns >= end_ns || outcome_.interrupted) return;
    if (progress_ != nullptr && now_ns - shown_ns_ >= kNsPerSecond) ShowProgress(cpu, now_ns);
    PollDevices();
    SleepFor(std::min(kWatchNs, end_ns - now_ns));
  }
}

Status IoatBench::RunTargets(bool cpu, const std::atomic<bool>& interrupt) {
  StartWorkers();
  started_ns_ = measured_from_ns_ = shown_ns_ = clock_.NowNs();
  Status status = OkStatus();
  for (const auto& worker : workers_) {
    worker->thread = std::thread([this, &worker = *worker] { Work(worker); });
    if (worker->core >= 0 && status.ok()) {
      status = PinTo(worker->thread, static_cast<unsigned>(worker->core));
    }
  }
  if (status.ok()) Watch(cpu, interrupt);

  measured_to_ns_ = clock_.NowNs();
  const std::vector<std::unique_ptr<Reading>> readings = Snapshot(targets_);
  for (const Target& target : targets_) target.job->Stop();
  if (AllEnded()) {  // By themselves, a moment ago.
    measured_to_ns_ = 0;
    for (const auto& worker : workers_) {
      measured_to_ns_ = std::max(measured_to_ns_, worker->ended_ns.load());
    }
  }
  // The driver's time-out bounds it.
  while (!AllEnded()) {
    PollDevices();
    SleepFor(kNsPerMs / 4);
  }
  for (const auto& worker : workers_) worker->thread.join();
  if (status.ok()) Tell(readings);
  workers_.clear();
  targets_.clear();
  baseline_.clear();
  shown_.reset();
  return status;
}

void IoatBench::Tell(const std::vector<std::unique_ptr<Reading>>& readings) {
  for (size_t i = 0; i < targets_.size(); ++i) {
    const IoatJob& job = *targets_[i].job;
    IoatOutcome::Channel& channel = outcome_.channels.emplace_back();
    channel.device = targets_[i].device;
    channel.number = targets_[i].number;
    channel.core = targets_[i].core;
    channel.depth = job.depth();
    channel.seconds = Seconds(measured_to_ns_ - measured_from_ns_);
    channel.reading.Add(*readings[i]);
    if (!baseline_.empty()) channel.reading.Subtract(*baseline_[i]);
    channel.errors = job.errors();
    channel.error_count = job.error_count();
    channel.verified = job.verified();
    channel.differences = job.differences();
    channel.failure = job.failure();
    channel.first_difference = job.first_difference();
    channel.driver = job.statistics();
  }
}

Result<IoatOutcome> IoatBench::Run(const std::atomic<bool>& interrupt) {
  for (size_t i = 0; i < devices_.size(); ++i) {
    RETURN_IF_ERROR(MakeTargets(static_cast<int>(i)));
  }
  if (!devices_.empty()) RETURN_IF_ERROR(RunTargets(/*cpu=*/false, interrupt));
  if (options_.cpu && !outcome_.interrupted) {
    RETURN_IF_ERROR(MakeTargets(-1));
    RETURN_IF_ERROR(RunTargets(/*cpu=*/true, interrupt));
  }
  return std::move(outcome_);
}

}  // namespace pollux::cli
