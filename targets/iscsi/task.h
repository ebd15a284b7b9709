#pragma once
#include <cstddef>
#include <cstdint>

#include "core/intrusive_list.h"
#include "targets/iscsi/data_out_buffer.h"
#include "targets/iscsi/iscsi_spec.h"
#include "targets/iscsi/outgoing_pdu.h"
#include "targets/scsi/command.h"

namespace pollux::iscsi {

class Connection;
class ScsiTask;
class Session;

// A request that has its place in the order of the session's commands (CmdSN).
class Numbered {
 public:
  // Everything before it was delivered.
  virtual void OnItsTurn() = 0;

 protected:
  ~Numbered() = default;
};

// A Data-In PDU beyond the one that each task has room for: those of a connection are shared by its
// large reads.
class DataInItem final : public OutgoingPdu {
 public:
  ScsiTask* task = nullptr;

 private:
  friend class Connection;
  void OnSent(bool ok) override;
  ListNode node_;
};

// One SCSI command of a session, from its PDU to its response. They are made with the session and
// used again and again, so nothing is allocated per command.
//
//   kFree -> kWaiting --its turn, and room--> kRunning --status--> kAnswering --sent--> kFree
//                |                                                     ^
//                +--------- refused or aborted before it ran ----------+
//
// kWaiting: for its turn in the order of commands, then for the connection to let it start.
// kRunning: the SCSI layer has it. kAnswering: the status is known; the response leaves when the
// initiator has sent all that it announced.
class ScsiTask final : public scsi::Command, public Numbered, private OutgoingPdu {
 public:
  enum class State : uint8_t { kFree, kWaiting, kRunning, kAnswering };

  // --- By the session, once.
  void Make(Session& session, uint16_t index);

  // --- By the connection, as PDUs come in.

  // `store` is for what comes unasked; the task gives it back. Null where nothing may.
  void Begin(Connection& connection, const ScsiCommandPdu& request, std::byte* store);
  // The immediate data: whole, in the read-ahead.
  void LendImmediateData(std::span<const std::byte> data);
  void SetAsideImmediateData() { data_out_.SetAside(); }
  // Data-Out: whether it follows the last one of its sequence; null when it is as it should be, or
  // what is wrong.
  bool IsNext(const DataOutPdu& request) const { return request.data_sn == next_data_sn_; }
  const char* CheckDataOut(const DataOutPdu& request) const;
  // The data segment of a PDU begins, comes piece by piece, and ends.
  void BeginSegment(bool of_data_out);
  void TakeData(std::span<const std::byte> data);
  size_t PlaceFor(size_t bytes, std::span<iovec> places);
  void Landed(size_t bytes);
  void EndSegment(bool final, bool damaged);
  // Data that came is damaged, or some did not come: what follows is discarded, and when the
  // initiator has sent all that it announced, the command ends with CHECK CONDITION. §7.8, §7.9,
  // §11.4.7.2
  void FailForDamage();
  // The connection ended within it.
  void DropSegment() { in_segment_ = false; }

  // Answers without asking the SCSI layer; the data that comes is discarded.
  void Refuse(scsi::ScsiStatus status);
  void RefuseDamaged();
  void Start();
  // Ends it early. `silent`: no response.
  void Abort(bool silent);

  void OnItsTurn() override;
  void AfterSent();

  State state() const { return state_; }
  uint32_t itt() const { return itt_; }
  uint32_t ttt() const { return ttt_; }
  uint32_t cmd_sn() const { return cmd_sn_; }
  // Tasks of a session in the order of their arrival.
  uint64_t serial() const { return serial_; }
  uint16_t index() const { return index_; }
  bool immediate() const { return immediate_; }
  // Its status is on its way to the initiator: it cannot be aborted any more.
  bool status_queued() const { return status_queued_; }
  // Data that comes is for it, and not to be thrown away.
  bool takes_data() const {
    return !no_room_ && !damaged_ &&
           (state_ == State::kWaiting || (state_ == State::kRunning && !aborted_));
  }
  // There is no buffer for what comes unasked: it ends with TASK SET FULL.
  bool no_room() const { return no_room_; }
  bool damaged() const { return damaged_; }
  bool expects_unasked_data() const { return unasked_open_; }
  // How many bytes it may come to hold in the send queue, at a time.
  uint32_t send_cost() const;
  // Whether it will have to ask for data with R2T.
  bool needs_r2t() const { return data_out_max > unasked_max_; }
  Connection& connection() { return *connection_; }

