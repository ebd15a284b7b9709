#include "drivers/nvme/admin.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/clock.h"

namespace pollux::nvme {
namespace {

constexpr uint64_t kPageBytes = 4096;
// Slots that the user's commands leave to the driver's: events, keep-alive, aborts, its own.
constexpr uint32_t kReservedSlots = 3;
constexpr uint16_t kDepthDefault = 32, kDepthMin = 4, kDepthMax = 4096;
constexpr uint32_t kTimeoutDefaultMs = 60000;

// Where the device finds all of a piece; an error when it is not in one place.
Result<uint64_t> IovaOf(pci::DmaView& view, const Piece& piece) {
  const pci::DmaView::Piece found = view.Translate(piece.get());
  if (found.bytes < piece.bytes()) {
    return InternalError("queue memory does not lie in one piece for the device: %u of %u bytes",
                         found.bytes, piece.bytes());
  }
  return found.iova;
}

}  // namespace

Result<QueueMemory> QueueMemory::Make(Arena& arena, pci::DmaMap& dma, uint16_t depth,
                                      uint32_t page_bytes, bool sq_elsewhere) {
  const size_t alignment = std::max<size_t>(page_bytes, kPageBytes);
  QueueMemory made;
  made.cq = Piece(arena, depth * sizeof(CompletionEntry), alignment);
  made.lists = Piece(arena, size_t{depth} * kListBytes, alignment);
  if (!sq_elsewhere) made.sq = Piece(arena, depth * sizeof(SubmissionEntry), alignment);
  if (!made.cq.valid() || !made.lists.valid() || (!sq_elsewhere && !made.sq.valid())) {
    return OutOfMemory("no memory for a queue of %u entries: %u KiB of %u KiB are free", depth,
                       arena.free_bytes() / 1024, arena.total_bytes() / 1024);
  }
  pci::DmaView view(dma);
  ASSIGN_OR_RETURN(made.cq_iova, IovaOf(view, made.cq));
  ASSIGN_OR_RETURN(made.lists_iova, IovaOf(view, made.lists));
  if (!sq_elsewhere) {
    ASSIGN_OR_RETURN(made.sq_iova, IovaOf(view, made.sq));
  }
  return made;
}

void QueueMemory::FillIn(QueuePair::Parts& parts) const {
  if (sq.valid()) {
    parts.sq = sq.as<SubmissionEntry>();
    parts.sq_iova = sq_iova;
  }
  parts.cq = cq.as<CompletionEntry>();
  parts.cq_iova = cq_iova;
  parts.lists = lists.get();
  parts.lists_iova = lists_iova;
  parts.list_bytes = kListBytes;
}

uint16_t AdminQueue::DepthOf(const pollux_nvme_attach_options& options) {
  if (options.admin_queue_depth == 0) return kDepthDefault;
  return std::clamp(options.admin_queue_depth, kDepthMin, kDepthMax);
}

void AdminQueue::Make(QueueMemory memory, QueuePair::Parts parts,
                      const pollux_nvme_attach_options& options) {
  memory_ = std::move(memory);
  memory_.FillIn(parts);
  queue_ = std::make_unique<QueuePair>(parts);
  const uint64_t timeout_ms =
      options.admin_timeout_ms == 0 ? kTimeoutDefaultMs : options.admin_timeout_ms;
  queue_->SetTimeout(timeout_ms * kNsPerMs, POLLUX_NVME_ON_TIMEOUT_RESET);
}

int AdminQueue::Submit(pollux_nvme_request& request, const SubmissionEntry& entry, void* data,
                       size_t bytes) {
  int error = 0;
  if (bytes > 0) {
    const iovec piece = {data, bytes};
    QueuePair::Data described;
    described.pieces = &piece;
    described.count = 1;
    error = queue_->Submit(request, entry, described);
  } else {
    error = queue_->Admit(entry.opc, 0);
    if (error == 0) {
      queue_->next_entry() = entry;
      queue_->Commit(request, queue_->next_entry());
    }
  }
  if (error == 0) queue_->Ring();
  return error;
}

int AdminQueue::SubmitForUser(pollux_nvme_request& request, const SubmissionEntry& entry,
                              void* data, size_t bytes) {
  if (queue_->room() <= std::min(kReservedSlots, queue_->depth() / 2u)) return -EAGAIN;
  return Submit(request, entry, data, bytes);
}

bool AdminCommand::Start() {
  const int error = admin_.Submit(*c(), entry_, data_, bytes_);
  if (error == 0) return true;
  // The queue is closed, or dead: a reset, or a removal. With room for a while it is not full.
  completion_.status =
      error == -ENXIO ? POLLUX_NVME_HOST_PATHING_ERROR : POLLUX_NVME_ABORTED_BY_HOST;
  return false;
}

void AdminCommand::OnComplete(Completion completion) {
  completion_ = completion;
  admin_.polls().Wake(waiter_);
}

Status CommandFailed(const char* what, Completion completion) {
  char text[96];
  pollux_nvme_status_text(completion.status, text, sizeof(text));
  switch (pollux_nvme_code(completion)) {
    case POLLUX_NVME_HOST_PATHING_ERROR:
      return NoDevice("%s: %s", what, text);
    case POLLUX_NVME_ABORTED_BY_HOST:
      return Cancelled("%s: %s", what, text);
    default:
      return InternalError("%s: %s", what, text);
  }
}

SubmissionEntry EntryOf(const pollux_nvme_command& command) {
  SubmissionEntry entry;
  entry.opc = command.opc;
  entry.flags = command.fuse & (kFuseFirst | kFuseSecond);
  entry.nsid = command.nsid;
  entry.cdw2 = command.cdw2;
  entry.cdw3 = command.cdw3;
  entry.cdw10 = command.cdw10;
  entry.cdw11 = command.cdw11;
  entry.cdw12 = command.cdw12;
  entry.cdw13 = command.cdw13;
  entry.cdw14 = command.cdw14;
  entry.cdw15 = command.cdw15;
  return entry;
}

}  // namespace pollux::nvme
