#include "core/block/stoppable_io.h"

#include "core/block/block_channel.h"

namespace pollux {

bool StoppableIo::Stop(BlockChannel& channel) {
  if (abort_ != nullptr) return abort_->stops;
  abort_ = new Abort(*this);
  channel.Submit(*abort_);
  // Whether it can be stopped is decided within Submit, though it is told later.
  abort_->stops = abort_->status == IoStatus::kSuccess;
  return abort_->stops;
}

StoppableIo::Abort::Abort(StoppableIo& io) : io_(io) {
  type = IoType::kAbort;
  abort_target = &io;
}

void StoppableIo::Abort::OnComplete() {
  StoppableIo& io = io_;
  const bool ended = io_ended;
  io.abort_ = nullptr;
  delete this;
  if (ended) io.OnStopped();
}

}  // namespace pollux