  // What may come unasked, at most; set by the connection before the task starts.
  void ExpectUnaskedData(uint32_t bytes_max, bool open) {
    unasked_max_ = bytes_max;
    unasked_open_ = open;
    no_room_ = store_ == nullptr;
  }

 private:
  friend class Connection;
  friend class Session;
  friend class TaskTable;

  // scsi::Command
  void OnDataOutWanted(uint64_t offset, std::span<const iovec> burst) override;
  void OnDataIn(uint64_t offset, std::span<const iovec> burst, bool last) override;
  void OnStatus() override;
  void OnEndWanted() override;
  // OutgoingPdu
  void OnSent(bool ok) override;

  void Enter(State next);
  void AdvanceDataOut();
  void SendR2t();
  void SendDataIn();
  void FillDataIn(OutgoingPdu& pdu);
  void OnBurstSent();
  uint8_t SetResidual(Be32& residual) const;
  void Answer();
  void SendResponse();
  void SetDamageSense();
  void AbortNow();
  void AddLatency();
  void Finish();

  // Links: of the session's free tasks, or of those of a connection that wait to start.
  ListNode queue_node_;
  ListNode connection_node_;  // All tasks of the connection.
  ListNode lent_node_;        // Of the connection's tasks whose data lies in its read-ahead.
  ScsiTask* next_in_bucket_ = nullptr;

  Session* session_ = nullptr;
  Connection* connection_ = nullptr;
  uint16_t index_ = 0;
  State state_ = State::kFree;
  bool immediate_ = false;
  bool counted_ = false;  // Among the session's executing commands.
  bool started_ = false;  // The connection counts its cost.
  bool read_ = false, write_ = false;
  bool unasked_open_ = false;  // Unsolicited Data-Out is still to come.
  bool no_room_ = false;
  bool damaged_ = false;
  bool segment_of_data_out_ = false;
  bool in_segment_ = false;  // A data segment is being received into it.
  bool silent_ = false;
  bool abort_wanted_ = false;  // As soon as nobody else touches its buffers.
  bool aborted_ = false;
  bool response_queued_ = false;
  bool status_queued_ = false;  // In a response, or in the last Data-In.
  bool r2t_waits_ = false;      // For the task's one item of output.
  uint32_t itt_ = 0;
  uint32_t cmd_sn_ = 0;
  uint64_t serial_ = 0;
  uint64_t begun_ns_ = 0;  // 0: nobody asks how long it takes.
  uint32_t unasked_max_ = 0;

  // Data-out.
  std::byte* store_ = nullptr;
  DataOutBuffer data_out_;
  uint32_t ttt_ = kReservedTag;  // Of the outstanding R2T.
  uint64_t r2t_end_ = 0;
  uint32_t r2t_sn_ = 0;
  uint32_t next_data_sn_ = 0;  // Of the Data-Out sequence under way.

  // Data-in: the burst under way.
  std::span<const iovec> burst_;
  uint64_t burst_offset_ = 0;
  uint64_t burst_bytes_ = 0;
  uint64_t burst_queued_ = 0;
  size_t burst_part_ = 0, burst_part_used_ = 0;  // Up to where it is queued.
  uint32_t sequence_bytes_ = 0;                  // Of MaxBurstLength.
  uint32_t data_sn_ = 0;
  bool burst_active_ = false;
  bool last_ = false;

  uint16_t sends_ = 0;  // PDUs of this task in the send queue.
  Be16 sense_length_;
};

}  // namespace pollux::iscsi
