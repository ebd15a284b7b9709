#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/histogram.h"
#include "targets/iscsi/connection.h"
#include "targets/iscsi/iscsi_spec.h"
#include "targets/iscsi/negotiation.h"
#include "targets/iscsi/task.h"
#include "targets/scsi/nexus.h"

namespace pollux::iscsi {

class Worker;

// Tasks in progress by their initiator task tag.
class TaskTable {
 public:
  explicit TaskTable(size_t tasks_max);
  void Insert(ScsiTask& task);
  void Remove(ScsiTask& task);
  ScsiTask* Find(uint32_t itt) const;

 private:
  size_t BucketOf(uint32_t itt) const { return (itt * 0x9e3779b1u >> 8) & mask_; }
  const size_t mask_;
  std::vector<ScsiTask*> buckets_;
};

// One session: an initiator port logged in to a target, or a discovery session, with its
// connections, on one loop. RFC 7143 §4.2, §7.
//
//   kOpen --Drain--> kDraining --+--> kClosing --no connection, no task--> kEnded
//     +------------Close---------+
//
// At error recovery level 0 a connection that fails takes the session with it; one that logs out
// does not, unless it was the last.
class Session {
 public:
  enum class State { kOpen, kDraining, kClosing, kEnded };
  static constexpr size_t kImmediateTasksMax = 8;

  struct Identity {
    uint16_t tsih = 0;
    bool discovery = false;
    std::string initiator_name;
    Isid isid{};
    std::string target_name;
    std::string target_short_name;
    uint16_t pg_tag = 0;
  };

  // `view` is null in a discovery session. Made anywhere; Open and all else on the worker's loop.
  Session(Worker& worker, Identity identity, const Parameters& parameters, scsi::DeviceView* view,
          uint32_t queue_depth, uint32_t first_cmd_sn);
  ~Session();
  void Open();
  // False: it has max_connections already, or is on its way out.
  bool AddConnection(Connection::Arrival arrival);

  // Asks the initiator to log out on each connection; those where it has not by then close.
  void RequestLogout(uint64_t within_ns);
  // The same; new commands get BUSY, and when no task is left the connections close.
  void Drain(uint64_t within_ns);
  void Close(const char* reason);
  // For a logout on `by`: all connections but that one end.
  void CloseOthers(const Connection& by);

  const Identity& identity() const { return identity_; }
  const Parameters& parameters() const { return parameters_; }
  State state() const { return state_; }
  Worker& worker() { return worker_; }
  scsi::Nexus& nexus() { return *nexus_; }
  size_t connection_count() const { return connections_.size(); }
  std::vector<std::unique_ptr<Connection>>& connections() { return connections_; }
  Connection* FindConnection(uint16_t cid);

  // --- The order of commands. §4.2.2.1
  uint32_t exp_cmd_sn() const { return exp_cmd_sn_; }
  uint32_t MaxCmdSn();
  // Whether a command of this number may come; others are silently ignored.
  bool InWindow(uint32_t cmd_sn);
  // An immediate request has its turn at once, others when those before them had.
  void Deliver(uint32_t cmd_sn, bool immediate, Numbered& request);
  // It will not come, or is not wanted any more: its number counts as received.
  void Forget(Numbered& request);
  void CountAsReceived(uint32_t cmd_sn);

  // --- Tasks.
  // Null when there is none left (of those for immediate commands, if it is one).
  ScsiTask* TakeTask(bool immediate);
  void ReleaseTask(ScsiTask& task);
  ScsiTask* FindTask(uint32_t itt) const { return table_.Find(itt); }
  ScsiTask* TaskOfTtt(uint32_t ttt);
  // Whether this target transfer tag was ever given out.
  bool WasIssued(uint32_t ttt) const;
  uint32_t MakeTtt(const ScsiTask& task);
  TaskTable& table() { return table_; }
  // Where it is added how long tasks took. Null: nowhere.
  void SetLatencies(Histogram* latencies) { latencies_ = latencies; }
  Histogram* latencies() const { return latencies_; }
  size_t tasks_in_use() const { return tasks_.size() - free_tasks_.size(); }
  void OnTaskStarted() { ++executing_; }
  void OnTaskAnswered() { --executing_; }
  uint64_t NextSerial() { return next_serial_++; }

  // --- Task management. §11.5
  // Ends the tasks of this session that `request` concerns, without a response, then lets the SCSI
  // layer do its part; request.connection->OnManaged follows, later.
  void Manage(ControlTask& request, scsi::TaskFunction function, ScsiTask* referenced);

  // --- By its connections.
  void OnConnectionEnded(Connection& connection);
  void OnConnectionFailed(Connection& connection);

 private:
  // Task management that waits for the tasks of this session that it concerns.
  struct Management {
    ControlTask* request;
    scsi::TaskFunction function;
    bool Concerns(const ScsiTask& task) const;
    uint32_t referenced_itt = 0;
    bool has_referenced = false;
  };
  void Enter(State next);
  void DeliverHeld();
  void ContinueManagement();
  void MaybeFinishDrain();
  void MaybeEnd();

  Worker& worker_;
  const Identity identity_;
  const Parameters parameters_;
  scsi::DeviceView* const view_;
  const uint32_t queue_depth_;
  State state_ = State::kOpen;
  std::unique_ptr<scsi::Nexus> nexus_;
  std::vector<std::unique_ptr<Connection>> connections_;

  uint32_t exp_cmd_sn_;
  uint32_t max_cmd_sn_;          // As told last: it never goes back.
  uint32_t executing_ = 0;       // Non-immediate commands between their turn and their status.
  std::vector<Numbered*> held_;  // By CmdSN modulo the queue depth.
  size_t held_count_ = 0;

  std::vector<ScsiTask> tasks_;
  IntrusiveList<ScsiTask, &ScsiTask::queue_node_> free_tasks_;
  size_t immediate_in_use_ = 0;
  uint16_t ttt_generation_ = 0;
  uint64_t next_serial_ = 0;
  Histogram* latencies_ = nullptr;
  std::vector<Management> managements_;
  TaskTable table_;
};

}  // namespace pollux::iscsi
