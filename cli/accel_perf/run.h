#pragma once
#include <atomic>
#include <ostream>
#include <string>
#include <vector>

namespace pollux::cli {

// pollux-accel-perf. `interrupt` ends the run early. Returns the process's exit code: 0 done, 1 an
// operation failed or data differed or there is no device, 2 misused.
int RunAccelPerf(const std::vector<std::string>& words, std::ostream& out, std::ostream& err,
                 bool err_is_terminal, const std::atomic<bool>& interrupt);

}  // namespace pollux::cli
