#pragma once
#include <bitset>
#include <cstdint>
#include <memory>
#include <string>

#include "core/intrusive_list.h"
#include "core/method_call.h"
#include "core/spec/nvmf_spec.h"
#include "core/task.h"
#include "targets/nvmf/command.h"
#include "targets/nvmf/command_counters.h"
#include "targets/nvmf/controller_identity.h"

namespace pollux::nvmf {

class Controller;
class Execution;
class Worker;
struct ListenerView;
class SubsystemView;

// A queue pair of a controller, carried by one connection of a transport, on one reactor: the
// transport hands over commands and gets completions. It begins as nobody's; the Connect command
// makes it a controller's admin queue or one of its I/O queues. Base §3.3, §6.3.
//
//   kNew --Connect--> kConnecting --+--> kAdmin --+
//     ^                  |          +--> kIo -----+
//     +----refused-------+                        |
//     any of them --Close()--> kClosing --nothing in flight, target has let go--> kEnded
class Queue {
 public:
  enum class State : uint8_t { kNew, kConnecting, kAdmin, kIo, kClosing, kEnded };

  // The transport's connection.
  class Carrier {
   public:
    // The target wants the connection closed (`reason` is for the log). The carrier closes it and
    // then calls Close(). `when_sent`: what is queued may leave first.
    virtual void OnEndWanted(const char* reason, bool when_sent) = 0;
    // After Close(): the last call. The carrier may destroy the queue from here.
    virtual void OnQueueEnded() = 0;
    // For nvmf_subsystem_get_qpairs and the log.
    virtual std::string peer_address() const = 0;
    virtual std::string peer_port() const = 0;
    // The address of ours that the host came to, numeric: what discovery shows of a listener on all
    // addresses. Empty where there is no such thing.
    virtual std::string local_address() const { return {}; }

   protected:
    ~Carrier() = default;
  };

  // What the transport grants: `depth_max` entries at most are asked for by Connect.
  struct Limits {
    uint16_t admin_depth_max = 128;
    uint16_t io_depth_max = 128;
    uint32_t in_capsule_bytes = 8192;    // IOCCSZ of I/O queues, without the 64 of the entry.
    uint32_t io_bytes_max = 128 * 1024;  // MDTS
    uint16_t io_queues_max = 127;
    uint16_t kas = 100;                 // KAS: granularity of keep alive, in units of 100 ms.
    uint32_t kato_min_ms = 10000;       // What Connect asks is raised to it.
    uint8_t trtype = nvme::kTrtypeTcp;  // As the Error Information log names it.
  };

  Queue(Worker& worker, Carrier& carrier, uint32_t listener_id, Limits limits);
  ~Queue();  // In kNew or kEnded.

  // Takes a command. What is wrong with it comes back as its completion, from within.
  void Start(Command& command);
  // Ends a command that is not taken: for the transport, whose capsule or descriptor is at fault.
  void Refuse(Command& command, uint16_t status);
  // The connection is gone: commands in flight are abandoned. OnQueueEnded follows, later.
  void Close();
  // By the target, on the queue's reactor: asks the carrier to end. The carrier may Close() from
  // within. Once is enough.
  void End(const char* reason, bool when_sent = false);
  // By the target, for the Abort command: ends the command of this identifier, with Command Abort
  // Requested, as soon as disk and transport have let go of its data. False: there is none, or its
  // answer is on its way.
  bool Abort(uint16_t cid);

  State state() const { return state_; }
  uint16_t qid() const { return qid_; }
  // Entries, as Connect asked; 0 before.
  uint32_t depth() const { return depth_; }
  bool sq_flow_control() const { return sq_flow_control_; }
  size_t in_flight() const { return commands_.size(); }
  const CommandCounters& counters() const { return counters_; }
  // Null before Connect.
  const ControllerIdentity* controller() const { return identity_.get(); }
  // Of an admin queue; null otherwise.
  const Controller* admin_controller() const { return controller_.get(); }
  Worker& worker() { return worker_; }
  const Limits& limits() const { return limits_; }
  Carrier& carrier() { return carrier_; }

 private:
  friend class Execution;
  friend class Controller;
  friend class Connector;
  friend class SubsystemView;

  // --- By the Connector.
  // What a Connect was answered with. On a queue that is kClosing meanwhile, only the identity and
  // the number are kept: for Leave().
  struct Connection {
    std::shared_ptr<const ControllerIdentity> identity;
    SubsystemView* view = nullptr;
    uint16_t qid = 0;
    uint32_t depth = 0;  // Entries.
    bool sq_flow_control = true;
  };
  // kConnecting -> kAdmin (qid 0) or kIo. The Connector then sets controller_ of an admin queue.
  void SetUp(Connection connection);

  void Dispatch(Execution& execution);
  void DispatchIo(Execution& execution);

  // --- By executions.
  // Fills in the completion of a command, apart from its dwords 0 and 1. The command's identifier
  // is free for the host with it.
  void Answer(Execution& execution, uint16_t status, nvme::CompletionEntry& completion);
  void Complete(const Command& command, uint16_t status, nvme::CompletionEntry& completion);
  // Enters a failure in the controller's log, where it is one to look into. The status with which
  // the command ends: it says when there is more in the log.
  uint16_t Log(const Command& command, uint16_t status, uint16_t location, uint64_t lba);
  // It is the transport's again.
  void Remove(Command& command);
  // What is wrong is counted and logged; the status as Log() answers it.
  uint16_t Fail(Execution& execution, uint16_t status);

  void OnClosing();
  Task<void> Depart();

  Worker& worker_;
  Carrier& carrier_;
  const uint32_t listener_id_;
  const Limits limits_;
  State state_ = State::kNew;
  bool end_wanted_ = false;
  bool sq_flow_control_ = true;
  bool departing_ = false;
  uint16_t qid_ = 0;
  uint16_t sqhd_ = 0;
  uint32_t depth_ = 0;
  // Commands that the host has no completion of. Those whose last data is being sent are not among
  // them: the host may have got it, and use their identifiers, before we hear that it was sent.
  uint32_t unanswered_ = 0;
  using Identifiers = std::bitset<65536>;
  std::unique_ptr<Identifiers> identifiers_;  // Of those. From Connect on.
  std::shared_ptr<const ControllerIdentity> identity_;
  SubsystemView* view_ = nullptr;
  const ListenerView* listener_ = nullptr;  // Null also when it was removed.
  Execution* first_half_ = nullptr;         // Of a fused pair whose second has not come yet.
  std::unique_ptr<Controller> controller_;  // Of an admin queue.
  IntrusiveList<Command, &Command::node_> commands_;
  CommandCounters counters_;
  DeferredCall<Queue, &Queue::OnClosing> closing_{*this};
};

}  // namespace pollux::nvmf
