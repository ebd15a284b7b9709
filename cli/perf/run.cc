#include "cli/perf/run.h"

#include "cli/perf/bench.h"
#include "cli/perf/options.h"
#include "cli/perf/outcome.h"
#include "cli/tool/program.h"

namespace pollux::cli {
namespace {

Result<Outcome> Measure(const PerfOptions& options, std::ostream* progress,
                        const std::atomic<bool>& interrupt) {
  Bench bench(options, progress);
  RETURN_IF_ERROR(bench.Attach());
  return bench.Run(interrupt);
}

}  // namespace

int RunPerf(const std::vector<std::string>& words, std::ostream& out, std::ostream& err,
            bool err_is_terminal, const std::atomic<bool>& interrupt) {
  PerfOptions options;
  const Flags flags = MakePerfFlags(options);
  const Status parsed = ParsePerfOptions(flags, words, options);
  const auto measure = [&](std::ostream* progress) {
    return Measure(options, progress, interrupt);
  };
  return RunMeasuring(flags, parsed, options, out, err, err_is_terminal, measure);
}

}  // namespace pollux::cli
