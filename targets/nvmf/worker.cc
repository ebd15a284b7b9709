#include "targets/nvmf/worker.h"

#include "core/check.h"

namespace pollux::nvmf {

Worker::Worker(Environment environment) : environment_(environment) {
  CHECK(environment.small_buffers.buffer_bytes() >= kSmallBufferBytes);
  CHECK(environment.large_buffers.buffer_bytes() >= kLargeBufferBytes);
}

Worker::~Worker() { CHECK(queues_.empty(), "a worker ended with a queue"); }

SubsystemView* Worker::FindView(const std::string& subnqn) {
  const auto found = views_.find(subnqn);
  return found == views_.end() ? nullptr : found->second.get();
}

void Worker::AddView(std::shared_ptr<const SubsystemFacts> facts) {
  auto view = std::make_unique<SubsystemView>(facts, environment_.reactor);
  const bool added = views_.emplace(facts->nqn, std::move(view)).second;
  CHECK(added, "two subsystems of one name");
}

void Worker::RemoveView(const std::string& subnqn) { views_.erase(subnqn); }

}  // namespace pollux::nvmf
