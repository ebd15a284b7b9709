#include "targets/scsi/execution.h"

#include <algorithm>
#include <utility>

#include "targets/scsi/command_table.h"
#include "targets/scsi/extended_copy.h"
#include "targets/scsi/nexus_impl.h"
#include "targets/scsi/parameter_data.h"
#include "targets/scsi/unit_change.h"

namespace pollux::scsi {

Execution::Execution(Command& command) : io(*this), command_(command) {}

Execution::~Execution() { CHECK(state_ == State::kIdle, "a command was destroyed in flight"); }

DeviceView& Execution::view() { return nexus_->view; }
const Nexus::Identity& Execution::identity() { return nexus_->identity; }
CopyResults& Execution::copy_results() { return nexus_->copy_results; }
BufferPool& Execution::buffers() { return nexus_->buffers; }
size_t Execution::buffer_bytes() const { return nexus_->buffers.buffer_bytes(); }

UnitAttentions& Execution::unit_attentions() {
  return nexus_->unit_attentions[static_cast<size_t>(unit_->number)];
}

void Execution::ReportedLunsWereRead() {
  for (UnitAttentions& of_lun : nexus_->unit_attentions) {
    of_lun.Clear(UnitAttention::kReportedLunsChanged);
  }
}

bool Execution::AdmitAs(const CommandInfo& info) {
  info_ = &info;
  return Admitted();
}

bool Execution::Admitted() const {
  if (unit_->reserved == nullptr || info_ == nullptr) return true;
  return AdmittedTo(*unit_, info_->access);
}

bool Execution::AdmittedTo(const LogicalUnit& unit, uint8_t access) const {
  if (unit.reserved == nullptr) return true;
  const ReservationRole role = nexus_->roles[static_cast<size_t>(unit.number)];
  return Admits(*unit.reserved, nexus_->nexus_number, role, access, command_.cdb);
}

bool Execution::UnitRunsIt() const {
  const Readiness readiness = unit_->status.readiness;
  if (readiness == Readiness::kReady && TakesAll(nexus_->access)) [[likely]]
    return true;
  return info_ == nullptr || (RunsWhile(readiness, *info_) && Takes(nexus_->access, *info_));
}

Sense Execution::NotReadySense() const {
  if (!Takes(nexus_->access, *info_)) return SenseOf(nexus_->access);
  return SenseOf(unit_->status);
}

void Execution::Start(Nexus::Impl& nexus, LogicalUnit* unit) {
  CHECK(state_ == State::kIdle, "a command was started twice");
  nexus_ = &nexus;
  unit_ = unit;
  info_ = nullptr;
  sequence_ = nexus.view.NextSequence();
  transfer = {};
  state_ = State::kRunning;
  early_ = Early::kNo;
  last_ = false;
  command_.status = ScsiStatus::kGood;
  command_.sense_bytes = 0;
  command_.data_bytes = 0;
  nexus.in_flight.PushBack(*this);
}

// What the transport tells of a command that has ended meanwhile, or was aborted, changes nothing.
void Execution::DataOutArrived() {
  if (state_ != State::kAwaitDataOut) return;
  if (early_ != Early::kNo) return Later(Todo::kStep);
  in_downcall_ = true;
  GoOn();
  in_downcall_ = false;
}

void Execution::DataInSent() {
  if (state_ != State::kAwaitDataIn) return;
  if (last_) return Finish();
  if (early_ != Early::kNo) return Later(Todo::kStep);
  in_downcall_ = true;
  GoOn();
  in_downcall_ = false;
}

void Execution::EndEarly(Early why, bool transport_let_go) {
  if (state_ == State::kIdle) return;
  if (early_ == Early::kNo) early_ = why;
  switch (state_) {
    case State::kIdle:
    case State::kRunning:  // In the reactor's list: it will see.
      return;
    case State::kAwaitBuffer:
      nexus_->buffers.CancelWait(*this);
      return Later(Todo::kStep);
    case State::kAwaitDataOut:
    case State::kAwaitDataIn:
      if (transport_let_go) return Later(Todo::kStep);
      return command_.OnEndWanted();
    case State::kAwaitIo:
      // A device that goes ends its I/O by itself.
      if (why == Early::kAborted) io.Stop(*io_unit_->channel);
      return;
    case State::kAwaitChange:
      // One that has begun goes to its end, and is answered as what it did.
      if (change->Abort()) Later(Todo::kStep);
      return;
  }
}

void Execution::Later(Todo todo) {
  state_ = State::kRunning;
  todo_ = todo;
  nexus_->view.reactor().Defer(*this);
}

void Execution::RunDeferred() {
  if (todo_ == Todo::kStatus) return Upcall(Todo::kStatus);
  if (early_ != Early::kNo) return EndNowEarly();
  if (todo_ == Todo::kStep) return GoOn();
  Upcall(todo_);
}

// The transport may free the command, or start it anew, from within an upcall: nothing of this
// object is touched after one.
void Execution::Upcall(Todo todo) {
  if (in_downcall_) return Later(todo);
  const std::span<const iovec> view(parts.data(), part_count_);
  switch (todo) {
    case Todo::kStep:
      return GoOn();
    case Todo::kDataOut:
      state_ = State::kAwaitDataOut;
      return command_.OnDataOutWanted(data_offset_, view);
    case Todo::kDataIn:
      state_ = State::kAwaitDataIn;
      return command_.OnDataIn(data_offset_, view, last_);
    case Todo::kStatus:
      Finish();
      return command_.OnStatus();
  }
}

void Execution::GoOn() {
  state_ = State::kRunning;
  next_(*this);
}

void Execution::OnBuffer(std::byte* buffer) {
  buffer_ = buffer;
  Later(Todo::kStep);
}

void Execution::OnIoEnded() {
  nexus_->view.OnCommandEnded();
  if (early_ != Early::kNo) return EndNowEarly();
  GoOn();
}

void Execution::EndNowEarly() {
  if (early_ == Early::kUnitGone) {
    return EndWithSense(IllegalRequest(AdditionalSense::kUnitNotSupported));
  }
  if (early_ == Early::kConflict) return EndWithConflict();
  if (early_ == Early::kNotReady) return EndWithSense(NotReadySense());
  command_.status = ScsiStatus::kTaskAborted;
  command_.sense_bytes = 0;
  Upcall(Todo::kStatus);
}

void Execution::Finish() {
  ReturnLoan();
  if (buffer_ != nullptr) nexus_->buffers.Give(std::exchange(buffer_, nullptr));
  if (change != nullptr) change.reset();
  if (copy != nullptr) EndCopyEarly();
  state_ = State::kIdle;
  nexus_->in_flight.Remove(*this);
  nexus_->view.OnCommandEnded();
}

// What has told its outcome has done so.
void Execution::EndCopyEarly() {
  if (copy->result != nullptr && copy->result->under_way) {
    copy->result->under_way = false;
    copy->result->failure = Sense{SenseKey::kAbortedCommand, AdditionalSense::kNone};
  }
  copy.reset();
}

void Execution::EndGood() { Upcall(Todo::kStatus); }

void Execution::EndWithConflict() {
  command_.status = ScsiStatus::kReservationConflict;
  command_.sense_bytes = 0;
  Upcall(Todo::kStatus);
}

void Execution::EndWithSense(const Sense& sense) {
  command_.status = ScsiStatus::kCheckCondition;
  command_.sense_bytes = EncodeSense(sense, descriptor_sense(), command_.sense);
  Upcall(Todo::kStatus);
}

void Execution::EndWithIo(IoStatus status, bool write) {
  command_.data_bytes = transfer.offset;
  if (status == IoStatus::kNvmeFailure) status = IoStatusOfNvme(io.nvme_status);
  if (status == IoStatus::kNoResources) {
    command_.status = ScsiStatus::kBusy;
    return Upcall(Todo::kStatus);
  }
  Sense sense = SenseOfIo(status, write);
  // A burst of one block is known to be the bad one.
  if (status == IoStatus::kMediumError && transfer.burst_blocks == 1) {
    sense.information = transfer.lba;
  }
  EndWithSense(sense);
}

void Execution::TakeBuffer(Step next) {
  if (buffer_ == nullptr) buffer_ = nexus_->buffers.TryTake();
  if (buffer_ != nullptr) return next(*this);
  next_ = next;
  state_ = State::kAwaitBuffer;
  nexus_->buffers.Wait(*this);
}

void Execution::WantDataOut(uint64_t offset, std::span<const iovec> data, Step next) {
  next_ = next;
  data_offset_ = offset;
  part_count_ = static_cast<uint8_t>(data.size());
  std::copy(data.begin(), data.end(), parts.begin());
  Upcall(Todo::kDataOut);
}

void Execution::SendDataIn(uint64_t offset, std::span<const iovec> data, bool last, Step next) {
  next_ = next;
  data_offset_ = offset;
  part_count_ = static_cast<uint8_t>(data.size());
  std::copy(data.begin(), data.end(), parts.begin());
  last_ = last;
  Upcall(Todo::kDataIn);
}

// A reservation may have come since the command began.
void Execution::Submit(Step next) {
  if (!Admitted()) return EndWithConflict();
  SubmitIo(*unit_, next);
}

void Execution::SubmitIo(LogicalUnit& unit, Step next) {
  next_ = next;
  state_ = State::kAwaitIo;
  io_unit_ = &unit;
  unit.channel->Submit(io);
}

void Execution::Await(std::shared_ptr<UnitChange> wanted, Step next) {
  if (early_ != Early::kNo) return EndNowEarly();
  change = std::move(wanted);
  change->who = nexus_->name;
  change->nexus = nexus_->nexus_number;
  change->reactor_index = nexus_->view.reactor().index();
  next_ = next;
  state_ = State::kAwaitChange;
  nexus_->view.tasks().Spawn(RunChange(this, change));
}

// A change that never began has no command any more.
Task<void> Execution::RunChange(Execution* e, std::shared_ptr<UnitChange> change) {
  const bool begun = co_await change->Execute(*e->unit_);
  if (begun) e->GoOn();
}

void Execution::SubmitBuffer(IoType type, uint64_t lba, uint64_t blocks, Step next, size_t at) {
  const size_t bytes = static_cast<size_t>(blocks * block_bytes());
  CHECK(at + bytes <= buffer_bytes());
  parts[0] = {buffer_ + at, bytes};
  io.type = type;
  io.fua = type == IoType::kWrite && transfer.fua;
  io.lba = lba;
  io.blocks = blocks;
  io.data = {parts.data(), 1};
  Submit(next);
}

void Execution::SubmitBufferTo(LogicalUnit& unit, IoType type, uint64_t lba, uint64_t blocks,
                               Step next) {
  const size_t bytes = static_cast<size_t>(blocks * unit.disk->block_bytes);
  CHECK(bytes <= buffer_bytes());
  parts[0] = {buffer_, bytes};
  io.type = type;
  io.fua = false;
  io.lba = lba;
  io.blocks = blocks;
  io.data = {parts.data(), 1};
  if (!Admitted()) return EndWithConflict();
  SubmitIo(unit, next);
}

void Execution::SubmitRange(IoType type, uint64_t lba, uint64_t blocks, Step next) {
  io.type = type;
  io.fua = false;
  io.lba = lba;
  io.blocks = blocks;
  io.data = {};
  Submit(next);
}

void Execution::ReturnLoan() {
  if (loan.part_count == 0) return;
  unit_->channel->Return(loan);
  loan.part_count = 0;
  nexus_->view.OnCommandEnded();
}

void Execution::SendParameterData(const ParameterData& data, uint64_t allocation_length) {
  command_.data_bytes = std::min<uint64_t>(data.size(), allocation_length);
  const uint64_t bytes = std::min<uint64_t>(command_.data_bytes, command_.data_in_max);
  if (bytes == 0) return EndGood();
  const iovec part{data.data(), static_cast<size_t>(bytes)};
  SendDataIn(0, {&part, 1}, /*last=*/true, nullptr);
}

void Execution::FetchParameterList(uint32_t bytes, Step next) {
  if (bytes > buffer_bytes() || bytes > command_.data_out_max) {
    return EndWithSense(IllegalRequest(AdditionalSense::kParameterListLengthError));
  }
  command_.data_bytes = bytes;
  const iovec part{buffer_, bytes};
  WantDataOut(0, {&part, 1}, next);
}

}  // namespace pollux::scsi
