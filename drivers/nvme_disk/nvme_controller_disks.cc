#include "drivers/nvme_disk/nvme_controller_disks.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "core/run_on.h"
#include "drivers/nvme/host.h"
#include "drivers/nvme_disk/nvme_transport.h"

namespace pollux {
namespace {

constexpr uint16_t kQueueDepth = 256;
// What a queue takes of the host's memory: its rings, and a list of 4 KiB for each slot.
constexpr size_t kQueueBytes = kQueueDepth * (4096 + 64 + 16) + (64 << 10);
// The admin queue, identify data, commands of the user's.
constexpr size_t kAdminBytes = 8 << 20;

constexpr uint64_t kBusyPollNs = kNsPerMs;
constexpr uint64_t kIdlePollNs = 100 * kNsPerMs;
constexpr int kPollsMax = 64;
// How long commands may still take when a controller is to be detached, until they are ended.
constexpr uint64_t kDrainNs = 1 * kNsPerSecond;

bool Moves(NvmeState state) {
  return state == POLLUX_NVME_STATE_ATTACHING || state == POLLUX_NVME_STATE_RESETTING ||
         state == POLLUX_NVME_STATE_DETACHING;
}

}  // namespace

class NvmeControllerDisks::Ticker final : public Timer {
 public:
  explicit Ticker(NvmeControllerDisks& owner) : owner_(owner) {}
  void OnTimer() override { owner_.Poll(); }

 private:
  NvmeControllerDisks& owner_;
};

class NvmeControllerDisks::Waker final : public FdHandler {
 public:
  explicit Waker(NvmeControllerDisks& owner) : owner_(owner) {}
  void OnReady(uint32_t) override { owner_.Poll(); }

 private:
  NvmeControllerDisks& owner_;
};

// An admin command to be waited for. Its waiter goes on after the poll in which it ended, so that
// it may do anything to the controller.
class NvmeControllerDisks::AdminCall final : public nvme::Request, public Message {
 public:
  explicit AdminCall(Loop& control) : control_(control) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) noexcept { task_ = task; }
  nvme::Completion await_resume() const noexcept { return completion_; }

 private:
  void OnComplete(nvme::Completion completion) override {
    completion_ = completion;
    control_.Post(*this);
  }
  void Run() override { task_.resume(); }

  Loop& control_;
  std::coroutine_handle<> task_;
  nvme::Completion completion_{};
};

// The same for an I/O command, on the queue's reactor.
class NvmeControllerDisks::IoCall final : public NvmeCommand, public Message {
 public:
  IoCall(NvmeQueue& queue, const pollux_nvme_command& command, iovec data, void* metadata,
         size_t metadata_bytes)
      : queue_(queue),
        command_(command),
        data_(data),
        metadata_(metadata),
        metadata_bytes_(metadata_bytes) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) noexcept {
    task_ = task;
    if (!queue_.MaySubmit() || !TrySend()) queue_.Await(*this);
  }
  Result<nvme::Completion> await_resume() const {
    if (error_ == 0) return completion_;
    return ErrorOfErrno(-error_, "the command cannot be sent");
  }

 private:
  bool TrySend() override {
    error_ =
        pollux_nvme_io_command(queue_.c(), this, &command_, data_.iov_len > 0 ? &data_ : nullptr,
                               data_.iov_len > 0 ? 1 : 0, metadata_, metadata_bytes_);
    if (error_ == -EAGAIN && !queue_.refusing()) return false;
    error_ == 0 ? queue_.RingLater() : queue_.reactor().Post(*this);
    return true;
  }
  void OnComplete(nvme::Completion completion) override {
    completion_ = completion;
    queue_.reactor().Post(*this);
  }
  void Run() override { task_.resume(); }

  NvmeQueue& queue_;
  const pollux_nvme_command command_;
  const iovec data_;
  void* const metadata_;
  const size_t metadata_bytes_;
  std::coroutine_handle<> task_;
  nvme::Completion completion_{};
  int error_ = 0;
};

NvmeControllerDisks::NvmeControllerDisks(const NvmeEnvironment& environment,
                                         NvmeAttachment attachment, const NvmeOptions& options,
                                         Owner& owner)
    : environment_(environment),
      attachment_(std::move(attachment)),
      options_(options),
      owner_(owner),
      ticker_(std::make_unique<Ticker>(*this)),
      waker_(std::make_unique<Waker>(*this)) {}

NvmeControllerDisks::~NvmeControllerDisks() {
  CHECK(controller_ == nullptr, "an NVMe controller was not detached");
}

// --- Attaching.

