#include "targets/scsi/sanitizer.h"

#include <algorithm>
#include <cstring>

#include "core/log.h"
#include "core/run_on.h"
#include "targets/scsi/shared_status.h"

namespace pollux::scsi {
namespace {

struct Ended final : StatusChange {
  void Apply(UnitStatus& status) override {
    status.readiness = good ? Readiness::kReady : Readiness::kSanitizeFailed;
    status.may_exit_failure = may_exit_failure;
    status.sanitizing = nullptr;
  }
  bool good = false, may_exit_failure = false;
};

}  // namespace

void Sanitizer::Start() { unit_.background.Spawn(RunKept(shared_from_this())); }

Task<void> Sanitizer::RunKept(std::shared_ptr<Sanitizer> self) { co_await self->Run(); }

void Sanitizer::Stop() {
  stopping_ = true;
  if (io_.in_flight()) io_.Stop(*unit_.channel);
}

Task<void> Sanitizer::Run() {
  Buffer buffer(buffers_);
  co_await buffer;
  const bool good = co_await OverwriteAll(buffer.bytes);
  buffers_.Give(buffer.bytes);
  if (good) {
    LogNotice("iscsi", "target %s: LUN %d is sanitized", view_.device_name(), unit_.number);
  } else {
    LogError("iscsi", "target %s: LUN %d: the sanitize operation failed%s", view_.device_name(),
             unit_.number, stopping_ ? ", since the unit goes" : "");
  }

  Ended change;
  change.good = good;
  change.may_exit_failure = order_.may_exit_failure;
  change.reactor_index = view_.reactor().index();
  const std::shared_ptr<SharedStatus> shared = unit_.shared_status;
  co_await shared->Execute(change);
  ended_ = true;
  for (SanitizeEnd* waiting : std::exchange(waiting_, {})) waiting->waiter_.resume();
}

Task<bool> Sanitizer::OverwriteAll(std::byte* buffer) {
  progress_->blocks = unit_.channel->blocks() * order_.passes;
  for (uint32_t pass = 0; pass < order_.passes; ++pass) {
    const bool good = co_await Overwrite(buffer);
    if (!good) co_return false;
    if (!order_.invert) continue;
    for (std::byte& byte : order_.block) byte = ~byte;
  }
  if (!unit_.disk->flush) co_return true;
  io_.type = IoType::kFlush;
  io_.lba = 0;
  io_.blocks = unit_.channel->blocks();
  io_.data = {};
  const IoStatus status = co_await Submit();
  co_return status == IoStatus::kSuccess;
}

Task<bool> Sanitizer::Overwrite(std::byte* buffer) {
  const size_t block_bytes = order_.block.size();
  const uint64_t burst = buffers_.buffer_bytes() / block_bytes;
  for (uint64_t i = 0; i < burst; ++i) {
    std::memcpy(buffer + i * block_bytes, order_.block.data(), block_bytes);
  }
  // The unit may grow or shrink on the way.
  for (uint64_t lba = 0; lba < unit_.channel->blocks(); lba += io_.blocks) {
    io_.type = IoType::kWrite;
    io_.lba = lba;
    io_.blocks = std::min(burst, unit_.channel->blocks() - lba);
    part_ = {buffer, static_cast<size_t>(io_.blocks * block_bytes)};
    io_.data = {&part_, 1};
    const IoStatus status = co_await Submit();
    if (status == IoStatus::kOutOfRange) continue;
    if (status != IoStatus::kSuccess) co_return false;
    progress_->blocks_written.fetch_add(io_.blocks, std::memory_order_relaxed);
  }
  co_return true;
}

Task<IoStatus> Sanitizer::Submit() {
  while (!stopping_) {
    const IoStatus status = co_await io_;
    const bool again = status == IoStatus::kNoResources || status == IoStatus::kAborted;
    if (!again || stopping_) co_return status;
    co_await Sleep(kNsPerMs);
  }
  co_return IoStatus::kAborted;
}

Task<bool> SanitizeEnd::Execute(LogicalUnit&) {
  co_await *this;
  co_return Begin();
}

bool SanitizeEnd::Abort() {
  if (!UnitChange::Abort()) return false;
  if (std::erase(sanitizer_->waiting_, this) > 0) waiter_.resume();
  return true;
}

}  // namespace pollux::scsi
