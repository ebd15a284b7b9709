// How a controller starts: while it is attached, and after each reset. Base §3.5.1.
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/clock.h"
#include "drivers/nvme/controller.h"
#include "drivers/nvme/host.h"

namespace pollux::nvme {
namespace {

constexpr uint16_t kDepthDefault = 256, kAdminDepthDefault = 32;
constexpr uint16_t kAdminDepthMin = 4, kAdminDepthMax = 4096;
constexpr uint32_t kAdminTimeoutDefaultMs = 60000;
// Queue identifiers are 16 bits, and 0 is the admin queue's.
constexpr uint32_t kQueuesMax = 65534;

constexpr uint32_t kCssNvm = 0, kCssIoSets = 6;
constexpr uint32_t kAmsWeighted = 1;
constexpr uint32_t kIosqes = 6, kIocqes = 4;  // Log2 of 64 and 16.

constexpr uint32_t kCtrattExtendedHostId = 1 << 0;
constexpr uint32_t kExtendedHostId = 1 << 0;  // EXHID.
constexpr uint8_t kBurstNoLimit = 7;
constexpr uint32_t kVersion12 = 0x010200;

// I/O command sets in one vector of CNS 1Ch. Base figure 283.
constexpr uint64_t kVectorNvm = 1 << kCsiNvm, kVectorZoned = 1 << kCsiZoned;
constexpr size_t kVectors = kIdentifyBytes / sizeof(Le64);

uint16_t Clamped(uint16_t asked, uint16_t fallback, uint16_t least, uint32_t most) {
  const uint32_t wanted = asked == 0 ? fallback : asked;
  return static_cast<uint16_t>(
      std::clamp<uint32_t>(wanted, least, std::max<uint32_t>(least, most)));
}

bool AllZero(const uint8_t (&bytes)[16]) {
  return std::all_of(std::begin(bytes), std::end(bytes), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

Task<Status> NvmeController::Start(bool first) {
  starting_ = true;
  Status started = co_await StartSteps(first);
  // Why it was interrupted says more than what was interrupted.
  if (!started.ok() && !Interruption().ok()) started = Interruption();
  starting_ = false;
  co_return started;
}

Task<Status> NvmeController::StartSteps(bool first) {
  CO_RETURN_IF_ERROR(co_await MakeDeviceReady(first));
  CO_RETURN_IF_ERROR(co_await IdentifyController());
  CO_RETURN_IF_ERROR(co_await ChooseCommandSets());
  CO_RETURN_IF_ERROR(co_await SetUpFeatures());
  if (!facts_.administrative) {
    CO_RETURN_IF_ERROR(co_await SetUpQueues(first));
    CO_RETURN_IF_ERROR(co_await namespaces_.Scan(facts_, quirks_, io_command_sets_));
  }
  CO_RETURN_IF_ERROR(co_await SetUpEvents());
  queues_.OpenAll();
  stop_attending_ = false;
  wishes_.rescan = false;
  attend_.emplace(Attend());
  attend_->Start();
  co_return OkStatus();
}

Status NvmeController::Tolerate(const Status& status) {
  if (status.ok() || status.code() == absl::StatusCode::kCancelled || ErrnoOf(status) == ENODEV) {
    return status;
  }
  Log(LOG_WARNING, std::string(status.message()));
  return OkStatus();
}

// --- Registers, and the admin queue.

Task<Status> NvmeController::AwaitBringUp() {
  for (;;) {
    bring_up_.Step(NowNs());
    if (!bring_up_.waiting()) break;
    CO_RETURN_IF_ERROR(Interruption());
    co_await polls_.Next();
  }
  co_return bring_up_.state() == BringUp::State::kFailed ? bring_up_.failure() : OkStatus();
}

uint32_t NvmeController::Configuration() const {
  uint32_t configuration = cc::kIosqes.Set(0, kIosqes);
  configuration = cc::kIocqes.Set(configuration, kIocqes);
  configuration = cc::kCss.Set(configuration, io_command_sets_ ? kCssIoSets : kCssNvm);
  // Log2 of the page's bytes, less that of 4096.
  configuration = cc::kMps.Set(configuration,
                               static_cast<uint32_t>(__builtin_ctz(capabilities_.page_bytes) - 12));
  const bool weighted = options_.weighted_round_robin && capabilities_.weighted_round_robin;
  return cc::kAms.Set(configuration, weighted ? kAmsWeighted : 0);
}

// What rings, lists and doorbells were made for stays; firmware may have changed meanwhile.
Status NvmeController::CheckUnchanged(const Capabilities& before) const {
  const uint16_t depth = queues_.count() == 0 ? uint16_t{2} : facts_.info.io_queue_depth;
  if (capabilities_.page_bytes == before.page_bytes &&
      capabilities_.doorbell_stride == before.doorbell_stride &&
      capabilities_.queue_entries_max >= depth &&
      capabilities_.doorbell_queues_max > queues_.count()) {
    return OkStatus();
  }
  return InternalError("after the reset the device has other pages, doorbells or queue lengths");
}

Status NvmeController::MakeAdminQueue() {
  const uint16_t depth =
      Clamped(options_.admin_queue_depth, kAdminDepthDefault, kAdminDepthMin, kAdminDepthMax);
  const uint32_t io_queues =
      std::min(options_.io_queues == 0 ? static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_ONLN))
                                       : options_.io_queues,
               std::min(capabilities_.doorbell_queues_max - 1, kQueuesMax));
  RETURN_IF_ERROR(Tolerate(interrupts_.Start(options_.interrupts, io_queues)));
  const uint64_t bytes = 2 * uint64_t{capabilities_.doorbell_stride} * (io_queues + 1);
  doorbells_ = device_->MapBar(Registers::kBar, kDoorbells, bytes);
  RETURN_IF_ERROR(admin_.Make(*device_, capabilities_, depth, doorbells_, interrupts_.admin_fd()));
  const uint64_t timeout_ms =
      options_.admin_timeout_ms == 0 ? kAdminTimeoutDefaultMs : options_.admin_timeout_ms;
  admin_.queue().SetTimeout(timeout_ms * kNsPerMs, POLLUX_NVME_ON_TIMEOUT_RESET);
  admin_.queue().SetInjections(injections_);
  return OkStatus();
}

Task<Status> NvmeController::MakeDeviceReady(bool first) {
  const Capabilities before = capabilities_;
  ASSIGN_OR_CO_RETURN(capabilities_, Capabilities::Read(registers_));
  if (admin_.made()) CO_RETURN_IF_ERROR(CheckUnchanged(before));
  bring_up_.SetTimes(capabilities_.ready_timeout_ns, quirks_.disable_delay_ns);
  // Quiesce() began it already, unless this is the first time.
  if (!bring_up_.waiting() && bring_up_.state() != BringUp::State::kDisabled) {
    bring_up_.Disable(NowNs());
  }
  CO_RETURN_IF_ERROR(co_await AwaitBringUp());

  io_command_sets_ = capabilities_.io_command_sets;
  if (!admin_.made()) CO_RETURN_IF_ERROR(MakeAdminQueue());
  if (options_.submission_queues_in_cmb) {
    if (first) cmb_.Find(*device_, registers_, capabilities_);
    cmb_.Enable(registers_);
  }
  CO_RETURN_IF_ERROR(Interruption());
  device_->SetBusMaster(true);
  admin_.queue().Reopen();
  bring_up_.Enable(admin_.rings(), Configuration(), NowNs());
  co_return co_await AwaitBringUp();
}

// --- What the controller is.

Task<Status> NvmeController::IdentifyController() {
  const Piece data = admin_.Buffer(kIdentifyBytes);
  if (!data.valid()) co_return OutOfMemory("no memory for Identify");
  const SubmissionEntry entry = EntryOf(pollux_nvme_make_identify(cns::kController, 0, 0, 0));
  AdminCommand command(admin_, entry, data);
  const Completion completion = co_await command;
  if (!pollux_nvme_ok(completion)) co_return CommandFailed("Identify Controller", completion);
  const auto& identify = *data.as<nvme::IdentifyController>();
  const pollux_nvme_controller_info before = facts_.info;
  ASSIGN_OR_CO_RETURN(facts_, DescribeController(identify, capabilities_, kListsTransferBytesMax));
  facts_.info.id = id_;
  facts_.info.numa_node = device_->numa_node();
  facts_.info.interrupt_vectors = interrupts_.vectors();
  facts_.info.sgl = !options_.no_sgl && (facts_.info.sgls & 3) != 0 && (facts_.info.sgls & 3) != 3;
  // Whether shadow doorbells are in use is decided when the queues are made.
  facts_.info.io_queues = before.io_queues;
  facts_.info.io_queue_depth = before.io_queue_depth;
  facts_.info.submission_queues_in_cmb = before.submission_queues_in_cmb;
  if (queues_.count() > 0 && facts_.info.sgl != before.sgl) {
    co_return InternalError("after the reset the device supports SGLs otherwise");
  }
  co_return OkStatus();
}

// With CC.CSS 110b: a combination of command sets that has ours. Base §5.17.2.21, §5.27.1.21.
Task<Status> NvmeController::ChooseCommandSets() {
  if (!io_command_sets_) co_return OkStatus();
  const Piece data = admin_.Buffer(kIdentifyBytes);
  if (!data.valid()) co_return OutOfMemory("no memory for Identify");
  const SubmissionEntry sets_entry =
      EntryOf(pollux_nvme_make_identify(cns::kIoCommandSets, 0, facts_.info.cntlid, 0));
  AdminCommand sets(admin_, sets_entry, data);
  const Completion listed = co_await sets;
  if (!pollux_nvme_ok(listed)) {
    co_return Tolerate(CommandFailed("Identify I/O Command Set", listed));
  }
  const auto* vectors = data.as<Le64>();
  uint32_t best = 0;
  uint64_t best_sets = 0;
  for (uint32_t i = 0; i < kVectors; ++i) {
    const uint64_t ours = vectors[i] & (kVectorNvm | kVectorZoned);
    if (__builtin_popcountll(ours) > __builtin_popcountll(best_sets)) {
      best = i;
      best_sets = ours;
    }
  }
  if (best_sets == 0) co_return NotSupported("the device has no command set that is known here");
  const Completion chosen = co_await SetFeature(feature::kIoCommandSetProfile, best);
  // With one combination there is nothing to choose, and some refuse to.
  if (!pollux_nvme_ok(chosen) && best != 0) {
    CO_RETURN_IF_ERROR(Tolerate(CommandFailed("I/O Command Set Profile", chosen)));
  }
  if ((best_sets & kVectorZoned) == 0) co_return OkStatus();

  const SubmissionEntry zoned_entry =
      EntryOf(pollux_nvme_make_identify(cns::kCsController, 0, 0, kCsiZoned));
  AdminCommand zoned(admin_, zoned_entry, data);
  const Completion described = co_await zoned;
  if (!pollux_nvme_ok(described)) {
    co_return Tolerate(CommandFailed("Identify Controller, zoned", described));
  }
  // ZASL, in units of the smallest page, log2; 0: as MDTS. ZNS figure 50.
  const auto zasl = static_cast<uint8_t>(data.get()[0]);
  if (zasl != 0 && zasl < 32) {
    facts_.zone_append_bytes_max =
        std::min(uint64_t{facts_.page_bytes} << zasl, facts_.info.transfer_bytes_max);
  }
  co_return OkStatus();
}

// --- What it is to do.

Task<Completion> NvmeController::SetFeature(uint8_t feature, uint32_t cdw11) {
  const SubmissionEntry entry =
      EntryOf(pollux_nvme_make_set_features(feature, /*save=*/false, 0, cdw11, 0));
  AdminCommand command(admin_, entry);
  co_return co_await command;
}

// What is worth having and need not be there.
Task<Status> NvmeController::SetUpFeatures() {
  if (!AllZero(options_.host_id) && (facts_.info.ctratt & kCtrattExtendedHostId) != 0) {
    const Piece data = admin_.Buffer(sizeof(options_.host_id));
    if (!data.valid()) co_return OutOfMemory("no memory for the host identifier");
    memcpy(data.get(), options_.host_id, sizeof(options_.host_id));
    const SubmissionEntry entry = EntryOf(pollux_nvme_make_set_features(
        feature::kHostIdentifier, /*save=*/false, 0, kExtendedHostId, 0));
    AdminCommand command(admin_, entry, data);
    const Completion set = co_await command;
    if (!pollux_nvme_ok(set)) {
      CO_RETURN_IF_ERROR(Tolerate(CommandFailed("Host Identifier", set)));
    }
  }
  if (!options_.no_host_memory_buffer && capabilities_.version >= kVersion12) {
    const Status offered = co_await hmb_.Offer(admin_, device_->dma(), host_.registry(), facts_,
                                               options_.host_memory_buffer_bytes_max);
    CO_RETURN_IF_ERROR(Tolerate(offered));
  }
  facts_.info.host_memory_buffer = hmb_.used();

  const bool weighted = cc::kAms.Get(Configuration()) == kAmsWeighted;
  if (weighted || options_.arbitration_burst != 0) {
    // Arbitration, dword 11. Base figure 294.
    const uint32_t burst = std::min(options_.arbitration_burst, kBurstNoLimit);
    const uint32_t weights = uint32_t{options_.low_priority_weight} << 8 |
                             uint32_t{options_.medium_priority_weight} << 16 |
                             uint32_t{options_.high_priority_weight} << 24;
    const Completion set =
        co_await SetFeature(feature::kArbitration, burst | (weighted ? weights : 0));
    if (!pollux_nvme_ok(set)) CO_RETURN_IF_ERROR(Tolerate(CommandFailed("Arbitration", set)));
  }

  if (options_.keep_alive_ms != 0 && facts_.keep_alive_unit_ms != 0) {
    const uint64_t unit = facts_.keep_alive_unit_ms;
    const uint64_t timeout_ms = std::min<uint64_t>(
        (options_.keep_alive_ms + unit - 1) / unit * unit, UINT32_MAX / unit * unit);
    const Completion set =
        co_await SetFeature(feature::kKeepAliveTimer, static_cast<uint32_t>(timeout_ms));
    if (pollux_nvme_ok(set)) {
      keep_alive_.Start(timeout_ms * kNsPerMs, NowNs());
    } else {
      CO_RETURN_IF_ERROR(Tolerate(CommandFailed("Keep Alive Timer", set)));
    }
  }
  co_return OkStatus();
}

// --- I/O queues.

Task<Status> NvmeController::SetUpQueues(bool first) {
  const bool made = queues_.count() > 0;
  const bool shadows_wanted =
      !options_.no_shadow_doorbells && (facts_.identify.oacs & oacs::kDoorbellBufferConfig) != 0;
  if (made ? shadows_.used() : shadows_wanted) {
    const Status configured = co_await shadows_.Configure(admin_, device_->dma(), capabilities_);
    // Queues that were made for them cannot do without.
    CO_RETURN_IF_ERROR(made ? configured : Tolerate(configured));
  }
  facts_.info.shadow_doorbells = shadows_.used();

  uint32_t wanted = queues_.count();
  if (!made) {
    wanted = options_.io_queues == 0 ? static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_ONLN))
                                     : options_.io_queues;
    wanted = std::min({wanted, capabilities_.doorbell_queues_max - 1, kQueuesMax});
    if (wanted == 0) co_return InternalError("BAR 0 holds no doorbells of I/O queues");
  }
  const Result<uint16_t> granted = co_await queues_.Negotiate(static_cast<uint16_t>(wanted));
  CO_RETURN_IF_ERROR(granted.status());
  if (made && *granted < queues_.count()) {
    co_return InternalError("after the reset the device grants %u I/O queues, not %u", *granted,
                            queues_.count());
  }
  if (!made) {
    Queues::Plan plan;
    plan.device = device_.get();
    plan.capabilities = capabilities_;
    plan.interrupts = &interrupts_;
    plan.cmb = options_.submission_queues_in_cmb ? &cmb_ : nullptr;
    plan.shadows = &shadows_;
    plan.doorbells = doorbells_;
    plan.depth = Clamped(options_.io_queue_depth, kDepthDefault, 2, 65535);
    plan.depth = std::max(plan.depth, quirks_.queue_depth_min);
    plan.depth =
        static_cast<uint16_t>(std::min<uint32_t>(plan.depth, capabilities_.queue_entries_max));
    plan.sgl = facts_.info.sgl;
    plan.sgl_dword_aligned = (facts_.info.sgls & 3) == 2;
    plan.weighted = cc::kAms.Get(Configuration()) == kAmsWeighted;
    plan.timeout_ns = options_.io_timeout_ms * kNsPerMs;
    plan.on_timeout = options_.on_io_timeout;
    facts_.info.io_queue_depth = plan.depth;
    CO_RETURN_IF_ERROR(queues_.Make(plan, *granted));
  }
  CO_RETURN_IF_ERROR(co_await queues_.Create(first));
  queues_.SetInjections(injections_);
  facts_.info.io_queues = queues_.count();
  facts_.info.submission_queues_in_cmb = queues_.in_cmb() > 0;

  if (quirks_.queue_delay_ns > 0) {
    const uint64_t until = NowNs() + quirks_.queue_delay_ns;
    while (NowNs() < until) {
      CO_RETURN_IF_ERROR(Interruption());
      co_await polls_.Next();
    }
  }
  co_return OkStatus();
}

Task<Status> NvmeController::SetUpEvents() {
  const uint32_t wanted = AsyncEvents::Configuration(facts_.info.oaes);
  const Completion set = co_await SetFeature(feature::kAsyncEventConfiguration, wanted);
  if (!pollux_nvme_ok(set)) {
    CO_RETURN_IF_ERROR(Tolerate(CommandFailed("Asynchronous Event Configuration", set)));
  }
  events_.Start(facts_.async_events_max);
  co_return OkStatus();
}

}  // namespace pollux::nvme
