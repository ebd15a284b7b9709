// What clients are told of a disk.
#include <cstdint>
#include <map>
#include <string>

#include "core/json_string.h"
#include "drivers/nvme_disk/nvme_disk.h"
#include "drivers/nvme_disk/nvme_error_names.h"
#include "drivers/nvme_disk/nvme_path.h"
#include "drivers/nvme_disk/nvme_transport.h"

namespace pollux {
namespace {

std::string VersionText(uint32_t version) {
  const uint32_t tertiary = version & 0xff;
  const std::string text = absl::StrFormat("%d.%d", version >> 16, version >> 8 & 0xff);
  return tertiary == 0 ? text : absl::StrFormat("%s.%d", text, tertiary);
}

std::string TransportJson(const pollux_nvme_transport_id& id) {
  const std::string network =
      IsNvmeFabric(id)
          ? absl::StrFormat(",\"adrfam\":\"%s\",\"trsvcid\":%s,\"subnqn\":%s", NvmeFamilyName(id),
                            JsonStringOfLatin1(id.trsvcid), JsonStringOfLatin1(id.subnqn))
          : std::string();
  return absl::StrFormat("{\"trtype\":\"%s\",\"traddr\":%s%s}", NvmeTransportName(id),
                         JsonStringOfLatin1(id.traddr), network);
}

std::string ControllerJson(const pollux_nvme_controller_info& info) {
  const auto can = [&info](int bit) { return info.oacs >> bit & 1; };  // Base figure 275, OACS.
  const std::string subnqn = info.subnqn[0] == '\0'
                                 ? std::string()
                                 : "\"subnqn\":" + JsonStringOfLatin1(info.subnqn) + ",";
  return absl::StrFormat(
      "{\"cntlid\":%d,\"vendor_id\":\"0x%04x\",\"model_number\":%s,\"serial_number\":%s,"
      "\"firmware_revision\":%s,%s\"oacs\":{\"security\":%d,\"format\":%d,\"firmware\":%d,"
      "\"ns_manage\":%d},\"multi_ctrlr\":%s,\"ana_reporting\":%s}",
      info.cntlid, info.vendor, JsonStringOfLatin1(info.model_number),
      JsonStringOfLatin1(info.serial_number), JsonStringOfLatin1(info.firmware_revision), subnqn,
      can(0), can(1), can(2), can(3), (info.cmic >> 1 & 1) != 0 ? "true" : "false",
      (info.cmic >> 3 & 1) != 0 ? "true" : "false");
}

// {"a":1,"b":2}
std::string CountsJson(const std::map<std::string, uint64_t>& counts) {
  std::string json = "{";
  for (const auto& [key, count] : counts) {
    json += absl::StrFormat("%s\"%s\":%d", json.size() > 1 ? "," : "", key, count);
  }
  return json + "}";
}

const char* AccessName(NvmeAccess access) {
  switch (access) {
    case NvmeAccess::kOptimized:
      return "optimized";
    case NvmeAccess::kNonOptimized:
      return "non_optimized";
    case NvmeAccess::kInaccessible:
      return "inaccessible";
    case NvmeAccess::kChange:
      return "change";
    case NvmeAccess::kLost:
      return "persistent_loss";
  }
  return "";
}

std::string RouteJson(const NvmeRoute& route, NvmeAccess access) {
  const pollux_nvme_namespace_info& info = *pollux_nvme_get_namespace_info(route.ns);
  const pollux_nvme_controller_info& controller = route.path.info();
  const std::string address =
      controller.id.trtype == POLLUX_NVME_TRANSPORT_PCIE
          ? "\"pci_address\":" + JsonStringOfLatin1(controller.id.traddr) + ","
          : std::string();
  const char* security = (controller.oacs & 1) != 0 ? ",\"security\":{\"opal\":false}" : "";
  const std::string state =
      route.reports_access ? absl::StrFormat(",\"ana_state\":\"%s\"", AccessName(access)) : "";
  return absl::StrFormat(
      "{%s\"trid\":%s,\"ctrlr_data\":%s,\"vs\":{\"nvme_version\":\"%s\"},"
      "\"ns_data\":{\"id\":%d%s,\"can_share\":%s}%s}",
      address, TransportJson(controller.id), ControllerJson(controller),
      VersionText(controller.version), info.nsid, state, info.shareable ? "true" : "false",
      security);
}

}  // namespace

std::string NvmeDisk::DriverSpecificJson() const {
  std::string paths;
  for (const auto& route : routes_) {
    if (!paths.empty()) paths += ",";
    paths += RouteJson(*route, AccessBy(*route));
  }
  const bool active = choice_.policy == NvmePathChoice::Policy::kActiveActive;
  const bool by_depth = choice_.selector == NvmePathChoice::Selector::kQueueDepth;
  std::string selector;
  if (active) {
    selector = absl::StrFormat(",\"selector\":\"%s\"", by_depth ? "queue_depth" : "round_robin");
    if (!by_depth) selector += absl::StrFormat(",\"rr_min_io\":%u", choice_.min_io);
  }
  return absl::StrFormat("{\"nvme\":[%s],\"mp_policy\":\"%s\"%s}", paths,
                         active ? "active_active" : "active_passive", selector);
}

std::string NvmeDisk::StatisticsJson() const {
  if (!facts_.count_errors) return {};
  std::map<std::string, uint64_t> types, codes;
  for (size_t reactor = 0; reactor < reactors_.size(); ++reactor) {
    const auto* channel = static_cast<const NvmeChannel*>(this->channel(reactor));
    if (channel == nullptr || channel->errors() == nullptr) continue;
    const NvmeErrorCounters& errors = *channel->errors();
    for (size_t sct = 0; sct < errors.by_type.size(); ++sct) {
      const uint32_t count = errors.by_type[sct].load(std::memory_order_relaxed);
      if (count > 0) types[NvmeStatusTypeKey(static_cast<uint8_t>(sct))] += count;
      if (sct >= errors.by_code.size() || count == 0) continue;
      for (size_t sc = 0; sc < errors.by_code[sct].size(); ++sc) {
        const uint32_t of_code = errors.by_code[sct][sc].load(std::memory_order_relaxed);
        if (of_code == 0) continue;
        codes[NvmeStatusKey(static_cast<uint8_t>(sct), static_cast<uint8_t>(sc))] += of_code;
      }
    }
  }
  return absl::StrFormat("{\"nvme_error\":{\"status_type\":%s,\"status_code\":%s}}",
                         CountsJson(types), CountsJson(codes));
}

}  // namespace pollux
