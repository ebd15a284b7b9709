#pragma once
#include <vector>

namespace pollux {

// The cores for what the kernel does for the rings of reactors (ReactorRing::Options): those that
// the calling thread may use and no reactor has; all that it may use when none is left.
std::vector<int> WorkerCores(const std::vector<int>& reactor_cores);

}  // namespace pollux
