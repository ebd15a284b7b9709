#include "core/uring/worker_cores.h"

#include <sched.h>

#include <algorithm>

namespace pollux {

std::vector<int> WorkerCores(const std::vector<int>& reactor_cores) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return {};
  std::vector<int> all;
  std::vector<int> left;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(static_cast<size_t>(core), &allowed)) continue;
    all.push_back(core);
    if (std::ranges::find(reactor_cores, core) == reactor_cores.end()) left.push_back(core);
  }
  return left.empty() ? all : left;
}

}  // namespace pollux
