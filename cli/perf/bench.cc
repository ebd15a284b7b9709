#include "cli/perf/bench.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"
#include "cli/tool/ticks.h"
#include "cli/tool/units.h"
#include "cli/workload/io_range.h"

namespace pollux::cli {
namespace {

// What the driver needs for itself, and for each queue entry: the two entries, and a list.
constexpr size_t kDriverBytes = 24 << 20;
constexpr size_t kBytesPerEntry = 4096 + 256;

Status DriverError(int error) { return ErrorOfErrno(-error, pollux_nvme_error_text()); }

}  // namespace

Bench::Bench(const PerfOptions& options, std::ostream* progress)
    : options_(options), progress_(progress) {}

Bench::~Bench() = default;

size_t Bench::MemoryBytes() const {
  const size_t namespaces = std::max<size_t>(1, options_.nsids.size());
  const size_t queues = options_.controllers.size() * namespaces * options_.queues;
  // Metadata may come on top of the data: at most as much again, where blocks are small.
  const size_t data = (size_t{options_.io_bytes} + options_.io_bytes / 4 + 8191) & ~size_t{4095};
  return kDriverBytes + queues * (options_.depth + 1) * (data + kBytesPerEntry);
}

Status Bench::Attach() {
  pollux_nvme_host_options host_options{};
  host_options.memory_bytes = MemoryBytes();
  host_options.allow_no_iommu = options_.allow_no_iommu;
  pollux_nvme_host* host = nullptr;
  if (const int error = pollux_nvme_host_create(&host_options, &host); error < 0) {
    return DriverError(error);
  }
  host_.reset(host);

  const size_t namespaces = std::max<size_t>(1, options_.nsids.size());
  pollux_nvme_attach_options attach{};
  attach.io_queues =
      static_cast<uint16_t>(std::min<size_t>(namespaces * options_.queues, UINT16_MAX));
  attach.io_queue_depth = static_cast<uint16_t>(options_.depth + 1);  // One entry stays free.
  attach.no_shadow_doorbells = options_.no_shadow_doorbells;
  attach.no_sgl = options_.no_sgl;
  attach.header_digest = options_.header_digest;
  attach.data_digest = options_.data_digest;
  attach.submission_queues_in_cmb = options_.queues_in_cmb;
  for (const pollux_nvme_transport_id& id : options_.controllers) {
    pollux_nvme_controller* controller = nullptr;
    if (const int error = pollux_nvme_attach(host_.get(), &id, &attach, &controller); error < 0) {
      return DriverError(error);
    }
    attached_.push_back({.id = id, .controller = nvme::Controller(controller)});
    if (pollux_nvme_get_controller_info(controller)->io_queues == 0) {
      return InvalidArgument(
          "%s is a discovery controller, which has no namespaces: pollux-identify tells which "
          "subsystems it names; give one of them, as subnqn:NQN with its address and port",
          id.traddr);
    }
  }
  ns_per_tick_ = MeasureNsPerTick();
  for (size_t i = 0; i < attached_.size(); ++i) RETURN_IF_ERROR(MakeJobs(i));
  return OkStatus();
}

Status Bench::MakeJobs(size_t controller) {
  std::vector<uint32_t> nsids = options_.nsids;
  if (nsids.empty()) {
    const pollux_nvme_namespace* ns =
        pollux_nvme_namespace_next(attached_[controller].controller.get(), 0);
    if (ns == nullptr) {
      return NoDevice("%s has no active namespace", attached_[controller].id.traddr);
    }
    nsids.push_back(pollux_nvme_get_namespace_info(ns)->nsid);
  }
  for (const uint32_t nsid : nsids) RETURN_IF_ERROR(MakeJobsOf(controller, nsid));
  return OkStatus();
}

Status Bench::MakeJobsOf(size_t controller, uint32_t nsid) {
  pollux_nvme_controller* const attached = attached_[controller].controller.get();
  const char* const address = attached_[controller].id.traddr;
  const pollux_nvme_namespace* ns = pollux_nvme_namespace_find(attached, nsid);
  if (ns == nullptr) return NoDevice("%s has no active namespace %d", address, nsid);
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(ns);
  const std::string size = std::to_string(options_.io_bytes);
  if (options_.io_bytes % info.block_bytes != 0) {
    return InvalidField("-o", size, "must be a multiple of the %d bytes of a block of %s:%d",
                        info.block_bytes, address, nsid);
  }
  const uint32_t io_blocks = options_.io_bytes / info.block_bytes;
  if (io_blocks > info.transfer_blocks_max) {
    return InvalidField("-o", size, "%s:%d takes at most %s at a time", address, nsid,
                        BytesText(uint64_t{info.transfer_blocks_max} * info.block_bytes));
  }
  if (info.csi == POLLUX_NVME_CSI_ZONED && options_.writes()) {
    return NotSupported("%s:%d is zoned: it can only be read here", address, nsid);
  }
  if (options_.writes() && info.read_only)
    return PermissionDenied("%s:%d is write-protected", address, nsid);
  ASSIGN_OR_RETURN(const IoRange range, FindRange(options_, absl::StrFormat("%s:%d", address, nsid),
                                                  info.blocks, io_blocks, options_.queues));
  for (unsigned queue = 0; queue < options_.queues; ++queue) {
    Job::Parts parts;
    parts.host = host_.get();
    parts.controller = attached;
    parts.ns = ns;
    parts.depth = options_.depth;
    parts.io_blocks = io_blocks;
    parts.first_block = range.FirstBlockOf(queue);
    parts.seed = options_.seed;
    parts.ios_max = options_.count_max;
    parts.fua = options_.fua;
    parts.ns_per_tick = ns_per_tick_;
    parts.shape = ShapeOf(options_, range, targets_.size());
    ASSIGN_OR_RETURN(std::unique_ptr<Job> job, Job::Make(parts));
    targets_.push_back({.controller = controller, .nsid = nsid, .job = std::move(job)});
  }
  return OkStatus();
}

void Bench::Tend() {
  for (const Attached& attached : attached_) {
    pollux_nvme_controller_poll(attached.controller.get());
  }
}

void Bench::OnLate() {
  for (const Attached& attached : attached_) pollux_nvme_reset(attached.controller.get());
}

std::vector<Totals> Bench::Snapshot() const {
  std::vector<Totals> totals;
  for (const Target& target : targets_) totals.emplace_back(target.job->meters());
  return totals;
}

void Bench::ShowProgress(double at_seconds, double seconds) {
  auto sum = std::make_unique<Totals>();
  uint64_t errors = 0;
  for (const Totals& totals : Snapshot()) sum->Add(totals);
  for (const Target& target : targets_) errors += target.job->error_count();
  Totals since(*sum);
  if (shown_ != nullptr) since.Subtract(*shown_);
  *progress_ << ProgressLine(at_seconds, seconds, since, errors) << std::endl;
  shown_ = std::move(sum);
}

Result<Outcome> Bench::Run(const std::atomic<bool>& interrupt) {
  JobRun run(options_, progress_ != nullptr, *this);
  std::vector<PolledJob*> jobs;
  std::vector<int> cores;
  for (const Target& target : targets_) jobs.push_back(target.job.get());
  run.Spread(jobs, cores);
  RETURN_IF_ERROR(run.Run(interrupt));
  return Tell(run, cores);
}

Outcome Bench::Tell(const JobRun& run, const std::vector<int>& cores) const {
  Outcome outcome;
  for (const Attached& attached : attached_) {
    Outcome::Controller& controller = outcome.controllers.emplace_back();
    const pollux_nvme_controller_info* info =
        pollux_nvme_get_controller_info(attached.controller.get());
    controller.address = attached.id.traddr;
    if (info == nullptr) continue;
    controller.model = info->model_number;
    controller.serial_number = info->serial_number;
    controller.firmware = info->firmware_revision;
    controller.shadow_doorbells = info->shadow_doorbells;
  }
  for (size_t i = 0; i < targets_.size(); ++i) {
    const Job& job = *targets_[i].job;
    Outcome::Queue& queue = outcome.queues.emplace_back();
    queue.controller = targets_[i].controller;
    queue.nsid = targets_[i].nsid;
    queue.id = job.queue_id();
    queue.core = cores[i];
    queue.depth = job.depth();
    queue.totals.Add(totals_[i]);
    if (!baseline_.empty()) queue.totals.Subtract(baseline_[i]);
    queue.errors.Add(job.errors());
    queue.differences = job.differences();
    queue.passes = job.passes();
    if (job.submit_error() != 0) queue.failure = std::strerror(-job.submit_error());
    queue.driver = job.queue_statistics();
    if (outcome.first_difference.empty()) outcome.first_difference = job.first_difference();
  }
  outcome.seconds = run.seconds();
  outcome.interrupted = run.interrupted();
  return outcome;
}

}  // namespace pollux::cli
