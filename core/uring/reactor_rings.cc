#include "core/uring/reactor_rings.h"

#include "core/check.h"
#include "core/run_on.h"
#include "core/uring/worker_cores.h"

namespace pollux {

ReactorRings::~ReactorRings() { CHECK(rings_.empty(), "rings end on their reactors: Destroy"); }

Task<Status> ReactorRings::Make() {
  std::vector<int> polled;
  for (const auto& reactor : reactors_) polled.push_back(reactor->core());
  const ReactorRing::Options options{.worker_cores = WorkerCores(polled)};
  for (const auto& reactor : reactors_) {
    auto make = [&] { return ReactorRing::Make(*reactor, options); };
    ASSIGN_OR_CO_RETURN(std::unique_ptr<ReactorRing> ring, co_await RunOn(*reactor, make));
    rings_.push_back(std::move(ring));
  }
  co_return OkStatus();
}

Task<void> ReactorRings::Destroy() {
  for (size_t i = 0; i < rings_.size(); ++i) {
    auto destroy = [this, i] { rings_[i].reset(); };
    co_await RunOn(reactors_[i], destroy);
  }
  rings_.clear();
}

}  // namespace pollux
