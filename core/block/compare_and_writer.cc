#include "core/block/compare_and_writer.h"

#include <new>
#include <utility>

#include "core/block/block_channel.h"
#include "core/check.h"

namespace pollux {

struct CompareAndWriter::Turn {
  explicit Turn(IoRequest& r) : request(r) {}
  IoRequest& request;
  ListNode node;
};

struct CompareAndWriter::Line {
  IntrusiveList<Turn, &Turn::node> turns;
};

CompareAndWriter::CompareAndWriter(BlockChannel& channel, RangeLock& lock)
    : RangeLock::Owner(lock), channel_(channel), line_(std::make_unique<Line>()) {
  static_assert(sizeof(Turn) <= IoRequest::kDeviceAreaBytes);
  step_.internal_ = true;
}

CompareAndWriter::~CompareAndWriter() { CHECK(current_ == nullptr && line_->turns.empty()); }

void CompareAndWriter::Start(IoRequest& request) {
  line_->turns.PushBack(*new (request.device_area) Turn(request));
  if (current_ == nullptr) LockForNext();
}

void CompareAndWriter::LockForNext() {
  Turn* turn = line_->turns.PopFront();
  if (turn == nullptr) return;
  current_ = &turn->request;
  turn->~Turn();
  current_aborted_ = writing_ = false;
  Lock(channel_.reactor(), current_->lba, current_->blocks);
}

void CompareAndWriter::OnLocked() {
  if (current_aborted_) return End(IoStatus::kAborted);
  RunStep(IoType::kCompare, current_->compare_data);
}

void CompareAndWriter::RunStep(IoType type, std::span<const iovec> data) {
  step_.type = type;
  step_.fua = current_->fua && type == IoType::kWrite;
  step_.lba = current_->lba;
  step_.blocks = current_->blocks;
  step_.data = data;
  step_.metadata = nullptr;
  step_.channel_ = &channel_;
  channel_.Start(step_);
}

void CompareAndWriter::OnStepEnded() {
  if (step_.status != IoStatus::kSuccess) {
    current_->miscompare_offset = step_.miscompare_offset;
    current_->nvme_status = step_.nvme_status;
    return End(current_aborted_ ? IoStatus::kAborted : step_.status);
  }
  if (writing_) return End(IoStatus::kSuccess);
  if (current_aborted_) return End(IoStatus::kAborted);
  writing_ = true;
  RunStep(IoType::kWrite, current_->data);
}

void CompareAndWriter::End(IoStatus status) {
  channel_.Complete(*std::exchange(current_, nullptr), status);
  Release();
  LockForNext();
}

bool CompareAndWriter::Abort(IoRequest& request) {
  if (&request == current_) {
    if (writing_) return false;
    current_aborted_ = true;
    return true;
  }
  Turn& turn = *std::launder(reinterpret_cast<Turn*>(request.device_area));
  line_->turns.Remove(turn);
  turn.~Turn();
  channel_.Complete(request, IoStatus::kAborted);
  return true;
}

}  // namespace pollux
