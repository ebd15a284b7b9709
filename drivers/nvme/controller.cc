#include "drivers/nvme/controller.h"

#include <syslog.h>

#include <utility>

#include "core/check.h"
#include "core/clock.h"
#include "drivers/nvme/host.h"

namespace pollux::nvme {
namespace {

// What a log page is read to: enough for the head of each, which is what clears its event.
constexpr size_t kLogBytes = 512;
constexpr size_t kChangedNamespacesBytes = 4096;  // Read whole: the specification wants it so.

bool Allowed(ControllerState from, ControllerState to) {
  switch (to) {
    case POLLUX_NVME_STATE_ATTACHING:
      return false;
    case POLLUX_NVME_STATE_READY:
      return from == POLLUX_NVME_STATE_ATTACHING || from == POLLUX_NVME_STATE_RESETTING;
    case POLLUX_NVME_STATE_RESETTING:
      return from == POLLUX_NVME_STATE_READY || from == POLLUX_NVME_STATE_FAILED ||
             from == POLLUX_NVME_STATE_DISABLED;
    case POLLUX_NVME_STATE_DISABLED:
      return from == POLLUX_NVME_STATE_READY || from == POLLUX_NVME_STATE_RESETTING ||
             from == POLLUX_NVME_STATE_FAILED;
    case POLLUX_NVME_STATE_FAILED:
      return from == POLLUX_NVME_STATE_ATTACHING || from == POLLUX_NVME_STATE_RESETTING;
    case POLLUX_NVME_STATE_GONE:
      return from != POLLUX_NVME_STATE_DETACHING && from != POLLUX_NVME_STATE_DETACHED;
    case POLLUX_NVME_STATE_DETACHING:
      return from != POLLUX_NVME_STATE_DETACHED;
    case POLLUX_NVME_STATE_DETACHED:
      return from == POLLUX_NVME_STATE_DETACHING;
  }
  return false;
}

}  // namespace

NvmeController::NvmeController(NvmeHost& host, const Transport::Maker& make_transport,
                               const pollux_nvme_transport_id& id,
                               const pollux_nvme_attach_options& options)
    : host_(host),
      id_(id),
      options_(options),
      transport_(make_transport({host_, options_, polls_, admin_, *this})),
      quirks_(transport_->quirks()),
      admin_(host.arena(), polls_),
      queues_(admin_),
      namespaces_(
          admin_,
          [this](pollux_nvme_event_type type, uint32_t nsid) {
            pollux_nvme_event event{};
            event.type = type;
            event.nsid = nsid;
            event.text = type == POLLUX_NVME_EVENT_NAMESPACE_ADDED     ? "a namespace is there"
                         : type == POLLUX_NVME_EVENT_NAMESPACE_REMOVED ? "a namespace is gone"
                                                                       : "a namespace was resized";
            Emit(event);
          },
          [this](const std::string& text) { Log(LOG_WARNING, text); }),
      events_(admin_),
      keep_alive_(admin_),
      discovery_reading_(*this) {}

NvmeController::~NvmeController() {
  CHECK(!live_.has_value() || state_ == POLLUX_NVME_STATE_DETACHED,
        "a controller is freed that was not detached");
}

uint64_t NvmeController::NowNs() const { return host_.clock().NowNs(); }

void NvmeController::Log(int priority, const std::string& text) {
  host_.Log(priority, name() + ": " + text);
}

void NvmeController::Emit(const pollux_nvme_event& event) {
  if (options_.on_event == nullptr) return;
  options_.on_event(options_.context, static_cast<pollux_nvme_controller*>(this), &event);
}

void NvmeController::Enter(ControllerState next) {
  if (next == state_) return;
  CHECK(Allowed(state_, next), "a controller takes a step that its picture does not have");
  state_ = next;
  const bool bad = next == POLLUX_NVME_STATE_FAILED || next == POLLUX_NVME_STATE_GONE;
  std::string text = pollux_nvme_state_name(next);
  if (!failure_.ok() && (bad || next == POLLUX_NVME_STATE_RESETTING)) {
    text += ": " + std::string(failure_.message());
  }
  Log(bad ? LOG_ERR : LOG_INFO, text);
  pollux_nvme_event event{};
  event.type = POLLUX_NVME_EVENT_STATE;
  event.value = static_cast<uint32_t>(next);
  event.text = text.c_str();
  Emit(event);
}

// --- What happens at each poll.

int NvmeController::Poll() {
  if (polling_) return 0;
  polling_ = true;
  int done = 0;
  if (!live_.has_value()) {
    live_.emplace(Live());
    live_->Start();
    ++done;
  }
  const uint64_t now = NowNs();
  transport_->ClearEvents();
  LookAtDevice(now);
  if (admin_.made()) done += admin_.queue().Poll(0);
  done += queues_.PollIdle();
  done += Serve(now);
  const bool late = admin_deadline_ns_ != 0 && (now >= admin_deadline_ns_ || !trouble_.ok());
  if (late || (starting_ && !Interruption().ok())) EndAdminCommands();
  polls_.Run();
  polling_ = false;
  return done;
}

void NvmeController::Lose(Status why) {
  if (lost_.ok()) lost_ = std::move(why);
}

void NvmeController::Trouble(Status why) {
  if (!trouble_.ok()) return;
  Log(LOG_WARNING, std::string(why.message()));
  trouble_ = std::move(why);
}

void NvmeController::LookAtDevice(uint64_t now_ns) {
  if (!lost_.ok() || state_ == POLLUX_NVME_STATE_DETACHED) return;
  Transport::Findings found = transport_->Look(now_ns);
  if (!found.lost.ok()) return Lose(std::move(found.lost));
  if (!found.trouble.ok()) Trouble(std::move(found.trouble));
  (void)Alive();
}

bool NvmeController::Alive() {
  if (lost_.ok()) lost_ = transport_->Silence();
  return lost_.ok();
}

// What a controller does beside its life.
int NvmeController::Serve(uint64_t now_ns) {
  int done = 0;
  if (admin_.made()) {
    admin_.queue().CheckTimeouts(now_ns);
    if (const uint32_t notice = admin_.queue().TakeTimeoutNotice(); notice != 0) {
      Trouble(TimedOut("an admin command (CID 0x%x) was not answered in time", notice));
    }
    (void)admin_.queue().TakeResetWish();  // The notice says it.
  }
  if (const uint32_t notice = queues_.TakeTimeoutNotice(); notice != 0) {
    pollux_nvme_event event{};
    event.type = POLLUX_NVME_EVENT_TIMEOUT;
    event.value = notice;
    event.text = "a command was not answered in time";
    Log(LOG_WARNING, absl::StrFormat("command 0x%x of queue %u was not answered in time",
                                     notice & 0xffff, notice >> 16));
    Emit(event);
    ++done;
  }
  if (fail_fast_at_ns_ != 0 && now_ns >= fail_fast_at_ns_) FailFast(true);
  if (state_ != POLLUX_NVME_STATE_READY) return done;
  if (queues_.TakeResetWish())
    Trouble(TimedOut("a command was not answered, nor aborted, in time"));
  done += queues_.SendAborts(facts_.aborts_max);
  done += keep_alive_.Step(now_ns);
  Completion refused{};
  if (keep_alive_.TakeFailure(refused)) Trouble(CommandFailed("Keep Alive", refused));
  if (keep_alive_.Overdue(now_ns)) Trouble(TimedOut("a keep alive was not answered in time"));
  done += events_.Step(now_ns);
  return done;
}

// --- Its life.

bool NvmeController::WantsReset() const {
  const bool ready = state_ == POLLUX_NVME_STATE_READY;
  return (ready && !trouble_.ok()) ||
         (wishes_.reset && (ready || state_ == POLLUX_NVME_STATE_FAILED));
}

Status NvmeController::ResetReason() const {
  return trouble_.ok() ? Cancelled("a reset was asked for") : trouble_;
}

Task<void> NvmeController::Live() {
  failure_ = co_await Start(/*first=*/true);
  if (failure_.ok()) {
    Enter(POLLUX_NVME_STATE_READY);
  } else if (Alive() && !wishes_.detach) {
    co_await Quiesce(POLLUX_NVME_ABORTED_BY_HOST);
    if (Alive()) Enter(POLLUX_NVME_STATE_FAILED);
  }
  while (!wishes_.detach) {
    if (!Alive()) {
      co_await BecomeGone();
    } else if (wishes_.disable) {
      co_await BecomeDisabled();
    } else if (wishes_.enable || WantsReset()) {
      const Status reason = wishes_.enable ? OkStatus() : ResetReason();
      wishes_.enable = false;
      co_await ResetUntilReady(reason);
    }
    if (!wishes_.detach) co_await polls_.Next();
  }
  co_await Leave();
}

// --- Events.

Task<void> NvmeController::Attend() {
  while (!stop_attending_) {
    if (!events_.empty()) {
      co_await HandleEvent(events_.Take());
    } else if (wishes_.rescan) {
      wishes_.rescan = false;
      const Status scanned = co_await namespaces_.Scan(facts_, quirks_, io_command_sets_);
      if (!scanned.ok() && !stop_attending_) {
        Log(LOG_WARNING, "its namespaces were not read: " + std::string(scanned.message()));
      }
    } else {
      co_await polls_.Next();
    }
  }
}

Task<void> NvmeController::HandleEvent(uint32_t dw0) {
  pollux_nvme_event event = AsyncEvents::Describe(dw0);
  const auto page = static_cast<uint8_t>(async_event::kLogPage.Get(dw0));
  const bool namespaces_changed =
      async_event::kType.Get(dw0) == async_event::kNotice &&
      async_event::kInformation.Get(dw0) == async_event::kNoticeNamespaceChanged;
  if (page != 0 && AsyncEvents::DriverReads(dw0)) {
    const Piece log = admin_.Buffer(namespaces_changed ? kChangedNamespacesBytes : kLogBytes);
    if (log.valid()) {
      const SubmissionEntry entry =
          EntryOf(pollux_nvme_make_get_log_page(page, kAllNamespaces, log.bytes(), 0, 0, false));
      AdminCommand command(admin_, entry, log);
      const Completion completion = co_await command;
      if (page == log_page::kHealth && pollux_nvme_ok(completion)) {
        event.value = log.as<HealthLog>()->critical_warning;
      }
    }
  }
  if (namespaces_changed) {
    wishes_.rescan = true;  // Several notices are one scan.
    co_return;
  }
  if (stop_attending_) co_return;
  Emit(event);
}

// --- What the user asks for.

ControllerState NvmeController::state() const {
  switch (state_) {
    case POLLUX_NVME_STATE_READY:
    case POLLUX_NVME_STATE_FAILED:
    case POLLUX_NVME_STATE_DISABLED:
      if (wishes_.detach) return POLLUX_NVME_STATE_DETACHING;
      if (!wishes_.reset && !wishes_.disable && !wishes_.enable) return state_;
      return POLLUX_NVME_STATE_RESETTING;
    case POLLUX_NVME_STATE_ATTACHING:
    case POLLUX_NVME_STATE_RESETTING:
    case POLLUX_NVME_STATE_GONE:
      return wishes_.detach ? POLLUX_NVME_STATE_DETACHING : state_;
    case POLLUX_NVME_STATE_DETACHING:
    case POLLUX_NVME_STATE_DETACHED:
      break;
  }
  return state_;
}

Status NvmeController::CheckAlive() const {
  if (state_ == POLLUX_NVME_STATE_GONE || !lost_.ok()) {
    return NoDevice("%s is gone: %s", name(), lost_.message());
  }
  if (state_ == POLLUX_NVME_STATE_DETACHING || state_ == POLLUX_NVME_STATE_DETACHED ||
      wishes_.detach) {
    return NoDevice("%s is being detached", name());
  }
  return OkStatus();
}

Status NvmeController::Reset() {
  RETURN_IF_ERROR(CheckAlive());
  if (state_ == POLLUX_NVME_STATE_ATTACHING) return Busy("%s is being attached", name());
  if (state_ == POLLUX_NVME_STATE_DISABLED) return Busy("%s is disabled", name());
  if (state_ == POLLUX_NVME_STATE_RESETTING) return OkStatus();
  wishes_.reset = true;
  queues_.CloseAll();
  return OkStatus();
}

Status NvmeController::Disable() {
  RETURN_IF_ERROR(CheckAlive());
  if (state_ == POLLUX_NVME_STATE_ATTACHING) return Busy("%s is being attached", name());
  wishes_.enable = false;
  if (state_ == POLLUX_NVME_STATE_DISABLED) return OkStatus();
  wishes_.disable = true;
  queues_.CloseAll();
  return OkStatus();
}

Status NvmeController::Enable() {
  RETURN_IF_ERROR(CheckAlive());
  const bool disabled = state_ == POLLUX_NVME_STATE_DISABLED || wishes_.disable;
  if (!disabled) return Busy("%s is not disabled", name());
  wishes_.enable = true;
  return OkStatus();
}

Status NvmeController::Rescan() {
  RETURN_IF_ERROR(CheckAlive());
  if (state_ != POLLUX_NVME_STATE_READY) return Unavailable("%s is not ready", name());
  wishes_.rescan = true;
  return OkStatus();
}

Status NvmeController::Detach() {
  if (queues_.any_taken()) return Busy("%s: a queue is still taken", name());
  wishes_.detach = true;
  return OkStatus();
}

Result<pollux_nvme_queue*> NvmeController::TakeQueue(int index) {
  RETURN_IF_ERROR(CheckAlive());
  return queues_.Take(index);
}

void NvmeController::SetInjections(std::shared_ptr<const Injections> injections) {
  injections_ = std::move(injections);
  if (admin_.made()) admin_.queue().SetInjections(injections_);
  queues_.SetInjections(injections_);
}

int NvmeController::SubmitAdmin(pollux_nvme_request& request, const SubmissionEntry& entry,
                                void* data, size_t bytes) {
  switch (state()) {
    case POLLUX_NVME_STATE_READY:
      return admin_.SubmitForUser(request, entry, data, bytes);
    case POLLUX_NVME_STATE_ATTACHING:
    case POLLUX_NVME_STATE_RESETTING:
    case POLLUX_NVME_STATE_DISABLED:
      return -EAGAIN;
    case POLLUX_NVME_STATE_FAILED:
    case POLLUX_NVME_STATE_GONE:
    case POLLUX_NVME_STATE_DETACHING:
    case POLLUX_NVME_STATE_DETACHED:
      break;
  }
  return -ENXIO;
}

Result<Completion> NvmeController::RunAdmin(const SubmissionEntry& entry, void* data,
                                            size_t bytes) {
  struct Waiting final : Request {
    void OnComplete(Completion ended) override {
      completion = ended;
      done = true;
    }
    Completion completion{};
    bool done = false;
  };
  if (polling_) return ErrorOfErrno(EDEADLK, "a callback may not wait for a command");
  Waiting waiting;
  for (;;) {
    const int error = SubmitAdmin(*waiting.c(), entry, data, bytes);
    if (error == 0) break;
    if (error != -EAGAIN || state() != POLLUX_NVME_STATE_READY) {
      return ErrorOfErrno(-error,
                          absl::StrFormat("%s is %s", name(), pollux_nvme_state_name(state())));
    }
    if (Poll() == 0) host_.Idle();
  }
  // The time-out of admin commands bounds it.
  while (!waiting.done) {
    if (Poll() == 0) host_.Idle();
  }
  return waiting.completion;
}

}  // namespace pollux::nvme
