#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/log_limiter.h"
#include "core/memory/buffer_pool.h"
#include "core/reactors.h"
#include "core/task.h"
#include "core/task_group.h"
#include "targets/nvmf/controller_identity.h"
#include "targets/nvmf/queue.h"
#include "targets/nvmf/subsystem_view.h"

namespace pollux::nvmf {

// What a Connect command asks for, as far as it could be checked on the reactor.
struct ConnectQuery {
  uint16_t qid = 0;
  uint32_t depth = 0;  // Entries.
  uint32_t kato_ms = 0;
  bool disable_sq_flow_control = false;
  uint16_t cntlid = 0;
  std::array<uint8_t, 16> hostid{};
  std::string subnqn, hostnqn;
  uint32_t listener_id = 0;
  size_t reactor_index = 0;
  Queue* queue = nullptr;
};
// What became of it.
struct ConnectVerdict {
  uint16_t status = 0;  // SCT << 8 | SC
  uint32_t dw0 = 0;     // Of the completion, with a status: IPO and IATTR.
  std::shared_ptr<const ControllerIdentity> identity;  // On success.
};

// What queues ask of the control loop. Its methods run there.
class ControlSide {
 public:
  // An admin queue makes a controller, an I/O queue joins one, and the queue is entered: until
  // Leave(), the control side may call it by messages to its reactor.
  virtual Task<ConnectVerdict> Admit(ConnectQuery query) = 0;
  // The queue is no more. With its admin queue a controller ends, and its I/O queues with it.
  virtual Task<void> Leave(std::shared_ptr<const ControllerIdentity> identity, uint16_t qid) = 0;
  // The discovery log page for this host, as seen through this listener. §5.16.1.23
  virtual std::string DiscoveryLog(const ControllerIdentity& identity) = 0;
  // Adds up what the queues of a controller have counted.
  using Totals = CommandTotals;
  virtual Task<Totals> CountOf(std::shared_ptr<const ControllerIdentity> identity) = 0;
  // Ends an aborted command on whatever reactor it is; whether it was found and is ending.
  virtual Task<bool> Abort(std::shared_ptr<const ControllerIdentity> identity, uint16_t sqid,
                           uint16_t cid) = 0;
  // The Namespace Write Protection feature; a status of NVMe. Base §5.27.1.30
  virtual Task<uint16_t> ProtectNamespace(std::string subnqn, uint32_t nsid,
                                          nvme::WriteProtection state) = 0;
  // Controller reset and shutdown: the I/O queues of the controller end, wherever they are, and
  // have left when this is done. Its admin queue stays. Base §3.7.2
  virtual Task<void> EndIoQueues(std::shared_ptr<const ControllerIdentity> identity) = 0;
  // How many I/O queues it has, on all reactors.
  virtual size_t IoQueuesOf(const ControllerIdentity& identity) = 0;
  // Identifiers of the subsystem's controllers, in increasing order: all of them for nsid 0,
  // otherwise those whose hosts see the namespace. Base §5.17, CNS 12h and 13h
  virtual std::vector<uint16_t> ControllersOf(const std::string& subnqn, uint32_t nsid) = 0;

 protected:
  ~ControlSide() = default;
};

// What one reactor has of the NVMe-oF target: views of the subsystems, buffers, and the queues that
// transports run here. Its reactor only, apart from the constructor.
class Worker {
 public:
  // Two sizes of data buffers; a command that needs more than a large one moves in bursts.
  static constexpr size_t kSmallBufferBytes = 8 * 1024;
  static constexpr size_t kLargeBufferBytes = 128 * 1024;

  struct Environment {
    Reactor& reactor;
    Loop& control;
    ControlSide& control_side;
    BufferPool& small_buffers;
    BufferPool& large_buffers;
  };
  explicit Worker(Environment environment);
  ~Worker();  // After all its queues, and tasks().Drained().

  Reactor& reactor() { return environment_.reactor; }
  Loop& control() { return environment_.control; }
  ControlSide& control_side() { return environment_.control_side; }
  BufferPool& BuffersFor(size_t bytes) {
    return bytes <= kSmallBufferBytes ? environment_.small_buffers : environment_.large_buffers;
  }
  LogLimiter& log() { return log_; }
  // Queues that depart, and commands that wait for the control loop: each ends its command, so none
  // outlives its queue.
  TaskGroup& tasks() { return tasks_; }

  // Null when this reactor has not heard of it.
  SubsystemView* FindView(const std::string& subnqn);
  void AddView(std::shared_ptr<const SubsystemFacts> facts);
  void RemoveView(const std::string& subnqn);  // No queue and no namespace is left.

  // All queues here, connected or not.
  void AddQueue(Queue& queue) { queues_.push_back(&queue); }
  void RemoveQueue(Queue& queue) { std::erase(queues_, &queue); }
  const std::vector<Queue*>& queues() const { return queues_; }

 private:
  const Environment environment_;
  std::map<std::string, std::unique_ptr<SubsystemView>, std::less<>> views_;
  std::vector<Queue*> queues_;
  LogLimiter log_{environment_.reactor, "nvmf", "queues"};
  TaskGroup tasks_;
};

}  // namespace pollux::nvmf
