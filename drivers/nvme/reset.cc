// How a controller stops: for a reset, for good, or because the device is gone.
#include <syslog.h>

#include <algorithm>

#include "core/clock.h"
#include "drivers/nvme/controller.h"
#include "drivers/nvme/host.h"

namespace pollux::nvme {
namespace {

// How long a device may take to stop by itself before it is kept off the bus.
constexpr uint64_t kGraceNs = 500 * kNsPerMs;
// How long a device may take to delete its queues before it is shut down with them.
constexpr uint64_t kDeletionNs = kNsPerSecond;
constexpr uint64_t kBackOffMinNs = 100 * kNsPerMs, kBackOffMaxNs = 10 * kNsPerSecond;
constexpr uint32_t kAttemptsDefault = 5;

// After the n-th attempt that failed, counted from 1.
uint64_t BackOffNs(uint32_t attempt) {
  return std::min(kBackOffMinNs << std::min(attempt - 1, 20u), kBackOffMaxNs);
}

}  // namespace

Status NvmeController::Interruption() const {
  if (!lost_.ok()) return lost_;
  if (registers_.gone()) return NoDevice("its registers read as all ones");
  if (!trouble_.ok()) return trouble_;
  if (wishes_.detach || wishes_.disable) return Cancelled("something else was asked for meanwhile");
  return OkStatus();
}

// The commands of an attempt to start, or to leave: nothing else is under way. Keeping the device
// off the bus is quick; it is disabled later.
void NvmeController::EndAdminCommands() {
  if (!admin_.made() || admin_.queue().gate() == QueuePair::Gate::kDrained) return;
  admin_.queue().Close();
  device_->SetBusMaster(false);
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
  if (admin_.made()) admin_.queue().Close();

  const uint64_t limit = NowNs() + kGraceNs;
  bring_up_.Disable(NowNs());
  while (bring_up_.waiting() && NowNs() < limit && Alive()) {
    bring_up_.Step(NowNs());
    if (bring_up_.waiting()) co_await polls_.Next();
  }
  // What the device wrote before this is answered has arrived (PCI Express §2.4.1); after it, it
  // writes nothing.
  if (bring_up_.state() != BringUp::State::kDisabled) device_->SetBusMaster(false);

  queues_.DrainAll(status);
  if (admin_.made()) admin_.queue().Drain(status);
  while (!AllQuiet() && Alive()) co_await polls_.Next();
}

Task<void> NvmeController::ResetUntilReady(Status reason) {
  failure_ = reason;
  Enter(POLLUX_NVME_STATE_RESETTING);
  const uint32_t attempts =
      options_.reset_attempts_max == 0 ? kAttemptsDefault : options_.reset_attempts_max;
  for (uint32_t attempt = 1; attempt <= attempts; ++attempt) {
    co_await Quiesce(POLLUX_NVME_ABORTED_BY_HOST);
    wishes_.reset = false;
    trouble_ = OkStatus();
    const Status started = co_await Start(/*first=*/false);
    if (started.ok()) {
      Enter(POLLUX_NVME_STATE_READY);
      co_return;
    }
    if (!Alive() || wishes_.detach || wishes_.disable) break;
    failure_ = started;
    Log(LOG_WARNING,
        absl::StrFormat("reset %u of %u failed: %s", attempt, attempts, started.message()));
    const uint64_t until = NowNs() + BackOffNs(attempt);
    while (attempt < attempts && NowNs() < until && lost_.ok() && !wishes_.detach &&
           !wishes_.disable) {
      co_await polls_.Next();
    }
  }
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
  device_->SetBusMaster(false);
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
  device_->SetBusMaster(false);
  queues_.KillAll(POLLUX_NVME_HOST_PATHING_ERROR);
  if (admin_.made()) admin_.queue().Kill(POLLUX_NVME_HOST_PATHING_ERROR);
  Enter(POLLUX_NVME_STATE_GONE);
  while (attend_.has_value() && !attend_->done()) co_await polls_.Next();
}

Task<void> NvmeController::Leave() {
  Enter(POLLUX_NVME_STATE_DETACHING);
  if (Alive() && bring_up_.state() == BringUp::State::kReady) {
    const uint64_t limit = facts_.shutdown_limit_ns;
    admin_deadline_ns_ = NowNs() + limit;
    // The device may want to keep what it holds in there.
    (void)co_await hmb_.TakeBack(admin_);
    admin_deadline_ns_ = NowNs() + std::min(limit, kDeletionNs);
    co_await queues_.Delete();
    if (Alive() && bring_up_.state() == BringUp::State::kReady) {
      bring_up_.ShutDown(limit, NowNs());
      while (bring_up_.waiting() && Alive()) {
        bring_up_.Step(NowNs());
        if (bring_up_.waiting()) co_await polls_.Next();
      }
      if (bring_up_.state() == BringUp::State::kFailed) {
        Log(LOG_WARNING, "the shutdown failed: " + std::string(bring_up_.failure().message()));
      }
    }
    admin_deadline_ns_ = 0;
  }
  if (Alive()) co_await Quiesce(POLLUX_NVME_ABORTED_BY_HOST);
  device_->SetBusMaster(false);
  stop_attending_ = true;
  queues_.DrainAll(POLLUX_NVME_HOST_PATHING_ERROR);
  if (admin_.made()) admin_.queue().Drain(POLLUX_NVME_HOST_PATHING_ERROR);
  while (!AllQuiet()) co_await polls_.Next();
  Enter(POLLUX_NVME_STATE_DETACHED);
}

}  // namespace pollux::nvme
