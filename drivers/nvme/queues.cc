#include "drivers/nvme/queues.h"

#include <algorithm>

#include "core/check.h"

namespace pollux::nvme {
namespace {

// Create I/O Completion Queue, dwords 10 and 11. Base figures 155, 156.
constexpr Field<uint32_t> kQid{0, 16}, kQsize{16, 16};
constexpr Field<uint32_t> kPc{0, 1}, kIen{1, 1}, kIv{16, 16};
// Create I/O Submission Queue, dword 11. Figure 160.
constexpr Field<uint32_t> kQprio{1, 2}, kCqid{16, 16};
// Number of Queues: both halves of dword 11 and of the answer, 0's based. Figure 298.
constexpr Field<uint32_t> kSubmission{0, 16}, kCompletion{16, 16};

// Half of the memory is the user's.
constexpr size_t kUserShare = 2;

// With weighted round robin, queues take the classes in turn: high, medium, low.
uint32_t PriorityOf(uint16_t qid) { return 1u + (qid - 1u) % 3; }

uint32_t SizeAndId(const QueuePair& queue) {
  return kQsize.Set(kQid.Set(0, queue.id()), queue.depth() - 1u);
}

}  // namespace

Task<Result<uint16_t>> Queues::Negotiate(uint16_t wanted) {
  SubmissionEntry entry;
  entry.opc = admin::kSetFeatures;
  entry.cdw10 = feature::kNumberOfQueues;
  entry.cdw11 = kCompletion.Set(kSubmission.Set(0, wanted - 1u), wanted - 1u);
  AdminCommand command(admin_, entry);
  const Completion completion = co_await command;
  if (!pollux_nvme_ok(completion)) {
    co_return CommandFailed("Set Features, Number of Queues", completion);
  }
  const uint32_t granted =
      1 + std::min(kSubmission.Get(completion.dw0), kCompletion.Get(completion.dw0));
  co_return static_cast<uint16_t>(std::min<uint32_t>(granted, wanted));
}

Status Queues::Make(const Plan& plan, uint16_t count) {
  CHECK(pairs_.empty());
  Arena& arena = admin_.arena();
  for (uint16_t qid = 1; qid <= count; ++qid) {
    if (qid > 1 && arena.free_bytes() < arena.total_bytes() / kUserShare) break;
    const Status made = MakeOne(plan, qid);
    if (made.ok()) continue;
    if (qid == 1 || made.code() != absl::StatusCode::kResourceExhausted) return made;
    break;
  }
  return OkStatus();
}

Status Queues::MakeOne(const Plan& plan, uint16_t qid) {
  auto pair = std::make_unique<Pair>();
  pair->owner = this;
  pair->weighted = plan.weighted;

  QueuePair::Parts parts;
  parts.id = qid;
  parts.depth = plan.depth;
  parts.vector = qid;
  parts.page_bytes = plan.capabilities.page_bytes;
  std::optional<ControllerMemoryBuffer::Room> room;
  if (plan.cmb != nullptr) {
    room = plan.cmb->Take(plan.depth * sizeof(SubmissionEntry), parts.page_bytes);
  }
  ASSIGN_OR_RETURN(pair->memory, QueueMemory::Make(admin_.arena(), plan.device->dma(), plan.depth,
                                                   parts.page_bytes, room.has_value()));
  pair->memory.FillIn(parts);
  if (room.has_value()) {
    parts.sq = reinterpret_cast<SubmissionEntry*>(room->memory);
    parts.sq_iova = room->address;
  }
  parts.sgl = plan.sgl;
  parts.sgl_dword_aligned = plan.sgl_dword_aligned;
  parts.sq_doorbell_offset = plan.capabilities.DoorbellOffset(qid, /*completion=*/false);
  parts.cq_doorbell_offset = plan.capabilities.DoorbellOffset(qid, /*completion=*/true);
  if (plan.doorbells != nullptr) {
    parts.sq_doorbell = plan.doorbells + (parts.sq_doorbell_offset - kDoorbells);
    parts.cq_doorbell = plan.doorbells + (parts.cq_doorbell_offset - kDoorbells);
  }
  parts.device = plan.device;
  plan.shadows->FillIn(parts);
  parts.dma = &plan.device->dma();
  parts.event_fd = plan.interrupts->QueueFd(qid);
  pair->queue = std::make_unique<pollux_nvme_queue>(parts);
  pair->queue->SetTimeout(plan.timeout_ns, plan.on_timeout);
  in_cmb_ = static_cast<uint16_t>(in_cmb_ + (room.has_value() ? 1 : 0));
  pairs_.push_back(std::move(pair));
  return OkStatus();
}

Task<Completion> Queues::CreateCq(const QueuePair& queue) {
  const bool interrupts = queue.parts().event_fd >= 0;
  SubmissionEntry entry;
  entry.opc = admin::kCreateCq;
  entry.prp1 = queue.parts().cq_iova;
  entry.cdw10 = SizeAndId(queue);
  entry.cdw11 =
      kIv.Set(kIen.Set(kPc.Set(0, 1), interrupts ? 1 : 0), interrupts ? queue.parts().vector : 0);
  AdminCommand command(admin_, entry);
  co_return co_await command;
}

Task<Completion> Queues::CreateSq(const QueuePair& queue, bool weighted) {
  SubmissionEntry entry;
  entry.opc = admin::kCreateSq;
  entry.prp1 = queue.parts().sq_iova;
  entry.cdw10 = SizeAndId(queue);
  entry.cdw11 =
      kCqid.Set(kQprio.Set(kPc.Set(0, 1), weighted ? PriorityOf(queue.id()) : 0), queue.id());
  AdminCommand command(admin_, entry);
  co_return co_await command;
}

Task<Completion> Queues::DeleteSq(uint16_t qid) {
  SubmissionEntry entry;
  entry.opc = admin::kDeleteSq;
  entry.cdw10 = kQid.Set(0, qid);
  AdminCommand command(admin_, entry);
  co_return co_await command;
}

Task<Completion> Queues::DeleteCq(uint16_t qid) {
  SubmissionEntry entry;
  entry.opc = admin::kDeleteCq;
  entry.cdw10 = kQid.Set(0, qid);
  AdminCommand command(admin_, entry);
  co_return co_await command;
}

Task<Status> Queues::Create(bool first) {
  for (uint16_t index = 0; index < count(); ++index) {
    Pair& pair = *pairs_[index];
    Completion completion = co_await CreateCq(*pair.queue);
    const char* what = "Create I/O Completion Queue";
    if (pollux_nvme_ok(completion)) {
      completion = co_await CreateSq(*pair.queue, pair.weighted);
      if (pollux_nvme_ok(completion)) continue;
      what = "Create I/O Submission Queue";
      // What becomes of it makes no difference: nothing will ever be completed there.
      (void)co_await DeleteCq(pair.queue->id());
    }
    const Status failed = CommandFailed(what, completion);
    const bool refused = failed.code() == absl::StatusCode::kInternal;
    if (!first || !refused || index == 0) co_return failed;
    pairs_.resize(index);
  }
  co_return OkStatus();
}

Task<void> Queues::Delete() {
  for (const std::unique_ptr<Pair>& pair : pairs_) {
    pair->queue->Close();
    const uint16_t qid = pair->queue->id();
    const Completion deleted = co_await DeleteSq(qid);
    // One that still has a submission queue must not be deleted.
    if (pollux_nvme_ok(deleted)) (void)co_await DeleteCq(qid);
  }
}

Result<pollux_nvme_queue*> Queues::Take(int index) {
  if (index >= 0) {
    if (index >= count()) {
      return NoSpace("there is no I/O queue %d: the controller has %u", index, count());
    }
    pollux_nvme_queue* queue = pairs_[static_cast<size_t>(index)]->queue.get();
    if (queue->taken) return Busy("I/O queue %d is taken", index);
    queue->taken = true;
    return queue;
  }
  for (const std::unique_ptr<Pair>& pair : pairs_) {
    if (pair->queue->taken) continue;
    pair->queue->taken = true;
    return pair->queue.get();
  }
  return NoSpace("all %u I/O queues are taken", count());
}

bool Queues::any_taken() const {
  return std::any_of(pairs_.begin(), pairs_.end(),
                     [](const auto& pair) { return pair->queue->taken; });
}

void Queues::OpenAll() {
  for (const auto& pair : pairs_) pair->queue->Reopen();
}

void Queues::CloseAll() {
  for (const auto& pair : pairs_) pair->queue->Close();
}

void Queues::DrainAll(uint16_t status) {
  for (const auto& pair : pairs_) pair->queue->Drain(status);
}

void Queues::KillAll(uint16_t status) {
  for (const auto& pair : pairs_) pair->queue->Kill(status);
}

int Queues::PollIdle() {
  int done = 0;
  for (const auto& pair : pairs_) {
    if (!pair->queue->taken) done += pair->queue->Poll(0);
  }
  return done;
}

bool Queues::AllDrained() const {
  return std::all_of(pairs_.begin(), pairs_.end(), [](const auto& pair) {
    return pair->queue->gate() == QueuePair::Gate::kDrained;
  });
}

int Queues::SendAborts(uint32_t aborts_max) {
  int sent = 0;
  for (const auto& pair : pairs_) {
    if (aborts_out_ >= aborts_max) break;
    if (pair->aborting) continue;
    const int cid = pair->queue->TakeAbortWish();
    if (cid < 0) continue;
    SubmissionEntry entry;
    entry.opc = admin::kAbort;
    entry.cdw10 = pair->queue->id() | static_cast<uint32_t>(cid) << 16;
    if (admin_.Submit(*pair->c(), entry, nullptr, 0) != 0) {
      pair->queue->AbortEnded();
      continue;
    }
    pair->aborting = true;
    ++aborts_out_;
    ++sent;
  }
  return sent;
}

// Whether it helped, the command that it was about tells by itself.
void Queues::Pair::OnComplete(Completion /*completion*/) {
  aborting = false;
  --owner->aborts_out_;
  queue->AbortEnded();
}

uint32_t Queues::TakeTimeoutNotice() {
  for (const auto& pair : pairs_) {
    if (const uint32_t notice = pair->queue->TakeTimeoutNotice(); notice != 0) return notice;
  }
  return 0;
}

bool Queues::TakeResetWish() {
  bool wished = false;
  for (const auto& pair : pairs_) wished |= pair->queue->TakeResetWish();
  return wished;
}

void Queues::SetInjections(const std::shared_ptr<const Injections>& injections) {
  for (const auto& pair : pairs_) pair->queue->SetInjections(injections);
}

}  // namespace pollux::nvme
