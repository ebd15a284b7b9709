#pragma once
#include <ostream>
#include <string>
#include <vector>

namespace pollux::cli {

// `pollux state ...`: the state directory of polluxd, without polluxd. `words`: what follows
// "state". Returns the process's exit code, as Run() does: 0 done, 1 refused or damaged, 2 misused.
int RunState(const std::vector<std::string>& words, std::ostream& out, std::ostream& err);

}  // namespace pollux::cli
