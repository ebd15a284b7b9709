#pragma once
#include <string>
#include <string_view>

#include "core/net/address.h"
#include "targets/iscsi/initiator_group.h"
#include "targets/iscsi/portal_group.h"
#include "targets/iscsi/target_node.h"

namespace pollux::iscsi {

// Who asks with SendTargets, and from where. RFC 7143 appendix C.
struct DiscoveryQuery {
  std::string wanted;  // "All", or a target's name.
  std::string initiator_name;
  SocketAddress initiator_address;
  SocketAddress portal_address;  // What it connected to.
  int32_t pg_tag = 0;            // The portal group that it came through.
};

// The answer: every target that this initiator may use, each with the portals of the groups through
// which it may. A private group is shown only to who came through it. A wildcard portal is shown as
// the address that the initiator connected to.
std::string SendTargets(const DiscoveryQuery& query, const TargetNodes& nodes,
                        const PortalGroups& portal_groups, const InitiatorGroups& initiator_groups);

}  // namespace pollux::iscsi
