#include "core/block/stoppable_io.h"

#include "core/block/block_channel.h"

namespace pollux {

void StoppableIo::Stop(BlockChannel& channel) {
  if (abort_ != nullptr) return;
  abort_ = new Abort(*this);
  channel.Submit(*abort_);
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
