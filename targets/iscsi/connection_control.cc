// What a connection answers besides SCSI commands: NOP, logout, task management, text, Reject.
#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "core/run_on.h"
#include "targets/iscsi/connection.h"
#include "targets/iscsi/session.h"
#include "targets/iscsi/text_keys.h"
#include "targets/iscsi/worker.h"

namespace pollux::iscsi {
namespace {

constexpr size_t kKeptBytesMax = 4096;  // What a control task keeps of its strings' memory.

void Empty(std::string& text) {
  if (text.capacity() > kKeptBytesMax) {
    text = std::string();
  } else {
    text.clear();
  }
}

TaskManagementResult ResultOf(scsi::TaskFunctionResult result) {
  switch (result) {
    case scsi::TaskFunctionResult::kComplete:
      return TaskManagementResult::kComplete;
    case scsi::TaskFunctionResult::kNoSuchLun:
      return TaskManagementResult::kNoSuchLun;
    case scsi::TaskFunctionResult::kNotSupported:
      return TaskManagementResult::kNotSupported;
  }
  return TaskManagementResult::kRejected;
}

TaskManagementFunction FunctionOf(const ControlTask& task) {
  return static_cast<TaskManagementFunction>(task.request.flags & kTaskFunctionMask);
}

}  // namespace

// --- Requests come, and responses go.

ControlTask* Connection::TakeControlTask() {
  ControlTask* const task = free_control_tasks_.PopFront();
  CHECK(task != nullptr);  // Nothing is read while there is none.
  task->in_use_ = true;
  task->Begin();
  return task;
}

void Connection::ReleaseControlTask(ControlTask& task) {
  Empty(task.data);
  Empty(task.text);
  task.in_use_ = task.held_ = false;
  free_control_tasks_.PushFront(task);
  if (out_of_control_tasks_ && !resume_.deferred()) loop_.Defer(resume_);
  MaybeEnd();
}

void Connection::RunResume() {
  if (state_ != State::kRunning) return;
  Process();
  if (!out_of_control_tasks_) stream_->ResumeReceive();
}

void Connection::OnControlRequest(const Pdu& pdu) {
  ControlTask& task = *TakeControlTask();
  task.request = *pdu.header;
  sink_control_ = &task;
  BeginSegment(pdu, Sink::kControl);
}

// All of it is here.
void Connection::DeliverControl(ControlTask& task) {
  const uint32_t cmd_sn = As<NopOutPdu>(task.request).cmd_sn;
  const bool immediate = task.request.immediate();
  if (!immediate && !session_.InWindow(cmd_sn)) return ReleaseControlTask(task);
  task.held_ = true;
  session_.Deliver(cmd_sn, immediate, task);
}

void Connection::OnControlTurn(ControlTask& task) {
  task.held_ = false;
  if (state_ != State::kRunning) return ReleaseControlTask(task);
  switch (task.request.operation()) {
    case Opcode::kNopOut:
      return AnswerNopOut(task);
    case Opcode::kTaskManagementRequest:
      return AnswerTaskManagement(task);
    case Opcode::kTextRequest:
      return AnswerText(task);
    case Opcode::kLogoutRequest:
      return AnswerLogout(task);
    default:
      CHECK(false, "a control task of another kind");
  }
}

void Connection::Respond(ControlTask& task, bool has_status) {
  if (!can_send()) return ReleaseControlTask(task);
  task.header().data_segment_length = static_cast<uint32_t>(task.text.size());
  if (!task.text.empty()) task.AddData(task.text.data(), task.text.size());
  Send(task, has_status);
}

void Connection::OnControlSent(ControlTask& task) { ReleaseControlTask(task); }

void Connection::RejectControl(ControlTask& task, RejectReason reason) {
  LogDebug("iscsi", "connection %d: opcode 0x%02x is rejected, reason 0x%02x", id_,
           task.request.opcode & kOpcodeMask, static_cast<int>(reason));
  task.Begin();
  task.header().opcode = static_cast<uint8_t>(Opcode::kReject);
  task.header().flags = kFinal;
  task.header().response = static_cast<uint8_t>(reason);
  task.header().itt = kReservedTag;
  task.text.assign(reinterpret_cast<const char*>(&task.request), sizeof(task.request));
  Respond(task);
}

// --- NOP. §11.18, §11.19

void Connection::AnswerNopOut(ControlTask& task) {
  if (task.request.itt == kReservedTag) {
    // It answers our ping, or only tells ExpStatSN.
    return ReleaseControlTask(task);
  }
  task.header().opcode = static_cast<uint8_t>(Opcode::kNopIn);
  task.header().flags = kFinal;
  task.header().lun = task.request.lun;
  task.header().itt = task.request.itt;
  task.header().specific_20 = kReservedTag;  // TTT.
  task.text = task.data.substr(0, max_recv_);
  Respond(task);
}

void Connection::SendPing() {
  if (ping_.queued()) return;
  ping_.Begin();
  ping_.header().opcode = static_cast<uint8_t>(Opcode::kNopIn);
  ping_.header().flags = kFinal;
  ping_.header().itt = kReservedTag;
  ping_.header().specific_20 = 1;  // TTT: an answer is asked for.
  Send(ping_, /*has_status=*/false);
}

// Whatever comes from the initiator shows that it is there. After a silent interval it is asked,
// and after the timeout given up.
void Connection::OnNopTimer() {
  const Options& options = session_.worker().options();
  if (state_ != State::kRunning) return;
  if (std::exchange(heard_, false)) {
    ping_unanswered_ = false;
  } else if (ping_unanswered_) {
    return Close("the initiator does not answer");
  } else {
    SendPing();
    ping_unanswered_ = true;
  }
  const int32_t seconds = ping_unanswered_ ? options.nop_timeout_s : options.nop_in_interval_s;
  loop_.ArmTimerIn(nop_timer_, static_cast<uint64_t>(std::max(seconds, 1)) * kNsPerSecond);
}

// --- Logout. §11.14

void Connection::AnswerLogout(ControlTask& task) {
  const auto& request = As<LogoutRequestPdu>(task.request);
  const auto reason = static_cast<LogoutReason>(request.flags & kLogoutReasonMask);
  task.header().opcode = static_cast<uint8_t>(Opcode::kLogoutResponse);
  task.header().flags = kFinal;
  task.header().itt = task.request.itt;
  auto& response = task.HeaderAs<LogoutResponsePdu>();
  response.time2wait = static_cast<uint16_t>(session_.parameters().default_time2wait);
  response.time2retain = 0;  // Nothing of it is kept.

  switch (reason) {
    case LogoutReason::kCloseSession:
      session_.CloseOthers(*this);
      break;
    case LogoutReason::kCloseConnection:
      if (request.cid != cid_) {
        Connection* const other = session_.FindConnection(request.cid);
        if (other == nullptr) {
          response.result = static_cast<uint8_t>(LogoutResult::kNoSuchConnection);
        } else {
          other->MarkReplaced();
          other->Close("it was logged out through another connection");
        }
        return Respond(task);
      }
      break;
    case LogoutReason::kRemoveForRecovery:
      response.result = static_cast<uint8_t>(LogoutResult::kRecoveryNotSupported);
      return Respond(task);
    default:
      return RejectControl(task, RejectReason::kInvalidPduField);
  }
  Enter(State::kLoggingOut);
  logged_out_ = true;
  logout_ = &task;
  for (ScsiTask* running = tasks_.Front(); running != nullptr;) {
    ScsiTask* const next = tasks_.Next(*running);
    running->Abort(/*silent=*/true);
    running = next;
  }
  FinishLogout();
}

void Connection::FinishLogout() {
  if (logout_ == nullptr || !tasks_.empty()) return;
  Respond(*std::exchange(logout_, nullptr));
  CloseWhenSent("it logged out");
}

// --- Task management. §11.5, §11.6

void Connection::AnswerTaskManagement(ControlTask& task) {
  using Function = TaskManagementFunction;
  ++pending_;
  switch (FunctionOf(task)) {
    case Function::kAbortTask:
      return AbortReferencedTask(task);
    case Function::kAbortTaskSet:
      return session_.Manage(task, scsi::TaskFunction::kAbortTaskSet, nullptr);
    case Function::kClearTaskSet:
      return session_.Manage(task, scsi::TaskFunction::kClearTaskSet, nullptr);
    case Function::kLogicalUnitReset:
      return session_.Manage(task, scsi::TaskFunction::kLogicalUnitReset, nullptr);
    case Function::kTargetWarmReset:
    case Function::kTargetColdReset:
      return session_.Manage(task, scsi::TaskFunction::kTargetReset, nullptr);
    case Function::kTaskReassign:
      return RespondTaskManagement(task, TaskManagementResult::kReassignmentNotSupported);
    case Function::kClearAca:
      break;
  }
  RespondTaskManagement(task, TaskManagementResult::kNotSupported);
}

void Connection::AbortReferencedTask(ControlTask& task) {
  const auto& request = As<TaskManagementRequestPdu>(task.request);
  ScsiTask* const referenced = session_.FindTask(request.referenced_task_tag);
  if (referenced != nullptr && referenced->lun == request.lun && !referenced->status_queued()) {
    return session_.Manage(task, scsi::TaskFunction::kAbortTask, referenced);
  }
  // It may be on its way on another connection; then it is not to run when it comes. §11.5.1
  const bool on_its_way = referenced == nullptr && request.ref_cmd_sn != request.cmd_sn &&
                          static_cast<int32_t>(request.cmd_sn - request.ref_cmd_sn) > 0 &&
                          session_.InWindow(request.ref_cmd_sn);
  if (on_its_way) session_.CountAsReceived(request.ref_cmd_sn);
  RespondTaskManagement(
      task, on_its_way ? TaskManagementResult::kComplete : TaskManagementResult::kNoSuchTask);
}

void Connection::OnManaged(ControlTask& task, scsi::TaskFunctionResult result) {
  const bool cold_reset = FunctionOf(task) == TaskManagementFunction::kTargetColdReset;
  RespondTaskManagement(task, ResultOf(result));
  if (!cold_reset) return;
  asks_.Spawn(TellColdReset());
}

Task<void> Connection::TellColdReset() {
  ++pending_;
  ControlSide& side = session_.worker().control_side();
  const std::string target = session_.identity().target_name;
  auto tell = [&side, &target] { side.OnColdReset(target); };
  co_await RunOn(session_.worker().control(), tell);
  --pending_;
  MaybeEnd();
}

void Connection::RespondTaskManagement(ControlTask& task, TaskManagementResult result) {
  --pending_;
  task.header().opcode = static_cast<uint8_t>(Opcode::kTaskManagementResponse);
  task.header().flags = kFinal;
  task.header().response = static_cast<uint8_t>(result);
  task.header().itt = task.request.itt;
  Respond(task);
}

// --- Text. §6.2, §11.10

void Connection::AnswerText(ControlTask& task) {
  const auto& request = As<TextRequestPdu>(task.request);
  const bool goes_on = (request.flags & kContinue) != 0;
  if (request.ttt == kReservedTag) {
    // A new negotiation; one that was under way is forgotten.
    text_gathered_.clear();
    text_answer_.clear();
    text_ttt_ = kReservedTag;
  } else if (request.ttt != text_ttt_) {
    return RejectControl(task, RejectReason::kInvalidPduField);
  }
  if ((goes_on && task.request.final()) ||
      text_gathered_.size() + task.data.size() > kNegotiationBytesMax ||
      (!text_answer_.empty() && !task.data.empty())) {
    text_ttt_ = kReservedTag;
    return RejectControl(task, RejectReason::kProtocolError);
  }
  text_gathered_.append(task.data);
  if (goes_on || !text_answer_.empty()) return SendTextPortion(task);
  NegotiateText(task);
}

void Connection::NegotiateText(ControlTask& task) {
  const std::string text = std::exchange(text_gathered_, {});
  const auto pairs = ParseKeys(text);
  if (!pairs) return RejectControl(task, RejectReason::kProtocolError);
  const Session::Identity& identity = session_.identity();
  std::optional<std::string> wanted;
  for (const auto& [key, value] : *pairs) {
    if (key == key::kSendTargets) {
      wanted = value.empty() ? identity.target_name : std::string(value);
      if (wanted->empty()) {
        wanted.reset();
        AppendKey(text_answer_, key, value::kReject);
      }
    } else if (key == key::kMaxRecvDataSegmentLength) {
      const auto number = ParseNumber(value, 512, kDataSegmentBytesMax);
      if (number) max_recv_ = *number;
      if (!number) AppendKey(text_answer_, key, value::kReject);
    } else {
      // What login settles is not negotiated again.
      const auto answer = Negotiation(Parameters{}).Answer(key, value);
      AppendKey(text_answer_, key,
                answer == value::kNotUnderstood ? value::kNotUnderstood : value::kReject);
    }
  }
  if (!wanted) return SendTextPortion(task);
  asks_.Spawn(AskForTargets(&task, *std::move(wanted)));
}

Task<void> Connection::AskForTargets(ControlTask* task, std::string wanted) {
  ++pending_;
  const Session::Identity& identity = session_.identity();
  const DiscoveryQuery query{.wanted = std::move(wanted),
                             .initiator_name = identity.initiator_name,
                             .initiator_address = initiator_address_,
                             .portal_address = target_address_,
                             .pg_tag = pg_tag_};
  ControlSide& side = session_.worker().control_side();
  auto ask = [&side, &query] { return side.SendTargets(query); };
  const std::string targets = co_await RunOn(session_.worker().control(), ask);
  text_answer_.append(targets);
  --pending_;
  SendTextPortion(*task);
}

// As much of the answer as the initiator takes at a time.
void Connection::SendTextPortion(ControlTask& task) {
  const auto& request = As<TextRequestPdu>(task.request);
  const bool request_goes_on = (request.flags & kContinue) != 0;
  if (!request_goes_on) {
    task.text = text_answer_.substr(0, max_recv_);
    text_answer_.erase(0, task.text.size());
  }
  const bool last = !request_goes_on && text_answer_.empty() && task.request.final();
  if (last) {
    text_ttt_ = kReservedTag;
  } else if (text_ttt_ == kReservedTag) {
    text_ttt_ = next_text_ttt_++ & 0x7fffffff;
  }
  task.header().opcode = static_cast<uint8_t>(Opcode::kTextResponse);
  task.header().flags = last ? kFinal : text_answer_.empty() ? uint8_t{0} : kContinue;
  task.header().lun = task.request.lun;
  task.header().itt = task.request.itt;
  task.header().specific_20 = text_ttt_;
  Respond(task);
}

}  // namespace pollux::iscsi
