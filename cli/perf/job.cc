#include "cli/perf/job.h"

#include <algorithm>
#include <cstring>

#include "cli/tool/ticks.h"
#include "cli/workload/pattern.h"
#include "core/check.h"

namespace pollux::cli {
namespace {

constexpr size_t kDataAlignment = 4096;

uint32_t DataBlockBytes(const pollux_nvme_namespace_info& info) {
  return info.block_bytes + (info.metadata_extended ? info.metadata_bytes : 0);
}

}  // namespace

Result<std::unique_ptr<Job>> Job::Make(const Parts& parts) {
  pollux_nvme_queue* queue = nullptr;
  if (const int error = pollux_nvme_queue_take(parts.controller, -1, &queue); error < 0) {
    return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  std::unique_ptr<Job> job(new Job(parts, queue));
  RETURN_IF_ERROR(job->AllocateSlots());
  return job;
}

Job::Job(const Parts& parts, pollux_nvme_queue* queue)
    : parts_(parts),
      queue_(queue),
      block_bytes_(DataBlockBytes(*pollux_nvme_get_namespace_info(parts.ns))),
      workload_(parts.shape),
      slots_(std::min(parts.depth, pollux_nvme_queue_room(queue))) {
  parked_.reserve(slots_.size());
}

Job::~Job() { CHECK(in_flight_ == 0); }

Status Job::AllocateSlots() {
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(parts_.ns);
  const size_t bytes = size_t{parts_.io_blocks} * block_bytes_;
  const size_t metadata_bytes =
      info.metadata_extended ? 0 : size_t{parts_.io_blocks} * info.metadata_bytes;
  for (Slot& slot : slots_) {
    void* data = pollux_nvme_alloc(parts_.host, bytes, kDataAlignment);
    if (data == nullptr) return OutOfMemory("no memory for the data of all I/Os in flight");
    memory_.emplace_back(data, nvme::MemoryDeleter{parts_.host});
    // Something that compresses badly, where nobody asks what it is.
    if (!parts_.shape.verify) {
      Random random(parts_.seed + memory_.size());
      for (size_t at = 0; at + 8 <= bytes; at += 8) {
        const uint64_t word = random.Next();
        std::memcpy(static_cast<std::byte*>(data) + at, &word, sizeof(word));
      }
    }
    if (metadata_bytes > 0) {
      slot.io.metadata = pollux_nvme_alloc(parts_.host, metadata_bytes, kDataAlignment);
      if (slot.io.metadata == nullptr) return OutOfMemory("no memory for metadata");
      memory_.emplace_back(slot.io.metadata, nvme::MemoryDeleter{parts_.host});
    }
    slot.job = this;
    slot.piece = {data, bytes};
    slot.io.data = &slot.piece;
    slot.io.data_count = 1;
    slot.io.blocks = parts_.io_blocks;
    slot.io.flags = parts_.fua ? POLLUX_NVME_FUA : 0;
  }
  return OkStatus();
}

void Job::Start() {
  const uint64_t now = Ticks();
  for (Slot& slot : slots_) Submit(slot, now);
  pollux_nvme_queue_ring(queue_.get());
}

void Job::Poll() {
  pollux_nvme_queue_poll(queue_.get(), 0);
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

void Job::Submit(Slot& slot, uint64_t now_ticks) {
  const bool enough = parts_.ios_max != 0 && submitted_ == parts_.ios_max;
  if (ended_ || enough || !workload_.Next(slot.operation)) {
    ended_ = ended_ || enough || workload_.done();
    parked_.push_back(&slot);
    return;
  }
  slot.io.lba = parts_.first_block + slot.operation.unit * parts_.io_blocks;
  slot.started_ticks = now_ticks;
  int error = 0;
  if (slot.operation.is_read) {
    error = pollux_nvme_readv(queue_.get(), parts_.ns, slot.c(), &slot.io);
  } else {
    if (parts_.shape.verify) {
      FillBlocks(slot.piece.iov_base, parts_.io_blocks, block_bytes_, StampOf(slot));
      slot.started_ticks = Ticks();
    }
    error = pollux_nvme_writev(queue_.get(), parts_.ns, slot.c(), &slot.io);
  }
  if (error == 0) [[likely]] {
    ++in_flight_;
    ++submitted_;
    return;
  }
  workload_.Ended(slot.operation, false);
  parked_.push_back(&slot);
  if (error == -EAGAIN) return;  // A reset is under way: again after a poll.
  submit_error_ = error;
  ended_ = true;
}

void Job::OnComplete(Slot& slot, nvme::Completion completion) {
  const uint64_t now = Ticks();
  --in_flight_;
  const bool good = pollux_nvme_ok(completion);
  workload_.Ended(slot.operation, good);
  const bool stopped = stop_.load(std::memory_order_relaxed);
  if (good) [[likely]] {
    if (!stopped) Count(slot, now);
    if (slot.operation.is_read && slot.operation.generation != 0) Check(slot);
  } else {
    // What a stop ends by a reset has not failed.
    if (!stopped) errors_.Add(pollux_nvme_code(completion));
  }
  if (stopped) {
    parked_.push_back(&slot);
  } else {
    Submit(slot, now);
  }
}

void Job::Count(const Slot& slot, uint64_t now_ticks) {
  const auto ns = static_cast<uint64_t>(static_cast<double>(now_ticks - slot.started_ticks) *
                                        parts_.ns_per_tick);
  Meter& direction = slot.operation.is_read ? meters_.reads : meters_.writes;
  direction.Add(ns, slot.piece.iov_len);
}

BlockStamp Job::StampOf(const Slot& slot) const {
  return {slot.io.lba, slot.operation.generation, parts_.seed};
}

void Job::Check(const Slot& slot) {
  const auto difference =
      CheckBlocks(slot.piece.iov_base, parts_.io_blocks, block_bytes_, StampOf(slot));
  if (!difference) return meters_.CountVerified();
  if (differences_++ == 0) first_difference_ = difference->text;
}

uint16_t Job::queue_id() const { return pollux_nvme_queue_id(queue_.get()); }

pollux_nvme_queue_statistics Job::queue_statistics() const {
  pollux_nvme_queue_statistics statistics{};
  pollux_nvme_get_queue_statistics(queue_.get(), &statistics);
  return statistics;
}

}  // namespace pollux::cli
