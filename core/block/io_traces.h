#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/block/io_trace.h"
#include "core/block/io_watch.h"
#include "core/reactors.h"
#include "core/task.h"
#include "core/turn.h"

namespace pollux {

// The traces of all reactors: on for all devices, or off. Control loop only, apart from Join and
// Leave.
class IoTraces {
 public:
  // Names of devices that are gone are remembered, up to this many: their requests may still be in
  // a trace.
  static constexpr size_t kGoneMax = 1024;

  explicit IoTraces(Reactors& reactors);
  ~IoTraces();

  // From now on each reactor keeps its last `requests`, at most IoTrace::kCapacityMax. 0: none.
  // What was kept before is forgotten.
  Task<void> Keep(size_t requests);
  // How many each reactor keeps. 0: it is off.
  size_t capacity() const;
  // The last of each reactor, at most `count`, oldest first.
  std::vector<std::vector<TracedIo>> Last(size_t count) const;

  void Named(uint32_t device, const std::string& name) { names_[device] = name; }
  void Gone(uint32_t device);
  // Empty when it is forgotten.
  std::string NameOf(uint32_t device) const;

  // By each channel, on its reactor.
  void Join(Reactor& reactor, IoWatch& watch);
  void Leave(Reactor& reactor, IoWatch& watch);

 private:
  struct PerReactor {
    IntrusiveList<IoWatch, &IoWatch::node_> watches;  // The reactor's.
    IoTrace* current = nullptr;                       // The reactor's.
    std::unique_ptr<IoTrace> trace;
  };

  Reactors& reactors_;
  Turn turn_;
  std::vector<PerReactor> per_reactor_;
  std::map<uint32_t, std::string> names_;
  std::deque<uint32_t> gone_;  // Oldest first.
};

}  // namespace pollux
