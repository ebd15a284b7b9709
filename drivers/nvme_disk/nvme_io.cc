#include "drivers/nvme_disk/nvme_io.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "core/check.h"
#include "drivers/nvme_disk/nvme_lane.h"
#include "drivers/nvme_disk/nvme_pair.h"
#include "drivers/nvme_disk/nvme_status.h"
#include "drivers/nvme_disk/scatter.h"

namespace pollux {

void NvmeChannel::Io::Start() {
  if (request_.type == IoType::kCompareAndWrite) return channel_.pair_->Join(*this);
  Send();
}

void NvmeChannel::Io::Send() {
  if (TakeLane(nullptr)) SendByLane();
}

// False: it waits for one, or has ended.
bool NvmeChannel::Io::TakeLane(const Lane* avoided) {
  const bool held = Changes() && channel_.HoldsChanges();
  const Lane* const lane = held ? nullptr : channel_.ChooseLane(avoided);
  if (lane != nullptr) {
    lane_ = lane->index;
    return true;
  }
  if (held || channel_.MayGetLane()) {
    state_ = State::kAwaitsLane;
    channel_.Await(*this);
  } else {
    End(finding_ ? IoStatus::kMiscompare : IoStatus::kGone);
  }
  return false;
}

void NvmeChannel::Io::SendByLane() {
  if (request_.type == IoType::kCompareAndWrite && !finding_) return channel_.pair_->Send();
  NvmeQueue& queue = lane().queue;
  if (queue.MaySubmit() && TrySend()) [[likely]]
    return;
  state_ = State::kInLine;
  queue.Await(*this);
}

bool NvmeChannel::Io::MoveAway() {
  if (Changes() && channel_.HoldsChanges()) return Send(), true;
  if (lane().TakesIo()) return false;
  const Lane* const lane = channel_.ChooseLane();
  if (lane != nullptr && (lane->index == lane_ || !lane->TakesIo())) return false;
  Send();
  return true;
}

bool NvmeChannel::Io::TrySend() {
  if (MoveAway()) [[unlikely]]
    return true;
  const int error = Submit();
  if (error == 0) [[likely]] {
    state_ = State::kInFlight;
    lane().queue.RingLater();
    return true;
  }
  if (error == -EAGAIN && !lane().queue.refusing()) return false;
  if (error == -ENXIO) {
    lane().failing = true;
    channel_.OnLanesChanged();
    return Send(), true;
  }
  // Memory that the device cannot reach, a list that it cannot take.
  if (buffer_ == nullptr && MovesData() && (error == -EFAULT || error == -E2BIG)) {
    AwaitBuffer();
    return true;
  }
  End(finding_ ? IoStatus::kMiscompare : IoStatusOfSubmission(error));
  return true;
}

int NvmeChannel::Io::Submit() {
  NvmeQueue& queue = lane().queue;
  const pollux_nvme_namespace* ns = lane().ns;
  switch (request_.type) {
    case IoType::kRead:
    case IoType::kWrite:
    case IoType::kCompare:
    case IoType::kCompareAndWrite:  // Looking for the place of a difference.
      return SubmitData();
    case IoType::kFlush:
      return pollux_nvme_flush(queue.c(), ns, this);
    case IoType::kUnmap:
      return flushing_ ? pollux_nvme_flush(queue.c(), ns, this) : SubmitUnmap();
    case IoType::kWriteZeroes: {
      pollux_nvme_io io{};
      io.lba = request_.lba;
      io.blocks = static_cast<uint32_t>(request_.blocks);
      io.flags = request_.fua ? POLLUX_NVME_FUA : 0;
      if (channel_.facts_.protected_data) io.flags |= POLLUX_NVME_PRACT;
      io.reference_tag = static_cast<uint32_t>(io.lba);
      return pollux_nvme_write_zeroes(queue.c(), ns, this, &io);
    }
    case IoType::kReset:
    case IoType::kAbort:
      break;
  }
  CHECK(false, "the block layer executes the rest");
  return -EINVAL;
}

int NvmeChannel::Io::SubmitData() {
  const NvmeNamespaceFacts& facts = channel_.facts_;
  pollux_nvme_queue* const queue = lane().queue.c();
  const pollux_nvme_namespace* const ns = lane().ns;
  pollux_nvme_io io{};
  iovec piece;
  if (buffer_ == nullptr) [[likely]] {
    io.lba = request_.lba;
    io.blocks = static_cast<uint32_t>(request_.blocks);
    io.data = request_.data.data();
    io.data_count = static_cast<uint32_t>(request_.data.size());
    io.metadata = request_.metadata;
  } else {
    piece = {buffer_, PieceBytes()};
    io.lba = request_.lba + done_;
    io.blocks = piece_;
    io.data = &piece;
    io.data_count = 1;
    if (request_.metadata != nullptr) io.metadata = BufferMetadata();
  }
  if (facts.protected_data || facts.separate_metadata_bytes > 0) [[unlikely]]
    SetProtection(io);
  if (Reads()) return pollux_nvme_readv(queue, ns, this, &io);
  if (request_.type == IoType::kCompare) return pollux_nvme_comparev(queue, ns, this, &io);
  if (request_.fua) io.flags |= POLLUX_NVME_FUA;
  return pollux_nvme_writev(queue, ns, this, &io);
}

// Without metadata of the caller's the controller makes and takes the protection information, and
// the rest is of no account.
void NvmeChannel::Io::SetProtection(pollux_nvme_io& io) {
  const NvmeNamespaceFacts& facts = channel_.facts_;
  const bool apart = facts.separate_metadata_bytes > 0;
  const bool without = apart && io.metadata == nullptr;
  // None is transferred when all of it is protection information. NVM §5.2.2.
  if (without && !(facts.protected_data && facts.separate_metadata_bytes == 8)) {
    io.metadata = Reads() ? lane().route.metadata_sink : lane().route.metadata_zeroes;
  }
  if (!facts.protected_data) return;
  io.flags |= without ? uint32_t{POLLUX_NVME_PRACT} : facts.check_flags;
  io.reference_tag = static_cast<uint32_t>(io.lba);
}

int NvmeChannel::Io::SubmitUnmap() {
  const pollux_nvme_range range{request_.lba, static_cast<uint32_t>(request_.blocks)};
  return pollux_nvme_deallocate(lane().queue.c(), lane().ns, this, &range, 1);
}

void NvmeChannel::Io::AwaitBuffer() {
  state_ = State::kAwaitsBuffer;
  channel_.buffer_line_->Join(*this);
}

void NvmeChannel::Io::OnBuffer(std::byte* buffer) {
  buffer_ = buffer;
  if (request_.type == IoType::kCompareAndWrite) return channel_.pair_->OnBuffer();
  NextPiece();
}

void NvmeChannel::Io::NextPiece() {
  piece_ =
      static_cast<uint32_t>(std::min<uint64_t>(request_.blocks - done_, channel_.buffer_blocks_));
  if (!Reads()) {
    Gather(request_.data, DoneBytes(), buffer_, PieceBytes());
    if (request_.metadata != nullptr) {
      memcpy(BufferMetadata(), RequestMetadata(), PieceMetadataBytes());
    }
  }
  Send();
}

void NvmeChannel::Io::OnSuccess() {
  if (finding_) return OnFound();
  if (request_.type == IoType::kUnmap) {
    // Dataset Management has no FUA.
    if (flushing_ || !request_.fua || !channel_.facts_.volatile_cache) {
      return End(IoStatus::kSuccess);
    }
    flushing_ = true;
    return Send();
  }
  if (Reads()) {
    Scatter(buffer_, request_.data, DoneBytes(), PieceBytes());
    if (request_.metadata != nullptr) {
      memcpy(RequestMetadata(), BufferMetadata(), PieceMetadataBytes());
    }
  }
  done_ += piece_;
  if (done_ == request_.blocks) return End(IoStatus::kSuccess);
  if (aborted_) return End(IoStatus::kAborted);
  NextPiece();
}

void NvmeChannel::Io::OnFailure(nvme::Completion completion) {
  channel_.CountError(completion.status);
  if (OnPathFailure(completion)) return;
  if (finding_) return End(IoStatus::kMiscompare);
  const IoStatus status = IoStatusOfNvme(completion.status);
  if (status == IoStatus::kMiscompare) return FindDifference();
  bool later = false;
  if (!TakeRetry(completion, later)) return End(aborted_ ? IoStatus::kAborted : status);
  state_ = State::kInLine;
  const uint32_t delay_ms = lane().route.retry_delays_ms[completion.status >> 11 & 3];
  later ? lane().queue.AwaitLater(*this, delay_ms) : lane().queue.Await(*this);
}

// What says something of the path, not of the command: false when it does not, or when there is
// nothing better than to go on as with any other failure.
bool NvmeChannel::Io::OnPathFailure(nvme::Completion completion) {
  const uint16_t code = pollux_nvme_code(completion);
  Lane& lane = this->lane();
  bool later = false;
  if (IsLostOnPath(code)) {
    // That nothing will be answered any more is only said of this path.
    const bool gone = code == POLLUX_NVME_HOST_PATHING_ERROR;
    if (gone) completion.status = POLLUX_NVME_ABORTED_BY_HOST;
    const bool again = TakeRetry(completion, later);
    const IoStatus end = aborted_ ? IoStatus::kAborted
                         : again  ? IoStatus::kSuccess
                                  : IoStatusOfNvme(code);
    if (Changes()) return Lose(end), true;
    if (end != IoStatus::kSuccess) return false;
    return Send(), true;
  }
  const bool denied = IsAccessDenied(code) && lane.route.reports_access;
  if (denied) {
    lane.access = AccessOfNvme(code);
    lane.queue.DoubtAccess();
    channel_.OnLanesChanged();
  } else if (code >> 8 != kPathRelated || channel_.ChooseLane(&lane) == &lane) {
    return false;
  }
  if (!TakeRetry(completion, later)) return false;
  if (TakeLane(&lane)) SendByLane();
  return true;
}

void NvmeChannel::Io::Lose(IoStatus end) {
  end_ = end;
  state_ = State::kLost;
  lane().Keep(*this);
}

void NvmeChannel::Io::OnSettled() {
  const IoStatus end = aborted_ ? IoStatus::kAborted : std::exchange(end_, IoStatus::kSuccess);
  end == IoStatus::kSuccess ? Send() : End(end);
}

// Whether it is sent once more, and not at once but after the delay that the controller asks for.
bool NvmeChannel::Io::TakeRetry(nvme::Completion completion, bool& later) {
  const int32_t retries_max = channel_.facts_.retries_max;
  if (aborted_ || !MayRetryNvme(completion)) return false;
  if (retries_max >= 0 && retries_ >= retries_max) return false;
  if (retries_ < std::numeric_limits<uint16_t>::max()) ++retries_;
  later = lane().route.retry_delays_ms[completion.status >> 11 & 3] > 0;
  return true;
}

// The device does not say where the data differs.
void NvmeChannel::Io::FindDifference() {
  request_.miscompare_offset = 0;
  if (aborted_) return End(IoStatus::kMiscompare);
  finding_ = true;
  done_ = 0;
  buffer_ == nullptr ? AwaitBuffer() : NextPiece();
}

void NvmeChannel::Io::OnFound() {
  const size_t place = Difference(buffer_, Expected(), DoneBytes(), PieceBytes());
  if (place < PieceBytes()) {
    request_.miscompare_offset = DoneBytes() + place;
    return End(IoStatus::kMiscompare);
  }
  done_ += piece_;
  // It may have changed since: then there is no place to tell.
  if (done_ == request_.blocks || aborted_) return End(IoStatus::kMiscompare);
  NextPiece();
}

bool NvmeChannel::Io::Abort() {
  switch (state_) {
    case State::kAwaitsBuffer:
      channel_.buffer_line_->Leave(*this);
      break;
    case State::kAwaitsPair:
      channel_.pair_->Leave(*this);
      break;
    case State::kAwaitsLane:
      channel_.waiting_.Remove(*this);
      break;
    case State::kInLine:
      lane().queue.Leave(*this);
      break;
    case State::kInFlight:
      // It may yet be stopped, or not: it ends by itself and says which.
      aborted_ = true;
      if (request_.type != IoType::kCompareAndWrite) lane().queue.Abort(*this);
      return false;
    case State::kLost:
      // Who is told of its end may write anew, so it must not be executed after that.
      aborted_ = true;
      return false;
    case State::kNew:
      return false;
  }
  End(IoStatus::kAborted);
  return true;
}

void NvmeChannel::Io::End(IoStatus status) {
  NvmeChannel& channel = channel_;
  IoRequest& request = request_;
  std::byte* const buffer = buffer_;
  if (request.type == IoType::kCompareAndWrite) channel.pair_->OnEnded(*this);
  if (status == IoStatus::kSuccess && channel.facts_.count_paths) lane().Count(request);
  this->~Io();
  channel.Complete(request, status);
  if (buffer != nullptr) channel.buffers_.Give(buffer);
}

}  // namespace pollux
