#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/method_call.h"
#include "core/net/address.h"
#include "core/net/byte_stream.h"
#include "core/task_group.h"
#include "targets/iscsi/control_task.h"
#include "targets/iscsi/iscsi_target.h"
#include "targets/iscsi/negotiation.h"
#include "targets/iscsi/pdu_reader.h"
#include "targets/iscsi/task.h"
#include "targets/scsi/nexus.h"

namespace pollux::iscsi {

class Session;

// One TCP connection of a session in full feature phase: from the final login response, which it
// sends, to its end. It lives on the session's loop.
//
//   kRunning --Logout--> kLoggingOut --response queued--+
//      |                      |                         v
//      +--error, Close--------+--------------------> kClosing --stream closed--> kDraining -->
//      kEnded
//
// kLoggingOut: no request is read any more, tasks are aborted. kClosing: what is queued may still
// leave. kDraining: tasks and answers under way end, silently; then the session lets go of it.
class Connection final : private ByteStream::Owner {
 public:
  enum class State { kRunning, kLoggingOut, kClosing, kDraining, kEnded };

  // What comes from login.
  struct Arrival {
    int32_t id = 0;
    uint16_t cid = 0;
    int32_t pg_tag = 0;
    UniqueFd socket;
    SocketAddress initiator_address;
    SocketAddress target_address;
    uint32_t max_recv_data_segment_length = 8192;  // The initiator's.
    Digests digests;  // From the first PDU after the final login response.
    uint32_t next_stat_sn = 0;
    std::string leftover;  // Received after the last login request.
    LoginResponsePdu final_response{};
    std::string final_text;
  };

  static Result<std::unique_ptr<Connection>> Make(Session& session, Arrival arrival);
  ~Connection();
  void Open();

  // Ends it: at once, or when what is queued was sent.
  void Close(const char* reason);
  void CloseWhenSent(const char* reason);
  // Asks the initiator to log out, and ends it when that is too much to ask. §11.9.1
  void RequestLogout(uint64_t within_ns);
  // The initiator has opened another one in its place: its end is no failure.
  void MarkReplaced() { logged_out_ = true; }

  State state() const { return state_; }
  uint16_t cid() const { return cid_; }
  int32_t pg_tag() const { return pg_tag_; }
  ConnectionInfo info() const;
  const StreamCounters& counters() const { return stream_->counters(); }
  Session& session() { return session_; }
  bool logged_out() const { return logged_out_; }

  // --- By its tasks.
  // False once the stream is gone: nothing can be sent any more.
  bool can_send() const { return state_ < State::kDraining; }
  // Queues a PDU that only lacks its numbers, padding and digests; `has_status` uses up a StatSN.
  void Send(OutgoingPdu& pdu, bool has_status);
  uint32_t max_recv_data_segment_length() const { return max_recv_; }
  DataInItem* TakeDataInItem();
  void GiveDataInItem(DataInItem& item);
  void AdmitTask(ScsiTask& task);  // Its turn has come.
  void OnTaskWithdrawn(ScsiTask& task);
  void OnTaskEnded(ScsiTask& task);
  BufferPool& unsolicited_buffers();

  // --- By control tasks, and about them.
  void OnManaged(ControlTask& task, scsi::TaskFunctionResult result);
  void OnControlTurn(ControlTask& task);
  void OnControlSent(ControlTask& task);

 private:
  enum class Sink : uint8_t { kNone, kTask, kControl, kDiscard };
  static constexpr size_t kControlTasks = 8;
  static constexpr size_t kReadAheadBytes = 64 * 1024;
  // Behind a large data segment: as much as a few headers need, or the next one would be copied.
  static constexpr size_t kReadAheadBehindData = 4096;
  // Started reads may hold this much of the buffers at a time.
  static constexpr uint32_t kDataInBytesMax = 1024 * 1024;

  Connection(Session& session, Arrival arrival, std::unique_ptr<ByteStream> stream);

  // ByteStream::Owner
  size_t ReceiveInto(std::span<iovec> parts) override;
  void OnReceived(size_t bytes) override;
  void OnClosed(const Status& why) override;

