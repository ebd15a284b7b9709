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

// Queue identifiers are 16 bits, and 0 is the admin queue's.
constexpr uint32_t kQueuesMax = 65534;
constexpr uint32_t kVersion20 = 0x020000;

constexpr uint32_t kCtrattExtendedHostId = 1 << 0;
constexpr uint32_t kExtendedHostId = 1 << 0;  // EXHID.
constexpr uint8_t kBurstNoLimit = 7;

// I/O command sets in one vector of CNS 1Ch. Base figure 283.
constexpr uint64_t kVectorNvm = 1 << kCsiNvm, kVectorZoned = 1 << kCsiZoned;
constexpr size_t kVectors = kIdentifyBytes / sizeof(Le64);

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
  CO_RETURN_IF_ERROR(
      co_await transport_->MakeReady(first, queues_.count(), facts_.info.io_queue_depth));
  io_command_sets_ = transport_->capabilities().io_command_sets;
  admin_.queue().SetInjections(injections_);
  CO_RETURN_IF_ERROR(co_await IdentifyController());
  CO_RETURN_IF_ERROR(co_await ChooseCommandSets());
  CO_RETURN_IF_ERROR(co_await LearnLimits());
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
  ASSIGN_OR_CO_RETURN(
      facts_, DescribeController(identify, transport_->capabilities(), kListsTransferBytesMax));
  facts_.info.id = id_;
  CO_RETURN_IF_ERROR(transport_->Describe(facts_));
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
  if (!io_command_sets_ || facts_.administrative) co_return OkStatus();
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

// What commands that move no data may name at most. Controllers older than 2.0 may not tell.
Task<Status> NvmeController::LearnLimits() {
  const bool may_tell = io_command_sets_ || transport_->capabilities().version >= kVersion20;
  if (!may_tell || facts_.administrative) co_return OkStatus();
  const Piece data = admin_.Buffer(kIdentifyBytes);
  if (!data.valid()) co_return OutOfMemory("no memory for Identify");
  const SubmissionEntry entry =
      EntryOf(pollux_nvme_make_identify(cns::kCsController, 0, 0, kCsiNvm));
  AdminCommand command(admin_, entry, data);
  const Completion told = co_await command;
  if (pollux_nvme_ok(told)) {
    facts_.limits = *data.as<IdentifyNvmController>();
  } else if (pollux_nvme_code(told) != status::kInvalidField) {
    CO_RETURN_IF_ERROR(Tolerate(CommandFailed("Identify Controller, NVM", told)));
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
  CO_RETURN_IF_ERROR(co_await transport_->LendMemory(facts_));

  const bool weighted = transport_->weighted();
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

  if (const uint32_t agreed_ms = transport_->agreed_keep_alive_ms(); agreed_ms != 0) {
    keep_alive_.Start(agreed_ms * kNsPerMs, NowNs());
  } else if (options_.keep_alive_ms != 0 && options_.keep_alive_ms != UINT32_MAX &&
             facts_.keep_alive_unit_ms != 0) {
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
  CO_RETURN_IF_ERROR(co_await transport_->PrepareQueues(facts_, made));
  uint32_t wanted = queues_.count();
  if (!made) {
    wanted = options_.io_queues == 0 ? static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_ONLN))
                                     : options_.io_queues;
    wanted = std::min({wanted, transport_->io_queues_max(), kQueuesMax});
  }
  const Result<uint16_t> granted = co_await queues_.Negotiate(static_cast<uint16_t>(wanted));
  CO_RETURN_IF_ERROR(granted.status());
  if (made && *granted < queues_.count()) {
    co_return InternalError("after the reset the device grants %u I/O queues, not %u", *granted,
                            queues_.count());
  }
  if (!made) {
    Queues::Plan plan;
    plan.transport = transport_.get();
    plan.depth = transport_->ClampedDepth(options_.io_queue_depth);
    plan.timeout_ns = options_.io_timeout_ms * kNsPerMs;
    plan.on_timeout = options_.on_io_timeout;
    facts_.info.io_queue_depth = plan.depth;
    CO_RETURN_IF_ERROR(queues_.Make(plan, *granted, facts_));
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
  const uint32_t wanted = AsyncEvents::Configuration(facts_.info.oaes, facts_.discovery);
  const Completion set = co_await SetFeature(feature::kAsyncEventConfiguration, wanted);
  if (!pollux_nvme_ok(set)) {
    CO_RETURN_IF_ERROR(Tolerate(CommandFailed("Asynchronous Event Configuration", set)));
  }
  events_.Start(facts_.async_events_max);
  co_return OkStatus();
}

}  // namespace pollux::nvme
