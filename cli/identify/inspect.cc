#include "cli/identify/inspect.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "absl/strings/str_split.h"
#include "cli/identify/describe.h"

namespace pollux::cli {
namespace {

namespace cns = nvme::cns;
namespace log_page = nvme::log_page;

constexpr size_t kIdentifyBytes = 4096;
constexpr size_t kNamespacesMax = 65536;  // More are not asked about.
constexpr size_t kErrorEntriesMax = kIdentifyBytes / sizeof(nvme::ErrorLogEntry);

struct LogName {
  const char* name;
  LogPage page;
};
constexpr LogName kLogNames[] = {
    {"smart", LogPage::kHealth},
    {"error", LogPage::kError},
    {"firmware", LogPage::kFirmware},
    {"effects", LogPage::kEffects},
    {"self-test", LogPage::kSelfTest},
    {"sanitize", LogPage::kSanitize},
    {"ana", LogPage::kAna},
};

class Inspector {
 public:
  Inspector(AdminChannel& admin, const InspectOptions& options)
      : admin_(admin), options_(options) {}

  Result<Section> Run() {
    Section report("", "NVMe controller");
    RETURN_IF_ERROR(Identify(cns::kController, 0, 0, *id_));
    DescribeController(*id_, report.Add("controller", "Identify Controller (Base figure 275)"));
    std::vector<uint32_t> nsids = {options_.nsid};
    if (options_.nsid == 0) {
      ASSIGN_OR_RETURN(nsids, ActiveNamespaces());
    }
    Section& namespaces = report.AddList("namespaces", "Namespaces");
    for (const uint32_t nsid : nsids) RETURN_IF_ERROR(AddNamespace(nsid, namespaces));
    Section& logs = report.Add("logs", "Log pages");
    for (const LogPage page : LogPages()) AddLog(page, logs);
    return report;
  }

 private:
  template <typename Data>
  Status Identify(uint8_t cns, uint32_t nsid, uint8_t csi, Data& data) {
    static_assert(sizeof(Data) == kIdentifyBytes);
    return admin_.Run(pollux_nvme_make_identify(cns, nsid, 0, csi), &data, sizeof(data));
  }
  template <typename Data>
  Status GetLog(uint8_t page, Data& data) {
    return GetLogBytes(page, &data, sizeof(data));
  }
  Status GetLogBytes(uint8_t page, void* data, size_t bytes) {
    // Reading must not silence an event that somebody waits for: it is retained.
    constexpr bool kRetain = true;
    const pollux_nvme_command command =
        pollux_nvme_make_get_log_page(page, nvme::kAllNamespaces, bytes, 0, 0, kRetain);
    return admin_.Run(command, data, bytes);
  }

  Result<std::vector<uint32_t>> ActiveNamespaces() {
    std::vector<uint32_t> nsids;
    uint32_t after = 0;
    while (nsids.size() < kNamespacesMax) {
      std::array<Le32, kIdentifyBytes / sizeof(Le32)> list{};
      RETURN_IF_ERROR(Identify(cns::kActiveNamespaces, after, 0, list));
      for (const uint32_t nsid : list) {
        if (nsid == 0 || nsid <= after) return nsids;  // The end, or a list out of order.
        nsids.push_back(nsid);
        after = nsid;
      }
    }
    return nsids;
  }

  Status AddNamespace(uint32_t nsid, Section& list) {
    auto id = std::make_unique<nvme::IdentifyNamespace>();
    if (Status status = IdentifyNamespace(nsid, *id); !status.ok()) {
      if (options_.nsid != 0) return status;
      AddRefusal(list.AddElement(absl::StrFormat("Namespace %d", nsid)), status);
      return OkStatus();
    }
    Section& into =
        list.AddElement(absl::StrFormat("Namespace %d: Identify Namespace (NVM figure 97)", nsid));
    into.Number("nsid", nsid, "Namespace Identifier");
    DescribeNamespace(*id, into);
    std::array<uint8_t, kIdentifyBytes> identifiers{};
    if (Identify(cns::kNamespaceDescriptors, nsid, 0, identifiers).ok()) {
      DescribeIdentifiers(identifiers, into.AddList("descriptors", "Namespace Identification"));
      if (IsZoned(identifiers)) AddZoned(nsid, id->nlbaf + 1u, into);
    }
    return OkStatus();
  }

  Status IdentifyNamespace(uint32_t nsid, nvme::IdentifyNamespace& id) {
    RETURN_IF_ERROR(Identify(cns::kNamespace, nsid, 0, id));
    // Of a namespace that could be there and is not, nothing but zeroes is told. Base §5.17.2.1.
    const auto* bytes = reinterpret_cast<const uint8_t*>(&id);
    const bool told = std::any_of(bytes, bytes + sizeof(id), [](uint8_t b) { return b != 0; });
    return told ? OkStatus() : NoDevice("namespace %d is not active", nsid);
  }

