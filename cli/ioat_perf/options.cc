#include "cli/ioat_perf/options.h"

#include "core/clock.h"

namespace pollux::cli {
namespace {

constexpr unsigned kChannelsMax = 64;

struct OperationName {
  const char* name;
  IoatOperation operation;
};
constexpr OperationName kOperations[] = {{"copy", IoatOperation::kCopy},
                                         {"fill", IoatOperation::kFill},
                                         {"xor", IoatOperation::kXor},
                                         {"pq", IoatOperation::kPq}};

Status TakeOperation(const std::string& value, IoatPerfOptions& options) {
  for (const OperationName& known : kOperations) {
    if (value != known.name) continue;
    options.operation = known.operation;
    options.operation_name = value;
    return OkStatus();
  }
  return InvalidField("-w", value, "must be copy, fill, xor or pq");
}

}  // namespace

Flags MakeIoatPerfFlags(IoatPerfOptions& options) {
  Flags flags("pollux-ioat-perf", "[FLAG]... [DEVICE]...",
              "Has I/OAT channels move memory as fast as they can, and tells how fast that was;\n"
              "with --cpu also how fast the CPU does the same.\n"
              "\n"
              "  DEVICE                  0000:00:04.0, or the directory of a vfio-user socket.\n"
              "                          None: the CPU alone, with --cpu\n");
  flags.AddHeading("What to do:");
  flags.Add("-w, --workload", "KIND",
            "copy, fill, xor, or pq: both checks of RAID-6 (default: copy)",
            [&options](const std::string& value) { return TakeOperation(value, options); });
  flags.Add("-o, --size", "SIZE", "of one operation, in bytes or as 4k (default: 4k)",
            TakeSize("-o", 1, kIoatBytesMax, options.bytes));
  flags.Add("-q, --depth", "N", "operations in flight on each channel (default: 128)",
            TakeNumber("-q", 1, kIoatDepthMax, options.depth));
  flags.Add("--sources", "N", "of xor and pq, 2 to 8 (default: 4)",
            TakeNumber("--sources", kIoatSourcesMin, kIoatSourcesMax, options.sources));
  AddLengthFlags(flags, "how long (default: 10)",
                 {"--operations", "stop when each channel has made so many"}, options);
  flags.AddHeading("Where:");
  flags.Add("--channels", "N", "of each device (default: one)",
            TakeNumber("--channels", 1, kChannelsMax, options.channels));
  AddCoresFlag(flags,
               "one thread on each, such as 0-3,8; the channels are spread over them\n"
               "(default: one thread, on no core in particular)",
               options);
  flags.AddSwitch("--cpu", "afterwards the same by the CPU, with as many channels in its place",
                  options.cpu);
  flags.AddHeading("How:");
  flags.AddSwitch("--verify", "change the data before each operation, and check its result",
                  options.verify);
  AddSeedFlag(flags, "of the data (default: 1)", options);
  flags.AddSwitch("--no-iommu", "drive a PCI device without an IOMMU: it can then write anywhere",
                  options.allow_no_iommu);
  AddOutputFlags(flags, "an operation failed", options);
  return flags;
}

Status ParseIoatPerfOptions(const Flags& flags, const std::vector<std::string>& words,
                            IoatPerfOptions& options) {
  RETURN_IF_ERROR(flags.Parse(words, options.devices));
  if (options.help) return OkStatus();
  if (options.devices.empty() && !options.cpu) {
    return InvalidArgument("which device? Or --cpu, for the CPU alone");
  }
  return CompleteLength(kDefaultDurationNs, options);
}

}  // namespace pollux::cli
