#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/run_on.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

using Workers = std::vector<std::unique_ptr<Worker>>;  // One per reactor, by its index.

// The views of one subsystem on all reactors, as the control loop reaches them.
class Views {
 public:
  Views(std::string nqn, const Workers& workers) : nqn_(std::move(nqn)), workers_(workers) {}

  size_t size() const { return workers_.size(); }
  // Runs `step(view, reactor index)` on each reactor, one after the other.
  template <typename Step>
  Task<void> ForEach(Step step) const {
    for (size_t i = 0; i < workers_.size(); ++i) {
      Worker& worker = *workers_[i];
      auto here = [this, &step, &worker, i] { step(*worker.FindView(nqn_), i); };
      co_await RunOn(worker.reactor(), here);
    }
  }
  Task<void> Tell(SubsystemEvent event, uint32_t subject = 0) const {
    auto tell = [event, subject](SubsystemView& view, size_t) { view.Tell(event, subject); };
    co_await ForEach(tell);
  }
  // Takes namespaces from all reactors.
  Task<void> Detach(std::vector<uint32_t> nsids) const {
    Loop& home = *Loop::Current();
    for (const auto& worker : workers_) {
      co_await SwitchTo(worker->reactor());
      for (const uint32_t nsid : nsids) co_await worker->FindView(nqn_)->Detach(nsid);
    }
    co_await SwitchTo(home);
  }

  Task<void> Add(std::shared_ptr<const SubsystemFacts> facts) const {
    for (const auto& worker : workers_) {
      auto add = [&worker, &facts] { worker->AddView(facts); };
      co_await RunOn(worker->reactor(), add);
    }
  }
  Task<void> Remove() const {
    for (const auto& worker : workers_) {
      auto remove = [this, &worker] { worker->RemoveView(nqn_); };
      co_await RunOn(worker->reactor(), remove);
    }
  }

 private:
  const std::string nqn_;
  const Workers& workers_;
};

}  // namespace pollux::nvmf
