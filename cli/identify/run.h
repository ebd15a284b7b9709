#pragma once
#include <ostream>
#include <string>
#include <vector>

namespace pollux::cli {

// pollux-identify. Returns the process's exit code: 0 done, 1 the device did not tell, 2 misused.
int RunIdentify(const std::vector<std::string>& words, std::ostream& out, std::ostream& err);

}  // namespace pollux::cli