Status NvmeControllerDisks::MakeHost() {
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

pollux_nvme_attach_options NvmeControllerDisks::AttachOptions() {
  pollux_nvme_attach_options options{};
  options.io_queues = static_cast<uint16_t>(environment_.reactors.size());
  options.io_queue_depth = kQueueDepth;
  const auto to_ms = [](uint64_t us) {
    return static_cast<uint32_t>(std::min<uint64_t>((us + 999) / 1000, UINT32_MAX));
  };
  options.admin_timeout_ms = to_ms(options_.timeout_admin_us);
  options.io_timeout_ms = to_ms(options_.timeout_us);
  options.on_io_timeout = options_.action_on_timeout;
  options.no_host_memory_buffer = true;  // Its memory would be taken for every controller.
  options.arbitration_burst = static_cast<uint8_t>(options_.arbitration_burst);
  options.high_priority_weight = static_cast<uint8_t>(options_.high_priority_weight);
  options.medium_priority_weight = static_cast<uint8_t>(options_.medium_priority_weight);
  options.low_priority_weight = static_cast<uint8_t>(options_.low_priority_weight);
  snprintf(options.host_nqn, sizeof(options.host_nqn), "%s", attachment_.hostnqn.c_str());
  options.header_digest = attachment_.header_digest;
  options.data_digest = attachment_.data_digest;
  options.no_sq_flow_control = attachment_.no_sq_flow_control;
  snprintf(options.host_traddr, sizeof(options.host_traddr), "%s", attachment_.hostaddr.c_str());
  snprintf(options.host_trsvcid, sizeof(options.host_trsvcid), "%s", attachment_.hostsvcid.c_str());
  options.connect_timeout_ms = to_ms(attachment_.connect_timeout_us);
  if (IsNvmeFabric(attachment_.id)) {
    options.keep_alive_ms = options_.keep_alive_ms == 0 ? UINT32_MAX : options_.keep_alive_ms;
  }
  const NvmeReconnecting& own = attachment_.reconnecting;
  const NvmeReconnecting& again = own.loss_timeout_sec != 0 ? own : options_.reconnecting;
  const auto sec_to_ms = [](uint32_t sec) {
    return static_cast<uint32_t>(std::min<uint64_t>(uint64_t{sec} * 1000, UINT32_MAX - 1));
  };
  options.reconnect_delay_ms = sec_to_ms(again.delay_sec);
  options.fast_io_fail_ms = sec_to_ms(again.fast_io_fail_sec);
  options.loss_timeout_ms = again.loss_timeout_sec < 0
                                ? UINT32_MAX
                                : sec_to_ms(static_cast<uint32_t>(again.loss_timeout_sec));
  options.on_event = &NvmeControllerDisks::OnEvent;
  options.context = this;
  return options;
}

Status NvmeControllerDisks::Failure(const char* what) const {
  const char* text = "";
  const int error = pollux_nvme_failure(controller_, &text);
  return ErrorOfErrno(error < 0 ? -error : EIO,
                      absl::StrFormat("%s: %s: %s", attachment_.id.traddr, what, text));
}

Task<Status> NvmeControllerDisks::Connect() {
  CHECK(controller_ == nullptr);
  cancelled_ = false;
  CO_RETURN_IF_ERROR(MakeHost());
  const pollux_nvme_attach_options options = AttachOptions();
  const int error = environment_.attach_begin(host_.get(), &attachment_.id, &options, &controller_);
  if (error != 0) {
    controller_ = nullptr;
    const Status status =
        ErrorOfField(-error, "traddr", attachment_.id.traddr, pollux_nvme_error_text());
    host_.reset();
    memory_.reset();
    co_return status;
  }
  ArmTicker();
  Status status = co_await WaitUntilAttached();
  if (status.ok()) status = co_await TakeQueues();
  if (!status.ok()) co_await Shutdown();
  co_return status;
}

void NvmeControllerDisks::CancelConnect() {
  cancelled_ = true;
  polled_.Pulse();
}

Task<Status> NvmeControllerDisks::WaitUntilAttached() {
  while (state() == POLLUX_NVME_STATE_ATTACHING && !cancelled_) co_await polled_;
  if (cancelled_) co_return Cancelled("the attach was given up");
  if (state() != POLLUX_NVME_STATE_READY) co_return Failure("cannot be attached");
  co_return OkStatus();
}

Task<Status> NvmeControllerDisks::TakeQueues() {
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
    const auto on_stuck = [this] {
      if (controller_ == nullptr || leaving_) return;
      LogWarning("nvme",
                 "%s: a command does not end though it was aborted: the controller is reset",
                 name());
      pollux_nvme_reset(controller_);
      Poll();
    };
    nudging_ = true;
    queues_.push_back(std::make_unique<NvmeQueue>(*reactor, environment_.control, queue, on_stuck));
    auto start = [q = queues_.back().get()] { q->Start(); };
    co_await RunOn(*reactor, start);
  }
  co_return OkStatus();
}

