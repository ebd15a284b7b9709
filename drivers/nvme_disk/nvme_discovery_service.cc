#include "drivers/nvme_disk/nvme_discovery_service.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "core/run_on.h"
#include "core/spec/nvmf_spec.h"
#include "drivers/nvme/host.h"

namespace pollux {
namespace {

// The admin queue's rings and lists, and a piece of the log page.
constexpr size_t kMemoryBytes = 2 << 20;
// How often a page is read whose changes nobody tells.
constexpr uint64_t kRereadNs = 30 * kNsPerSecond;

}  // namespace

NvmeDiscoveryService::NvmeDiscoveryService(const NvmeEnvironment& environment,
                                           NvmeDiscoveryPlace place, Owner& owner)
    : environment_(environment),
      place_(std::move(place)),
      name_(absl::StrFormat("discovery service %s port %s", Printable(place_.id.traddr),
                            Printable(place_.id.trsvcid))),
      owner_(owner) {}

NvmeDiscoveryService::~NvmeDiscoveryService() {
  CHECK(controller_ == nullptr, "a discovery controller was not detached");
}

// --- Its life.

Task<void> NvmeDiscoveryService::Follow() {
  while (!ending_) {
    Status status = co_await Attach();
    if (status.ok()) status = co_await Watch();
    if (controller_ != nullptr) co_await Detach();
    if (ending_) break;
    Fail(std::move(status));
    const uint64_t until = environment_.control.NowNs() + delay_ns();
    bool early = true;
    while (!ending_ && early) early = co_await polled_.Until(until);
  }
}

void NvmeDiscoveryService::End() {
  ending_ = true;
  polled_.Pulse();
}

uint64_t NvmeDiscoveryService::delay_ns() const {
  return std::max(place_.reconnect_delay_sec, 1u) * kNsPerSecond;
}

bool NvmeDiscoveryService::ready() const {
  return pollux_nvme_state(controller_) == POLLUX_NVME_STATE_READY;
}

Status NvmeDiscoveryService::FailureOfController() const {
  const char* text = "";
  const int error = pollux_nvme_failure(controller_, &text);
  return ErrorOfErrno(error < 0 ? -error : EIO, text);
}

// Said once, not at each attempt.
void NvmeDiscoveryService::Fail(Status why) {
  const bool news = failure_.ok();
  failure_ = std::move(why);
  if (!news) return;
  LogWarning("nvme", "%s: %s", name_, Printable(std::string(failure_.message())));
  owner_.OnDiscoveryService();
}

Task<Status> NvmeDiscoveryService::Attach() {
  ASSIGN_OR_CO_RETURN(memory_, SharedPages::Map("nvme discovery", kMemoryBytes, /*huge=*/false,
                                                environment_.regions));
  nvme::NvmeHost::Parts parts;
  parts.registry = &environment_.regions;
  parts.memory = memory_->address();
  parts.memory_bytes = memory_->bytes();
  parts.clock = environment_.clock;
  // What is wrong is said once, by us; a dead service would be a line a second.
  parts.log = [](int /*priority*/, const std::string& /*text*/) {};
  host_.reset(new pollux_nvme_host(std::move(parts)));

  pollux_nvme_attach_options options{};
  // Never off, or the service may end a controller that asks nothing. Base §3.1.2.3
  options.keep_alive_ms = place_.keep_alive_ms;
  snprintf(options.host_nqn, sizeof(options.host_nqn), "%s", place_.hostnqn.c_str());
  options.reconnect_delay_ms =
      static_cast<uint32_t>(std::min<uint64_t>(delay_ns() / kNsPerMs, UINT32_MAX - 1));
  options.loss_timeout_ms = UINT32_MAX;
  options.on_event = &NvmeDiscoveryService::OnEvent;
  options.context = this;
  const int error = environment_.attach_begin(host_.get(), &place_.id, &options, &controller_);
  if (error != 0) {
    controller_ = nullptr;
    host_.reset();
    memory_.reset();
    co_return ErrorOfField(-error, "traddr", place_.id.traddr, pollux_nvme_error_text());
  }
  poller_.Start(controller_);
  while (pollux_nvme_state(controller_) == POLLUX_NVME_STATE_ATTACHING && !ending_) {
    co_await polled_;
  }
  if (ending_) co_return Cancelled("it is no longer followed");
  changed_ = true;
  co_return OkStatus();
}

// Reads the page whenever there is reason to, until the controller is no more.
Task<Status> NvmeDiscoveryService::Watch() {
  uint64_t reread_at = 0;
  while (!ending_) {
    const NvmeState state = pollux_nvme_state(controller_);
    if (state == POLLUX_NVME_STATE_FAILED || state == POLLUX_NVME_STATE_GONE) {
      co_return FailureOfController();
    }
    if (state == POLLUX_NVME_STATE_RESETTING && failure_.ok()) Fail(FailureOfController());
    if (!ready() || (!changed_ && environment_.control.NowNs() < reread_at)) {
      co_await polled_;
      continue;
    }
    const Status read = co_await ReadLog();
    if (ending_) break;
    const bool tells = (pollux_nvme_get_controller_info(controller_)->oaes &
                        nvme::async_event::kEnableDiscoveryChange) != 0;
    const uint64_t interval = read.ok() ? kRereadNs : delay_ns();
    reread_at = read.ok() && tells ? UINT64_MAX : environment_.control.NowNs() + interval;
    if (!read.ok()) Fail(read);
  }
  co_return OkStatus();
}

Task<Status> NvmeDiscoveryService::ReadLog() {
  changed_ = false;
  if (const int error = Read(controller_); error != 0) {
    co_return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  reading_ = true;
  poller_.Arm();
  while (reading_) co_await polled_;
  if (read_.ok()) owner_.OnDiscoveryService();
  co_return read_;
}

// Within a poll.

void NvmeDiscoveryService::OnDiscoveryLog(int error, const pollux_nvme_discovery_log* log) {
  reading_ = false;
  read_ = error == 0 ? OkStatus() : ErrorOfErrno(-error, pollux_nvme_error_text());
  if (error != 0) return;
  entries_.assign(log->entries, log->entries + log->count);
  heard_ = true;
  if (!failure_.ok()) LogNotice("nvme", "%s is heard again", name_);
  failure_ = OkStatus();
}

Task<void> NvmeDiscoveryService::Detach() {
  if (pollux_nvme_detach_begin(controller_) != 0) {
    LogError("nvme", "%s: %s", name_, pollux_nvme_error_text());
  }
  poller_.Poll();
  while (pollux_nvme_state(controller_) != POLLUX_NVME_STATE_DETACHED) co_await polled_;
  // Not within a poll, which still needs all of this.
  Sleep moment(0);
  co_await moment;
  poller_.Stop();
  pollux_nvme_release(std::exchange(controller_, nullptr));
  host_.reset();
  memory_.reset();
}

// --- Polling.

uint64_t NvmeDiscoveryService::PollPeriodNs() const {
  return ready() && !reading_ ? NvmePoller::kIdleNs : NvmePoller::kBusyNs;
}

// Within a poll: Watch() sees to it after.
void NvmeDiscoveryService::OnEvent(void* context, pollux_nvme_controller*,
                                   const pollux_nvme_event* event) {
  auto* self = static_cast<NvmeDiscoveryService*>(context);
  if (event->type == POLLUX_NVME_EVENT_DISCOVERY_CHANGED) self->changed_ = true;
  // It may have changed while it was not heard.
  const bool state = event->type == POLLUX_NVME_EVENT_STATE;
  if (state && event->value == POLLUX_NVME_STATE_READY) self->changed_ = true;
}

}  // namespace pollux
