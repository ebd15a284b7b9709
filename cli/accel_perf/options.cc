#include "cli/accel_perf/options.h"

#include <algorithm>

#include "absl/strings/str_split.h"
#include "cli/accel_perf/work.h"
#include "core/clock.h"
#include "core/reactors.h"

namespace pollux::cli {
namespace {

constexpr uint64_t kDefaultSweepNs = 1 * kNsPerSecond;

std::string Opcodes() {
  std::string names;
  for (int i = 0; i < kAccelOpcodeCount; ++i) {
    if (i > 0) names += i % 6 == 0 ? ",\n" : ", ";
    names += AccelOpcodeName(static_cast<AccelOpcode>(i));
  }
  return names;
}

Status TakeWorkload(const std::string& value, AccelPerfOptions& options) {
  options.steps.clear();
  for (const absl::string_view word : absl::StrSplit(value, ',')) {
    const auto opcode = ParseAccelOpcode({word.data(), word.size()});
    if (!opcode) return InvalidField("-w", value, "'%s' is no operation: see --help", word);
    options.steps.push_back(*opcode);
  }
  if (options.steps.size() > kAccelStepsMax) {
    return InvalidField("-w", value, "has more than %u operations", kAccelStepsMax);
  }
  options.workload = value;
  return OkStatus();
}

}  // namespace

Flags MakeAccelPerfFlags(AccelPerfOptions& options) {
  Flags flags("pollux-accel-perf", "[FLAG]... [DEVICE]...",
              "Has the accel layer move and examine memory as fast as it can, and tells how fast\n"
              "that was, and how much of the CPU it took: with I/OAT devices, and without.\n"
              "\n"
              "  DEVICE                  0000:00:04.0, or the directory of a vfio-user socket.\n"
              "                          None: the CPU alone\n");
  flags.AddHeading("What to do:");
  flags.Add(
      "-w, --workload", "LIST",
      "one operation, or up to four of a chain, such as copy,crc32c\n(default: copy): " + Opcodes(),
      [&options](const std::string& value) { return TakeWorkload(value, options); });
  flags.Add("-o, --size", "SIZE", "of one operation, in bytes or as 4k (default: 4k)",
            TakeSize("-o", 1, kAccelBytesMax, options.bytes));
  flags.Add("-q, --depth", "N", "chains in flight on each core (default: 128)",
            TakeNumber("-q", 1, kAccelDepthMax, options.depth));
  AddLengthFlags(flags, "how long (default: 10; --sweep: 1 for each size)",
                 {"--operations", "stop when each core has made so many chains"}, options);
  flags.AddSwitch("--sweep",
                  "sizes from 512 bytes to 1 MiB, by the device and by the CPU: from which on\n"
                  "does a device save the CPU's time?",
                  options.sweep);
  flags.AddHeading("Where:");
  AddCoresFlag(flags, "a thread on each, such as 0-3,8 (default: 0)", options,
               Reactors::kReactorsMax);
  flags.AddSwitch("--cpu", "afterwards the same by the CPU", options.cpu);
  flags.Add("--min", "SIZE", "what is shorter the CPU executes (default: 0)",
            TakeSize("--min", 0, UINT32_MAX, options.bytes_min));
  flags.AddHeading("How:");
  flags.AddSwitch("--verify", "spoil the destinations before each chain, and check its results",
                  options.verify);
  AddSeedFlag(flags, "of the data (default: 1)", options);
  AddOutputFlags(flags, "an operation failed", options);
  return flags;
}

Status ParseAccelPerfOptions(const Flags& flags, const std::vector<std::string>& words,
                             AccelPerfOptions& options) {
  RETURN_IF_ERROR(flags.Parse(words, options.devices));
  if (options.help) return OkStatus();
  if (options.sweep && options.devices.empty()) {
    return InvalidArgument("--sweep compares a device with the CPU: which device?");
  }
  RETURN_IF_ERROR(CompleteLength(options.sweep ? kDefaultSweepNs : kDefaultDurationNs, options));
  if (options.cores.empty()) options.cores = {0};
  const bool protects = std::any_of(options.steps.begin(), options.steps.end(), IsOfProtection);
  if (protects && options.bytes % AccelWork::kBlockBytes != 0) {
    return InvalidArgument("-o must be a multiple of %u for %s", AccelWork::kBlockBytes,
                           options.workload);
  }
  if (uint64_t{options.depth} * AccelWork::MemoryBytes(options.bytes) > kAccelMemoryMax) {
    return InvalidArgument("depth and size take too much memory");
  }
  return OkStatus();
}

}  // namespace pollux::cli
