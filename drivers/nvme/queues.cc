#include "drivers/nvme/queues.h"

#include <algorithm>

#include "core/check.h"

namespace pollux::nvme {
namespace {

// Number of Queues: both halves of dword 11 and of the answer, 0's based. Figure 298.
constexpr Field<uint32_t> kSubmission{0, 16}, kCompletion{16, 16};

// Half of the memory is the user's.
constexpr size_t kUserShare = 2;

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

Status Queues::Make(const Plan& plan, uint16_t count, const ControllerFacts& facts) {
  CHECK(pairs_.empty());
  transport_ = plan.transport;
  Arena& arena = admin_.arena();
  for (uint16_t qid = 1; qid <= count; ++qid) {
    if (qid > 1 && arena.free_bytes() < arena.total_bytes() / kUserShare) break;
    const Status made = MakeOne(plan, qid, facts);
    if (made.ok()) continue;
    if (qid == 1 || made.code() != absl::StatusCode::kResourceExhausted) return made;
    break;
  }
  return OkStatus();
}

Status Queues::MakeOne(const Plan& plan, uint16_t qid, const ControllerFacts& facts) {
  auto pair = std::make_unique<Pair>();
  pair->owner = this;
  QueuePair::Parts parts;
  parts.id = qid;
  parts.depth = plan.depth;
  ASSIGN_OR_RETURN(pair->memory, transport_->MakeQueue(parts, facts));
  pair->memory.FillIn(parts);
  pair->queue = std::make_unique<pollux_nvme_queue>(parts);
  pair->queue->SetTimeout(plan.timeout_ns, plan.on_timeout);
  in_cmb_ = static_cast<uint16_t>(in_cmb_ + (pair->memory.in_controller ? 1 : 0));
  pairs_.push_back(std::move(pair));
  return OkStatus();
}

Task<Status> Queues::Create(bool first) {
  for (uint16_t index = 0; index < count(); ++index) {
    const Status created = co_await transport_->CreateQueue(*pairs_[index]->queue);
    if (created.ok()) continue;
    const bool refused = created.code() == absl::StatusCode::kInternal;
    if (!first || !refused || index == 0) co_return created;
    pairs_.resize(index);
  }
  co_return OkStatus();
}

Task<void> Queues::Delete() {
  for (const std::unique_ptr<Pair>& pair : pairs_) {
    pair->queue->Close();
    co_await transport_->DeleteQueue(*pair->queue);
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

void Queues::RefuseAll(int error) {
  for (const auto& pair : pairs_) pair->queue->Refuse(error);
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
