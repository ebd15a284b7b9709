#include "targets/iscsi/connection.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "targets/iscsi/session.h"
#include "targets/iscsi/worker.h"

namespace pollux::iscsi {
namespace {

// Whether the request takes a place in the order of commands.
bool IsNumbered(const BasicHeader& request) {
  if (request.immediate()) return false;
  const Opcode operation = request.operation();
  return operation == Opcode::kScsiCommand || operation == Opcode::kNopOut ||
         operation == Opcode::kTaskManagementRequest || operation == Opcode::kTextRequest ||
         operation == Opcode::kLogoutRequest;
}

}  // namespace

Result<std::unique_ptr<Connection>> Connection::Make(Session& session, Arrival arrival) {
  Worker& worker = session.worker();
  ASSIGN_OR_RETURN(std::unique_ptr<ByteStream> stream,
                   MakeByteStream(worker.stream(), worker.loop(), std::move(arrival.socket)));
  return std::unique_ptr<Connection>(
      new Connection(session, std::move(arrival), std::move(stream)));
}

Connection::Connection(Session& session, Arrival arrival, std::unique_ptr<ByteStream> stream)
    : session_(session),
      loop_(session.worker().loop()),
      id_(arrival.id),
      cid_(arrival.cid),
      pg_tag_(arrival.pg_tag),
      initiator_address_(arrival.initiator_address),
      target_address_(arrival.target_address),
      stream_(std::move(stream)),
      reader_(kReadAheadBytes, kMaxRecvDataSegmentLength, arrival.digests),
      max_recv_(arrival.max_recv_data_segment_length),
      agreed_(arrival.digests),
      stat_sn_(arrival.next_stat_sn),
      data_in_items_(session.identity().discovery
                         ? 0
                         : session.worker().options().max_large_datain_per_connection) {
  for (ControlTask& task : control_tasks_) {
    task.connection = this;
    free_control_tasks_.PushBack(task);
  }
  for (DataInItem& item : data_in_items_) free_data_in_items_.PushBack(item);

  const std::string& leftover = arrival.leftover;
  CHECK(leftover.size() < reader_.Space().size());
  std::memcpy(reader_.Space().data(), leftover.data(), leftover.size());
  reader_.Received(leftover.size());

  // The final login response goes out as that of any request.
  ControlTask* const login = TakeControlTask();
  login->header() = reinterpret_cast<const ResponsePdu&>(arrival.final_response);
  login->text = std::move(arrival.final_text);
}

Connection::~Connection() {
  CHECK(state_ == State::kEnded && tasks_.empty());
  while (free_control_tasks_.PopFront() != nullptr) {
  }
  while (free_data_in_items_.PopFront() != nullptr) {
  }
}

void Connection::Open() {
  stream_->Start(*this);
  for (ControlTask& task : control_tasks_) {
    if (task.in_use_) Respond(task);
  }
  digests_ = agreed_;  // Login's own PDUs bear none.
  if (session_.worker().options().nop_in_interval_s > 0) OnNopTimer();
  Process();
}

void Connection::Enter(State next) {
  CHECK(next > state_);
  static constexpr const char* kNames[] = {"running", "logging out", "closing", "draining",
                                           "ended"};
  LogDebug("iscsi", "connection %d: %s -> %s", id_, kNames[static_cast<int>(state_)],
           kNames[static_cast<int>(next)]);
  state_ = next;
}

ConnectionInfo Connection::info() const {
  const Session::Identity& identity = session_.identity();
  return {.id = id_,
          .cid = cid_,
          .tsih = identity.tsih,
          .state = state_ == State::kRunning ? "running"
                   : state_ == State::kEnded ? "exited"
                                             : "exiting",
          .login_phase = "full_feature_phase",
          .initiator_address = initiator_address_.host(),
          .target_address = target_address_.host(),
          .target_node_name = identity.target_short_name,
          .thread_name = loop_.name()};
}

// --- The end.

void Connection::Close(const char* reason) {
  if (state_ >= State::kDraining) return;
  if (state_ != State::kClosing) {
    close_reason_ = reason;
    Enter(State::kClosing);
  }
  stream_->Close();
}

void Connection::CloseWhenSent(const char* reason) {
  if (state_ >= State::kClosing) return;
  close_reason_ = reason;
  Enter(State::kClosing);
  stream_->CloseWhenSent();
}

void Connection::OnClosed(const Status& why) {
  if (state_ < State::kClosing) Enter(State::kClosing);
  Enter(State::kDraining);
  session_.worker().log().Info("connection %d of %s closed: %s %s", id_,
                               Printable(session_.identity().initiator_name), close_reason_,
                               why.ok() ? "" : std::string(why.message()));
  loop_.CancelTimer(nop_timer_);
  loop_.CancelTimer(logout_deadline_);
  if (sink_task_ != nullptr) std::exchange(sink_task_, nullptr)->DropSegment();
  if (sink_control_ != nullptr) ReleaseControlTask(*std::exchange(sink_control_, nullptr));
  sink_ = Sink::kNone;
  while (lent_.PopFront() != nullptr) {
  }
  if (logout_ != nullptr) ReleaseControlTask(*std::exchange(logout_, nullptr));
  // Those that wait for their turn in the order of commands will not be answered.
  for (ControlTask& task : control_tasks_) {
    if (!task.held_) continue;
    session_.Forget(task);
    ReleaseControlTask(task);
  }
  for (ScsiTask* task = tasks_.Front(); task != nullptr;) {
    ScsiTask* const next = tasks_.Next(*task);
    task->Abort(/*silent=*/true);
    task = next;
  }
  session_.OnConnectionFailed(*this);
  MaybeEnd();
}

void Connection::MaybeEnd() {
  if (state_ != State::kDraining || !tasks_.empty() || pending_ > 0) return;
  if (free_control_tasks_.size() < control_tasks_.size()) return;
  Enter(State::kEnded);
  loop_.Defer(end_);
}

void Connection::RunEnd() {
  // Nothing of this object is touched afterwards.
  session_.OnConnectionEnded(*this);
}

void Connection::RequestLogout(uint64_t within_ns) {
  if (state_ != State::kRunning || logout_request_.queued()) return;
  // A later request does not give more time.
  if (!logout_deadline_.armed()) loop_.ArmTimerIn(logout_deadline_, within_ns);
  logout_request_.Begin();
  auto& message = logout_request_.HeaderAs<AsyncMessagePdu>();
  message.opcode = static_cast<uint8_t>(Opcode::kAsyncMessage);
  message.flags = kFinal;
  message.itt = kReservedTag;
  message.event = static_cast<uint8_t>(AsyncEvent::kLogoutRequested);
  const uint64_t seconds = std::clamp<uint64_t>(within_ns / kNsPerSecond, 1, UINT16_MAX);
  message.parameter_3 = static_cast<uint16_t>(seconds);
  Send(logout_request_, /*has_status=*/true);
}

void Connection::OnLogoutDeadline() {
  if (state_ == State::kRunning) Close("the initiator did not log out when it was asked to");
}

// --- Receiving.

size_t Connection::ReceiveInto(std::span<iovec> parts) {
  placed_ = 0;
  if (state_ != State::kRunning || out_of_control_tasks_) return 0;
  // The read-ahead is about to be overwritten.
  while (ScsiTask* task = lent_.PopFront()) task->SetAsideImmediateData();

  size_t count = 0;
  if (reader_.streaming() > 0) {
    count = PlaceSegment(parts.first(parts.size() - 1));
    for (size_t i = 0; i < count; ++i) {
      places_[i] = parts[i];
      placed_ += parts[i].iov_len;
    }
    if (placed_ < reader_.streaming()) return count;
  }
  std::span<std::byte> space = reader_.Space();
  if (count > 0) space = space.first(std::min(space.size(), kReadAheadBehindData));
  parts[count++] = {space.data(), space.size()};
  return count;
}

void Connection::OnReceived(size_t bytes) {
  const size_t landed = std::min(bytes, placed_);
  if (landed > 0) {
    for (size_t i = 0, left = landed; left > 0; ++i) {
      const size_t here = std::min(left, places_[i].iov_len);
      reader_.Streamed({static_cast<const std::byte*>(places_[i].iov_base), here});
      left -= here;
    }
    SegmentLanded(landed);
  }
  if (bytes > landed) reader_.Received(bytes - landed);
  if (const std::optional<bool> digest_ok = reader_.EndOfData()) EndSegment(*digest_ok);
  Process();
}

void Connection::Process() {
  while (state_ == State::kRunning) {
    // Any PDU may need one.
    out_of_control_tasks_ = free_control_tasks_.empty();
    if (out_of_control_tasks_) return;
    const auto next = reader_.Next();
    if (std::holds_alternative<NeedMore>(next)) return;
    if (const auto* violation = std::get_if<Violation>(&next)) {
      return CloseWhenSent(violation->reason);
    }
    heard_ = true;
    OnPdu(std::get<Pdu>(next));
  }
}

void Connection::OnPdu(const Pdu& pdu) {
  switch (pdu.header->operation()) {
    case Opcode::kScsiCommand:
      return OnScsiCommand(pdu);
    case Opcode::kDataOut:
      return OnDataOut(pdu);
    case Opcode::kNopOut:
    case Opcode::kTextRequest:
    case Opcode::kLogoutRequest:
      return OnControlRequest(pdu);
    case Opcode::kTaskManagementRequest:
      if (!session_.identity().discovery) return OnControlRequest(pdu);
      return Reject(pdu, RejectReason::kCommandNotSupported);
    case Opcode::kSnackRequest:
      return Reject(pdu, RejectReason::kSnackReject);
    case Opcode::kLoginRequest:
      return Violate(pdu, RejectReason::kProtocolError, "it logged in twice");
    case Opcode::kNopIn:
    case Opcode::kScsiResponse:
    case Opcode::kTaskManagementResponse:
    case Opcode::kLoginResponse:
    case Opcode::kTextResponse:
    case Opcode::kDataIn:
    case Opcode::kLogoutResponse:
    case Opcode::kR2t:
    case Opcode::kAsyncMessage:
    case Opcode::kReject:
      break;
  }
  Reject(pdu, RejectReason::kCommandNotSupported);
}

void Connection::Reject(const Pdu& pdu, RejectReason reason) {
  ControlTask& task = *TakeControlTask();
  task.request = *pdu.header;
  BeginSegment(pdu, Sink::kDiscard);
  if (IsNumbered(task.request)) {
    session_.CountAsReceived(As<NopOutPdu>(task.request).cmd_sn);
  }
  RejectControl(task, reason);
}

void Connection::Violate(const Pdu& pdu, RejectReason reason, const char* what) {
  Reject(pdu, reason);
  CloseWhenSent(what);
}

// The data segment of the PDU goes to `sink`: what is here now, the rest as it comes.
void Connection::BeginSegment(const Pdu& pdu, Sink sink) {
  sink_ = sink;
  sink_request_ = *pdu.header;
  if (sink == Sink::kTask) {
    if (!pdu.data.empty() && sink_task_->takes_data()) sink_task_->TakeData(pdu.data);
  } else if (sink == Sink::kControl) {
    std::string& data = sink_control_->data;
    data.assign(reinterpret_cast<const char*>(pdu.data.data()), pdu.data.size());
    data.resize(pdu.header->data_segment_length);
  }
  if (pdu.whole) EndSegment(pdu.digest_ok);
}

// Where the next bytes of the data segment go.
size_t Connection::PlaceSegment(std::span<iovec> parts) {
  const uint32_t bytes = reader_.streaming();
  switch (sink_) {
    case Sink::kTask:
      if (sink_task_->takes_data()) return sink_task_->PlaceFor(bytes, parts);
      break;
    case Sink::kControl: {
      std::string& data = sink_control_->data;
      parts[0] = {data.data() + data.size() - bytes, bytes};
      return 1;
    }
    case Sink::kNone:
    case Sink::kDiscard:
      break;
  }
  const std::span<std::byte> scrap = session_.worker().scrap();
  parts[0] = {scrap.data(), std::min<size_t>(bytes, scrap.size())};
  return 1;
}

void Connection::SegmentLanded(size_t bytes) {
  if (sink_ == Sink::kTask && sink_task_->takes_data()) sink_task_->Landed(bytes);
}

// What nobody takes may be damaged.
void Connection::EndSegment(bool digest_ok) {
  const Sink sink = std::exchange(sink_, Sink::kNone);
  if (sink == Sink::kTask) {
    ScsiTask& task = *std::exchange(sink_task_, nullptr);
    const bool damaged = !digest_ok && task.takes_data();
    if (damaged) RejectDamaged(sink_request_);
    task.EndSegment(sink_request_.final(), damaged);
  } else if (sink == Sink::kControl) {
    ControlTask& task = *std::exchange(sink_control_, nullptr);
    if (digest_ok) return DeliverControl(task);
    ReleaseControlTask(task);
    if (IsNumbered(sink_request_)) {
      session_.CountAsReceived(As<NopOutPdu>(sink_request_).cmd_sn);
    }
    RejectDamaged(sink_request_);
  }
}

void Connection::RejectDamaged(const BasicHeader& request) {
  ControlTask& task = *TakeControlTask();
  task.request = request;
  RejectControl(task, RejectReason::kDataDigestError);
}

// --- Sending.

void Connection::Send(OutgoingPdu& pdu, bool has_status) {
  CHECK(can_send());
  ResponsePdu& header = pdu.header();
  // Of all PDUs without a status, Data-In alone reserves the field. §11.7.4
  const bool reserved = !has_status && header.opcode == static_cast<uint8_t>(Opcode::kDataIn);
  header.stat_sn = reserved ? 0 : stat_sn_;
  if (has_status) ++stat_sn_;
  header.exp_cmd_sn = session_.exp_cmd_sn();
  header.max_cmd_sn = session_.MaxCmdSn();
  pdu.Seal(digests_);
  stream_->Send(pdu);
}

DataInItem* Connection::TakeDataInItem() { return free_data_in_items_.PopFront(); }
void Connection::GiveDataInItem(DataInItem& item) { free_data_in_items_.PushFront(item); }

}  // namespace pollux::iscsi
