#include "cli/workload/io_options.h"

#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/tool/units.h"

namespace pollux::cli {
namespace {

struct PatternName {
  const char* name;
  Pattern pattern;
};
constexpr PatternName kPatterns[] = {
    {"read", Pattern::kRead},
    {"write", Pattern::kWrite},
    {"randread", Pattern::kRandRead},
    {"randwrite", Pattern::kRandWrite},
    {"rw", Pattern::kRw},
    {"randrw", Pattern::kRandRw},
    {"verify", Pattern::kVerify},
};

Status TakePattern(const std::string& value, IoOptions& options) {
  for (const PatternName& known : kPatterns) {
    if (value != known.name) continue;
    options.pattern = known.pattern;
    options.pattern_name = value;
    return OkStatus();
  }
  return InvalidField("-w", value,
                      "must be read, write, randread, randwrite, rw, randrw or verify");
}

Status TakeRange(const std::string& value, IoOptions& options) {
  const std::vector<std::string> parts = absl::StrSplit(value, absl::MaxSplits(':', 1));
  ASSIGN_OR_RETURN(options.first_block, ParseNumber("--range", parts[0], 0, UINT64_MAX));
  if (parts.size() > 1) {
    ASSIGN_OR_RETURN(options.range_blocks, ParseNumber("--range", parts[1], 1, UINT64_MAX));
  }
  return OkStatus();
}

}  // namespace

bool IoOptions::is_random() const {
  return pattern == Pattern::kRandRead || pattern == Pattern::kRandWrite ||
         pattern == Pattern::kRandRw;
}

void AddWorkloadFlags(Flags& flags, IoOptions& options) {
  flags.Add("-w, --workload", "KIND",
            "read, write, rw (both): in order; randread, randwrite, randrw: anywhere;\n"
            "verify: all of the range is written, read back and compared\n(default: randread)",
            [&options](const std::string& value) { return TakePattern(value, options); });
  flags.Add("-o, --size", "SIZE", "of one I/O, in bytes or as 4k (default: 4k)",
            TakeSize("-o", 512, kIoBytesMax, options.io_bytes));
  flags.Add("-q, --depth", "N", "I/Os in flight on each queue (default: 128)",
            TakeNumber("-q", 1, kDepthMax, options.depth));
  flags.Add("-M, --mix", "PERCENT", "of reads in rw and randrw (default: 50)",
            TakeNumber("-M", 0, 100, options.mix));
  AddLengthFlags(flags, "how long (default: 10; verify: one pass)",
                 {"--ios", "stop when each queue has made so many"}, options);
}

void AddRangeFlag(Flags& flags, IoOptions& options) {
  flags.Add("--range", "FIRST[:BLOCKS]", "only these blocks (default: all)",
            [&options](const std::string& value) { return TakeRange(value, options); });
}

void AddVerifyFlags(Flags& flags, IoOptions& options) {
  flags.AddSwitch("--verify",
                  "write blocks that tell their address and generation, and check in what\n"
                  "is read all that was written before",
                  options.verify);
  AddSeedFlag(flags, "of addresses and of what is written (default: 1)", options);
}

Status CompleteIoOptions(IoOptions& options) {
  const bool passes = options.pattern == Pattern::kVerify;
  if (passes) options.verify = true;
  RETURN_IF_ERROR(CompleteLength(passes ? 0 : kDefaultDurationNs, options));
  if (options.verify && !options.writes()) {
    return InvalidArgument("--verify checks what the same run has written: %s writes nothing",
                           options.pattern_name);
  }
  return OkStatus();
}

std::string WorkloadText(const IoOptions& options) {
  std::string text = absl::StrFormat("%s, %s", options.pattern_name, BytesText(options.io_bytes));
  if (options.is_mixed()) text += absl::StrFormat(", %d %% reads", options.mix);
  text += absl::StrFormat(", depth %d", options.depth);
  if (options.verify && options.pattern != Pattern::kVerify) text += ", verified";
  return text;
}

}  // namespace pollux::cli
