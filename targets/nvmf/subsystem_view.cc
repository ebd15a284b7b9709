#include "targets/nvmf/subsystem_view.h"

#include <algorithm>
#include <utility>

#include "targets/nvmf/controller.h"
#include "targets/nvmf/execution.h"
#include "targets/nvmf/queue.h"

namespace pollux::nvmf {

SubsystemView::SubsystemView(std::shared_ptr<const SubsystemFacts> facts, Reactor& reactor)
    : facts_(std::move(facts)), reactor_(reactor) {}

SubsystemView::~SubsystemView() {
  CHECK(queues_.empty(), "a subsystem ended with a queue");
  for (const auto& ns : namespaces_) CHECK(ns == nullptr, "a subsystem ended with a namespace");
}

uint32_t SubsystemView::NextVisible(uint32_t nsid, const std::string& hostnqn) const {
  for (size_t next = size_t{nsid} + 1; next < namespaces_.size(); ++next) {
    const NamespaceView* const ns = Find(static_cast<uint32_t>(next));
    if (ns != nullptr && ns->facts->VisibleTo(hostnqn)) return static_cast<uint32_t>(next);
  }
  return 0;
}

const ListenerView* SubsystemView::FindListener(uint32_t id) const {
  const auto found = listeners_.find(id);
  return found == listeners_.end() ? nullptr : found->second.get();
}

void SubsystemView::Attach(BlockChannel* channel, std::shared_ptr<const NamespaceFacts> facts,
                           CommandCounters& counters) {
  const uint32_t nsid = facts->nsid;
  CHECK(nsid > 0 && nsid <= facts_->namespaces_max, "a namespace beyond the subsystem's number");
  if (namespaces_.size() <= nsid) namespaces_.resize(nsid + 1);
  CHECK(namespaces_[nsid] == nullptr, "a namespace was attached twice");
  namespaces_[nsid] = std::make_unique<NamespaceView>();
  namespaces_[nsid]->channel = channel;
  namespaces_[nsid]->counters = &counters;
  namespaces_[nsid]->facts = std::move(facts);
}

void SubsystemView::Update(std::shared_ptr<const NamespaceFacts> facts) {
  NamespaceView* const ns = Find(facts->nsid);
  if (ns != nullptr) ns->facts = std::move(facts);
}

Task<void> SubsystemView::Detach(uint32_t nsid) {
  NamespaceView* const ns = Find(nsid);
  if (ns == nullptr) co_return;
  ns->leaving = true;
  AbortCommandsOf(*ns);
  const uint64_t patience_ends_ns = reactor_.NowNs() + kDetachPatienceNs;
  // g++ 12 would await in `in_flight > 0 && co_await ...` even when nothing is in flight.
  bool in_time = true;
  while (in_time && ns->in_flight > 0) in_time = co_await left_.Until(patience_ends_ns);
  if (ns->in_flight > 0) EndQueuesOf(*ns);
  while (ns->in_flight > 0) co_await left_;
  namespaces_[nsid] = nullptr;
}

// Nothing ends from within EndEarly, so the lists stay as they are meanwhile.
void SubsystemView::AbortCommandsOf(const NamespaceView& ns) {
  for (Queue* queue : queues_) {
    for (Command* c = queue->commands_.Front(); c != nullptr; c = queue->commands_.Next(*c)) {
      Execution& e = Execution::Of(*c);
      if (e.ns() == &ns) e.EndEarly(Execution::Early::kNamespaceGone, /*let_go=*/false);
    }
  }
}

void SubsystemView::EndQueuesOf(const NamespaceView& ns) {
  std::vector<Queue*> stuck;
  for (Queue* queue : queues_) {
    for (Command* c = queue->commands_.Front(); c != nullptr; c = queue->commands_.Next(*c)) {
      const Execution& e = Execution::Of(*c);
      if (e.ns_ != &ns || !e.AwaitsHost()) continue;
      stuck.push_back(queue);
      break;
    }
  }
  for (Queue* queue : stuck) queue->End("its host holds on to a namespace that is removed");
}

void SubsystemView::OnLeavingCommandEnded() { left_.Pulse(); }

void SubsystemView::SetListener(ListenerView listener) {
  std::unique_ptr<ListenerView>& place = listeners_[listener.id];
  if (place != nullptr) {
    *place = std::move(listener);  // Queues point to it.
  } else {
    place = std::make_unique<ListenerView>(std::move(listener));
  }
}

void SubsystemView::RemoveListener(uint32_t id) {
  const auto found = listeners_.find(id);
  if (found == listeners_.end()) return;
  for (Queue* queue : queues_) {
    if (queue->listener_ == found->second.get()) queue->listener_ = nullptr;
  }
  listeners_.erase(found);
}

void SubsystemView::Tell(SubsystemEvent event, uint32_t subject) {
  for (Queue* queue : queues_) {
    if (queue->controller_ != nullptr) queue->controller_->OnEvent(event, subject);
  }
}

void SubsystemView::AddQueue(Queue& queue) { queues_.push_back(&queue); }
void SubsystemView::RemoveQueue(Queue& queue) { std::erase(queues_, &queue); }

}  // namespace pollux::nvmf
