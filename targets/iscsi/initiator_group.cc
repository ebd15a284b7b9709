#include "targets/iscsi/initiator_group.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/log.h"
#include "targets/iscsi/names.h"
#include "targets/iscsi/text_keys.h"

namespace pollux::iscsi {
namespace {

bool IsAny(std::string_view entry) { return entry == "ANY" || entry == "ALL"; }

struct Netmask {
  int family;
  std::array<uint8_t, 16> address;
  uint32_t prefix;  // Bits that count.
};

std::optional<Netmask> ParseNetmask(std::string_view text) {
  std::string_view host = text.substr(0, text.find('/'));
  const std::string_view bits =
      host.size() < text.size() ? text.substr(host.size() + 1) : std::string_view();
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  Netmask mask{};
  const std::string terminated(host);
  if (inet_pton(AF_INET, terminated.c_str(), mask.address.data()) == 1) {
    mask.family = AF_INET;
  } else if (inet_pton(AF_INET6, terminated.c_str(), mask.address.data()) == 1) {
    mask.family = AF_INET6;
  } else {
    return std::nullopt;
  }
  const uint32_t bits_max = mask.family == AF_INET ? 32 : 128;
  mask.prefix = bits_max;
  if (host.size() < text.size() && text.find('/') != std::string_view::npos) {
    const std::optional<uint32_t> prefix = ParseNumber(bits, 0, bits_max);
    if (!prefix) return std::nullopt;
    mask.prefix = *prefix;
  }
  return mask;
}

// What is in `text` is numeric, as SocketAddress::host() gives it.
std::optional<Netmask> AddressOf(const SocketAddress& address) {
  return ParseNetmask(address.host());
}

Status ValidateInitiator(std::string_view field, std::string_view entry) {
  const std::string_view name = entry.starts_with('!') ? entry.substr(1) : entry;
  if (IsAny(name)) return OkStatus();
  return ValidateName(field, name);
}

Status ValidateEntries(const std::vector<std::string>& initiators,
                       const std::vector<std::string>& netmasks) {
  for (size_t i = 0; i < initiators.size(); ++i) {
    RETURN_IF_ERROR(ValidateInitiator(absl::StrFormat("initiators[%d]", i), initiators[i]));
  }
  for (size_t i = 0; i < netmasks.size(); ++i) {
    RETURN_IF_ERROR(ValidateNetmask(absl::StrFormat("netmasks[%d]", i), netmasks[i]));
  }
  return OkStatus();
}

Status CheckAdd(std::string_view field, const std::vector<std::string>& there,
                const std::vector<std::string>& added) {
  if (there.size() + added.size() > InitiatorGroups::kEntriesMax) {
    return InvalidField(field, there.size() + added.size(), "a group has at most %d",
                        InitiatorGroups::kEntriesMax);
  }
  for (size_t i = 0; i < added.size(); ++i) {
    const bool twice = std::count(added.begin(), added.end(), added[i]) > 1;
    if (twice || std::count(there.begin(), there.end(), added[i]) > 0) {
      return ErrorOfField(EEXIST, absl::StrFormat("%s[%d]", std::string(field), i),
                          Printable(added[i]), "is in the group already");
    }
  }
  return OkStatus();
}

Status CheckRemove(std::string_view field, const std::vector<std::string>& there,
                   const std::vector<std::string>& removed) {
  for (size_t i = 0; i < removed.size(); ++i) {
    if (std::count(there.begin(), there.end(), removed[i]) == 0) {
      return ErrorOfField(ENOENT, absl::StrFormat("%s[%d]", std::string(field), i),
                          Printable(removed[i]), "is not in the group");
    }
  }
  return OkStatus();
}

void RemoveAll(std::vector<std::string>& from, const std::vector<std::string>& removed) {
  std::erase_if(from, [&removed](const std::string& entry) {
    return std::count(removed.begin(), removed.end(), entry) > 0;
  });
}

}  // namespace

Status ValidateNetmask(std::string_view field, std::string_view netmask) {
  if (IsAny(netmask) || ParseNetmask(netmask)) return OkStatus();
  return ErrorOfField(EINVAL, field, Printable(netmask),
                      "must be ANY, an IP address, or ADDRESS/BITS");
}

bool NetmaskMatches(std::string_view netmask, const SocketAddress& address) {
  if (IsAny(netmask)) return true;
  const std::optional<Netmask> mask = ParseNetmask(netmask);
  const std::optional<Netmask> peer = AddressOf(address);
  if (!mask || !peer || mask->family != peer->family) return false;
  const size_t bytes = mask->prefix / 8;
  const uint32_t bits = mask->prefix % 8;
  if (std::memcmp(mask->address.data(), peer->address.data(), bytes) != 0) return false;
  if (bits == 0) return true;
  const auto high_bits = static_cast<uint8_t>(0xff00u >> bits);
  return ((mask->address[bytes] ^ peer->address[bytes]) & high_bits) == 0;
}

Membership MembershipOf(const InitiatorGroup& group, std::string_view name,
                        const SocketAddress& address) {
  const bool near = std::any_of(
      group.netmasks.begin(), group.netmasks.end(),
      [&address](const std::string& netmask) { return NetmaskMatches(netmask, address); });
  if (!near) return Membership::kNot;
  for (const std::string& entry : group.initiators) {
    const std::string_view listed = entry;
    if (listed.starts_with('!')) {
      if (IsAny(listed.substr(1)) || SameName(listed.substr(1), name)) return Membership::kExcluded;
    } else if (IsAny(listed) || SameName(listed, name)) {
      return Membership::kMember;
    }
  }
  return Membership::kNot;
}

Status InitiatorGroups::Create(InitiatorGroup group) {
  if (group.tag < 1 || group.tag > 65535) {
    return InvalidField("tag", group.tag, "must be 1 to 65535");
  }
  if (Find(group.tag) != nullptr) {
    return ErrorOfField(EEXIST, "tag", std::to_string(group.tag),
                        "an initiator group has it already");
  }
  RETURN_IF_ERROR(ValidateEntries(group.initiators, group.netmasks));
  RETURN_IF_ERROR(CheckAdd("initiators", {}, group.initiators));
  RETURN_IF_ERROR(CheckAdd("netmasks", {}, group.netmasks));
  groups_.push_back(std::move(group));
  return OkStatus();
}

Status InitiatorGroups::Add(int32_t tag, const std::vector<std::string>& initiators,
                            const std::vector<std::string>& netmasks) {
  ASSIGN_OR_RETURN(InitiatorGroup * group, FindOrFail(tag));
  RETURN_IF_ERROR(ValidateEntries(initiators, netmasks));
  RETURN_IF_ERROR(CheckAdd("initiators", group->initiators, initiators));
  RETURN_IF_ERROR(CheckAdd("netmasks", group->netmasks, netmasks));
  group->initiators.insert(group->initiators.end(), initiators.begin(), initiators.end());
  group->netmasks.insert(group->netmasks.end(), netmasks.begin(), netmasks.end());
  return OkStatus();
}

Status InitiatorGroups::Remove(int32_t tag, const std::vector<std::string>& initiators,
                               const std::vector<std::string>& netmasks) {
  ASSIGN_OR_RETURN(InitiatorGroup * group, FindOrFail(tag));
  RETURN_IF_ERROR(CheckRemove("initiators", group->initiators, initiators));
  RETURN_IF_ERROR(CheckRemove("netmasks", group->netmasks, netmasks));
  RemoveAll(group->initiators, initiators);
  RemoveAll(group->netmasks, netmasks);
  return OkStatus();
}

Status InitiatorGroups::Delete(int32_t tag) {
  RETURN_IF_ERROR(FindOrFail(tag).status());
  std::erase_if(groups_, [tag](const InitiatorGroup& group) { return group.tag == tag; });
  return OkStatus();
}

const InitiatorGroup* InitiatorGroups::Find(int32_t tag) const {
  const auto found = std::find_if(groups_.begin(), groups_.end(),
                                  [tag](const InitiatorGroup& group) { return group.tag == tag; });
  return found == groups_.end() ? nullptr : &*found;
}

Result<InitiatorGroup*> InitiatorGroups::FindOrFail(int32_t tag) {
  if (const InitiatorGroup* group = Find(tag)) return const_cast<InitiatorGroup*>(group);
  return ErrorOfField(ENOENT, "tag", std::to_string(tag), "there is no such initiator group");
}

}  // namespace pollux::iscsi