  static bool IsZoned(std::span<const uint8_t> list) {
    Section descriptors("", "");
    DescribeIdentifiers(list, descriptors);
    const auto is_zoned = [](const Section& descriptor) {
      return descriptor.Find("nidt")->value == std::to_string(nvme::kNidtCsi) &&
             descriptor.Find("nid")->value == "02";
    };
    return std::any_of(descriptors.sections().begin(), descriptors.sections().end(), is_zoned);
  }

  void AddZoned(uint32_t nsid, unsigned formats, Section& into) {
    auto id = std::make_unique<nvme::IdentifyZonedNamespace>();
    Section& zoned = into.Add("zoned", "Zoned Namespace Command Set (ZNS figure 48)");
    const Status status = Identify(cns::kCsNamespace, nsid, nvme::kCsiZoned, *id);
    if (!status.ok()) return AddRefusal(zoned, status);
    DescribeZoned(*id, formats, zoned);
  }

  std::vector<LogPage> LogPages() const {
    if (!options_.logs.empty()) return options_.logs;
    constexpr uint8_t kEffectsSupported = 1 << 1;
    std::vector<LogPage> pages = {LogPage::kHealth, LogPage::kError, LogPage::kFirmware};
    if (id_->lpa & kEffectsSupported) pages.push_back(LogPage::kEffects);
    return pages;
  }

  void AddLog(LogPage page, Section& logs) {
    switch (page) {
      case LogPage::kHealth:
        return AddPage<nvme::HealthLog>(log_page::kHealth,
                                        logs.Add("smart", "SMART / Health Information (02h)"),
                                        DescribeHealth);
      case LogPage::kError: {
        Section& into = logs.AddList("error", "Error Information (01h), the newest first");
        const size_t entries = std::min<size_t>(id_->elpe + 1u, kErrorEntriesMax);
        std::vector<nvme::ErrorLogEntry> log(entries);
        const Status status =
            GetLogBytes(log_page::kError, log.data(), entries * sizeof(nvme::ErrorLogEntry));
        if (!status.ok()) return AddRefusal(into.AddElement("Error"), status);
        return DescribeErrors(log, into);
      }
      case LogPage::kFirmware:
        return AddPage<nvme::FirmwareSlotLog>(
            log_page::kFirmwareSlot, logs.Add("firmware", "Firmware Slot Information (03h)"),
            DescribeFirmware);
      case LogPage::kEffects:
        return AddPage<EffectsLog>(log_page::kEffects,
                                   logs.Add("effects", "Commands Supported and Effects (05h)"),
                                   DescribeEffects);
      case LogPage::kSelfTest:
        return AddPage<SelfTestLog>(
            log_page::kSelfTest, logs.Add("self-test", "Device Self-test (06h)"), DescribeSelfTest);
      case LogPage::kSanitize:
        return AddPage<SanitizeLog>(log_page::kSanitizeStatus,
                                    logs.Add("sanitize", "Sanitize Status (81h)"),
                                    DescribeSanitize);
      case LogPage::kAna: {
        Section& into = logs.Add("ana", "Asymmetric Namespace Access (0Ch)");
        std::array<uint8_t, kIdentifyBytes> log{};
        const Status status = GetLog(log_page::kAna, log);
        if (!status.ok()) return AddRefusal(into, status);
        return DescribeAna(log, into);
      }
    }
  }

  template <typename Log>
  void AddPage(uint8_t page, Section& into, void (*describe)(const Log&, Section&)) {
    auto log = std::make_unique<Log>();
    const Status status = GetLog(page, *log);
    if (!status.ok()) return AddRefusal(into, status);
    describe(*log, into);
  }

  static void AddRefusal(Section& into, const Status& status) {
    into.Text("error", std::string(status.message()), "the controller does not tell");
  }

  AdminChannel& admin_;
  const InspectOptions options_;
  const std::unique_ptr<nvme::IdentifyController> id_ =
      std::make_unique<nvme::IdentifyController>();
};

}  // namespace

Result<std::vector<LogPage>> ParseLogPages(const std::string& text) {
  std::vector<LogPage> pages;
  for (const absl::string_view word : absl::StrSplit(text, ',')) {
    bool found = false;
    for (const LogName& log : kLogNames) {
      if (word != log.name && word != "all") continue;
      found = true;
      if (std::find(pages.begin(), pages.end(), log.page) == pages.end()) {
        pages.push_back(log.page);
      }
    }
    if (!found) {
      return InvalidField("--log", text,
                          "must be all, or some of smart, error, firmware, effects, self-test, "
                          "sanitize, ana, with commas between");
    }
  }
  return pages;
}

Result<Section> Inspect(AdminChannel& admin, const InspectOptions& options) {
  return Inspector(admin, options).Run();
}

}  // namespace pollux::cli
