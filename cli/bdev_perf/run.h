#pragma once
#include <atomic>
#include <ostream>
#include <string>
#include <vector>

namespace pollux::cli {

// pollux-bdev-perf. `interrupt` ends the run early. Returns the process's exit code: 0 done, 1 an
// I/O failed or data differed or there is no device, 2 misused.
int RunBdevPerf(const std::vector<std::string>& words, std::ostream& out, std::ostream& err,
                bool err_is_terminal, const std::atomic<bool>& interrupt);

}  // namespace pollux::cli
