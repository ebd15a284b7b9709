#include "targets/nvmf/discovery_log.h"

#include <algorithm>
#include <span>

#include "targets/nvmf/listen_address.h"

namespace pollux::nvmf {
namespace {

bool IsAny(const ListenAddress& address) {
  return address.traddr == "0.0.0.0" || address.traddr == "::";
}

void FillText(std::span<char> field, const std::string& text, char fill) {
  std::fill(field.begin(), field.end(), fill);
  std::copy_n(text.begin(), std::min(text.size(), field.size()), field.begin());
}

nvme::DiscoveryLogEntry Encode(const DiscoveryEntry& entry) {
  nvme::DiscoveryLogEntry wire{};
  wire.trtype = entry.address.trtype == "RDMA" ? nvme::kTrtypeRdma
                : entry.address.trtype == "FC" ? nvme::kTrtypeFc
                                               : nvme::kTrtypeTcp;
  wire.adrfam = entry.address.adrfam == "IPv6" ? nvme::kAdrfamIpv6 : nvme::kAdrfamIpv4;
  wire.subtype = entry.subtype;
  // "Not required" would make libnvme 1.3 of Linux hosts ask for TLS.
  wire.treq = entry.secure_channel
                  ? nvme::kTreqRequired
                  : static_cast<uint8_t>(nvme::kTreqNotSpecified | nvme::kTreqSqFlowControlDisable);
  wire.portid = entry.port_id;
  wire.cntlid = nvme::kDynamicCntlid;
  wire.asqsz = entry.admin_depth;
  wire.eflags = entry.flags;
  FillText(wire.trsvcid, entry.address.trsvcid, ' ');
  FillText(wire.subnqn, entry.subnqn, '\0');
  FillText(wire.traddr, entry.address.traddr, ' ');
  wire.tsas[0] = entry.secure_channel ? nvme::kTcpSecurityTls13 : nvme::kTcpSecurityNone;
  return wire;
}

}  // namespace

bool ShowTo(const DiscoveryAsker& asker, const TargetOptions& filters, ListenAddress& listener) {
  const std::string& came_to =
      asker.local_address.empty() ? asker.listener.traddr : asker.local_address;
  const ListenAddress asked = AddressOf(asker.listener.trtype, came_to, asker.listener.trsvcid);
  if (filters.filter_transport && listener.trtype != asked.trtype) return false;
  if (filters.filter_svcid && listener.trsvcid != asked.trsvcid) return false;
  if (IsAny(listener)) {
    // A host of the other family came: no address of ours that it could use is known.
    if (listener.adrfam != asked.adrfam) return false;
    listener.traddr = asked.traddr;
    return true;
  }
  return !filters.filter_address || listener.traddr == asked.traddr;
}

std::string MakeDiscoveryLog(uint64_t generation, const std::vector<DiscoveryEntry>& entries) {
  nvme::DiscoveryLogHeader header{};
  header.genctr = generation;
  header.numrec = entries.size();
  std::string log;
  log.reserve(sizeof(header) + entries.size() * sizeof(nvme::DiscoveryLogEntry));
  log.append(reinterpret_cast<const char*>(&header), sizeof(header));
  for (const DiscoveryEntry& entry : entries) {
    const nvme::DiscoveryLogEntry wire = Encode(entry);
    log.append(reinterpret_cast<const char*>(&wire), sizeof(wire));
  }
  return log;
}

}  // namespace pollux::nvmf
