#include "targets/iscsi/task.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "targets/iscsi/connection.h"
#include "targets/iscsi/session.h"
#include "targets/iscsi/worker.h"
#include "targets/scsi/sense.h"

namespace pollux::iscsi {
namespace {

scsi::TaskAttribute AttributeOf(uint8_t flags) {
  switch (flags & command_flags::kAttributeMask) {
    case 2:
      return scsi::TaskAttribute::kOrdered;
    case 3:
      return scsi::TaskAttribute::kHeadOfQueue;
    case 4:
      return scsi::TaskAttribute::kAca;
    default:
      return scsi::TaskAttribute::kSimple;
  }
}

}  // namespace

void DataInItem::OnSent(bool) {
  ScsiTask* const of = task;
  of->connection().GiveDataInItem(*this);
  of->AfterSent();
}

void ScsiTask::Make(Session& session, uint16_t index) {
  session_ = &session;
  index_ = index;
}

void ScsiTask::Enter(State next) {
  CHECK((state_ == State::kFree && next == State::kWaiting) ||
        (state_ == State::kWaiting && next != State::kWaiting) ||
        (state_ == State::kRunning && next != State::kWaiting && next != State::kRunning) ||
        (state_ == State::kAnswering && next == State::kFree));
  state_ = next;
}

void ScsiTask::Begin(Connection& connection, const ScsiCommandPdu& request, std::byte* store) {
  Enter(State::kWaiting);
  connection_ = &connection;
  immediate_ = (request.opcode & kImmediate) != 0;
  counted_ = started_ = unasked_open_ = in_segment_ = silent_ = abort_wanted_ = aborted_ = false;
  response_queued_ = status_queued_ = r2t_waits_ = burst_active_ = last_ = no_room_ = false;
  damaged_ = false;
  serial_ = session_->NextSerial();
  begun_ns_ = session_->latencies() == nullptr ? 0 : session_->worker().loop().NowNs();
  itt_ = request.itt;
  cmd_sn_ = request.cmd_sn;
  unasked_max_ = 0;
  store_ = store;
  data_out_.Reset(store, store != nullptr ? connection.unsolicited_buffers().buffer_bytes() : 0);
  ttt_ = kReservedTag;
  r2t_sn_ = next_data_sn_ = data_sn_ = 0;

  read_ = (request.flags & command_flags::kRead) != 0;
  write_ = (request.flags & command_flags::kWrite) != 0;
  lun = request.lun;
  std::copy(std::begin(request.cdb), std::end(request.cdb), cdb.begin());
  attribute = AttributeOf(request.flags);
  data_in_max = read_ ? uint32_t{request.expected_data_transfer_length} : 0;
  data_out_max = write_ ? uint32_t{request.expected_data_transfer_length} : 0;
  status = scsi::ScsiStatus::kGood;
  sense_bytes = 0;
  data_bytes = 0;
}

uint32_t ScsiTask::send_cost() const {
  return std::min<uint32_t>(data_in_max, Worker::kDataBufferBytes);
}

void ScsiTask::OnItsTurn() {
  if (!immediate_) {
    counted_ = true;
    session_->OnTaskStarted();
  }
  connection_->AdmitTask(*this);
}

void ScsiTask::Start() {
  Enter(State::kRunning);
  session_->nexus().Start(*this);
}

void ScsiTask::Refuse(scsi::ScsiStatus why) {
  status = why;
  sense_bytes = 0;
  data_bytes = 0;
  Enter(State::kAnswering);
  Answer();
}

void ScsiTask::FailForDamage() {
  damaged_ = true;
  if (state_ == State::kWaiting) {
    // Before its turn: see Connection::AdmitTask.
    if (!queue_node_.linked()) return;
    connection_->OnTaskWithdrawn(*this);
    return RefuseDamaged();
  }
  CHECK(state_ == State::kRunning);
  abort_wanted_ = true;
  if (sends_ == 0) AbortNow();
}

void ScsiTask::RefuseDamaged() {
  Enter(State::kAnswering);
  SetDamageSense();
  Answer();
}

void ScsiTask::SetDamageSense() {
  status = scsi::ScsiStatus::kCheckCondition;
  data_bytes = 0;
  const scsi::Sense why{scsi::SenseKey::kAbortedCommand,
                        scsi::AdditionalSense::kProtocolServiceCrcError};
  sense_bytes = scsi::EncodeSense(why, /*descriptor_format=*/false, sense);
}

// --- Data-out.

void ScsiTask::LendImmediateData(std::span<const std::byte> data) { data_out_.Lend(data); }

const char* ScsiTask::CheckDataOut(const DataOutPdu& request) const {
  const uint32_t bytes = request.data_segment_length;
  const uint64_t end = uint64_t{request.buffer_offset} + bytes;
  if (request.buffer_offset != data_out_.received_to()) {
    return "Data-Out is not where the last one ended";
  }
  const bool unasked = request.ttt == kReservedTag;
  const uint64_t end_max = unasked ? unasked_max_ : r2t_end_;
  if (end > end_max) return "Data-Out goes beyond what was allowed";
  if (!unasked && (request.flags & kFinal) != 0 && end != r2t_end_) {
    return "the last Data-Out of a sequence does not complete it";
  }
  if (bytes > 0 && !data_out_.HasPlaceFor(bytes)) {
    return "Data-Out came for which there is no place";
  }
  return nullptr;
}

void ScsiTask::BeginSegment(bool of_data_out) {
  segment_of_data_out_ = of_data_out;
  data_out_.SetAside();  // The store goes on where the loan ends.
  in_segment_ = true;
}

void ScsiTask::TakeData(std::span<const std::byte> data) { data_out_.Copy(data); }

size_t ScsiTask::PlaceFor(size_t bytes, std::span<iovec> places) {
  return data_out_.PlaceFor(bytes, places);
}

void ScsiTask::Landed(size_t bytes) { data_out_.Landed(bytes); }

void ScsiTask::EndSegment(bool final, bool damaged) {
  in_segment_ = false;
  if (segment_of_data_out_) ++next_data_sn_;
  if (final) {
    unasked_open_ = false;
    ttt_ = kReservedTag;
    next_data_sn_ = 0;
  }
  if (damaged) return FailForDamage();
  switch (state_) {
    case State::kFree:
    case State::kWaiting:
      return;
    case State::kRunning:
      if (abort_wanted_ && sends_ == 0) return AbortNow();
      return AdvanceDataOut();
    case State::kAnswering:
      return Answer();
  }
}

void ScsiTask::OnDataOutWanted(uint64_t offset, std::span<const iovec> burst) {
  if (aborted_) return;
  data_out_.Want(offset, burst);
  AdvanceDataOut();
}

// What is there is handed over; what is missing and was not announced is asked for.
void ScsiTask::AdvanceDataOut() {
  if (!data_out_.wanting() || in_segment_) return;
  if (data_out_.complete()) {
    data_out_.Done();
    return DataOutArrived();
  }
  if (!connection_->can_send()) return;  // The connection aborts it.
  if (unasked_open_ || ttt_ != kReservedTag) return;
  SendR2t();
}

void ScsiTask::SendR2t() {
  if (queued()) {
    r2t_waits_ = true;
    return;
  }
  const uint64_t offset = data_out_.filled_to();
  const uint64_t bytes =
      std::min<uint64_t>(data_out_.wanted_end() - offset, session_->parameters().max_burst_length);
  data_out_.GoTo(offset);
  r2t_end_ = offset + bytes;
  next_data_sn_ = 0;
  ttt_ = session_->MakeTtt(*this);

  OutgoingPdu::Begin();
  auto& r2t = HeaderAs<R2tPdu>();
  r2t.opcode = static_cast<uint8_t>(Opcode::kR2t);
  r2t.flags = kFinal;
  r2t.lun = lun;
  r2t.itt = itt_;
  r2t.ttt = ttt_;
  r2t.r2t_sn = r2t_sn_++;
  r2t.buffer_offset = static_cast<uint32_t>(offset);
  r2t.desired_data_transfer_length = static_cast<uint32_t>(bytes);
  ++sends_;
  connection_->Send(*this, /*has_status=*/false);
}

// --- Data-in.

void ScsiTask::OnDataIn(uint64_t offset, std::span<const iovec> burst, bool last) {
  burst_ = burst;
  burst_offset_ = offset;
  burst_bytes_ = 0;
  for (const iovec& part : burst) burst_bytes_ += part.iov_len;
  burst_queued_ = 0;
  burst_part_ = burst_part_used_ = 0;
  sequence_bytes_ = 0;
  burst_active_ = true;
  last_ = last;
  SendDataIn();
}

// Queues as many PDUs of the burst as there are items for; the rest follows when some were sent.
void ScsiTask::SendDataIn() {
  const bool open = connection_->can_send() && !abort_wanted_;
  while (open && burst_queued_ < burst_bytes_) {
    if (!queued()) {
      FillDataIn(*this);
    } else if (DataInItem* item = connection_->TakeDataInItem()) {
      item->task = this;
      FillDataIn(*item);
    } else {
      break;
    }
  }
  if (!open) burst_queued_ = burst_bytes_;
  if (sends_ == 0) OnBurstSent();
}

void ScsiTask::FillDataIn(OutgoingPdu& pdu) {
  const Parameters& parameters = session_->parameters();
  const uint64_t bytes = std::min<uint64_t>({burst_bytes_ - burst_queued_,
                                             connection_->max_recv_data_segment_length() & ~3u,
                                             parameters.max_burst_length - sequence_bytes_});
  pdu.Begin();
  for (uint64_t left = bytes; left > 0;) {
    const iovec& part = burst_[burst_part_];
    const size_t slice = std::min<uint64_t>(part.iov_len - burst_part_used_, left);
    if (slice > 0) pdu.AddData(static_cast<std::byte*>(part.iov_base) + burst_part_used_, slice);
    left -= slice;
    burst_part_used_ += slice;
    if (burst_part_used_ == part.iov_len) ++burst_part_, burst_part_used_ = 0;
  }
  const uint32_t length = static_cast<uint32_t>(bytes);
  auto& header = pdu.HeaderAs<DataInPdu>();
  header.opcode = static_cast<uint8_t>(Opcode::kDataIn);
  header.data_segment_length = length;
  header.itt = itt_;
  header.ttt = kReservedTag;
  header.data_sn = data_sn_++;
  header.buffer_offset = static_cast<uint32_t>(burst_offset_ + burst_queued_);
  burst_queued_ += bytes;
  sequence_bytes_ += length;
  const bool burst_ends = burst_queued_ == burst_bytes_;
  if (burst_ends || sequence_bytes_ == parameters.max_burst_length) {
    header.flags = kFinal;
    sequence_bytes_ = 0;
  }
  const bool has_status = burst_ends && last_;
  if (has_status) {
    status_queued_ = true;
    header.flags |= kHasStatus;
    header.flags |= SetResidual(header.residual);
    if (counted_) session_->OnTaskAnswered();
    counted_ = false;
  }
  ++sends_;
  connection_->Send(pdu, has_status);
}

uint8_t ScsiTask::SetResidual(Be32& residual) const {
  const uint64_t expected = uint64_t{data_in_max} + data_out_max;
  if (data_bytes > expected) {
    residual = static_cast<uint32_t>(std::min<uint64_t>(data_bytes - expected, UINT32_MAX));
    return residual_flags::kOverflow;
  }
  if (data_bytes < expected) {
    residual = static_cast<uint32_t>(expected - data_bytes);
    return residual_flags::kUnderflow;
  }
  return 0;
}

void ScsiTask::OnBurstSent() {
  burst_active_ = false;
  if (last_) {
    DataInSent();
    return Finish();
  }
  if (abort_wanted_ && !aborted_ && !in_segment_) return AbortNow();
  DataInSent();
}

// --- The end.

void ScsiTask::OnStatus() {
  Enter(State::kAnswering);
  data_out_.Done();
  if (damaged_) SetDamageSense();
  // Aborted by this session's own task management, there is no response, even if it ended well at
  // the last moment. SAM-5 §5.3.1.
  Answer();
}

// Sends the response as soon as nothing is in its way: a PDU of this task that still waits to be
// sent, or data that the initiator has announced.
void ScsiTask::Answer() {
  if (!connection_->can_send() || silent_) {
    if (sends_ == 0 && !in_segment_) Finish();
    return;
  }
  if (response_queued_ || sends_ > 0 || in_segment_ || unasked_open_) return;
  if (damaged_ && ttt_ != kReservedTag) return;
  SendResponse();
}

void ScsiTask::SendResponse() {
  response_queued_ = status_queued_ = true;
  OutgoingPdu::Begin();
  auto& response = HeaderAs<ScsiResponsePdu>();
  response.opcode = static_cast<uint8_t>(Opcode::kScsiResponse);
  response.flags = static_cast<uint8_t>(kFinal | SetResidual(response.residual));
  response.status = static_cast<uint8_t>(status);
  response.itt = itt_;
  response.exp_data_sn = data_sn_ + r2t_sn_;
  if (sense_bytes > 0) {
    sense_length_ = static_cast<uint16_t>(sense_bytes);
    response.data_segment_length = static_cast<uint32_t>(sizeof(sense_length_) + sense_bytes);
    AddData(&sense_length_, sizeof(sense_length_));
    AddData(sense.data(), sense_bytes);
  }
  if (counted_) session_->OnTaskAnswered();
  counted_ = false;
  ++sends_;
  connection_->Send(*this, /*has_status=*/true);
}

void ScsiTask::OnSent(bool) { AfterSent(); }

void ScsiTask::AfterSent() {
  CHECK(sends_ > 0);
  --sends_;
  switch (state_) {
    case State::kFree:
    case State::kWaiting:
      CHECK(false, "a PDU of a task that sends none");
      return;
    case State::kRunning:
      if (burst_active_) return SendDataIn();
      if (sends_ > 0) return;
      if (abort_wanted_ && !aborted_ && !in_segment_) return AbortNow();
      if (std::exchange(r2t_waits_, false)) SendR2t();
      return;
    case State::kAnswering:
      if (response_queued_) return Finish();
      return Answer();
  }
}

void ScsiTask::OnEndWanted() { Abort(/*silent=*/false); }

void ScsiTask::Abort(bool silent) {
  silent_ |= silent;
  switch (state_) {
    case State::kFree:
    case State::kAnswering:
      if (state_ == State::kAnswering && silent_) Answer();
      return;
    case State::kWaiting:
      session_->Forget(*this);
      connection_->OnTaskWithdrawn(*this);
      return Refuse(scsi::ScsiStatus::kTaskAborted);
    case State::kRunning:
      abort_wanted_ = true;
      // Its buffers are being sent from or received into; it goes on from there.
      if (in_segment_ || sends_ > 0) return;
      return AbortNow();
  }
}

void ScsiTask::AbortNow() {
  if (std::exchange(aborted_, true)) return;
  burst_active_ = false;
  data_out_.Done();
  session_->nexus().Abort(*this);
}

// Of what the initiator got an answer to, as long as the histogram is on.
void ScsiTask::AddLatency() {
  Histogram* const latencies = session_->latencies();
  if (latencies == nullptr || !status_queued_) return;
  latencies->Add(session_->worker().loop().NowNs() - begun_ns_);
}

void ScsiTask::Finish() {
  if (begun_ns_ != 0) [[unlikely]]
    AddLatency();
  if (counted_) session_->OnTaskAnswered();
  counted_ = false;
  if (store_ != nullptr) connection_->unsolicited_buffers().Give(std::exchange(store_, nullptr));
  ttt_ = kReservedTag;
  Enter(State::kFree);
  Connection* const connection = std::exchange(connection_, nullptr);
  connection->OnTaskEnded(*this);
  session_->ReleaseTask(*this);
}

}  // namespace pollux::iscsi
