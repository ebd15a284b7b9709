#pragma once
#include <ostream>
#include <string>

#include "cli/tool/flags.h"
#include "core/status.h"

namespace pollux::cli {

inline constexpr int kExitDone = 0, kExitFailed = 1, kExitMisused = 2;

// What a program says where its words are no command line, and returns.
int RefuseMisuse(const Flags& flags, const Status& why, std::ostream& err);
// What it says where there is no result, and returns.
int RefuseFailure(const Flags& flags, const Status& why, std::ostream& err);

// From the command line to the exit code, for programs that measure. `options` are those that were
// parsed, of a type that derives from MeasuringOptions; `measure` makes of them and of where a line
// of progress goes (or null) the Result of something that is ForPeople(), ToJson() and Good().
template <typename Options, typename Measure>
int RunMeasuring(const Flags& flags, const Status& parsed, const Options& options,
                 std::ostream& out, std::ostream& err, bool err_is_terminal,
                 const Measure& measure) {
  if (!parsed.ok()) return RefuseMisuse(flags, parsed, err);
  if (options.help) {
    out << flags.Help();
    return kExitDone;
  }
  const bool progress = options.progress || (err_is_terminal && !options.quiet);
  const auto outcome = measure(progress ? &err : nullptr);
  if (!outcome.ok()) return RefuseFailure(flags, outcome.status(), err);
  out << (options.json ? ToJson(options, *outcome) : ForPeople(options, *outcome));
  return outcome->Good() ? kExitDone : kExitFailed;
}

}  // namespace pollux::cli
