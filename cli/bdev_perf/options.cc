#include "cli/bdev_perf/options.h"

#include "core/reactors.h"

namespace pollux::cli {
namespace {

constexpr uint32_t kBlockBytesMax = 65536;
// What QoS has units of.
constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kMiBPerSecondMax = uint64_t{1} << 40;

Flags::Take TakeMiB(const char* name, uint64_t& into) {
  return [name, &into](const std::string& value) -> Status {
    ASSIGN_OR_RETURN(const uint64_t mib, ParseNumber(name, value, 1, kMiBPerSecondMax));
    into = mib * kMiB;
    return OkStatus();
  };
}

}  // namespace

Flags MakeBdevPerfFlags(BdevPerfOptions& options) {
  Flags flags(
      "pollux-bdev-perf", "[FLAG]... DISK...",
      "Reads and writes disks through the block layer as fast as it goes, in one process,\n"
      "and tells how fast that was. What is written destroys what was there.\n"
      "\n"
      "  DISK                    null or null:SIZE: drops what is written, reads as zeroes;\n"
      "                          memory or memory:SIZE, such as memory:1g;\n"
      "                          file:PATH: a file or a block device, by io_uring;\n"
      "                          nvme:CONTROLLER: all namespaces of a controller, named\n"
      "                          as for pollux-perf\n");
  flags.AddHeading("What to do:");
  AddWorkloadFlags(flags, options);
  flags.Add("--flush", "PERCENT", "of all I/Os that are flushes (default: 0)",
            TakeNumber("--flush", 0, 100, options.flush));
  flags.Add("--unmap", "PERCENT", "of the others that are unmaps (default: 0)",
            TakeNumber("--unmap", 0, 100, options.unmap));
  flags.AddHeading("Where:");
  AddRangeFlag(flags, options);
  flags.Add("--block-size", "SIZE", "of null and memory disks, and of files (default: 4k)",
            TakeSize("--block-size", 512, kBlockBytesMax, options.block_bytes));
  AddCoresFlag(flags, "a reactor on each, such as 0-3,8; each works on all disks (default: 0)",
               options, Reactors::kReactorsMax);
  flags.AddHeading("How:");
  AddVerifyFlags(flags, options);
  flags.AddSwitch("--fua", "Force Unit Access", options.fua);
  flags.AddSwitch("--lend", "in memory that the disk lends, so that nothing is copied",
                  options.lend);
  flags.Add("--limit-ios", "N", "of all I/Os in a second, of each disk",
            TakeNumber("--limit-ios", 1, UINT64_MAX, options.limits.rw_ios));
  flags.Add("--limit-mib", "N", "of MiB in a second",
            TakeMiB("--limit-mib", options.limits.rw_bytes));
  flags.Add("--limit-read-mib", "N", "of those that are read",
            TakeMiB("--limit-read-mib", options.limits.r_bytes));
  flags.Add("--limit-write-mib", "N", "of those that are written",
            TakeMiB("--limit-write-mib", options.limits.w_bytes));
  AddOutputFlags(flags, "an I/O failed", options);
  return flags;
}

Status ParseBdevPerfOptions(const Flags& flags, const std::vector<std::string>& words,
                            BdevPerfOptions& options) {
  std::vector<std::string> positional;
  RETURN_IF_ERROR(flags.Parse(words, positional));
  if (options.help) return OkStatus();
  for (const std::string& text : positional) {
    ASSIGN_OR_RETURN(DiskSpec spec, ParseDiskSpec(text));
    options.disks.push_back(std::move(spec));
  }
  if (options.disks.empty()) return InvalidArgument("which disk?");
  if (options.lend && (options.flush > 0 || options.unmap > 0)) {
    return InvalidArgument("--lend is of reads and writes: neither --flush nor --unmap lends");
  }
  if (options.cores.empty()) options.cores = {0};
  return CompleteIoOptions(options);
}

}  // namespace pollux::cli
