// How a controller stops: for a reset, for good, or because the device is gone.
#include <syslog.h>

#include <algorithm>
#include <cerrno>

#include "core/clock.h"
#include "drivers/nvme/controller.h"
#include "drivers/nvme/host.h"

namespace pollux::nvme {
namespace {

// How long a device may take to delete its queues before it is shut down with them.
constexpr uint64_t kDeletionNs = kNsPerSecond;
constexpr uint64_t kBackOffMinNs = 100 * kNsPerMs, kBackOffMaxNs = 10 * kNsPerSecond;

// After the n-th attempt that failed, counted from 1.
uint64_t BackOffNs(uint32_t attempt) {
  return std::min(kBackOffMinNs << std::min(attempt - 1, 20u), kBackOffMaxNs);
}

}  // namespace

// Whoever submits while a reset goes on is told not to wait for it.
void NvmeController::FailFast(bool fail) {
  fail_fast_at_ns_ = 0;
  queues_.RefuseAll(fail ? -ENXIO : -EAGAIN);
}

Status NvmeController::Interruption() const {
  if (!lost_.ok()) return lost_;
  RETURN_IF_ERROR(transport_->Silence());
  if (!trouble_.ok()) return trouble_;
  if (wishes_.detach || wishes_.disable) return Cancelled("something else was asked for meanwhile");
  return OkStatus();
}

// The commands of an attempt to start, or to leave: nothing else is under way. Cutting it off is
// quick; it is disabled later.
void NvmeController::EndAdminCommands() {
  if (!admin_.made() || admin_.queue().gate() == QueuePair::Gate::kDrained) return;
  admin_.queue().Close();
  transport_->Cut();
  admin_.queue().Drain(POLLUX_NVME_ABORTED_BY_HOST);
  admin_.queue().Poll(0);
}

bool NvmeController::AllQuiet() const {
  const bool attended = !attend_.has_value() || attend_->done();
  const bool admin_quiet = !admin_.made() || admin_.queue().gate() == QueuePair::Gate::kDrained;
  return attended && admin_quiet && queues_.AllDrained();
}

// Every command ends with `status`, and the device touches our memory no more. It may then still be
// on its way to being disabled.
Task<void> NvmeController::Quiesce(uint16_t status) {
  events_.Stop();
  keep_alive_.Stop();
  stop_attending_ = true;
  queues_.CloseAll();
  co_await transport_->Stop();

  queues_.DrainAll(status);
  if (admin_.made()) admin_.queue().Drain(status);
  while (!AllQuiet() && Alive()) co_await polls_.Next();
}

Task<void> NvmeController::ResetUntilReady(Status reason) {
  failure_ = reason;
  Enter(POLLUX_NVME_STATE_RESETTING);
  const Transport::RetryPolicy policy = transport_->retry_policy();
  const uint64_t began = NowNs();
  if (options_.fast_io_fail_ms != 0) {
    fail_fast_at_ns_ = began + options_.fast_io_fail_ms * kNsPerMs;
  }
  for (uint32_t attempt = 1;; ++attempt) {
    co_await Quiesce(POLLUX_NVME_ABORTED_BY_HOST);
    wishes_.reset = false;
    trouble_ = OkStatus();
    const Status started = co_await Start(/*first=*/false);
    if (started.ok()) {
      FailFast(false);
      Enter(POLLUX_NVME_STATE_READY);
      co_return;
    }
    if (!Alive() || wishes_.detach || wishes_.disable) break;
    failure_ = started;
    const std::string of =
        policy.attempts_max == 0 ? "" : absl::StrFormat(" of %u", policy.attempts_max);
    Log(LOG_WARNING, absl::StrFormat("reset %u%s failed: %s", attempt, of, started.message()));
    if (attempt == policy.attempts_max) break;
    const uint64_t delay = policy.delay_ns != 0 ? policy.delay_ns : BackOffNs(attempt);
    if (policy.loss_ns != 0 && NowNs() + delay - began >= policy.loss_ns) {
      Lose(TimedOut("lost for %u s: %s", policy.loss_ns / kNsPerSecond, started.message()));
      break;
    }
    const uint64_t until = NowNs() + delay;
    while (NowNs() < until && lost_.ok() && !wishes_.detach && !wishes_.disable) {
      co_await polls_.Next();
    }
  }
  FailFast(false);
  co_await Quiesce(POLLUX_NVME_ABORTED_BY_HOST);
  trouble_ = OkStatus();
  if (!Alive() || wishes_.detach || wishes_.disable) co_return;
  // Whoever submits is told that it is no use.
  queues_.KillAll(POLLUX_NVME_HOST_PATHING_ERROR);
  Enter(POLLUX_NVME_STATE_FAILED);
}

Task<void> NvmeController::BecomeDisabled() {
  co_await Quiesce(POLLUX_NVME_ABORTED_BY_HOST);
  if (!Alive()) co_return;
  wishes_.disable = false;
  wishes_.reset = false;
  trouble_ = OkStatus();
  transport_->Cut();
  Enter(POLLUX_NVME_STATE_DISABLED);
}

// Nothing will be answered any more.
Task<void> NvmeController::BecomeGone() {
  if (state_ == POLLUX_NVME_STATE_GONE) co_return;
  failure_ = lost_;
  events_.Stop();
  keep_alive_.Stop();
  stop_attending_ = true;
  wishes_ = Wishes{.detach = wishes_.detach};
  // In case that it is only our view of the device that is gone.
  transport_->Cut();
  queues_.KillAll(POLLUX_NVME_HOST_PATHING_ERROR);
  if (admin_.made()) admin_.queue().Kill(POLLUX_NVME_HOST_PATHING_ERROR);
  Enter(POLLUX_NVME_STATE_GONE);
  while (attend_.has_value() && !attend_->done()) co_await polls_.Next();
}

Task<void> NvmeController::Leave() {
  Enter(POLLUX_NVME_STATE_DETACHING);
  if (Alive() && transport_->ready()) {
    const uint64_t limit = facts_.shutdown_limit_ns;
    admin_deadline_ns_ = NowNs() + limit;
    // The device may want to keep what it holds in there.
    co_await transport_->TakeBackMemory();
    admin_deadline_ns_ = NowNs() + std::min(limit, kDeletionNs);
    co_await queues_.Delete();
    if (Alive() && transport_->ready()) {
      admin_deadline_ns_ = NowNs() + limit;
      const Status shut_down = co_await transport_->ShutDown(limit);
      if (!shut_down.ok()) {
        Log(LOG_WARNING, "the shutdown failed: " + std::string(shut_down.message()));
      }
    }
    admin_deadline_ns_ = 0;
  }
  if (Alive()) co_await Quiesce(POLLUX_NVME_ABORTED_BY_HOST);
  transport_->Cut();
  stop_attending_ = true;
  queues_.DrainAll(POLLUX_NVME_HOST_PATHING_ERROR);
  if (admin_.made()) admin_.queue().Drain(POLLUX_NVME_HOST_PATHING_ERROR);
  while (!AllQuiet()) co_await polls_.Next();
  Enter(POLLUX_NVME_STATE_DETACHED);
}

}  // namespace pollux::nvme
