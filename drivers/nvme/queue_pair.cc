#include "drivers/nvme/queue_pair.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/mmio.h"
#include "drivers/nvme/event_set.h"
#include "drivers/nvme/injections.h"

namespace pollux::nvme {
namespace {

// The unit in which CheckTimeouts() keeps time: 2^20 ns, about a millisecond.
constexpr unsigned kTickShift = 20;

uint64_t NowNs() {
  return static_cast<uint64_t>(
      std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}

// Shared with the device: shadow doorbells and event indices.
using Shared [[gnu::may_alias]] = uint32_t;

void StoreShared(Le32& at, uint32_t value) {
  const Le32 wire = value;
  __atomic_store_n(reinterpret_cast<Shared*>(&at), std::bit_cast<uint32_t>(wire), __ATOMIC_RELEASE);
}

uint32_t LoadShared(const Le32& at) {
  const uint32_t raw = __atomic_load_n(reinterpret_cast<const Shared*>(&at), __ATOMIC_RELAXED);
  return std::bit_cast<Le32>(raw);
}

// SQ identifier and CID, which lie side by side: CID << 16 | SQ identifier.
uint32_t LoadTag(const CompletionEntry& entry) {
  static_assert(offsetof(CompletionEntry, cid) == offsetof(CompletionEntry, sqid) + 2);
  Le32 tag;
  std::memcpy(&tag, reinterpret_cast<const std::byte*>(&entry) + offsetof(CompletionEntry, sqid),
              sizeof(tag));
  return tag;
}

// What the caller gets, made in two registers: by its members g++ would put the status together in
// memory, and wait for it.
pollux_nvme_completion LoadCompletion(const CompletionEntry& entry, uint32_t status_and_phase) {
  static_assert(std::endian::native == std::endian::little);
  static_assert(offsetof(pollux_nvme_completion, status) == 8);
  static_assert(sizeof(pollux_nvme_completion) == 12);
  pollux_nvme_completion completion;
  auto* const bytes = reinterpret_cast<std::byte*>(&completion);
  const uint32_t status = status_and_phase >> 1;
  std::memcpy(bytes, &entry, 8);
  std::memcpy(bytes + 8, &status, sizeof(status));
  return completion;
}

}  // namespace

QueuePair::QueuePair(const Parts& parts)
    : depth_(parts.depth),
      tag_step_(static_cast<uint32_t>(uint64_t{1} << (16 + std::bit_width(parts.depth)))),
      page_bytes_(parts.page_bytes),
      sq_next_(parts.sq),
      sq_(parts.sq),
      sq_end_(parts.sq + parts.depth),
      view_(*parts.dma),
      cq_(parts.cq),
      cq_end_(parts.cq + parts.depth),
      wire_(parts.wire),
      parts_(parts) {
  CHECK(depth_ >= 2);
  CHECK(std::has_single_bit(page_bytes_) && std::has_single_bit(parts.list_bytes));
  CHECK(parts.list_bytes <= page_bytes_ && parts.lists_iova % parts.list_bytes == 0);
  const uint32_t slots = 1u << std::bit_width(parts.depth);  // So that depth - 1 is not all ones.
  slot_lines_ = std::make_unique<SlotLine[]>(slots / 2);
  free_lines_ = std::make_unique<FreeLine[]>(depth_ / std::size(FreeLine{}.slots) + 1);
  slots_ = slot_lines_[0].slots;
  slot_offset_mask_ = static_cast<uint32_t>((slots - 1) * sizeof(Slot));
  for (uint32_t index = 0; index < slots; ++index) {
    slots_[index].next_tag = index << 16 | parts.id;
  }
  slots_[0].tag = kInjected;  // Or a completion of zeroes would be taken for that of this slot.
  free_ = free_top_ = plain_floor_ = free_lines_[0].slots;
  for (Slot* slot = slots_ + depth_ - 1; slot != slots_; --slot) *free_top_++ = slot;
  EmptyRings();
  if (parts.event_fd < 0) return;
  // Without it the owner hears of a drain when it polls by itself.
  bell_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (bell_.valid()) HearRings(parts.event_fd, bell_.get()).IgnoreError();
}

QueuePair::~QueuePair() { CHECK(in_flight() == 0, "a queue is freed with commands in flight"); }

// --- Submission.

int QueuePair::Submit(pollux_nvme_request& request, const SubmissionEntry& entry,
                      const Data& data) {
  const uint8_t fuse = entry.flags & (kFuseFirst | kFuseSecond);
  if (const int error = Admit(fuse); error != 0) return error;
  SubmissionEntry& next = next_entry();
  next = entry;
  next.flags = fuse;
  if (data.count > 0) {
    if (const int error = PointTo(next, data.pieces, data.count); error != 0) return error;
  }
  if (data.metadata_bytes > 0) {
    const int error = PointToMetadata(next, data.metadata, data.metadata_bytes);
    if (error != 0) return error;
  }
  Commit(request, next);
  return 0;
}

int QueuePair::SubmitInline(pollux_nvme_request& request, const SubmissionEntry& entry,
                            const void* data, size_t bytes) {
  if (bytes > parts_.list_bytes) return -E2BIG;
  if (const int error = Admit(0); error != 0) return error;
  const PointerList list = NextList();
  std::memcpy(list.memory, data, bytes);
  SubmissionEntry& next = next_entry();
  next = entry;
  next.flags = 0;
  next.prp1 = list.iova;
  next.prp2 = wire_ == nullptr ? 0 : bytes;  // As an SGL data block it has a length.
  Commit(request, next);
  return 0;
}

int QueuePair::Admit(uint8_t fuse) {
  const Gate now = gate();
  if (now == Gate::kDead) return -ENXIO;
  if (now != Gate::kOpen) return refusal_.load(std::memory_order_relaxed);
  // Two fused commands lie side by side, and one doorbell write announces both. Base §3.4.2.
  if ((first_fused_ != nullptr) != (fuse == kFuseSecond)) return -EINVAL;
  return room() < (fuse == kFuseFirst ? 2u : 1u) ? -EAGAIN : 0;
}

void QueuePair::Commit(pollux_nvme_request& request, SubmissionEntry& entry) {
  CommitPlain(request, entry);
  const uint8_t fuse = entry.flags & (kFuseFirst | kFuseSecond);
  if (fuse != 0) {
    first_fused_ = fuse == kFuseFirst ? &entry : nullptr;
    SetFloor();
  } else if (injections_ != nullptr) {
    Inject(**free_top_, entry);
  }
}

void QueuePair::SetFloor() {
  Slot** const none = free_ + depth_;
  Slot** const floor = first_fused_ != nullptr || injections_ != nullptr ? none : free_;
  plain_floor_ = wire_ == nullptr ? floor : none;
  wire_floor_ = wire_ == nullptr ? none : floor;
}

void QueuePair::Inject(Slot& slot, SubmissionEntry& entry) {
  const pollux_nvme_injection* injection = injections_->Take(parts_.id == 0, entry.opc);
  if (injection == nullptr) return;
  slot.tag = kInjected;
  suffering_.push_back({.slot = &slot,
                        .answered = injection->do_not_submit,
                        .status = injection->status,
                        .due_ns = NowNs() + injection->timeout_us * 1000,
                        .completion = {0, 0, injection->status}});
  if (!injection->do_not_submit) return;
  sq_next_ = &entry;  // Out of the ring again.
  submitted_.Add(1);
}

int QueuePair::PointTo(SubmissionEntry& entry, const iovec* pieces, uint32_t count) {
  const PointerRules rules = {parts_.page_bytes, parts_.sgl, parts_.sgl_dword_aligned,
                              /*only_sgl=*/wire_ != nullptr};
  return PointToPieces(entry, view_, rules, NextList(), pieces, count);
}

int QueuePair::PointToMetadata(SubmissionEntry& entry, const void* metadata, uint64_t bytes) {
  if (wire_ != nullptr) return -ENOTSUP;
  return nvme::PointToMetadata(entry, view_, metadata, bytes);
}

PointerList QueuePair::NextList() const {
  const auto list = static_cast<size_t>(free_top_[-1] - slots_ - 1);
  const size_t offset = list * parts_.list_bytes;
  return {parts_.lists + offset, parts_.lists_iova + offset, parts_.list_bytes};
}

// --- Doorbells.

uint16_t QueuePair::Distance(uint16_t from, uint16_t to) const {
  return static_cast<uint16_t>(to >= from ? to - from : to + depth_ - from);
}

void QueuePair::Ring() {
  if (Tail() == sq_rung_) return;
  const Gate gate = gate_.load(std::memory_order_acquire);
  if (gate != Gate::kOpen && gate != Gate::kClosed) return;
  RingWithRoom();
}

// The completion queue's doorbell is written only when what may complete might not find room: with
// as many commands in flight as the ring has entries that the device believes to be free.
void QueuePair::RingWithRoom() {
  if (cq_unrung_ + in_flight() >= depth_) RingCq();
  const uint16_t tail =
      first_fused_ == nullptr ? Tail() : static_cast<uint16_t>(first_fused_ - sq_);
  if (tail == sq_rung_) return;
  submitted_.Add(Distance(sq_rung_, tail));
  const uint16_t old = std::exchange(sq_rung_, tail);
  if (wire_ != nullptr) [[unlikely]] {
    doorbells_.Add(1);
    return wire_->OnDoorbell(tail);
  }
  WriteDoorbell({parts_.sq_doorbell, parts_.sq_doorbell_offset, parts_.shadow_sq, parts_.event_sq},
                old, tail);
}

void QueuePair::RingCq() {
  const auto old = static_cast<uint16_t>(cq_head_ >= cq_unrung_ ? cq_head_ - cq_unrung_
                                                                : cq_head_ + depth_ - cq_unrung_);
  cq_unrung_ = 0;
  if (wire_ != nullptr) return;
  WriteDoorbell({parts_.cq_doorbell, parts_.cq_doorbell_offset, parts_.shadow_cq, parts_.event_cq},
                old, cq_head_);
}

void QueuePair::WriteDoorbell(const Doorbell& doorbell, uint16_t old, uint16_t value) {
  if (doorbell.shadow != nullptr) {
    StoreShared(*doorbell.shadow, value);
    // The device writes its event index and then looks at the doorbell; we do it the other way
    // round. Without a full barrier both could miss the other's. Base annex B.5.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const auto event = static_cast<uint16_t>(LoadShared(*doorbell.event));
    const auto beyond_event = static_cast<uint16_t>(value - event - 1);
    if (beyond_event >= static_cast<uint16_t>(value - old)) return;  // It looks by itself.
  }
  doorbells_.Add(1);
  if (doorbell.mapped != nullptr) {
    MmioWrite<uint32_t>(doorbell.mapped, value);
  } else {
    parts_.device->Write32(0, doorbell.offset, value);
  }
}

// --- Completion.

int QueuePair::Poll(int completions_max) {
  const Gate gate = gate_.load(std::memory_order_acquire);
  polls_.Add(1);
  if (gate == Gate::kDrained || polling_) [[unlikely]] {
    idle_polls_.Add(1);
    return 0;
  }
  polling_ = true;
  view_.Refresh();
  if (injections_changed_.load(std::memory_order_relaxed)) [[unlikely]] {
    TakeInjections();
  }
  if (wire_ != nullptr && (gate == Gate::kOpen || gate == Gate::kClosed)) [[unlikely]] {
    wire_->Work();
  }

  // Entries rather than requests are bounded, so that strays cannot hold us here.
  const uint32_t limit = completions_max > 0
                             ? std::min(static_cast<uint32_t>(completions_max), uint32_t{depth_})
                             : depth_;
  uint32_t ended = TakeCompletions(limit);
  if (!suffering_.empty()) [[unlikely]] {
    ended += CompleteDue(limit - std::min(ended, limit));
  }
  if (gate == Gate::kOpen || gate == Gate::kClosed) [[likely]] {
    RingWithRoom();
  } else {
    ended += EndInFlight(gate, limit - std::min(ended, limit));
  }
  if (ended == 0) idle_polls_.Add(1);
  polling_ = false;
  return static_cast<int>(ended);
}

uint32_t QueuePair::TakeCompletions(uint32_t limit) {
  const CompletionEntry* head = cq_ + cq_head_;
  uint32_t phase = cq_phase_;
  uint32_t left = limit;
  uint32_t unusual = 0;
  for (; left > 0; --left) {
    const uint32_t status = LoadAcquire(head->status);
    if (((status ^ phase) & 1) != 0) break;  // The device has not written this entry yet.
    const uint32_t tag = LoadTag(*head);
    const pollux_nvme_completion completion = LoadCompletion(*head, status);
    if (++head == cq_end_) {
      head = cq_;
      phase ^= 1;
    }
    __builtin_prefetch(&SlotOf(LoadTag(*head)));

    Slot& slot = SlotOf(tag);
    if (slot.tag != tag) [[unlikely]] {
      TakeUnusual(slot, tag, completion);
      ++unusual;
      continue;
    }
    if (completion.status != 0) [[unlikely]] {
      failed_.Add(1);
    }
    pollux_nvme_request* request = slot.request;
    const auto on_complete = slot.on_complete;
    Free(slot);
    on_complete(request, completion);
  }
  const uint32_t seen = limit - left;
  cq_head_ = static_cast<uint16_t>(head - cq_);
  cq_phase_ = static_cast<uint16_t>(phase);
  cq_unrung_ = static_cast<uint16_t>(cq_unrung_ + seen);
  completed_.Add(seen - unusual);
  return seen - unusual;
}

// A completion for an identifier that is not in flight, or that meets an injection.
void QueuePair::TakeUnusual(Slot& slot, uint32_t tag, pollux_nvme_completion completion) {
  if (slot.tag == kInjected && slot.next_tag == tag) {
    for (Suffering& suffering : suffering_) {
      if (suffering.slot != &slot || suffering.answered) continue;
      if (suffering.status != 0) completion.status = suffering.status;
      suffering.answered = true;  // From here on it is due like those that were not submitted.
      suffering.completion = completion;
      return;
    }
  }
  strays_.Add(1);
}

void QueuePair::Finish(Slot& slot, pollux_nvme_completion completion) {
  if (slot.tag == kInjected) {
    std::erase_if(suffering_, [&slot](const Suffering& other) { return other.slot == &slot; });
  }
  completed_.Add(1);
  if (completion.status != 0) failed_.Add(1);
  pollux_nvme_request* request = slot.request;
  const auto on_complete = slot.on_complete;
  Free(slot);
  on_complete(request, completion);
}

uint32_t QueuePair::CompleteDue(uint32_t limit) {
  const uint64_t now = NowNs();
  uint32_t ended = 0;
  // By number, since what completes may submit what suffers next.
  for (size_t i = 0; i < suffering_.size() && ended < limit;) {
    const Suffering suffering = suffering_[i];
    if (!suffering.answered || suffering.due_ns > now) {
      ++i;
      continue;
    }
    Finish(*suffering.slot, suffering.completion);  // Takes it out.
    ++ended;
  }
  return ended;
}

// --- The gate.

// Nothing is submitted meanwhile, so that a slot that was passed stays free.
uint32_t QueuePair::EndInFlight(Gate gate, uint32_t limit) {
  const pollux_nvme_completion completion = {0, 0, drain_status_.load(std::memory_order_relaxed)};
  uint32_t ended = 0;
  for (; drain_cursor_ < depth_ && in_flight() > 0; ++drain_cursor_) {
    Slot& slot = slots_[drain_cursor_];
    if (slot.tag == kIdle) continue;
    if (ended == limit) return ended;
    Finish(slot, completion);
    ++ended;
  }
  drain_cursor_ = 1;
  if (gate == Gate::kDraining) {
    EmptyRings();
    Gate expected = gate;
    // Unless it became kDead meanwhile.
    gate_.compare_exchange_strong(expected, Gate::kDrained, std::memory_order_acq_rel);
  }
  return ended;
}

void QueuePair::EmptyRings() {
  submitted_.Add(Distance(sq_rung_, Tail()));
  sq_next_ = sq_;
  sq_rung_ = 0;
  cq_head_ = cq_unrung_ = 0;
  cq_phase_ = 1;
  std::fill_n(cq_, depth_, CompletionEntry{});
  for (Le32* shared : {parts_.shadow_sq, parts_.shadow_cq, parts_.event_sq, parts_.event_cq}) {
    if (shared != nullptr) StoreShared(*shared, 0);
  }
  first_fused_ = nullptr;
  SetFloor();
  // A wish for a command that is no more. One that was taken ends by AbortEnded().
  int32_t wish = abort_.load(std::memory_order_relaxed);
  if (wish >= 0) abort_.compare_exchange_strong(wish, kNoAbort, std::memory_order_relaxed);
}

void QueuePair::Close() {
  Gate expected = Gate::kOpen;
  gate_.compare_exchange_strong(expected, Gate::kClosed, std::memory_order_acq_rel);
}

void QueuePair::Drain(uint16_t status) {
  drain_status_.store(status, std::memory_order_relaxed);
  gate_.store(Gate::kDraining, std::memory_order_release);
  Wake();
}

void QueuePair::Kill(uint16_t status) {
  drain_status_.store(status, std::memory_order_relaxed);
  gate_.store(Gate::kDead, std::memory_order_release);
  Wake();
}

void QueuePair::Reopen() {
  const Gate now = gate();
  CHECK(now == Gate::kDrained || (now == Gate::kClosed && in_flight() == 0));
  // The owner keeps its hands off the rings of a closed queue that is empty. What a device wrote
  // there after it was told to stop must not be taken for an answer.
  for (uint32_t i = 0; i < depth_; ++i) {
    if ((LoadAcquire(cq_[i].status) & 1) == 0) continue;
    strays_.Add(1);
    cq_[i] = {};
  }
  gate_.store(Gate::kOpen, std::memory_order_release);
}

void QueuePair::Wake() const {
  if (!bell_.valid()) return;
  const uint64_t one = 1;
  // Nobody takes anything out of it; 2^64 rings would fill it.
  [[maybe_unused]] const ssize_t written = write(bell_.get(), &one, sizeof(one));
}

bool QueuePair::PrepareSleep() {
  if (parts_.event_fd >= 0) ClearRings(parts_.event_fd, -1);
  const Gate now = gate();
  if (now == Gate::kDrained) return true;
  if (now == Gate::kDraining || (now == Gate::kDead && in_flight() > 0)) return false;
  if (now != Gate::kDead) {
    RingWithRoom();
    // An interrupt may be held back as long as the device sees entries that were not taken.
    if (cq_unrung_ > 0) RingCq();
    if (wire_ != nullptr && !wire_->PrepareSleep()) return false;
  }
  const bool something = ((LoadAcquire(cq_[cq_head_].status) ^ cq_phase_) & 1) == 0;
  return !something && suffering_.empty();
}

// --- Time-outs and aborts.

void QueuePair::SetTimeout(uint64_t timeout_ns, pollux_nvme_timeout_action action) {
  on_timeout_ = action;
  // Rounded up, and one more since both ends of the time are rounded: never too early.
  timeout_ =
      timeout_ns == 0
          ? 0
          : static_cast<uint32_t>(std::min<uint64_t>(timeout_ns >> kTickShift, 1u << 30)) + 2;
}

void QueuePair::CheckTimeouts(uint64_t now_ns) {
  if (timeout_ == 0 || in_flight() == 0) return;
  const uint32_t now = std::max(1u, static_cast<uint32_t>(now_ns >> kTickShift));
  for (uint32_t index = 1; index < depth_; ++index) {
    Slot& slot = slots_[index];
    if (slot.tag == kIdle || slot.request->reserved[0] == kNeverLate) continue;
    if (slot.watch.since == 0) {
      slot.watch.since = now;
    } else {
      Watch(slot, now, now - slot.watch.since >= timeout_);
    }
  }
}

//   kSeen --late--> kLate --wish made--> kAbortWished --late--> kResetWished
//
// To abort one it takes a free wish; the reset comes also when none became free in that time.
void QueuePair::Watch(Slot& slot, uint32_t now, bool late) {
  const auto cid = static_cast<uint16_t>(slot.next_tag >> 16);
  if (slot.watch.stage == kSeen && late) {
    timeouts_.Add(1);
    timeout_notice_.store(uint32_t{parts_.id} << 16 | cid, std::memory_order_release);
    slot.watch.since = now;
    slot.watch.stage = kLate;
    if (on_timeout_ == POLLUX_NVME_ON_TIMEOUT_NOTHING) slot.watch.stage = kResetWished;
    late = on_timeout_ == POLLUX_NVME_ON_TIMEOUT_RESET;
  }
  if (slot.watch.stage == kLate && on_timeout_ == POLLUX_NVME_ON_TIMEOUT_ABORT && !late) {
    if (Wish(cid)) slot.watch.stage = kAbortWished;
  }
  if ((slot.watch.stage == kLate || slot.watch.stage == kAbortWished) && late) {
    slot.watch.stage = kResetWished;
    reset_wish_.store(true, std::memory_order_release);
  }
}

bool QueuePair::Wish(uint16_t cid) {
  int32_t none = kNoAbort;
  return abort_.compare_exchange_strong(none, cid, std::memory_order_acq_rel);
}

int QueuePair::Abort(pollux_nvme_request& request) {
  for (uint32_t index = 1; index < depth_; ++index) {
    const Slot& slot = slots_[index];
    if (slot.request != &request || slot.tag == kIdle) continue;
    const Gate now = gate();
    if (now == Gate::kDead) return -ENXIO;
    if (now != Gate::kOpen) return -EAGAIN;
    Ring();  // The device cannot abort what it has not seen.
    return Wish(static_cast<uint16_t>(slot.next_tag >> 16)) ? 0 : -EAGAIN;
  }
  return -ENOENT;
}

int QueuePair::TakeAbortWish() {
  int32_t wish = abort_.load(std::memory_order_relaxed);
  if (wish < 0) return -1;
  // The owner takes it back when it drains.
  if (!abort_.compare_exchange_strong(wish, kAbortUnderWay, std::memory_order_acq_rel)) return -1;
  return wish;
}

void QueuePair::AbortEnded() { abort_.store(kNoAbort, std::memory_order_release); }

bool QueuePair::TakeResetWish() {
  return reset_wish_.load(std::memory_order_relaxed) &&
         reset_wish_.exchange(false, std::memory_order_acq_rel);
}

uint32_t QueuePair::TakeTimeoutNotice() {
  if (timeout_notice_.load(std::memory_order_relaxed) == 0) return 0;
  return timeout_notice_.exchange(0, std::memory_order_acq_rel);
}

// --- Injections and statistics.

void QueuePair::SetInjections(std::shared_ptr<const Injections> injections) {
  const std::lock_guard lock(injections_mutex_);
  next_injections_.swap(injections);
  injections_changed_.store(true, std::memory_order_relaxed);
}

void QueuePair::TakeInjections() {
  const std::lock_guard lock(injections_mutex_);
  injections_changed_.store(false, std::memory_order_relaxed);
  injections_ = next_injections_;
  SetFloor();
}

void QueuePair::ReadStatistics(pollux_nvme_queue_statistics& into) const {
  into = {.submitted = submitted_.Get(),
          .completed = completed_.Get(),
          .failed = failed_.Get(),
          .doorbells = doorbells_.Get(),
          .polls = polls_.Get(),
          .idle_polls = idle_polls_.Get(),
          .stray_completions = strays_.Get(),
          .timeouts = timeouts_.Get()};
}

}  // namespace pollux::nvme
