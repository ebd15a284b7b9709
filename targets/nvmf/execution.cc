#include "targets/nvmf/execution.h"

#include <algorithm>
#include <utility>

#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

Execution::~Execution() { CHECK(state_ == State::kIdle, "a command was destroyed in flight"); }

inline void Execution::Release() {
  if (loan.part_count > 0) ReturnLoan();
  if (buffer_ != nullptr) pool_->Give(std::exchange(buffer_, nullptr));
  if (ns_ != nullptr) LetGoOfNamespace();
  if (deferred() || !parameter_data_.empty()) [[unlikely]] {
    ReleaseRare();
  }
  state_ = State::kIdle;
  std::exchange(command_.queue_, nullptr)->Remove(command_);
}

// --- The transport's downcalls. What it tells of a command that ends early changes nothing.

inline void Execution::DataArrived() {
  if (state_ != State::kAwaitData) return;
  if (early_ != Early::kNo) return Later();
  GoOn();
}

inline void Execution::DataDropped(uint16_t status) {
  if (state_ != State::kAwaitData) return;
  if (early_ != Early::kNo) return Later();
  state_ = State::kRunning;
  End(status);
}

inline void Execution::DataSent() {
  if (state_ != State::kAwaitSent) return;
  if (answered_) return Release();
  if (early_ != Early::kNo) return Later();
  GoOn();
}

void Execution::EndEarly(Early why, bool let_go) {
  const bool first_time = early_ == Early::kNo;
  switch (state_) {
    case State::kIdle:
      return;
    case State::kRunning:  // In the reactor's list, or below us on the stack: it will see.
      break;
    case State::kAwaitBuffer:
      pool_->CancelWait(*this);
      Later();
      break;
    case State::kAwaitData:
      early_ = std::max(early_, why);
      if (let_go) return Later();
      return command_.OnDataUnwanted();
    case State::kAwaitSent:
      if (let_go) Later();
      break;
    case State::kAwaitIo:
      io.Stop(channel());
      break;
    case State::kAwaitOther:
      if (!first_time) break;
      if (next_ == nullptr) {
        Later();
      } else {
        queue().worker().reactor().Defer(*this);
      }
      break;
    case State::kAwaitFused:
      early_ = std::max(early_, why);
      if (other_half_ == nullptr) {
        queue().first_half_ = nullptr;
        return Later();
      }
      return other_half_->EndEarly(let_go ? Early::kAbandoned : Early::kOtherHalfEnded, let_go);
  }
  early_ = std::max(early_, why);
}

// --- Steps.

void Execution::Later() {
  state_ = State::kRunning;
  queue().worker().reactor().Defer(*this);
}

void Execution::RunDeferred() {
  if (state_ == State::kAwaitOther) return next_(*this);  // on_abandon
  if (early_ != Early::kNo) return EndNowEarly();
  GoOn();
}

void Execution::OnBuffer(std::byte* buffer) {
  buffer_ = buffer;
  Later();
}

void Execution::OnIoEnded() {
  if (early_ != Early::kNo) return EndNowEarly();
  GoOn();
}

void Execution::EndNowEarly() {
  state_ = State::kRunning;
  if (!answered_) return End(EarlyStatus());
  // The connection went before the last data was sent.
  nvme::CompletionEntry completion;
  completion.cid = command_.cid();
  completion.status = static_cast<uint16_t>(EarlyStatus() << 1);
  Release();
  command_.OnCompletion(completion);
}

uint16_t Execution::EarlyStatus() const {
  switch (early_) {
    case Early::kNo:
      break;
    case Early::kOtherHalfEnded:
      return nvme::status::kAbortedFailedFused;
    case Early::kAborted:
      return nvme::status::kAbortRequested;
    case Early::kNamespaceGone:
      return nvme::status::kInvalidNamespace | nvme::status::kDnrBit;
    case Early::kAbandoned:
      return nvme::status::kAbortedSqDeletion;
  }
  return nvme::status::kInternalError;
}

// --- Ways to end.

void Execution::End(uint16_t status, uint32_t dw0, uint32_t dw1) {
  if (other_half_ != nullptr) [[unlikely]] {
    return EndPair(status, nvme::status::kAbortedFailedFused);
  }
  EndAlone(status, dw0, dw1);
}

void Execution::EndPair(uint16_t own_status, uint16_t other_status) {
  Execution& other = *std::exchange(other_half_, nullptr);
  other.other_half_ = nullptr;
  other.EndAlone(other.early_ != Early::kNo ? other.EarlyStatus() : other_status, 0, 0);
  EndAlone(own_status, 0, 0);
}

// The transport may free the command, or start it anew, from within the upcall.
void Execution::EndAlone(uint16_t status, uint32_t dw0, uint32_t dw1) {
  nvme::CompletionEntry completion;
  completion.dw0 = dw0;
  completion.dw1 = dw1;
  queue().Answer(*this, status, completion);
  Release();
  command_.OnCompletion(completion);
}

