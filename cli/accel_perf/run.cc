#include "cli/accel_perf/run.h"

#include "cli/accel_perf/bench.h"
#include "cli/accel_perf/options.h"
#include "cli/accel_perf/outcome.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

constexpr int kDone = 0, kFailed = 1, kMisused = 2;

}  // namespace

int RunAccelPerf(const std::vector<std::string>& words, std::ostream& out, std::ostream& err,
                 bool err_is_terminal, const std::atomic<bool>& interrupt) {
  AccelPerfOptions options;
  const Flags flags = MakeAccelPerfFlags(options);
  const Status parsed = ParseAccelPerfOptions(flags, words, options);
  if (!parsed.ok()) {
    err << "pollux-accel-perf: " << std::string(parsed.message()) << "\n"
        << flags.Usage() << "More: pollux-accel-perf --help\n";
    return kMisused;
  }
  if (options.help) {
    out << flags.Help();
    return kDone;
  }
  const bool progress = options.progress || (err_is_terminal && !options.quiet);
  const Result<AccelOutcome> outcome = RunAccelBench(options, progress ? &err : nullptr, interrupt);
  if (!outcome.ok()) {
    err << "pollux-accel-perf: " << Printable(std::string(outcome.status().message())) << "\n";
    return kFailed;
  }
  out << (options.json ? ToJson(options, *outcome) : ForPeople(options, *outcome));
  return outcome->Good() ? kDone : kFailed;
}

}  // namespace pollux::cli
