#include "cli/identify/run.h"

#include "cli/identify/describe.h"
#include "cli/identify/inspect.h"
#include "cli/tool/flags.h"
#include "core/log.h"

namespace pollux::cli {
namespace {

constexpr int kDone = 0, kFailed = 1, kMisused = 2;
constexpr size_t kMemoryBytes = 16 << 20;

struct Options {
  InspectOptions inspect;
  bool json = false, help = false, allow_no_iommu = false;
};

Flags MakeFlags(Options& options) {
  Flags flags(
      "pollux-identify", "[FLAG]... [CONTROLLER]",
      "Tells what an NVMe controller says about itself, its namespaces and its logs, under\n"
      "the names of the NVM Express specifications. Without a controller: which there are\n"
      "on the PCI bus. The controller is attached for that, so no other driver has it.\n"
      "\n"
      "  CONTROLLER              0000:01:00.0, or the directory of a vfio-user socket, or\n"
      "                          \"trtype:PCIe traddr:0000:01:00.0\", or\n"
      "                          \"trtype:TCP traddr:10.0.0.1 trsvcid:4420 subnqn:NQN\"\n"
      "\n"
      "A discovery service is asked what there is: \"trtype:TCP traddr:10.0.0.1\", with port\n"
      "8009 and the well-known name where none are given.\n"
      "\n"
      "Flags:\n");
  flags.Add("-n, --namespace", "NSID", "only this namespace (default: all that are active)",
            [&options](const std::string& value) -> Status {
              ASSIGN_OR_RETURN(const uint64_t nsid, ParseNumber("-n", value, 1, 0xfffffffe));
              options.inspect.nsid = static_cast<uint32_t>(nsid);
              return OkStatus();
            });
  flags.Add("-l, --log", "NAME[,NAME]...",
            "smart, error, firmware, effects, self-test, sanitize, ana, or all\n"
            "(default: smart, error, firmware, and effects where it is supported)",
            [&options](const std::string& value) -> Status {
              ASSIGN_OR_RETURN(options.inspect.logs, ParseLogPages(value));
              return OkStatus();
            });
  flags.AddSwitch("--json", "print JSON: raw numbers, the same names", options.json);
  flags.AddSwitch("--no-iommu", "drive a PCI device without an IOMMU: it can then write anywhere",
                  options.allow_no_iommu);
  flags.AddSwitch("-h, --help", "this", options.help);
  return flags;
}

// The driver's admin commands of one controller.
class AttachedAdmin final : public AdminChannel {
 public:
  explicit AttachedAdmin(pollux_nvme_controller* controller) : controller_(controller) {}

  Status Run(const pollux_nvme_command& command, void* data, size_t bytes) override {
    pollux_nvme_completion completion{};
    const int error = pollux_nvme_admin_wait(controller_, &command, data, bytes, &completion);
    if (error < 0) return ErrorOfErrno(-error, pollux_nvme_error_text());
    if (pollux_nvme_ok(completion)) return OkStatus();
    char text[128];
    return InternalError("%s", pollux_nvme_status_text(completion.status, text, sizeof(text)));
  }

 private:
  pollux_nvme_controller* const controller_;
};

void Show(const Section& report, bool json, std::ostream& out) {
  if (!json) {
    out << ForPeople(report);
    return;
  }
  JsonWriter writer;
  WriteJson(report, writer);
  out << writer.Take();
}

// What the PCI bus has.
Status ListControllers(pollux_nvme_host* host, bool json, std::ostream& out) {
  Section list("", "NVMe controllers on the PCI bus");
  Section& found = list.AddList("controllers", "NVMe controllers on the PCI bus");
  const auto add = [](void* context, const pollux_nvme_probe_info* info) {
    Section& one = static_cast<Section*>(context)->AddElement(info->id.traddr);
    const std::string driver = *info->driver != '\0' ? info->driver : "-";
    one.Text("traddr", info->id.traddr, "Address");
    one.Hex("vendor", info->vendor, 4, "Vendor");
    one.Hex("device", info->device, 4, "Device");
    one.Text("driver", driver, "Driver");
    one.SetLine(absl::StrFormat("%04x:%04x  driver %s", info->vendor, info->device, driver));
    return true;
  };
  const int count = pollux_nvme_probe(host, add, &found);
  if (count < 0) return ErrorOfErrno(-count, pollux_nvme_error_text());
  Show(json ? list : found, json, out);
  return OkStatus();
}

constexpr uint8_t kDiscoveryController = 2;  // CNTRLTYPE.

const nvme::IdentifyController& IdentifyOf(pollux_nvme_controller* controller) {
  return *static_cast<const nvme::IdentifyController*>(pollux_nvme_identify_controller(controller));
}

// What a discovery controller is, and what it tells of others.
Result<Section> Discover(pollux_nvme_controller* controller) {
  Section report("", "NVMe discovery controller");
  DescribeController(IdentifyOf(controller),
                     report.Add("controller", "Identify Controller (Base figure 275)"));
  Section& log = report.Add("discovery", "Discovery log page (70h)");
  const auto on_read = [](void* into, int error, const pollux_nvme_discovery_log* read) {
    if (error == 0) DescribeDiscovery(*read, *static_cast<Section*>(into));
  };
  if (const int error = pollux_nvme_discovery_read_wait(controller, on_read, &log); error < 0) {
    return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  return report;
}

Status Tell(const std::vector<std::string>& positional, const Options& options, std::ostream& out) {
  pollux_nvme_host_options host_options{};
  host_options.memory_bytes = kMemoryBytes;
  host_options.allow_no_iommu = options.allow_no_iommu;
  pollux_nvme_host* created = nullptr;
  if (const int error = pollux_nvme_host_create(&host_options, &created); error < 0) {
    return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  const nvme::Host host(created);
  if (positional.empty()) return ListControllers(host.get(), options.json, out);

  pollux_nvme_transport_id id{};
  if (const int error = pollux_nvme_transport_id_parse(positional[0].c_str(), &id); error < 0) {
    return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  pollux_nvme_attach_options attach_options{};
  attach_options.io_queues = 1;
  attach_options.io_queue_depth = 2;
  pollux_nvme_controller* attached = nullptr;
  if (const int error = pollux_nvme_attach(host.get(), &id, &attach_options, &attached);
      error < 0) {
    return ErrorOfErrno(-error, pollux_nvme_error_text());
  }
  const nvme::Controller controller(attached);
  AttachedAdmin admin(attached);
  const bool discovers = IdentifyOf(attached).cntrltype == kDiscoveryController;
  ASSIGN_OR_RETURN(const Section report,
                   discovers ? Discover(attached) : Inspect(admin, options.inspect));
  Show(report, options.json, out);
  return OkStatus();
}

}  // namespace

int RunIdentify(const std::vector<std::string>& words, std::ostream& out, std::ostream& err) {
  Options options;
  const Flags flags = MakeFlags(options);
  std::vector<std::string> positional;
  Status status = flags.Parse(words, positional);
  if (status.ok() && positional.size() > 1) status = InvalidArgument("only one controller");
  if (!status.ok()) {
    err << "pollux-identify: " << std::string(status.message()) << "\n"
        << flags.Usage() << "More: pollux-identify --help\n";
    return kMisused;
  }
  if (options.help) {
    out << flags.Help();
    return kDone;
  }
  status = Tell(positional, options, out);
  if (!status.ok()) {
    err << "pollux-identify: " << Printable(std::string(status.message())) << "\n";
    return kFailed;
  }
  return kDone;
}

}  // namespace pollux::cli
