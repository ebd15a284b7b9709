#include "targets/nvmf/controller_registry.h"

#include "core/check.h"

namespace pollux::nvmf {

ControllerRegistry::Handle ControllerRegistry::Make(ControllerIdentity identity, uint16_t min,
                                                    uint16_t max, QueueEntry admin) {
  CHECK(min <= max);
  OfSubsystem& of_subsystem = subsystems_[identity.subnqn];
  const uint32_t range = uint32_t{max} - min + 1;
  uint32_t candidate = of_subsystem.last;
  uint32_t tried = 0;
  do {
    ++candidate;
    if (candidate < min || candidate > max) candidate = min;
  } while (of_subsystem.controllers.contains(static_cast<uint16_t>(candidate)) && ++tried < range);
  if (tried == range) return nullptr;

  of_subsystem.last = static_cast<uint16_t>(candidate);
  identity.cntlid = of_subsystem.last;
  auto controller = std::make_shared<Controller>();
  controller->identity = std::make_shared<const ControllerIdentity>(std::move(identity));
  of_subsystem.controllers.emplace(of_subsystem.last, controller);
  ++count_;
  CHECK(Reserve(*controller, 0, admin));
  return controller;
}

ControllerRegistry::Handle ControllerRegistry::Find(const std::string& subnqn,
                                                    uint16_t cntlid) const {
  const auto of_subsystem = subsystems_.find(subnqn);
  if (of_subsystem == subsystems_.end()) return nullptr;
  const auto found = of_subsystem->second.controllers.find(cntlid);
  return found == of_subsystem->second.controllers.end() ? nullptr : found->second;
}

CommandTotals ControllerRegistry::Controller::Counted() const {
  CommandTotals totals = departed;
  for (const auto& [qid, entry] : queues) {
    if (qid != 0 && entry.entered) totals += entry.queue->counters();
  }
  return totals;
}

bool ControllerRegistry::Reserve(Controller& controller, uint16_t qid, QueueEntry queue) {
  if (!controller.queues.emplace(qid, queue).second) return false;
  CountQueue(queue.reactor);
  return true;
}

void ControllerRegistry::Enter(Controller& controller, uint16_t qid) {
  const auto found = controller.queues.find(qid);
  CHECK(found != controller.queues.end() && !found->second.entered);
  found->second.entered = true;
}

void ControllerRegistry::Release(const Handle& controller, uint16_t qid) {
  const auto queue = controller->queues.find(qid);
  CHECK(queue != controller->queues.end(), "a queue left that had not entered");
  --queues_on_[queue->second.reactor];
  controller->queues.erase(queue);
  if (qid == 0) controller->ending = true;
  if (controller->queues.empty()) {
    const auto of_subsystem = subsystems_.find(controller->identity->subnqn);
    CHECK(of_subsystem != subsystems_.end());
    of_subsystem->second.controllers.erase(controller->identity->cntlid);
    --count_;
    controller->gone.Set();
  }
  changed_.Pulse();
}

void ControllerRegistry::Forget(const std::string& subnqn) {
  CHECK(CountOf(subnqn) == 0);
  subsystems_.erase(subnqn);
}

std::vector<ControllerRegistry::Handle> ControllerRegistry::All() const {
  std::vector<Handle> all;
  for (const auto& [nqn, of_subsystem] : subsystems_) {
    for (const auto& [cntlid, controller] : of_subsystem.controllers) all.push_back(controller);
  }
  return all;
}

size_t ControllerRegistry::CountOf(const std::string& subnqn) const {
  const auto found = subsystems_.find(subnqn);
  return found == subsystems_.end() ? 0 : found->second.controllers.size();
}

}  // namespace pollux::nvmf
