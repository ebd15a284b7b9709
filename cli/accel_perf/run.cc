#include "cli/accel_perf/run.h"

#include "cli/accel_perf/bench.h"
#include "cli/accel_perf/options.h"
#include "cli/accel_perf/outcome.h"
#include "cli/tool/program.h"

namespace pollux::cli {

int RunAccelPerf(const std::vector<std::string>& words, std::ostream& out, std::ostream& err,
                 bool err_is_terminal, const std::atomic<bool>& interrupt) {
  AccelPerfOptions options;
  const Flags flags = MakeAccelPerfFlags(options);
  const Status parsed = ParseAccelPerfOptions(flags, words, options);
  const auto measure = [&](std::ostream* progress) {
    return RunAccelBench(options, progress, interrupt);
  };
  return RunMeasuring(flags, parsed, options, out, err, err_is_terminal, measure);
}

}  // namespace pollux::cli