  void Enter(State next);
  void Process();
  void OnPdu(const Pdu& pdu);
  void OnScsiCommand(const Pdu& pdu);
  void OnDataOut(const Pdu& pdu);
  void OnControlRequest(const Pdu& pdu);
  void DeliverControl(ControlTask& task);
  // Its data is discarded, and its CmdSN counts as received.
  void Reject(const Pdu& pdu, RejectReason reason);
  // What was to be taken came with damaged data. The Reject is all that there is to its PDU.
  void RejectDamaged(const BasicHeader& request);
  // A PDU that shows that we do not understand each other: Reject, then the end.
  void Violate(const Pdu& pdu, RejectReason reason, const char* what);
  uint32_t UnaskedBytesMax() const;
  // What is wrong with a SCSI command beyond repair, or nothing.
  std::optional<RejectReason> FaultOfCommand(const Pdu& pdu) const;

  void BeginSegment(const Pdu& pdu, Sink sink);
  size_t PlaceSegment(std::span<iovec> parts);
  void SegmentLanded(size_t bytes);
  void EndSegment(bool digest_ok);

  ControlTask* TakeControlTask();
  void ReleaseControlTask(ControlTask& task);
  bool MayStart(const ScsiTask& task) const;
  void StartWaiting();
  void StartTask(ScsiTask& task);

  void AnswerNopOut(ControlTask& task);
  void AnswerLogout(ControlTask& task);
  void FinishLogout();
  void AnswerTaskManagement(ControlTask& task);
  void AbortReferencedTask(ControlTask& task);
  Task<void> TellColdReset();
  void RespondTaskManagement(ControlTask& task, TaskManagementResult result);
  void AnswerText(ControlTask& task);
  void NegotiateText(ControlTask& task);
  void RejectControl(ControlTask& task, RejectReason reason);
  Task<void> AskForTargets(ControlTask* task, std::string wanted);
  void SendTextPortion(ControlTask& task);
  void Respond(ControlTask& task, bool has_status = true);

  void RunResume();
  void SendPing();
  void OnNopTimer();
  void OnLogoutDeadline();
  void MaybeEnd();
  void RunEnd();

  Session& session_;
  Loop& loop_;
  const int32_t id_;
  const uint16_t cid_;
  const int32_t pg_tag_;
  const SocketAddress initiator_address_, target_address_;
  const std::unique_ptr<ByteStream> stream_;
  State state_ = State::kRunning;
  const char* close_reason_ = "the initiator closed the connection";
  bool logged_out_ = false;

  // Receiving.
  PduReader reader_;
  // Where the stream was told to put the next bytes of the data segment.
  std::array<iovec, ByteStream::kReceivePartsMax> places_{};
  size_t placed_ = 0;  // Bytes there.
  Sink sink_ = Sink::kNone;
  ScsiTask* sink_task_ = nullptr;
  ControlTask* sink_control_ = nullptr;
  BasicHeader sink_request_{};  // The one that the data segment belongs to.
  bool out_of_control_tasks_ = false;
  IntrusiveList<ScsiTask, &ScsiTask::lent_node_> lent_;

  // Sending.
  uint32_t max_recv_;
  const Digests agreed_;
  Digests digests_;  // As agreed once login is over.
  uint32_t stat_sn_;
  Notice ping_, logout_request_;
  std::vector<DataInItem> data_in_items_;
  IntrusiveList<DataInItem, &DataInItem::node_> free_data_in_items_;

  // Tasks.
  IntrusiveList<ScsiTask, &ScsiTask::connection_node_> tasks_;
  IntrusiveList<ScsiTask, &ScsiTask::queue_node_> waiting_;
  uint32_t r2t_tasks_ = 0;
  uint32_t data_in_bytes_ = 0;
  std::array<ControlTask, kControlTasks> control_tasks_;
  IntrusiveList<ControlTask, &ControlTask::node_> free_control_tasks_;
  ControlTask* logout_ = nullptr;  // To be answered when no task is left.
  size_t pending_ = 0;             // Answers that wait for somebody else.
  TaskGroup asks_;

  // Text negotiation under way. §6.2
  std::string text_gathered_;
  std::string text_answer_;  // What is still to be sent.
  uint32_t text_ttt_ = kReservedTag;
  uint32_t next_text_ttt_ = 0;

  // Keeping alive.
  bool heard_ = true;
  bool ping_unanswered_ = false;
  TimerCall<Connection, &Connection::OnNopTimer> nop_timer_{*this};
  TimerCall<Connection, &Connection::OnLogoutDeadline> logout_deadline_{*this};
  DeferredCall<Connection, &Connection::RunResume> resume_{*this};
  DeferredCall<Connection, &Connection::RunEnd> end_{*this};
};

}  // namespace pollux::iscsi
