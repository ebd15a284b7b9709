#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/net/address.h"
#include "core/status.h"
#include "targets/iscsi/iscsi_target.h"

namespace pollux::iscsi {

// Whether an initiator belongs to a group: by its address and by its name.
enum class Membership { kMember, kNot, kExcluded };

// kExcluded: the name stands there with '!', which also ends the search in other groups. "ANY"
// (SPDK's old "ALL" too) matches everything. Entries are looked at in order.
Membership MembershipOf(const InitiatorGroup& group, std::string_view name,
                        const SocketAddress& address);

// "ANY", "192.168.0.0/16", "fe80::/10", "[::1]", "10.0.0.1".
Status ValidateNetmask(std::string_view field, std::string_view netmask);
bool NetmaskMatches(std::string_view netmask, const SocketAddress& address);

// Initiator groups by tag. Control loop only.
class InitiatorGroups {
 public:
  static constexpr size_t kEntriesMax = 256;  // Of each list of a group.

  Status Create(InitiatorGroup group);
  Status Add(int32_t tag, const std::vector<std::string>& initiators,
             const std::vector<std::string>& netmasks);
  // All must be there, or nothing is removed.
  Status Remove(int32_t tag, const std::vector<std::string>& initiators,
                const std::vector<std::string>& netmasks);
  Status Delete(int32_t tag);
  const InitiatorGroup* Find(int32_t tag) const;
  const std::vector<InitiatorGroup>& groups() const { return groups_; }

 private:
  Result<InitiatorGroup*> FindOrFail(int32_t tag);
  std::vector<InitiatorGroup> groups_;  // In order of creation.
};

}  // namespace pollux::iscsi
