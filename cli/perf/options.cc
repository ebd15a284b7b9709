#include "cli/perf/options.h"

#include "absl/strings/str_split.h"
#include "core/clock.h"

namespace pollux::cli {
namespace {

constexpr uint64_t kDefaultDurationNs = 10 * kNsPerSecond;
constexpr unsigned kCoreMax = 1023;
constexpr uint32_t kNsidMax = 0xfffffffe;

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

Status TakePattern(const std::string& value, PerfOptions& options) {
  for (const PatternName& known : kPatterns) {
    if (value != known.name) continue;
    options.pattern = known.pattern;
    options.pattern_name = value;
    return OkStatus();
  }
  return InvalidField("-w", value,
                      "must be read, write, randread, randwrite, rw, randrw or verify");
}

Status TakeNamespaces(const std::string& value, PerfOptions& options) {
  options.nsids.clear();
  for (const absl::string_view word : absl::StrSplit(value, ',')) {
    ASSIGN_OR_RETURN(const uint64_t nsid, ParseNumber("-n", std::string(word), 1, kNsidMax));
    options.nsids.push_back(static_cast<uint32_t>(nsid));
  }
  if (options.nsids.size() > kNamespacesMax) {
    return InvalidField("-n", value, "has more than %d", kNamespacesMax);
  }
  return OkStatus();
}

Status TakeRange(const std::string& value, PerfOptions& options) {
  const std::vector<std::string> parts = absl::StrSplit(value, absl::MaxSplits(':', 1));
  ASSIGN_OR_RETURN(options.first_block, ParseNumber("--range", parts[0], 0, UINT64_MAX));
  if (parts.size() > 1) {
    ASSIGN_OR_RETURN(options.range_blocks, ParseNumber("--range", parts[1], 1, UINT64_MAX));
  }
  return OkStatus();
}

}  // namespace

bool PerfOptions::is_random() const {
  return pattern == Pattern::kRandRead || pattern == Pattern::kRandWrite ||
         pattern == Pattern::kRandRw;
}

Flags MakePerfFlags(PerfOptions& options) {
  Flags flags("pollux-perf", "[FLAG]... CONTROLLER...",
              "Reads and writes NVMe namespaces as fast as they go, and tells how fast that was.\n"
              "What is written destroys what was there.\n"
              "\n"
              "  CONTROLLER              0000:01:00.0, or the directory of a vfio-user socket, or\n"
              "                          \"trtype:PCIe traddr:0000:01:00.0\", or\n"
              "                          \"trtype:TCP traddr:10.0.0.1 trsvcid:4420 subnqn:NQN\";\n"
              "                          pollux-identify \"trtype:TCP traddr:10.0.0.1\" tells\n"
              "                          which there are\n");
  flags.AddHeading("What to do:");
  flags.Add("-w, --workload", "KIND",
            "read, write, rw (both): in order; randread, randwrite, randrw: anywhere;\n"
            "verify: all of the range is written, read back and compared\n(default: randread)",
            [&options](const std::string& value) { return TakePattern(value, options); });
  flags.Add("-o, --size", "SIZE", "of one I/O, in bytes or as 4k (default: 4k)",
            [&options](const std::string& value) -> Status {
              ASSIGN_OR_RETURN(const uint64_t bytes, ParseSize("-o", value, 512, kIoBytesMax));
              options.io_bytes = static_cast<uint32_t>(bytes);
              return OkStatus();
            });
  flags.Add("-q, --depth", "N", "I/Os in flight on each queue (default: 128)",
            TakeNumber("-q", 1, kDepthMax, options.depth));
  flags.Add("-M, --mix", "PERCENT", "of reads in rw and randrw (default: 50)",
            TakeNumber("-M", 0, 100, options.mix));
  flags.Add("-t, --time", "SECONDS", "how long (default: 10; verify: one pass)",
            TakeSeconds("-t", options.duration_ns));
  flags.Add("--ios", "N", "stop when each queue has made so many",
            TakeNumber("--ios", 1, UINT64_MAX, options.ios_max));
  flags.Add("--warmup", "SECONDS", "not counted, before that",
            TakeSeconds("--warmup", options.warmup_ns));
  flags.AddHeading("Where:");
  flags.Add("-n, --namespace", "NSID[,NSID]", "(default: the first of each controller)",
            [&options](const std::string& value) { return TakeNamespaces(value, options); });
  flags.Add("--range", "FIRST[:BLOCKS]", "only these blocks (default: all)",
            [&options](const std::string& value) { return TakeRange(value, options); });
  flags.Add("-c, --cores", "LIST",
            "one thread on each, such as 0-3,8; the queues are spread over them\n"
            "(default: one thread, on no core in particular)",
            [&options](const std::string& value) -> Status {
              ASSIGN_OR_RETURN(options.cores, ParseSet("-c", value, kCoreMax, kCoresMax));
              return OkStatus();
            });
  flags.Add("--queues", "N", "queue pairs for each namespace (default: one)",
            TakeNumber("--queues", 1, kQueuesMax, options.queues));
  flags.AddHeading("How:");
  flags.AddSwitch("--verify",
                  "write blocks that tell their address and generation, and check in what\n"
                  "is read all that was written before",
                  options.verify);
  flags.Add("--seed", "N", "of addresses and of what is written (default: 1)",
            TakeNumber("--seed", 0, UINT64_MAX, options.seed));
  flags.AddSwitch("--fua", "Force Unit Access", options.fua);
  flags.AddSwitch("--no-shadow-doorbells", "without Doorbell Buffer Config",
                  options.no_shadow_doorbells);
  flags.AddSwitch("--no-sgl", "PRP lists only", options.no_sgl);
  flags.AddSwitch("--cmb", "submission queues in the controller memory buffer",
                  options.queues_in_cmb);
  flags.AddSwitch("--header-digest", "over TCP, of each header", options.header_digest);
  flags.AddSwitch("--data-digest", "over TCP, of all data", options.data_digest);
  flags.AddSwitch("--no-iommu", "drive a PCI device without an IOMMU: it can then write anywhere",
                  options.allow_no_iommu);
  flags.AddHeading("Output:");
  flags.AddSwitch("--json", "the result as JSON", options.json);
  flags.AddSwitch("--progress", "a line each second, also when that is no terminal",
                  options.progress);
  flags.AddSwitch("--quiet", "no such line", options.quiet);
  flags.AddSwitch("-h, --help", "this", options.help);
  flags.AddHeading("Exit code: 0 done; 1 an I/O failed, data differed, or no device; 2 misused.");
  return flags;
}

Status ParsePerfOptions(const Flags& flags, const std::vector<std::string>& words,
                        PerfOptions& options) {
  std::vector<std::string> positional;
  RETURN_IF_ERROR(flags.Parse(words, positional));
  if (options.help) return OkStatus();
  for (const std::string& text : positional) {
    pollux_nvme_transport_id id{};
    if (pollux_nvme_transport_id_parse(text.c_str(), &id) < 0) {
      return InvalidArgument("%s: %s", text, pollux_nvme_error_text());
    }
    options.controllers.push_back(id);
  }
  if (options.controllers.empty()) return InvalidArgument("which controller?");
  if (options.pattern == Pattern::kVerify) options.verify = true;
  if (options.duration_ns == 0 && options.ios_max == 0 && options.pattern != Pattern::kVerify) {
    options.duration_ns = kDefaultDurationNs;
  }
  if (options.warmup_ns > 0 && options.duration_ns == 0) {
    return InvalidArgument("--warmup needs -t");
  }
  if (options.verify && !options.writes()) {
    return InvalidArgument("--verify checks what the same run has written: %s writes nothing",
                           options.pattern_name);
  }
  return OkStatus();
}

}  // namespace pollux::cli
