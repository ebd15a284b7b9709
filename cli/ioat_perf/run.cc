#include "cli/ioat_perf/run.h"

#include "cli/ioat_perf/bench.h"
#include "cli/ioat_perf/options.h"
#include "cli/ioat_perf/outcome.h"
#include "cli/tool/program.h"

namespace pollux::cli {
namespace {

Result<IoatOutcome> Measure(const IoatPerfOptions& options, std::ostream* progress,
                            const std::atomic<bool>& interrupt) {
  IoatBench bench(options, progress);
  RETURN_IF_ERROR(bench.Attach());
  return bench.Run(interrupt);
}

}  // namespace

int RunIoatPerf(const std::vector<std::string>& words, std::ostream& out, std::ostream& err,
                bool err_is_terminal, const std::atomic<bool>& interrupt) {
  IoatPerfOptions options;
  const Flags flags = MakeIoatPerfFlags(options);
  const Status parsed = ParseIoatPerfOptions(flags, words, options);
  const auto measure = [&](std::ostream* progress) {
    return Measure(options, progress, interrupt);
  };
  return RunMeasuring(flags, parsed, options, out, err, err_is_terminal, measure);
}

}  // namespace pollux::cli