void Execution::ReleaseRare() {
  if (deferred()) queue().worker().reactor().CancelDeferred(*this);
  parameter_data_ = {};
}

void Execution::EndWithData(std::string data, uint32_t dw0) {
  const auto bytes = static_cast<uint32_t>(std::min<size_t>(data.size(), command_.data_bytes));
  if (bytes == 0) return EndSuccess(dw0);
  parameter_data_ = std::move(data);
  dw0_ = dw0;
  parts[0] = {parameter_data_.data(), bytes};
  SendData(0, {parts.data(), 1}, /*last=*/true, nullptr);
}

// --- Ways to wait. A command that is to end early goes no further than here.

void Execution::FetchData(uint32_t bytes, Step next) {
  if (bytes > kParameterBytesMax) {
    return End(nvme::status::kInvalidField | nvme::status::kDnrBit);
  }
  if (bytes > command_.data_bytes) {
    return End(nvme::status::kSglDataLengthInvalid | nvme::status::kDnrBit);
  }
  data_bytes_ = bytes;
  if (bytes == 0) return next(*this);
  after_fetch_ = next;
  TakeBuffer(bytes, [](Execution& e) { e.WantData(0, e.buffer_, e.data_bytes_, e.after_fetch_); });
}

void Execution::Await(Step on_abandon) {
  next_ = on_abandon;
  state_ = State::kAwaitOther;
  if (early_ == Early::kNo) return;
  // The connection went during this very step.
  if (next_ == nullptr) return Later();
  queue().worker().reactor().Defer(*this);
}

void Execution::TakeBuffer(size_t bytes, Step next) {
  if (buffer_ == nullptr) {
    pool_ = &queue().worker().BuffersFor(bytes);
    buffer_ = pool_->TryTake();
  }
  if (buffer_ != nullptr) return next(*this);
  next_ = next;
  if (early_ != Early::kNo) return Later();
  state_ = State::kAwaitBuffer;
  pool_->Wait(*this);
}

void Execution::WantData(uint32_t offset, std::span<const iovec> wanted, Step next) {
  next_ = next;
  if (early_ != Early::kNo) return Later();
  state_ = State::kAwaitData;
  command_.OnDataWanted(offset, wanted);
}

void Execution::SendData(uint32_t offset, std::span<const iovec> ready, bool last, Step next) {
  next_ = next;
  if (early_ != Early::kNo) return Later();
  state_ = State::kAwaitSent;
  if (!last) return command_.OnDataReady(offset, ready, nullptr);
  answered_ = true;
  nvme::CompletionEntry completion;
  completion.dw0 = std::exchange(dw0_, 0);
  queue().Answer(*this, nvme::status::kSuccess, completion);
  command_.OnDataReady(offset, ready, &completion);
}

void Execution::Submit(Step next) {
  next_ = next;
  if (early_ != Early::kNo) return Later();
  state_ = State::kAwaitIo;
  channel().Submit(io);
}

void Execution::SubmitBuffer(IoType type, uint64_t lba, uint64_t blocks, Step next, size_t at) {
  const size_t bytes = static_cast<size_t>(blocks * channel().data_block_bytes());
  CHECK(at + bytes <= buffer_bytes());
  parts[0] = {buffer_ + at, bytes};
  io.type = type;
  io.fua = type == IoType::kWrite && transfer.fua;
  io.lba = lba;
  io.blocks = blocks;
  io.data = {parts.data(), 1};
  Submit(next);
}

void Execution::SubmitRange(IoType type, uint64_t lba, uint64_t blocks, Step next) {
  io.type = type;
  io.fua = type == IoType::kWriteZeroes && transfer.fua;
  io.lba = lba;
  io.blocks = blocks;
  io.data = {};
  Submit(next);
}

// --- Fused pairs.

void Execution::Join(Execution& second) {
  other_half_ = &second;
  second.other_half_ = this;
  second.state_ = State::kAwaitFused;
  state_ = State::kRunning;
}

void Execution::PassTo(Step next) {
  state_ = State::kAwaitFused;
  other_half_->state_ = State::kRunning;
  next(*other_half_);
}

// --- The transport's half.

Command::Command() {
  static_assert(sizeof(Execution) <= kExecutionBytes && alignof(Execution) <= 16);
  new (execution_area) Execution(*this);
}

Command::~Command() { Execution::Of(*this).~Execution(); }

void Command::DataArrived() { Execution::Of(*this).DataArrived(); }
void Command::DataDropped(uint16_t status) { Execution::Of(*this).DataDropped(status); }
void Command::DataSent() { Execution::Of(*this).DataSent(); }
void Command::Abandon() {
  Execution::Of(*this).EndEarly(Execution::Early::kAbandoned, /*let_go=*/true);
}

}  // namespace pollux::nvmf
