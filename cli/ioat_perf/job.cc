#include "cli/ioat_perf/job.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cli/tool/ticks.h"
#include "core/check.h"

namespace pollux::cli {

Result<std::unique_ptr<IoatJob>> IoatJob::Make(const Parts& parts) {
  pollux_ioat_channel* channel = nullptr;
  if (parts.device != nullptr) {
    const int error = pollux_ioat_channel_take(parts.device, -1, &channel);
    if (error < 0) return ErrorOfErrno(-error, pollux_ioat_error_text());
  }
  std::unique_ptr<IoatJob> job(new IoatJob(parts, channel));
  RETURN_IF_ERROR(job->AllocateSlots());
  return job;
}

IoatJob::IoatJob(const Parts& parts, pollux_ioat_channel* channel)
    : parts_(parts), channel_(channel), memory_(nullptr, {parts.host}) {}

IoatJob::~IoatJob() { CHECK(in_flight_ == 0); }

Status IoatJob::AllocateSlots() {
  const size_t each = parts_.shape.memory_bytes();
  memory_ = ioat::Allocate(parts_.host, each * parts_.depth);
  if (memory_ == nullptr) return ErrorOfErrno(ENOMEM, pollux_ioat_error_text());
  for (uint32_t i = 0; i < parts_.depth; ++i) {
    std::byte* const memory = static_cast<std::byte*>(memory_.get()) + i * each;
    slots_.emplace_back(*this, IoatWork(parts_.shape, memory, parts_.seed + i));
  }
  parked_.reserve(slots_.size());
  for_cpu_.reserve(slots_.size());
  return OkStatus();
}

void IoatJob::Start() {
  const uint64_t now = Ticks();
  for (Slot& slot : slots_) Submit(slot, now);
  if (channel_ != nullptr) pollux_ioat_channel_ring(channel_.get());
}

void IoatJob::Poll() {
  if (channel_ != nullptr) {
    pollux_ioat_channel_poll(channel_.get());
  } else if (in_flight_ > 0) {
    Slot& slot = *for_cpu_[cpu_next_];
    slot.work.DoByCpu();
    slot.OnComplete({POLLUX_IOAT_OK, 0});
    if (++cpu_next_ >= for_cpu_.size()) cpu_next_ = 0;
  }
  if (parked_.empty() || ended_ || stop_.load(std::memory_order_relaxed)) return;
  const uint64_t now = Ticks();
  for (size_t count = parked_.size(); count > 0 && !parked_.empty(); --count) {
    Slot& slot = *parked_.back();
    parked_.pop_back();
    const uint64_t before = submitted_;
    Submit(slot, now);
    if (submitted_ == before) break;  // Parked again.
  }
}

int IoatJob::Begin(Slot& slot) {
  const IoatWork& work = slot.work;
  const size_t bytes = parts_.shape.bytes;
  if (channel_ == nullptr) {
    // They are done in turns: a slot that is submitted again keeps its place.
    if (for_cpu_.size() < slots_.size()) for_cpu_.push_back(&slot);
    return 0;
  }
  switch (parts_.shape.operation) {
    case IoatOperation::kCopy:
      return pollux_ioat_copy(channel_.get(), slot.c(), work.target(), work.source(), bytes);
    case IoatOperation::kFill:
      return pollux_ioat_fill(channel_.get(), slot.c(), work.target(), work.pattern(), bytes);
    case IoatOperation::kXor:
      return pollux_ioat_xor(channel_.get(), slot.c(), work.target(), work.sources(),
                             parts_.shape.sources, bytes);
    case IoatOperation::kPq:
      return pollux_ioat_pq(channel_.get(), slot.c(), work.target(0), work.target(1),
                            work.sources(), IoatWork::coefficients(), parts_.shape.sources, bytes);
  }
  return -EINVAL;
}

void IoatJob::Submit(Slot& slot, uint64_t now_ticks) {
  if (ended_ || (parts_.operations_max != 0 && submitted_ == parts_.operations_max)) {
    ended_ = true;
    parked_.push_back(&slot);
    return;
  }
  slot.started_ticks = now_ticks;
  if (parts_.verify) {
    slot.work.Change();
    slot.started_ticks = Ticks();
  }
  const int error = Begin(slot);
  if (error == 0) [[likely]] {
    ++in_flight_;
    ++submitted_;
    return;
  }
  parked_.push_back(&slot);
  if (error == -EAGAIN) return;  // The ring is full, or recovers: again after a poll.
  submit_error_ = error;
  ended_ = true;
}

void IoatJob::OnComplete(Slot& slot, ioat::Completion completion) {
  const uint64_t now = Ticks();
  --in_flight_;
  const bool stopped = stop_.load(std::memory_order_relaxed);
  if (completion.status == POLLUX_IOAT_OK) [[likely]] {
    if (!stopped) {
      const double ns = static_cast<double>(now - slot.started_ticks) * parts_.ns_per_tick;
      meter_.Add(static_cast<uint64_t>(ns), parts_.shape.bytes);
    }
    if (parts_.verify) Check(slot);
  } else if (!stopped) {  // What a stop ends by a reset has not failed.
    error_count_.store(error_count() + 1, std::memory_order_relaxed);
    const Kind kind{completion.status, completion.chanerr};
    if (errors_.size() < kKindsMax || errors_.contains(kind)) ++errors_[kind];
  }
  if (stopped) {
    parked_.push_back(&slot);
  } else {
    Submit(slot, now);
  }
}

void IoatJob::Check(const Slot& slot) {
  std::string difference = slot.work.Check();
  if (difference.empty()) {
    ++verified_;
  } else if (differences_++ == 0) {
    first_difference_ = std::move(difference);
  }
}

std::string IoatJob::failure() const {
  if (submit_error_ == 0) return "";
  const char* const reason = channel_ == nullptr ? "" : pollux_ioat_channel_reason(channel_.get());
  if (submit_error_ == -ENXIO && *reason != '\0') return reason;
  if (submit_error_ == -E2BIG) return "one operation is more than the ring of descriptors holds";
  if (submit_error_ == -ENOTSUP) return "the device cannot do it";
  return std::strerror(-submit_error_);
}

pollux_ioat_statistics IoatJob::statistics() const {
  pollux_ioat_statistics statistics{};
  if (channel_ != nullptr) pollux_ioat_get_statistics(channel_.get(), &statistics);
  return statistics;
}

}  // namespace pollux::cli
