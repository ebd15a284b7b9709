#include "cli/perf/run.h"

#include "cli/perf/bench.h"
#include "cli/perf/options.h"
#include "cli/perf/outcome.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

constexpr int kDone = 0, kFailed = 1, kMisused = 2;

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
  if (!parsed.ok()) {
    err << "pollux-perf: " << std::string(parsed.message()) << "\n"
        << flags.Usage() << "More: pollux-perf --help\n";
    return kMisused;
  }
  if (options.help) {
    out << flags.Help();
    return kDone;
  }
  const bool progress = options.progress || (err_is_terminal && !options.quiet);
  const Result<Outcome> outcome = Measure(options, progress ? &err : nullptr, interrupt);
  if (!outcome.ok()) {
    err << "pollux-perf: " << Printable(std::string(outcome.status().message())) << "\n";
    return kFailed;
  }
  out << (options.json ? ToJson(options, *outcome) : ForPeople(options, *outcome));
  return outcome->Good() ? kDone : kFailed;
}

}  // namespace pollux::cli
