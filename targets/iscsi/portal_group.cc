#include "targets/iscsi/portal_group.h"

#include <algorithm>

#include "core/log.h"
#include "targets/iscsi/auth_groups.h"
#include "targets/iscsi/text_keys.h"

namespace pollux::iscsi {

// One listening socket.
class PortalGroups::Door final : public Listener::Owner {
 public:
  static Result<std::unique_ptr<Door>> Open(PortalGroups& groups, int32_t tag,
                                            const SocketAddress& address) {
    auto door = std::make_unique<Door>(groups, tag);
    ASSIGN_OR_RETURN(door->listener_, Listener::Tcp(groups.loop_, address, *door));
    return door;
  }
  Door(PortalGroups& groups, int32_t tag) : groups_(groups), tag_(tag) {}

  const SocketAddress& address() const { return listener_->address(); }

 private:
  void OnAccepted(UniqueFd socket) override { groups_.on_connection_(std::move(socket), tag_); }

  PortalGroups& groups_;
  const int32_t tag_;
  std::unique_ptr<Listener> listener_;
};

Result<SocketAddress> AddressOf(const Portal& portal) {
  const std::optional<uint32_t> port = ParseNumber(portal.port, 0, 65535);
  if (!port) return InvalidField("port", Printable(portal.port), "must be a number up to 65535");
  std::string host = portal.host;
  if (host == "*") host = "0.0.0.0";
  if (host == "[*]") host = "[::]";
  Result<SocketAddress> address = SocketAddress::Parse(host, static_cast<uint16_t>(*port));
  if (!address.ok()) return InvalidField("host", Printable(portal.host), "must be an IP address");
  return address;
}

PortalGroups::PortalGroups(Loop& loop, OnConnection on_connection)
    : loop_(loop), on_connection_(std::move(on_connection)) {}

PortalGroups::~PortalGroups() = default;

Status PortalGroups::CheckPortals(const PortalGroup& group) const {
  if (group.portals.empty()) {
    return ErrorOfField(EINVAL, "portals", "", "a portal group needs at least one portal");
  }
  if (group.portals.size() > kPortalsMax) {
    return InvalidField("portals", group.portals.size(), "a group has at most %d", kPortalsMax);
  }
  for (size_t i = 0; i < group.portals.size(); ++i) {
    const Portal& portal = group.portals[i];
    const std::string field = absl::StrFormat("portals[%d]", i);
    if (const Result<SocketAddress> address = AddressOf(portal); !address.ok()) {
      return Within(field, address.status());
    }
    if (portal.port == "0") continue;  // Each gets one of its own.
    const auto same = [&portal](const Portal& other) {
      return other.host == portal.host && other.port == portal.port;
    };
    const std::string text = portal.host + ":" + portal.port;
    if (std::count_if(group.portals.begin(), group.portals.end(), same) > 1) {
      return ErrorOfField(EEXIST, field, text, "is there twice");
    }
    for (const auto& entry : entries_) {
      const auto& portals = entry->group.portals;
      if (std::any_of(portals.begin(), portals.end(), same)) {
        return ErrorOfField(EEXIST, field, text,
                            absl::StrFormat("portal group %d has it already", entry->group.tag));
      }
    }
  }
  return OkStatus();
}

Status PortalGroups::Create(PortalGroup group, bool wait) {
  if (group.tag < 1 || group.tag > 65535) {
    return InvalidField("tag", group.tag, "must be 1 to 65535");
  }
  if (Exists(group.tag)) {
    return ErrorOfField(EEXIST, "tag", std::to_string(group.tag), "a portal group has it already");
  }
  RETURN_IF_ERROR(CheckPortals(group));
  auto entry = std::make_unique<Entry>();
  entry->group = std::move(group);
  entry->wanted = !wait;
  if (entry->wanted && !held_) RETURN_IF_ERROR(Open(*entry));
  entries_.push_back(std::move(entry));
  return OkStatus();
}

Status PortalGroups::Start(int32_t tag) {
  ASSIGN_OR_RETURN(Entry * entry, FindOrFail(tag));
  if (entry->group.listening) return OkStatus();
  entry->wanted = true;
  return held_ ? OkStatus() : Open(*entry);
}

Status PortalGroups::Open(Entry& entry) {
  std::vector<std::unique_ptr<Door>> doors;
  for (size_t i = 0; i < entry.group.portals.size(); ++i) {
    ASSIGN_OR_RETURN(const SocketAddress address, AddressOf(entry.group.portals[i]));
    Result<std::unique_ptr<Door>> door = Door::Open(*this, entry.group.tag, address);
    if (!door.ok()) {
      return ErrorOfField(ErrnoOf(door.status()), absl::StrFormat("portals[%d]", i),
                          address.ToString(), DetailOf(door.status()).reason);
    }
    doors.push_back(*std::move(door));
  }
  entry.doors = std::move(doors);
  entry.group.listening = true;
  return OkStatus();
}

std::vector<IscsiTarget::Unopened> PortalGroups::Release() {
  held_ = false;
  std::vector<IscsiTarget::Unopened> unopened;
  for (const auto& entry : entries_) {
    if (!entry->wanted || entry->group.listening) continue;
    if (Status opened = Open(*entry); !opened.ok()) {
      unopened.push_back({entry->group.tag, std::move(opened)});
    }
  }
  return unopened;
}

Status PortalGroups::Delete(int32_t tag) {
  RETURN_IF_ERROR(FindOrFail(tag).status());
  std::erase_if(entries_, [tag](const auto& entry) { return entry->group.tag == tag; });
  return OkStatus();
}

Status PortalGroups::SetAuthentication(int32_t tag, Authentication authentication) {
  ASSIGN_OR_RETURN(Entry * entry, FindOrFail(tag));
  RETURN_IF_ERROR(Validate(authentication));
  entry->group.discovery = authentication;
  return OkStatus();
}

std::optional<Authentication> PortalGroups::AuthenticationOf(int32_t tag) const {
  const Entry* const entry = FindEntry(tag);
  return entry == nullptr ? std::nullopt : entry->group.discovery;
}

void PortalGroups::CloseAll() {
  for (const auto& entry : entries_) {
    entry->doors.clear();
    entry->group.listening = false;
  }
}

const PortalGroups::Entry* PortalGroups::FindEntry(int32_t tag) const {
  for (const auto& entry : entries_) {
    if (entry->group.tag == tag) return entry.get();
  }
  return nullptr;
}

Result<PortalGroups::Entry*> PortalGroups::FindOrFail(int32_t tag) {
  if (const Entry* entry = FindEntry(tag)) return const_cast<Entry*>(entry);
  return ErrorOfField(ENOENT, "tag", std::to_string(tag), "there is no such portal group");
}

std::vector<PortalGroup> PortalGroups::groups() const {
  std::vector<PortalGroup> groups;
  for (const auto& entry : entries_) groups.push_back(entry->group);
  return groups;
}

std::vector<PortalGroup> PortalGroups::groups_as_bound() const {
  std::vector<PortalGroup> groups = this->groups();
  for (size_t g = 0; g < entries_.size(); ++g) {
    for (size_t p = 0; p < entries_[g]->doors.size(); ++p) {
      groups[g].portals[p].port = std::to_string(entries_[g]->doors[p]->address().port());
    }
  }
  return groups;
}

}  // namespace pollux::iscsi
