#include "cli/ioat_perf/bench.h"

#include <algorithm>
#include <bit>

#include "cli/tool/ticks.h"

namespace pollux::cli {
namespace {

constexpr uint32_t kDescriptorsMin = 1024, kDescriptorsMax = 32768;

Status DriverError(int error) { return ErrorOfErrno(-error, pollux_ioat_error_text()); }

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
  ns_per_tick_ = MeasureNsPerTick();
  return OkStatus();
}

Status IoatBench::MakeTargets(int device) {
  for (unsigned number = 0; number < options_.channels; ++number) {
    IoatJob::Parts parts;
    parts.host = host_.get();
    parts.device = device < 0 ? nullptr : devices_[static_cast<size_t>(device)].get();
    parts.depth = options_.depth;
    parts.operations_max = options_.count_max;
    parts.seed = options_.seed + targets_.size() * kIoatDepthMax;
    parts.verify = options_.verify;
    parts.ns_per_tick = ns_per_tick_;
    parts.shape = IoatWork::Shape::Of(options_);
    ASSIGN_OR_RETURN(std::unique_ptr<IoatJob> job, IoatJob::Make(parts));
    targets_.push_back({.device = device, .number = number, .job = std::move(job)});
  }
  return OkStatus();
}

void IoatBench::Tend() {
  for (const ioat::Device& device : devices_) pollux_ioat_device_poll(device.get());
}

IoatBench::Readings IoatBench::Snapshot() const {
  Readings readings;
  for (const Target& target : targets_) {
    readings.push_back(std::make_unique<Reading>(target.job->meter()));
  }
  return readings;
}

void IoatBench::ShowProgress(double at_seconds, double seconds) {
  auto sum = std::make_unique<Reading>();
  uint64_t errors = 0;
  for (const Target& target : targets_) {
    sum->Add(Reading(target.job->meter()));
    errors += target.job->error_count();
  }
  Reading since;
  since.Add(*sum);
  if (shown_ != nullptr) since.Subtract(*shown_);
  *progress_ << IoatProgressLine(by_cpu_, at_seconds, seconds, since, errors) << std::endl;
  shown_ = std::move(sum);
}

Status IoatBench::RunTargets(bool cpu, const std::atomic<bool>& interrupt) {
  by_cpu_ = cpu;
  JobRun run(options_, progress_ != nullptr, *this);
  std::vector<PolledJob*> jobs;
  std::vector<int> cores;
  for (const Target& target : targets_) jobs.push_back(target.job.get());
  run.Spread(jobs, cores);
  const Status status = run.Run(interrupt);
  if (status.ok()) Tell(run, cores);
  targets_.clear();
  baseline_.clear();
  shown_.reset();
  return status;
}

void IoatBench::Tell(const JobRun& run, const std::vector<int>& cores) {
  outcome_.interrupted = run.interrupted();
  for (size_t i = 0; i < targets_.size(); ++i) {
    const IoatJob& job = *targets_[i].job;
    IoatOutcome::Channel& channel = outcome_.channels.emplace_back();
    channel.device = targets_[i].device;
    channel.number = targets_[i].number;
    channel.core = cores[i];
    channel.depth = job.depth();
    channel.seconds = run.seconds();
    channel.reading.Add(*readings_[i]);
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
