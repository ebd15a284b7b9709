#include "cli/bdev_perf/run.h"

#include "cli/bdev_perf/bench.h"
#include "cli/bdev_perf/options.h"
#include "cli/bdev_perf/outcome.h"
#include "cli/tool/program.h"
#include "core/log.h"

namespace pollux::cli {

int RunBdevPerf(const std::vector<std::string>& words, std::ostream& out, std::ostream& err,
                bool err_is_terminal, const std::atomic<bool>& interrupt) {
  SetLogLevel(LogLevel::kWarning);  // Drivers tell of each device that comes.
  BdevPerfOptions options;
  const Flags flags = MakeBdevPerfFlags(options);
  const Status parsed = ParseBdevPerfOptions(flags, words, options);
  const auto measure = [&](std::ostream* progress) {
    return RunBdevBench(options, progress, interrupt);
  };
  return RunMeasuring(flags, parsed, options, out, err, err_is_terminal, measure);
}

}  // namespace pollux::cli
