#include "cli/tool/measuring.h"

namespace pollux::cli {
namespace {

constexpr unsigned kCoreMax = 1023;

}  // namespace

void AddLengthFlags(Flags& flags, const char* time_help, const CountFlag& count,
                    MeasuringOptions& options) {
  flags.Add("-t, --time", "SECONDS", time_help, TakeSeconds("-t", options.duration_ns));
  flags.Add(count.name, "N", count.help, TakeNumber(count.name, 1, UINT64_MAX, options.count_max));
  flags.Add("--warmup", "SECONDS", "not counted, before that",
            TakeSeconds("--warmup", options.warmup_ns));
}

void AddCoresFlag(Flags& flags, const char* help, MeasuringOptions& options, size_t most) {
  flags.Add("-c, --cores", "LIST", help, [&options, most](const std::string& value) -> Status {
    ASSIGN_OR_RETURN(options.cores, ParseSet("-c", value, kCoreMax, most));
    return OkStatus();
  });
}

void AddSeedFlag(Flags& flags, const char* help, MeasuringOptions& options) {
  flags.Add("--seed", "N", help, TakeNumber("--seed", 0, UINT64_MAX, options.seed));
}

void AddOutputFlags(Flags& flags, const std::string& failing, MeasuringOptions& options) {
  flags.AddHeading("Output:");
  flags.AddSwitch("--json", "the result as JSON", options.json);
  flags.AddSwitch("--progress", "a line each second, also when that is no terminal",
                  options.progress);
  flags.AddSwitch("--quiet", "no such line", options.quiet);
  flags.AddSwitch("-h, --help", "this", options.help);
  flags.AddHeading("Exit code: 0 done; 1 " + failing + ", data differed, or no device; 2 misused.");
}

Status CompleteLength(uint64_t default_ns, MeasuringOptions& options) {
  if (options.duration_ns == 0 && options.count_max == 0) options.duration_ns = default_ns;
  if (options.warmup_ns > 0 && options.duration_ns == 0) {
    return InvalidArgument("--warmup needs -t");
  }
  return OkStatus();
}

}  // namespace pollux::cli
