#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/event.h"
#include "targets/nvmf/controller_identity.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

// All controllers by subsystem and cntlid, and their queues by qid, as the control loop knows them:
// the one authority on which identifiers are taken. The queues themselves belong to their reactors.
// Control loop only.
//
// A qid is taken from the moment that its Connect is looked at until its queue is no more; a
// cntlid, from its admin queue's until its last queue is no more. So neither is given to a second
// one while the first is still dying.
class ControllerRegistry {
 public:
  struct QueueEntry {
    Queue* queue = nullptr;
    size_t reactor = 0;
    bool entered = false;  // Admitted: messages may be sent to it. Otherwise its Connect runs.
  };
  struct Controller {
    std::shared_ptr<const ControllerIdentity> identity;
    std::map<uint16_t, QueueEntry> queues;
    bool ending = false;     // It was told to end, or its admin queue has gone.
    CommandTotals departed;  // What I/O queues have counted that are no more.
    Event gone;

    // By its I/O queues.
    CommandTotals Counted() const;
  };
  using Handle = std::shared_ptr<Controller>;

  // A controller with this identity apart from the cntlid, which is the next free one of the range;
  // cntlids are reused as late as possible. Its admin queue is reserved. Null when none is free.
  Handle Make(ControllerIdentity identity, uint16_t min, uint16_t max, QueueEntry admin);
  // Null when there is none.
  Handle Find(const std::string& subnqn, uint16_t cntlid) const;
  // False when the qid is taken.
  bool Reserve(Controller& controller, uint16_t qid, QueueEntry queue);
  void Enter(Controller& controller, uint16_t qid);
  // The queue is no more, or was not admitted. With the last one its controller is no more.
  void Release(const Handle& controller, uint16_t qid);
  // The subsystem is deleted: it has no controllers.
  void Forget(const std::string& subnqn);

  template <typename F>
  std::vector<Handle> Select(const std::string& subnqn, F matches) const {
    std::vector<Handle> found;
    const auto of_subsystem = subsystems_.find(subnqn);
    if (of_subsystem == subsystems_.end()) return found;
    for (const auto& [cntlid, controller] : of_subsystem->second.controllers) {
      if (matches(*controller)) found.push_back(controller);
    }
    return found;
  }
  std::vector<Handle> All() const;

  size_t size() const { return count_; }
  size_t CountOf(const std::string& subnqn) const;
  size_t QueuesOn(size_t reactor) const {
    return reactor < queues_on_.size() ? queues_on_[reactor] : 0;
  }
  // Pulsed whenever a queue is no more.
  Event& changed() { return changed_; }

 private:
  struct OfSubsystem {
    std::map<uint16_t, Handle> controllers;
    uint16_t last = 0;
  };
  void CountQueue(size_t reactor) {
    if (queues_on_.size() <= reactor) queues_on_.resize(reactor + 1);
    ++queues_on_[reactor];
  }

  std::map<std::string, OfSubsystem, std::less<>> subsystems_;
  std::vector<size_t> queues_on_;
  size_t count_ = 0;
  Event changed_;
};

}  // namespace pollux::nvmf
