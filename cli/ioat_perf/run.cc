#include "cli/ioat_perf/run.h"

#include "cli/ioat_perf/bench.h"
#include "cli/ioat_perf/options.h"
#include "cli/ioat_perf/outcome.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

constexpr int kDone = 0, kFailed = 1, kMisused = 2;

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
  if (!parsed.ok()) {
    err << "pollux-ioat-perf: " << std::string(parsed.message()) << "\n"
        << flags.Usage() << "More: pollux-ioat-perf --help\n";
    return kMisused;
  }
  if (options.help) {
    out << flags.Help();
    return kDone;
  }
  const bool progress = options.progress || (err_is_terminal && !options.quiet);
  const Result<IoatOutcome> outcome = Measure(options, progress ? &err : nullptr, interrupt);
  if (!outcome.ok()) {
    err << "pollux-ioat-perf: " << Printable(std::string(outcome.status().message())) << "\n";
    return kFailed;
  }
  out << (options.json ? ToJson(options, *outcome) : ForPeople(options, *outcome));
  return outcome->Good() ? kDone : kFailed;
}

}  // namespace pollux::cli
