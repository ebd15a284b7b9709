#include "drivers/nvme_disk/nvme_path.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "core/run_on.h"
#include "drivers/nvme/host.h"
#include "drivers/nvme_disk/nvme_attach_options.h"
#include "drivers/nvme_disk/nvme_subsystem.h"
#include "drivers/nvme_disk/nvme_transport.h"

namespace pollux {
namespace {

// What a queue takes of the host's memory: its rings, and a list of 4 KiB for each slot.
constexpr size_t kQueueBytes = kNvmeQueueDepth * (4096 + 64 + 16) + (64 << 10);
// The admin queue, identify data, commands of the user's.
constexpr size_t kAdminBytes = 8 << 20;

// How long commands may still take when a controller is to be detached, until they are ended.
constexpr uint64_t kDrainNs = 1 * kNsPerSecond;

NvmeCondition ConditionOf(NvmeState state) {
  switch (state) {
    case POLLUX_NVME_STATE_READY:
      return NvmeCondition::kReady;
    case POLLUX_NVME_STATE_ATTACHING:
    case POLLUX_NVME_STATE_RESETTING:
      return NvmeCondition::kAwaited;
    case POLLUX_NVME_STATE_DISABLED:
      return NvmeCondition::kDisabled;
    case POLLUX_NVME_STATE_FAILED:
    case POLLUX_NVME_STATE_GONE:
    case POLLUX_NVME_STATE_DETACHING:
    case POLLUX_NVME_STATE_DETACHED:
      return NvmeCondition::kDead;
  }
  return NvmeCondition::kDead;
}

}  // namespace

NvmePath::NvmePath(const NvmeEnvironment& environment, NvmeAttachment attachment,
                   const NvmeOptions& options, NvmeSubsystem& subsystem)
    : environment_(environment),
      attachment_(std::move(attachment)),
      options_(options),
      subsystem_(subsystem) {}

NvmePath::~NvmePath() { CHECK(controller_ == nullptr, "an NVMe controller was not detached"); }

std::string NvmePath::place() const {
  const pollux_nvme_transport_id& id = attachment_.id;
  const char* const colon = id.trsvcid[0] == '\0' ? "" : ":";
  return absl::StrFormat("%s (%s %s%s%s)", name(), NvmeTransportName(id), id.traddr, colon,
                         id.trsvcid);
}

// --- Attaching.

Status NvmePath::MakeHost() {
  const size_t queues = environment_.reactors.size();
  const size_t bytes = (queues * kQueueBytes + kAdminBytes + (2 << 20) - 1) >> 21 << 21;
  ASSIGN_OR_RETURN(memory_,
                   SharedPages::Map("nvme " + name(), bytes, /*huge=*/true, environment_.regions));
  nvme::NvmeHost::Parts parts;
  parts.registry = &environment_.regions;
  parts.memory = memory_->address();
  parts.memory_bytes = memory_->bytes();
  parts.clock = environment_.clock;
  host_.reset(new pollux_nvme_host(std::move(parts)));
  return OkStatus();
}

Status NvmePath::Failure(const char* what) const {
  const char* text = "";
  const int error = pollux_nvme_failure(controller_, &text);
  return ErrorOfErrno(error < 0 ? -error : EIO,
                      absl::StrFormat("%s: %s: %s", attachment_.id.traddr, what, text));
}

Task<Status> NvmePath::Connect() {
  CHECK(controller_ == nullptr);
  cancelled_ = false;
  CO_RETURN_IF_ERROR(MakeHost());
  pollux_nvme_attach_options options =
      NvmeAttachOptions(attachment_, options_, environment_.reactors.size());
  options.on_event = &NvmePath::OnEvent;
  options.context = this;
  const Status greeted = co_await host_->Greet(attachment_.id, &cancelled_);
  if (!greeted.ok()) {
    host_.reset();
    memory_.reset();
    co_return ErrorOfField(ErrnoOf(greeted), "traddr", attachment_.id.traddr,
                           std::string(greeted.message()));
  }
  const int error = environment_.attach_begin(host_.get(), &attachment_.id, &options, &controller_);
  if (error != 0) {
    controller_ = nullptr;
    const Status status =
        ErrorOfField(-error, "traddr", attachment_.id.traddr, pollux_nvme_error_text());
    host_.reset();
    memory_.reset();
    co_return status;
  }
  poller_.Start(controller_);
  Status status = co_await WaitUntilAttached();
  if (status.ok()) status = co_await TakeQueues();
  if (status.ok() && reports_access()) {
    const Status read = co_await ReadAccess();
    if (!read.ok()) LogWarning("nvme", "%s: %s", place(), read.message());
    if (cancelled_) status = Cancelled("the attach was given up");
  }
  if (!status.ok()) co_await Detach();
  co_return status;
}

void NvmePath::CancelConnect() {
  cancelled_ = true;
  polled_.Pulse();
}

Task<Status> NvmePath::WaitUntilAttached() {
  while (state() == POLLUX_NVME_STATE_ATTACHING && !cancelled_) co_await polled_;
  if (cancelled_) co_return Cancelled("the attach was given up");
  if (state() != POLLUX_NVME_STATE_READY) co_return Failure("cannot be attached");
  co_return OkStatus();
}

Task<Status> NvmePath::TakeQueues() {
  const size_t wanted = environment_.reactors.size();
  if (info().io_queues < wanted) {
    co_return NoSpace("%s: the controller grants %u I/O queues, and %u reactors need one each",
                      attachment_.id.traddr, info().io_queues, wanted);
  }
  for (auto& reactor : environment_.reactors) {
    pollux_nvme_queue* queue = nullptr;
    const int error =
        pollux_nvme_queue_take(controller_, static_cast<int>(reactor->index()), &queue);
    if (error != 0) co_return ErrorOfErrno(-error, pollux_nvme_error_text());
    nudging_ = true;
    queues_.push_back(std::make_unique<NvmeQueue>(*reactor, environment_.control, queue,
                                                  static_cast<NvmeQueue::Keeper&>(*this)));
    auto start = [q = queues_.back().get()] { q->Start(); };
    co_await RunOn(*reactor, start);
  }
  co_return OkStatus();
}

// --- Detaching.

Task<void> NvmePath::Detach() {
  CHECK(controller_ != nullptr);
  co_await Drain();
  read_access_at_ns_ = Loop::kNever;
  co_await ReturnQueues();
  if (const int error = pollux_nvme_detach_begin(controller_); error != 0) {
    LogError("nvme", "%s: %s", name(), pollux_nvme_error_text());
  }
  poller_.Poll();
  while (state() != POLLUX_NVME_STATE_DETACHED) co_await polled_;
  while (uses_ > 0) co_await unused_;
  co_await tasks_.Drained();
  // Not within a poll, which still needs all of this.
  Sleep moment(0);
  co_await moment;
  poller_.Stop();
  pollux_nvme_release(std::exchange(controller_, nullptr));
  host_.reset();
  memory_.reset();
  published_ = leaving_ = gone_told_ = false;
  events_.clear();
  groups_.clear();
  group_of_.clear();
}

Task<void> NvmePath::Drain() {
  const uint64_t deadline = environment_.control.NowNs() + kDrainNs;
  bool ended = false;
  for (auto& queue : queues_) {
    for (;;) {
      auto count = [q = queue.get()] { return q->pending(); };
      if (co_await RunOn(queue->reactor(), count) == 0) break;
      if (!ended && environment_.control.NowNs() >= deadline) {
        ended = true;
        pollux_nvme_disable(controller_);
        poller_.Poll();
      }
      if (ended) {
        queue->set_condition(NvmeCondition::kDisabled);
        queue->Nudge();
      }
      Sleep moment(NvmePoller::kBusyNs);
      co_await moment;
    }
  }
}

Task<void> NvmePath::ReturnQueues() {
  nudging_ = false;
  for (auto& queue : queues_) {
    auto stop = [q = queue.get()] { q->Stop(); };
    co_await RunOn(queue->reactor(), stop);
    pollux_nvme_queue_return(queue->c());
  }
  queues_.clear();
}

// --- Polling.

// Fast while the controller has something to do.
uint64_t NvmePath::PollPeriodNs() const {
  if (moves() || !unsettled_.empty()) return NvmePoller::kBusyNs;
  if (admin_in_flight_ == 0) return NvmePoller::kIdleNs;
  return std::clamp(options_.adminq_poll_period_us * kNsPerUs, NvmePoller::kBusyNs,
                    NvmePoller::kIdleNs);
}

void NvmePath::OnPolled() {
  std::deque<SavedEvent> events = std::exchange(events_, {});
  for (const SavedEvent& event : events) Handle(event);
  TellSettled();
  if (NowNs() >= read_access_at_ns_ && !reading_access_) tasks_.Spawn(RefreshAccess());
  polled_.Pulse();
}

// Within a poll: what follows from it comes after.
void NvmePath::OnEvent(void* context, pollux_nvme_controller*, const pollux_nvme_event* event) {
  auto* self = static_cast<NvmePath*>(context);
  self->events_.push_back({event->type, event->nsid, event->value, event->text});
}

void NvmePath::Handle(const SavedEvent& event) {
  switch (event.type) {
    case POLLUX_NVME_EVENT_NAMESPACE_ADDED:
    case POLLUX_NVME_EVENT_NAMESPACE_REMOVED:
    case POLLUX_NVME_EVENT_NAMESPACE_RESIZED:
      if (published_ && !leaving_) subsystem_.OnNamespaceEvent(*this, event.type, event.nsid);
      return;
    case POLLUX_NVME_EVENT_STATE:
      return OnState(static_cast<NvmeState>(event.value));
    case POLLUX_NVME_EVENT_HEALTH:
    case POLLUX_NVME_EVENT_ERROR:
    case POLLUX_NVME_EVENT_TIMEOUT:
      LogWarning("nvme", "%s: %s", place(), Printable(event.text));
      return;
    case POLLUX_NVME_EVENT_NAMESPACE_ANA_CHANGED:
      return ReadAccessAt(0);
    default:  // For people to know.
      LogNotice("nvme", "%s: %s", place(), Printable(event.text));
      return;
  }
}

void NvmePath::OnState(NvmeState state) {
  LogNotice("nvme", "%s: %s", place(), pollux_nvme_state_name(state));
  if (state == POLLUX_NVME_STATE_RESETTING) ++resets_begun_;
  for (auto& queue : queues_) {
    if (!nudging_) break;
    queue->set_condition(ConditionOf(state));
    queue->Nudge();
  }
  // What it said before the reset may not hold any more.
  if (state == POLLUX_NVME_STATE_READY && published_) ReadAccessAt(0);
  TellIfGone();
}

void NvmePath::OnStuck() {
  if (controller_ == nullptr || leaving_) return;
  LogWarning("nvme", "%s: a command does not end though it was aborted: the controller is reset",
             place());
  pollux_nvme_reset(controller_);
  poller_.Poll();
}

void NvmePath::OnLost(NvmeQueue& queue) {
  unsettled_.push_back(&queue);
  TellSettled();
  if (!unsettled_.empty()) poller_.Arm();
}

void NvmePath::TellSettled() {
  if (unsettled_.empty() || !environment_.settled(controller_)) return;
  for (NvmeQueue* queue : std::exchange(unsettled_, {})) queue->SetSettled();
}

void NvmePath::TellIfGone() {
  if (state() != POLLUX_NVME_STATE_GONE || !published_ || leaving_ || gone_told_) return;
  gone_told_ = true;
  subsystem_.OnPathGone(*this, Failure("is gone"));
}

bool NvmePath::moves() const {
  return state() == POLLUX_NVME_STATE_ATTACHING || state() == POLLUX_NVME_STATE_RESETTING ||
         state() == POLLUX_NVME_STATE_DETACHING;
}

const char* NvmePath::state_name() const {
  if (leaving_) return "deleting";
  switch (state()) {
    case POLLUX_NVME_STATE_READY:
      return "enabled";
    case POLLUX_NVME_STATE_ATTACHING:
    case POLLUX_NVME_STATE_RESETTING:
      return "resetting";
    case POLLUX_NVME_STATE_DISABLED:
      return "disabled";
    case POLLUX_NVME_STATE_FAILED:
    case POLLUX_NVME_STATE_GONE:
      return "failed";
    case POLLUX_NVME_STATE_DETACHING:
    case POLLUX_NVME_STATE_DETACHED:
      return "deleting";
  }
  return "failed";
}

}  // namespace pollux
