// Queues: fetching, answering, interrupts. Base §3.3, §3.4.
#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "tests/models/nvme_model.h"

namespace pollux::models {

using namespace nvme;  // NOLINT: nearly every word here is the specification's.

namespace {

constexpr uint8_t kFuseMask = 0x03;
constexpr uint32_t kEventInvalidDoorbell = 0, kEventInvalidDoorbellValue = 1;  // Base figure 146.

uint32_t LoadDword(const std::byte* at) {
  return __atomic_load_n(reinterpret_cast<const uint32_t*>(at), __ATOMIC_ACQUIRE);
}

}  // namespace

// --- Doorbells.

size_t NvmeModel::DoorbellOffset(uint16_t qid, bool completion_queue) const {
  return (size_t{2} * qid + (completion_queue ? 1 : 0)) * (size_t{4} << options_.doorbell_stride);
}

void NvmeModel::ResetDoorbell(uint16_t qid, bool completion_queue) {
  std::memset(doorbells() + DoorbellOffset(qid, completion_queue), 0, 4);
}

uint64_t NvmeModel::doorbell_writes(uint16_t qid, bool completion_queue) const {
  return doorbell_writes_[size_t{2} * qid + (completion_queue ? 1 : 0)];
}

void NvmeModel::WriteDoorbell(uint64_t offset, uint32_t value) {
  const size_t stride = size_t{4} << options_.doorbell_stride;
  const size_t index = offset / stride;
  if (offset % stride != 0 || index >= doorbell_writes_.size()) {
    Complain("a write to %#x, where no doorbell is", kDoorbells + offset);
    return PostEvent(async_event::kErrorStatus, kEventInvalidDoorbell, log_page::kError);
  }
  ++doorbell_writes_[index];
  const auto qid = static_cast<uint16_t>(index / 2);
  const bool completion_queue = index % 2 != 0;
  const bool live = completion_queue ? cqs_[qid].live : sqs_[qid].live;
  if (!ready() || !live) {
    Complain("doorbell %u of a queue that does not exist, value %u", index, value);
    return PostEvent(async_event::kErrorStatus, kEventInvalidDoorbell, log_page::kError);
  }
  __atomic_store_n(reinterpret_cast<uint32_t*>(doorbells() + offset), value, __ATOMIC_RELEASE);
}

// The value of a doorbell, or of its shadow: the buffers mirror the registers' layout. Base B.5.
uint32_t NvmeModel::ReadDoorbell(uint16_t qid, bool completion_queue) {
  const size_t offset = DoorbellOffset(qid, completion_queue);
  if (qid != 0 && shadow_iova_ != 0) {
    if (shadow_ == nullptr) shadow_ = reach_.At(shadow_iova_, page_bytes(), false);
    if (shadow_ != nullptr) return LoadDword(shadow_ + offset);
  }
  return LoadDword(doorbells() + offset);
}

// Asks the host to ring when it passes `value`.
void NvmeModel::SetEventIndex(uint16_t qid, bool completion_queue, uint32_t value) {
  if (qid == 0 || event_index_iova_ == 0) return;
  if (event_index_ == nullptr) event_index_ = reach_.At(event_index_iova_, page_bytes(), true);
  if (event_index_ == nullptr) return;
  auto* at = reinterpret_cast<uint32_t*>(event_index_ + DoorbellOffset(qid, completion_queue));
  __atomic_store_n(at, value, __ATOMIC_SEQ_CST);
}

uint32_t NvmeModel::Tail(uint16_t sqid) {
  SubmissionRing& sq = sqs_[sqid];
  const uint32_t tail = ReadDoorbell(sqid, false);
  if (tail < sq.entries) {
    sq.complained = false;
    return tail;
  }
  if (!std::exchange(sq.complained, true)) {
    Complain("tail %u of submission queue %u with %u entries", tail, sqid, sq.entries);
    PostEvent(async_event::kErrorStatus, kEventInvalidDoorbellValue, log_page::kError);
  }
  return sq.head;
}

void NvmeModel::TakeHead(uint16_t cqid) {
  CompletionRing& cq = cqs_[cqid];
  const uint32_t head = ReadDoorbell(cqid, true);
  if (head == cq.head) return;
  const uint32_t posted = (cq.tail + cq.entries - cq.head) % cq.entries;
  if (head >= cq.entries || (head + cq.entries - cq.head) % cq.entries > posted) {
    if (!std::exchange(cq.complained, true)) {
      Complain("head %u of completion queue %u: from %u to %u are full", head, cqid, cq.head,
               cq.tail);
      PostEvent(async_event::kErrorStatus, kEventInvalidDoorbellValue, log_page::kError);
    }
    return;
  }
  cq.complained = false;
  cq.head = head;
  SetEventIndex(cqid, true, head);
}

// --- Fetching.

size_t NvmeModel::Step() {
  if (gone_) return 0;
  now_ = clock ? clock() : now_ + 1;
  Settle(true);
  if (!ready() || csts::kCfs.Get(csts_) != 0 || !bus_master_) return 0;

  size_t done = 0;
  for (uint16_t qid = 0; qid < queues_end_; ++qid) {
    if (cqs_[qid].live) TakeHead(qid);
  }
  done += DrainWaiting();
  for (uint16_t qid = 0; qid < queues_end_; ++qid) {
    if (sqs_[qid].live) done += Fetch(qid);
  }
  while (!later_.empty() && later_.top().due <= now_) {
    const Command command = later_.top().command;
    later_.pop();
    Run(command);
    ++done;
  }
  RaiseInterrupts();
  return done;
}

size_t NvmeModel::Fetch(uint16_t sqid) {
  SubmissionRing& sq = sqs_[sqid];
  const uint32_t tail = Tail(sqid);
  size_t count = 0;
  while (sq.live && ready() && csts::kCfs.Get(csts_) == 0 && sq.head != tail) {
    Command command;
    if (!FetchOne(sqid, command)) return count;
    ++count;
    const uint8_t fuse = command.sqe.flags & kFuseMask;
    if (fuse == 0) {
      Start(std::move(command));
      continue;
    }
    // Base §3.4.2: the two lie side by side, and are announced together.
    const bool first = fuse == kFuseFirst && sqid != 0;
    Command second;
    if (first && sq.head != tail && FetchOne(sqid, second)) {
      ++count;
      if ((second.sqe.flags & kFuseMask) == kFuseSecond) {
        command.fused = second.sqe;
        Start(std::move(command));
        continue;
      }
      Complain("submission queue %u: the first of two fused commands stands alone", sqid);
      Answer(command, {.status = status::kAbortedMissingFused});
      Start(std::move(second));
      continue;
    }
    Complain("submission queue %u: fused command (%u) stands alone", sqid, fuse);
    Answer(command, {.status = status::kAbortedMissingFused});
  }
  if (count != 0) SetEventIndex(sqid, false, sq.head);
  return count;
}

bool NvmeModel::FetchOne(uint16_t sqid, Command& command) {
  SubmissionRing& sq = sqs_[sqid];
  if (sq.memory == nullptr) {
    sq.memory = reach_.At(sq.base, uint64_t{sq.entries} * sizeof(SubmissionEntry), false);
    if (sq.memory == nullptr) {
      Complain("submission queue %u at %#x lies in no memory", sqid, sq.base);
      GoFatal();
      return false;
    }
  }
  std::memcpy(&command.sqe, sq.memory + size_t{sq.head} * sizeof(SubmissionEntry),
              sizeof(SubmissionEntry));
  command.sqid = sqid;
  command.order = ++order_;
  if (++sq.head == sq.entries) sq.head = 0;
  ++fetched_[sqid];
  return true;
}

// Holds a command, puts it off, or runs it.
void NvmeModel::Start(Command&& command) {
  if (command.sqe.cid == 0xffff && options_.version >= 0x020000) {
    Complain("identifier ffffh, which is not for hosts");  // Base figure 87.
  }
  const bool held_already =
      std::any_of(held_.begin(), held_.end(), [&command](const Command& other) {
        return other.sqid == command.sqid && other.sqe.cid == command.sqe.cid;
      });
  if (held_already) {
    Complain("identifier %#x of queue %u is in use", uint16_t{command.sqe.cid}, command.sqid);
    return Answer(command, {.status = status::kCommandIdConflict});
  }
  if (hold_ == Hold::kEverything || (hold_ == Hold::kIo && command.sqid != 0)) {
    held_.push_back(std::move(command));
    return;
  }
  if (const uint64_t latency = command.sqid == 0 ? 0 : faults_.Latency(); latency != 0) {
    later_.push({now_ + latency, std::move(command)});
    return;
  }
  Run(command);
}

void NvmeModel::Run(const Command& command) {
  const bool admin = command.sqid == 0;
  const uint16_t fate = faults_.Judge(admin, command.sqe.opc);
  if (fate == Faults::kLost) return;
  if (fate != 0) return Answer(command, {.status = fate});
  if (command.fused.has_value()) {
    const Outcome outcome = ExecuteFused(command);
    return PostAnswer(command.sqid, command.fused->cid, outcome);
  }
  Answer(command, admin ? ExecuteAdmin(command.sqe) : ExecuteIo(command.sqe));
}

// Compare and write, the only pair there is. Answers the compare.
NvmeModel::Outcome NvmeModel::ExecuteFused(const Command& command) {
  const SubmissionEntry& second = *command.fused;
  const auto range = [](const SubmissionEntry& sqe) {
    return std::pair(uint64_t{sqe.cdw10} | uint64_t{sqe.cdw11} << 32, sqe.cdw12 & 0xffff);
  };
  const bool pair = command.sqe.opc == io::kCompare && second.opc == io::kWrite;
  Outcome first{.status = status::kInvalidField};
  if (pair && command.sqe.nsid == second.nsid && range(command.sqe) == range(second)) {
    first = ExecuteIo(command.sqe);
  } else {
    Complain("opcodes %#x and %#x are fused", command.sqe.opc, second.opc);
  }
  PostAnswer(command.sqid, command.sqe.cid, first);
  return first.status == 0 ? ExecuteIo(second) : Outcome{.status = status::kAbortedFailedFused};
}

// --- Answering.

void NvmeModel::Answer(const Command& command, const Outcome& outcome) {
  if (outcome.pending) return;
  PostAnswer(command.sqid, command.sqe.cid, outcome);
  if (command.fused.has_value()) PostAnswer(command.sqid, command.fused->cid, outcome);
}

void NvmeModel::PostAnswer(uint16_t sqid, uint16_t cid, const Outcome& outcome) {
  const SubmissionRing& sq = sqs_[sqid];
  if (!sq.live) return;
  if ((outcome.status & 0x7ff) != 0) LogError(sqid, cid, outcome.status);
  PostEntry(sq.cqid, {.dw0 = outcome.dw0,
                      .dw1 = outcome.dw1,
                      .sqhd = static_cast<uint16_t>(sq.head),
                      .sqid = sqid,
                      .cid = cid,
                      .status = static_cast<uint16_t>(outcome.status << 1)});
}

void NvmeModel::PostEntry(uint16_t cqid, const CompletionEntry& entry) {
  CompletionRing& cq = cqs_[cqid];
  if (!cq.live) return;
  if (bus_master_ && cq.waiting.empty() && cq.full()) TakeHead(cqid);
  if (!bus_master_ || !cq.waiting.empty() || cq.full()) {
    cq.waiting.push_back(entry);  // Base §3.3.1.2.1: a full queue is never overwritten.
    return;
  }
  PlaceEntry(cq, entry, true);
}

void NvmeModel::PlaceEntry(CompletionRing& cq, CompletionEntry entry, bool right_phase) {
  if (cq.memory == nullptr) {
    cq.memory = reach_.At(cq.base, uint64_t{cq.entries} * sizeof(CompletionEntry), true);
    if (cq.memory == nullptr) {
      Complain("a completion queue at %#x lies in no memory", cq.base);
      return GoFatal();
    }
  }
  auto* slot = reinterpret_cast<CompletionEntry*>(cq.memory + size_t{cq.tail} * sizeof entry);
  const bool phase = cq.phase == right_phase;
  const auto word = static_cast<uint16_t>((entry.status & ~1u) | (phase ? 1u : 0u));
  slot->dw0 = entry.dw0;
  slot->dw1 = entry.dw1;
  slot->sqhd = entry.sqhd;
  slot->sqid = entry.sqid;
  slot->cid = entry.cid;
  StoreRelease(slot->status, word);
  cq.raise = true;
  if (!right_phase) return;  // The host must not see it; the slot is used again.
  if (++cq.tail == cq.entries) {
    cq.tail = 0;
    cq.phase = !cq.phase;
  }
}

size_t NvmeModel::DrainWaiting() {
  size_t count = 0;
  for (CompletionRing& cq : std::span(cqs_).first(queues_end_)) {
    for (; cq.live && !cq.waiting.empty() && !cq.full(); ++count) {
      PlaceEntry(cq, cq.waiting.front(), true);
      cq.waiting.pop_front();
    }
  }
  return count;
}

void NvmeModel::FindQueuesEnd() {
  queues_end_ = static_cast<uint16_t>(sqs_.size());
  while (queues_end_ != 0 && !sqs_[queues_end_ - 1u].live && !cqs_[queues_end_ - 1u].live) {
    --queues_end_;
  }
}

void NvmeModel::RaiseInterrupts() {
  for (CompletionRing& cq : std::span(cqs_).first(queues_end_)) {
    if (!std::exchange(cq.raise, false) || !cq.interrupts || lose_interrupts) continue;
    if (on_interrupt) on_interrupt(cq.vector);
  }
}

// The commands of a queue that is deleted end. Base §5.6.
void NvmeModel::DropCommands(uint16_t sqid) {
  std::vector<Command> ended;
  std::erase_if(held_, [sqid, &ended](const Command& command) {
    if (command.sqid == sqid) ended.push_back(command);
    return command.sqid == sqid;
  });
  std::priority_queue<Later> kept;
  for (; !later_.empty(); later_.pop()) {
    if (later_.top().command.sqid == sqid) {
      ended.push_back(later_.top().command);
    } else {
      kept.push(later_.top());
    }
  }
  later_ = std::move(kept);
  for (const Command& command : ended) Answer(command, {.status = status::kAbortedSqDeletion});
}

// --- What a test decides.

NvmeModel::Command NvmeModel::TakeHeld(size_t n) {
  CHECK(n < held_.size(), "the model holds no such command");
  Command command = std::move(held_[n]);
  held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(n));
  return command;
}

void NvmeModel::Complete(size_t n) {
  const Command command = TakeHeld(n);
  Run(command);
  RaiseInterrupts();
}

void NvmeModel::Complete(size_t n, uint16_t status, uint32_t dw0, uint32_t dw1) {
  const Command command = TakeHeld(n);
  Answer(command, {.status = status, .dw0 = dw0, .dw1 = dw1});
  RaiseInterrupts();
}

void NvmeModel::CompleteTwice(size_t n) {
  const Command command = TakeHeld(n);
  Run(command);
  Answer(command, {});
  RaiseInterrupts();
}

void NvmeModel::CompleteAll() {
  while (!held_.empty()) Run(TakeHeld(0));
  RaiseInterrupts();
}

void NvmeModel::Forget(size_t n) { TakeHeld(n); }

void NvmeModel::Post(uint16_t cqid, CompletionEntry entry, bool right_phase) {
  CHECK(cqid < cqs_.size() && cqs_[cqid].live, "there is no such completion queue");
  if (right_phase) {
    PostEntry(cqid, entry);
  } else {
    PlaceEntry(cqs_[cqid], entry, false);
  }
  RaiseInterrupts();
}

}  // namespace pollux::models
