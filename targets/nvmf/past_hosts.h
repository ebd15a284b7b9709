#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include "targets/nvmf/command_counters.h"

namespace pollux::nvmf {

// What controllers of a subsystem have counted that are no more, by host. Anybody may be a host, so
// not all of them are remembered: the one that has been away longest gives way.
class PastHosts {
 public:
  static constexpr size_t kHostsMax = 1024;
  struct Past {
    CommandTotals totals;
    uint64_t left = 0;  // A later one has left later.
  };

  void Add(const std::string& hostnqn, const CommandTotals& totals) {
    Past& past = all_[hostnqn];
    past.totals += totals;
    past.left = ++departures_;
    if (all_.size() <= kHostsMax) return;
    all_.erase(std::min_element(all_.begin(), all_.end(), [](const auto& a, const auto& b) {
      return a.second.left < b.second.left;
    }));
  }
  const std::map<std::string, Past>& all() const { return all_; }

 private:
  std::map<std::string, Past> all_;
  uint64_t departures_ = 0;
};

}  // namespace pollux::nvmf
