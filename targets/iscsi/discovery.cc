#include "targets/iscsi/discovery.h"

#include <optional>

#include "targets/iscsi/iscsi_spec.h"
#include "targets/iscsi/names.h"
#include "targets/iscsi/text_keys.h"

namespace pollux::iscsi {
namespace {

// "192.0.2.1:3260,1", "[2001:db8::1]:3260,1". §13.8. Nothing for a wildcard of the other family.
std::optional<std::string> TargetAddressOf(const Portal& portal, int32_t tag,
                                           const SocketAddress& connected_to) {
  Result<SocketAddress> address = AddressOf(portal);
  if (!address.ok()) return std::nullopt;
  if (address->IsAny()) {
    const bool same_family =
        (address->family() == AF_INET) == (connected_to.host().find(':') == std::string::npos);
    if (!same_family) return std::nullopt;
    address = SocketAddress::Parse(connected_to.host(), address->port());
    if (!address.ok()) return std::nullopt;
  }
  return absl::StrFormat("%s,%d", address->ToString(), tag);
}

}  // namespace

std::string SendTargets(const DiscoveryQuery& query, const TargetNodes& nodes,
                        const PortalGroups& portal_groups,
                        const InitiatorGroups& initiator_groups) {
  std::string text;
  const std::vector<PortalGroup> groups = portal_groups.groups_as_bound();
  for (const auto& node : nodes.nodes()) {
    if (node->removing) continue;
    if (query.wanted != "All" && !SameName(query.wanted, node->name())) continue;
    std::string addresses;
    for (const PortalGroup& group : groups) {
      if (!group.listening || (group.is_private && group.tag != query.pg_tag)) continue;
      if (!node->Admits(group.tag, query.initiator_name, query.initiator_address,
                        initiator_groups)) {
        continue;
      }
      for (const Portal& portal : group.portals) {
        const auto address = TargetAddressOf(portal, group.tag, query.portal_address);
        if (address) AppendKey(addresses, key::kTargetAddress, *address);
      }
    }
    if (addresses.empty()) continue;
    AppendKey(text, key::kTargetName, node->name());
    text.append(addresses);
  }
  return text;
}

}  // namespace pollux::iscsi
