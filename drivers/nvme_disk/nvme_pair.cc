#include "drivers/nvme_disk/nvme_pair.h"

#include <cerrno>

#include "drivers/nvme_disk/nvme_status.h"

namespace pollux {
namespace {

constexpr uint16_t kMissingFused = 0x00a;

}  // namespace

bool NvmeChannel::Pair::TrySend() {
  if (current_->MoveAway()) return true;
  NvmeQueue& its = current_->lane().queue;
  pollux_nvme_queue* const queue = its.c();
  const pollux_nvme_namespace* const ns = current_->lane().ns;
  if (pollux_nvme_queue_room(queue) < 2 && !its.refusing()) return false;
  const IoRequest& request = current_->request();
  const size_t bytes = request.blocks * channel_.facts_.block_bytes;
  iovec piece{current_->buffer(), bytes};
  pollux_nvme_io io{};
  io.lba = request.lba;
  io.blocks = static_cast<uint32_t>(request.blocks);
  io.data = &piece;
  io.data_count = 1;
  io.flags = POLLUX_NVME_FUSED_FIRST;
  int error = pollux_nvme_comparev(queue, ns, this, &io);
  if (error == -EAGAIN && !its.refusing()) return false;
  if (error == -ENXIO) {
    current_->lane().failing = true;
    channel_.OnLanesChanged();
    return current_->Send(), true;
  }
  if (error != 0) {
    current_->End(IoStatusOfSubmission(error));
    return true;
  }
  under_way_ = 1;
  piece.iov_base = current_->buffer() + bytes;
  io.flags = POLLUX_NVME_FUSED_SECOND;
  if (request.fua) io.flags |= POLLUX_NVME_FUA;
  error = pollux_nvme_writev(queue, ns, write_.c(), &io);
  // The namespace went away this moment. The queue takes nothing but the second command now, and
  // the device refuses both.
  if (error == -ENXIO) error = SendRaw(piece);
  if (error == 0) {
    ++under_way_;
  } else {
    write_end_ = {0, 0, kMissingFused};  // A reset has begun, which ends the compare.
  }
  its.RingLater();
  return true;
}

int NvmeChannel::Pair::SendRaw(const iovec& data) {
  const IoRequest& request = current_->request();
  pollux_nvme_command command{};
  command.opc = 0x01;   // Write.
  command.fuse = 0x02;  // The second.
  command.nsid = pollux_nvme_get_namespace_info(current_->lane().ns)->nsid;
  command.cdw10 = static_cast<uint32_t>(request.lba);
  command.cdw11 = static_cast<uint32_t>(request.lba >> 32);
  command.cdw12 = static_cast<uint32_t>(request.blocks - 1);
  return pollux_nvme_io_command(current_->lane().queue.c(), write_.c(), &command, &data, 1, nullptr,
                                0);
}

void NvmeChannel::Pair::OnBothEnded() {
  Io& io = *current_;
  // The end of the compare decides: the write then says only that it was not executed.
  const nvme::Completion end = pollux_nvme_ok(compare_end_) ? write_end_ : compare_end_;
  if (pollux_nvme_ok(end)) return io.End(IoStatus::kSuccess);
  channel_.CountError(end.status);
  const IoStatus status = IoStatusOfNvme(end.status);
  if (status == IoStatus::kMiscompare) return io.FindDifference();
  // A second time, a write that was executed would be taken for a difference.
  if (IsLostOnPath(compare_end_.status & 0x7ff) || IsLostOnPath(write_end_.status & 0x7ff)) {
    return io.Lose(status == IoStatus::kSuccess ? IoStatus::kAborted : status);
  }
  bool later = false;
  if (MayHaveBeenExecuted(compare_end_.status) || MayHaveBeenExecuted(write_end_.status) ||
      !io.TakeRetry(end, later)) {
    return io.End(status);
  }
  Lane& lane = io.lane();
  const uint32_t delay_ms = lane.route.retry_delays_ms[end.status >> 11 & 3];
  later ? lane.queue.AwaitLater(*this, delay_ms) : lane.queue.Await(*this);
}

}  // namespace pollux