Task<Status> NvmeControllerDisks::Publish() {
  const Turn::Holder held = co_await changing_.Take();
  std::vector<uint32_t> nsids;
  for (uint32_t nsid = 0;;) {
    const pollux_nvme_namespace* ns = pollux_nvme_namespace_next(controller_, nsid);
    if (ns == nullptr) break;
    nsid = pollux_nvme_get_namespace_info(ns)->nsid;
    nsids.push_back(nsid);
  }
  if (nsids.size() > attachment_.max_bdevs) {
    co_return ErrorOfField(ERANGE, "max_bdevs", std::to_string(attachment_.max_bdevs),
                           absl::StrFormat("the controller has %d namespaces", nsids.size()));
  }
  published_ = true;  // What changes from here on comes as an event, after its turn.
  for (const uint32_t nsid : nsids) {
    const Status added = co_await AddDisk(nsid);
    if (added.ok()) continue;
    if (ErrnoOf(added) == ENOTSUP || ErrnoOf(added) == ENXIO) {
      LogNotice("nvme", "%s: %s", name(), added.message());
      continue;
    }
    published_ = false;
    co_return added;
  }
  // It may have gone meanwhile, when there was nobody to tell.
  if (state() == POLLUX_NVME_STATE_GONE) OnState(POLLUX_NVME_STATE_GONE);
  co_return OkStatus();
}

// --- Detaching.

Task<void> NvmeControllerDisks::Detach() {
  CHECK(controller_ != nullptr && !leaving_);
  leaving_ = true;
  {
    const Turn::Holder held = co_await changing_.Take();
    while (!disks_.empty()) co_await RemoveDisk(disks_.begin()->first);
  }
  co_await tasks_.Drained();
  co_await Shutdown();
}

Task<void> NvmeControllerDisks::Shutdown() {
  co_await DrainQueues();
  co_await ReturnQueues();
  if (const int error = pollux_nvme_detach_begin(controller_); error != 0) {
    LogError("nvme", "%s: %s", name(), pollux_nvme_error_text());
  }
  Poll();
  while (state() != POLLUX_NVME_STATE_DETACHED) co_await polled_;
  while (uses_ > 0) co_await unused_;
  // Not within a poll, which still needs all of this.
  Sleep moment(0);
  co_await moment;
  environment_.control.CancelTimer(*ticker_);
  if (watched_fd_ >= 0) environment_.control.Unwatch(std::exchange(watched_fd_, -1), *waker_);
  pollux_nvme_release(std::exchange(controller_, nullptr));
  host_.reset();
  memory_.reset();
  published_ = leaving_ = false;
  events_.clear();
}

// Disks have drained before; what is left are single commands of the user's.
Task<void> NvmeControllerDisks::DrainQueues() {
  const uint64_t deadline = environment_.control.NowNs() + kDrainNs;
  bool ended = false;
  for (auto& queue : queues_) {
    for (;;) {
      auto count = [q = queue.get()] { return q->pending(); };
      if (co_await RunOn(queue->reactor(), count) == 0) break;
      if (!ended && environment_.control.NowNs() >= deadline) {
        ended = true;
        pollux_nvme_disable(controller_);
        Poll();
      }
      if (ended) {
        queue->set_refusing(true);
        queue->Nudge();
      }
      Sleep moment(kBusyPollNs);
      co_await moment;
    }
  }
}

Task<void> NvmeControllerDisks::ReturnQueues() {
  nudging_ = false;
  for (auto& queue : queues_) {
    auto stop = [q = queue.get()] { q->Stop(); };
    co_await RunOn(queue->reactor(), stop);
    pollux_nvme_queue_return(queue->c());
  }
  queues_.clear();
}

// --- Polling.

void NvmeControllerDisks::Poll() {
  if (controller_ == nullptr || polling_) return;
  polling_ = true;
  for (int i = 0; i < kPollsMax && pollux_nvme_controller_poll(controller_) > 0; ++i) {
  }
  polling_ = false;
  ArmTicker();
  std::deque<SavedEvent> events = std::exchange(events_, {});
  for (const SavedEvent& event : events) Handle(event);
  polled_.Pulse();
}

