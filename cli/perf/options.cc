#include "cli/perf/options.h"

#include "absl/strings/str_split.h"

namespace pollux::cli {
namespace {

constexpr uint32_t kNsidMax = 0xfffffffe;

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

}  // namespace

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
  AddWorkloadFlags(flags, options);
  flags.AddHeading("Where:");
  flags.Add("-n, --namespace", "NSID[,NSID]", "(default: the first of each controller)",
            [&options](const std::string& value) { return TakeNamespaces(value, options); });
  AddRangeFlag(flags, options);
  AddCoresFlag(flags,
               "one thread on each, such as 0-3,8; the queues are spread over them\n"
               "(default: one thread, on no core in particular)",
               options);
  flags.Add("--queues", "N", "queue pairs for each namespace (default: one)",
            TakeNumber("--queues", 1, kQueuesMax, options.queues));
  flags.AddHeading("How:");
  AddVerifyFlags(flags, options);
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
  AddOutputFlags(flags, "an I/O failed", options);
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
  return CompleteIoOptions(options);
}

}  // namespace pollux::cli
