// The SCSI commands of a connection: from their PDUs, and those of their data, to their start.
#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "targets/iscsi/connection.h"
#include "targets/iscsi/session.h"
#include "targets/iscsi/worker.h"

namespace pollux::iscsi {
namespace {

// Every additional header segment says its length, and together they fill what the header said.
// §11.2.2
bool IsWellFormed(std::span<const std::byte> ahs) {
  while (!ahs.empty()) {
    if (ahs.size() < 4) return false;
    AhsHeader header;
    std::memcpy(&header, ahs.data(), sizeof(header));
    const size_t bytes = PaddedTo4(uint32_t{header.length} + sizeof(header));
    if (header.length == 0 || bytes > ahs.size()) return false;
    ahs = ahs.subspan(bytes);
  }
  return true;
}

}  // namespace

BufferPool& Connection::unsolicited_buffers() { return session_.worker().unsolicited_buffers(); }

// An initiator that left out the operational stage may think of FirstBurstLength's default, which
// can be more than there is room for.
uint32_t Connection::UnaskedBytesMax() const {
  const size_t room = session_.worker().unsolicited_buffers().buffer_bytes();
  return static_cast<uint32_t>(std::min<size_t>(session_.parameters().first_burst_length, room));
}

std::optional<RejectReason> Connection::FaultOfCommand(const Pdu& pdu) const {
  const auto& request = As<ScsiCommandPdu>(*pdu.header);
  const Parameters& parameters = session_.parameters();
  const bool read = (request.flags & command_flags::kRead) != 0;
  const bool write = (request.flags & command_flags::kWrite) != 0;
  const uint32_t bytes = request.data_segment_length;

  if (session_.identity().discovery) return RejectReason::kCommandNotSupported;
  if (!IsWellFormed(pdu.ahs)) return RejectReason::kInvalidPduField;
  if (read && write) return RejectReason::kCommandNotSupported;  // Bidirectional.
  if (bytes > 0) {
    if (!write || !parameters.immediate_data) return RejectReason::kProtocolError;
    if (bytes > request.expected_data_transfer_length || bytes > UnaskedBytesMax()) {
      return RejectReason::kInvalidPduField;
    }
  }
  // Without F, unsolicited data follows.
  if (!pdu.header->final() && (!write || parameters.initial_r2t)) {
    return RejectReason::kInvalidPduField;
  }
  if (request.itt == kReservedTag) return RejectReason::kInvalidPduField;
  if (session_.FindTask(request.itt) != nullptr) return RejectReason::kTaskInProgress;
  return std::nullopt;
}

void Connection::OnScsiCommand(const Pdu& pdu) {
  const auto& request = As<ScsiCommandPdu>(*pdu.header);
  const bool immediate = pdu.header->immediate();
  if (!immediate && !session_.InWindow(request.cmd_sn)) {
    return BeginSegment(pdu, Sink::kDiscard);  // Silently ignored. §4.2.2.1
  }
  if (const auto fault = FaultOfCommand(pdu)) return Reject(pdu, *fault);
  ScsiTask* const task = session_.TakeTask(immediate);
  if (task == nullptr) return Reject(pdu, RejectReason::kTooManyImmediateCommands);

  const bool has_data = request.data_segment_length > 0;
  const bool unasked = has_data || !pdu.header->final();
  task->Begin(*this, request, unasked ? unsolicited_buffers().TryTake() : nullptr);
  tasks_.PushBack(*task);
  session_.table().Insert(*task);
  if (unasked) {
    const uint32_t bytes_max =
        pdu.header->final()
            ? uint32_t{request.data_segment_length}
            : std::min<uint32_t>(UnaskedBytesMax(), request.expected_data_transfer_length);
    task->ExpectUnaskedData(bytes_max, !pdu.header->final());
  }
  if (!has_data) return session_.Deliver(request.cmd_sn, immediate, *task);

  if (pdu.whole && task->takes_data()) {
    if (!pdu.digest_ok) {
      RejectDamaged(*pdu.header);
      task->FailForDamage();
      return session_.Deliver(request.cmd_sn, immediate, *task);
    }
    // Most often it is wanted within this turn, and copied once.
    task->LendImmediateData(pdu.data);
    lent_.PushBack(*task);
    return session_.Deliver(request.cmd_sn, immediate, *task);
  }
  sink_task_ = task;
  task->BeginSegment(/*of_data_out=*/false);
  session_.Deliver(request.cmd_sn, immediate, *task);
  BeginSegment(pdu, Sink::kTask);
}

void Connection::OnDataOut(const Pdu& pdu) {
  const auto& request = As<DataOutPdu>(*pdu.header);
  ScsiTask* task = nullptr;
  if (request.ttt == kReservedTag) {
    task = session_.FindTask(request.itt);
    // Its command may have ended; data that was on its way is discarded. §11.7.
    if (task == nullptr) return BeginSegment(pdu, Sink::kDiscard);
    if (!task->expects_unasked_data()) {
      return Violate(pdu, RejectReason::kProtocolError, "it sent data that it had not announced");
    }
  } else {
    task = session_.TaskOfTtt(request.ttt);
    if (task == nullptr && session_.WasIssued(request.ttt)) {
      return BeginSegment(pdu, Sink::kDiscard);
    }
    if (task == nullptr || task->itt() != request.itt) {
      return Reject(pdu, RejectReason::kInvalidPduField);
    }
  }
  if (&task->connection() != this) return Reject(pdu, RejectReason::kInvalidPduField);
  if (task->takes_data()) {
    if (!task->IsNext(request)) {
      task->FailForDamage();
    } else if (const char* fault = task->CheckDataOut(request)) {
      return Violate(pdu, RejectReason::kProtocolError, fault);
    }
  }
  sink_task_ = task;
  task->BeginSegment(/*of_data_out=*/true);
  BeginSegment(pdu, Sink::kTask);
}

void Connection::AdmitTask(ScsiTask& task) {
  if (task.no_room()) return task.Refuse(scsi::ScsiStatus::kTaskSetFull);
  if (task.damaged()) return task.RefuseDamaged();
  if (session_.state() != Session::State::kOpen) return task.Refuse(scsi::ScsiStatus::kBusy);
  if (task.immediate()) return StartTask(task);
  waiting_.PushBack(task);
  StartWaiting();
}

// What holds buffers until the initiator has done its part is bounded per connection, so that a
// slow initiator cannot take them all.
bool Connection::MayStart(const ScsiTask& task) const {
  const uint32_t r2t_max = std::max(1u, session_.worker().options().max_r2t_per_connection);
  if (task.needs_r2t() && r2t_tasks_ >= r2t_max) return false;
  return data_in_bytes_ == 0 || data_in_bytes_ + task.send_cost() <= kDataInBytesMax;
}

void Connection::StartWaiting() {
  if (state_ != State::kRunning) return;  // They are being aborted.
  while (ScsiTask* task = waiting_.Front()) {
    if (!MayStart(*task)) return;
    waiting_.Remove(*task);
    StartTask(*task);
  }
}

void Connection::StartTask(ScsiTask& task) {
  task.started_ = true;
  data_in_bytes_ += task.send_cost();
  if (task.needs_r2t()) ++r2t_tasks_;
  task.Start();
}

void Connection::OnTaskWithdrawn(ScsiTask& task) {
  if (task.queue_node_.linked()) waiting_.Remove(task);
}

void Connection::OnTaskEnded(ScsiTask& task) {
  tasks_.Remove(task);
  session_.table().Remove(task);
  if (task.lent_node_.linked()) lent_.Remove(task);
  if (std::exchange(task.started_, false)) {
    data_in_bytes_ -= task.send_cost();
    if (task.needs_r2t()) --r2t_tasks_;
    StartWaiting();
  }
  if (logout_ != nullptr) FinishLogout();
  if (state_ == State::kDraining && tasks_.empty()) MaybeEnd();
}

}  // namespace pollux::iscsi
