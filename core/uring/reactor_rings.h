#pragma once
#include <memory>
#include <vector>

#include "core/reactors.h"
#include "core/status.h"
#include "core/task.h"
#include "core/uring/reactor_ring.h"

namespace pollux {

// The io_uring of each reactor.
class ReactorRings {
 public:
  explicit ReactorRings(Reactors& reactors) : reactors_(reactors) {}
  ~ReactorRings();

  // What would block is done on cores that no reactor polls, if there are any (WorkerCores). Those
  // made before an error stay until Destroy.
  Task<Status> Make();
  // With nothing in flight on any.
  Task<void> Destroy();

  bool empty() const { return rings_.empty(); }
  // The one of reactors[index].
  ReactorRing& operator[](size_t index) { return *rings_[index]; }

 private:
  Reactors& reactors_;
  std::vector<std::unique_ptr<ReactorRing>> rings_;
};

}  // namespace pollux