void NvmeControllerDisks::ArmTicker() {
  const int fd = pollux_nvme_controller_event_fd(controller_);
  if (fd != watched_fd_) {
    if (watched_fd_ >= 0) environment_.control.Unwatch(watched_fd_, *waker_);
    watched_fd_ = fd;
    if (fd >= 0 && !environment_.control.Watch(fd, EPOLLIN, *waker_).ok()) watched_fd_ = -1;
  }
  uint64_t period = kIdlePollNs;
  if (Moves(state())) {
    period = kBusyPollNs;
  } else if (admin_in_flight_ > 0) {
    period = std::clamp(options_.adminq_poll_period_us * kNsPerUs, kBusyPollNs, kIdlePollNs);
  }
  environment_.control.ArmTimerIn(*ticker_, period);
}

// Within a poll: what follows from it comes after.
void NvmeControllerDisks::OnEvent(void* context, pollux_nvme_controller*,
                                  const pollux_nvme_event* event) {
  auto* self = static_cast<NvmeControllerDisks*>(context);
  self->events_.push_back({event->type, event->nsid, event->value, event->text});
}

void NvmeControllerDisks::Handle(const SavedEvent& event) {
  switch (event.type) {
    case POLLUX_NVME_EVENT_NAMESPACE_ADDED:
    case POLLUX_NVME_EVENT_NAMESPACE_REMOVED:
    case POLLUX_NVME_EVENT_NAMESPACE_RESIZED:
      if (published_ && !leaving_) tasks_.Spawn(OnNamespace(event.type, event.nsid));
      return;
    case POLLUX_NVME_EVENT_STATE:
      return OnState(static_cast<NvmeState>(event.value));
    case POLLUX_NVME_EVENT_HEALTH:
    case POLLUX_NVME_EVENT_ERROR:
    case POLLUX_NVME_EVENT_TIMEOUT:
      LogWarning("nvme", "%s: %s", name(), Printable(event.text));
      return;
    case POLLUX_NVME_EVENT_NAMESPACE_ANA_CHANGED:
    case POLLUX_NVME_EVENT_FIRMWARE_ACTIVATION:
    case POLLUX_NVME_EVENT_SANITIZE:
    case POLLUX_NVME_EVENT_ZONES_CHANGED:
    case POLLUX_NVME_EVENT_DISCOVERY_CHANGED:
    case POLLUX_NVME_EVENT_OTHER:
      LogNotice("nvme", "%s: %s", name(), Printable(event.text));
      return;
  }
}

void NvmeControllerDisks::OnState(NvmeState state) {
  LogNotice("nvme", "%s: %s", name(), pollux_nvme_state_name(state));
  if (state == POLLUX_NVME_STATE_RESETTING) ++resets_begun_;
  for (auto& queue : queues_) {
    if (!nudging_) break;
    queue->set_refusing(state == POLLUX_NVME_STATE_DISABLED);
    queue->Nudge();
  }
  if (state != POLLUX_NVME_STATE_GONE || !published_ || leaving_ || gone_told_) return;
  gone_told_ = true;
  owner_.OnControllerGone(*this, Failure("is gone"));
}

const char* NvmeControllerDisks::state_name() const {
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

// --- Disks.

std::vector<std::string> NvmeControllerDisks::disk_names() const {
  std::vector<std::string> names;
  for (const auto& [nsid, disk] : disks_) names.push_back(disk);
  return names;
}

Task<void> NvmeControllerDisks::OnNamespace(pollux_nvme_event_type type, uint32_t nsid) {
  const Turn::Holder held = co_await changing_.Take();
  if (!published_ || leaving_) co_return;
  if (type == POLLUX_NVME_EVENT_NAMESPACE_REMOVED) co_return co_await RemoveDisk(nsid);
  if (type == POLLUX_NVME_EVENT_NAMESPACE_RESIZED) co_return co_await ResizeDisk(nsid);
  const Status added = co_await AddDisk(nsid);
  if (!added.ok()) LogWarning("nvme", "%s: namespace %u: %s", name(), nsid, added.message());
}

Task<Status> NvmeControllerDisks::AddDisk(uint32_t nsid) {
  if (disks_.contains(nsid)) co_return OkStatus();
  const pollux_nvme_namespace* ns = pollux_nvme_namespace_find(controller_, nsid);
  if (ns == nullptr) co_return ErrorOfErrno(ENXIO, "the namespace has gone meanwhile");
  NvmeDiskOptions options;
  options.name = absl::StrFormat("%sn%d", name(), nsid);
  options.check_reference_tag = attachment_.prchk_reftag;
  options.check_guard = attachment_.prchk_guard;
  options.retries_max = options_.bdev_retry_count;
  options.count_errors = options_.nvme_error_stat;
  const NvmeDiskParts parts{.host = host_.get(),
                            .controller = controller_,
                            .ns = ns,
                            .queues = &queues_,
                            .buffers = &environment_.buffers};
  ASSIGN_OR_CO_RETURN(std::unique_ptr<BlockDevice> disk, NvmeDisk::Make(options, parts));
  CO_RETURN_IF_ERROR((co_await environment_.devices.Register(std::move(disk))).status());
  disks_[nsid] = options.name;
  co_return OkStatus();
}

Task<void> NvmeControllerDisks::RemoveDisk(uint32_t nsid) {
  const auto found = disks_.find(nsid);
  if (found == disks_.end()) co_return;
  const Status removed = co_await environment_.devices.Unregister(found->second);
  if (!removed.ok()) LogError("nvme", "%s: %s", found->second, removed.message());
  disks_.erase(nsid);
}

Task<void> NvmeControllerDisks::ResizeDisk(uint32_t nsid) {
  const auto found = disks_.find(nsid);
  const pollux_nvme_namespace* ns = pollux_nvme_namespace_find(controller_, nsid);
  if (found == disks_.end() || ns == nullptr) co_return;
  const Result<BlockDevice*> disk = environment_.devices.Find(found->second);
  if (!disk.ok()) co_return;
  const uint64_t blocks = pollux_nvme_get_namespace_info(ns)->blocks;
  const Status resized = co_await environment_.devices.Resize(**disk, blocks);
  if (!resized.ok()) LogWarning("nvme", "%s: %s", found->second, resized.message());
}

// --- What the user asks for.

Task<Status> NvmeControllerDisks::Reset() {
  if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  const Use use(*this);
  const uint64_t before = resets_begun_;
  if (const int error = pollux_nvme_reset(controller_); error != 0) {
    co_return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  Poll();
  const auto waits = [this, before] {
    return Moves(state()) || (resets_begun_ == before && state() == POLLUX_NVME_STATE_READY);
  };
  while (waits()) co_await polled_;
  if (state() != POLLUX_NVME_STATE_READY) co_return Failure("the reset did not help");
  co_return OkStatus();
}

Task<Status> NvmeControllerDisks::Disable() {
  if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  const Use use(*this);
  if (const int error = pollux_nvme_disable(controller_); error != 0) {
    co_return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  Poll();
  while (state() == POLLUX_NVME_STATE_READY || Moves(state())) co_await polled_;
  if (state() != POLLUX_NVME_STATE_DISABLED) co_return Failure("cannot be disabled");
  co_return OkStatus();
}

Task<Status> NvmeControllerDisks::Enable() {
  if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  const Use use(*this);
  if (const int error = pollux_nvme_enable(controller_); error != 0) {
    co_return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  Poll();
  while (state() == POLLUX_NVME_STATE_DISABLED || Moves(state())) co_await polled_;
  if (state() != POLLUX_NVME_STATE_READY) co_return Failure("cannot be enabled");
  co_return OkStatus();
}

Task<Result<nvme::Completion>> NvmeControllerDisks::Admin(pollux_nvme_command command, void* data,
                                                          size_t bytes) {
  if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  const Use use(*this);
  AdminCall call(environment_.control);
  for (;;) {
    const int error = pollux_nvme_admin(controller_, call.c(), &command, data, bytes);
    if (error == 0) break;
    if (error != -EAGAIN) co_return ErrorOfErrno(-error, pollux_nvme_error_text());
    co_await polled_;  // The queue is full, or a reset is under way.
    if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  }
  ++admin_in_flight_;
  Poll();
  const nvme::Completion completion = co_await call;
  --admin_in_flight_;
  co_return completion;
}

Task<Result<nvme::Completion>> NvmeControllerDisks::Io(pollux_nvme_command command, iovec data,
                                                       void* metadata, size_t metadata_bytes) {
  if (leaving_) co_return ErrorOfErrno(ENXIO, "the controller is being detached");
  const Use use(*this);
  NvmeQueue& queue = *queues_.front();
  co_await SwitchTo(queue.reactor());
  Result<nvme::Completion> result = ErrorOfErrno(EIO, "not sent");
  {
    IoCall call(queue, command, data, metadata, metadata_bytes);
    result = co_await call;
  }
  co_await SwitchTo(environment_.control);
  co_return result;
}

}  // namespace pollux
