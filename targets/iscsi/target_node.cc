#include "targets/iscsi/target_node.h"

#include <algorithm>
#include <map>

#include "core/log.h"
#include "targets/iscsi/auth_groups.h"
#include "targets/iscsi/iscsi_spec.h"
#include "targets/iscsi/names.h"

namespace pollux::iscsi {
namespace {

Status CheckDescription(const TargetNode& node, uint32_t queue_depth_max) {
  RETURN_IF_ERROR(ValidateName("name", node.name));
  RETURN_IF_ERROR(Validate(node.authentication));
  if (node.alias.size() > kValueBytesMax || Printable(node.alias) != node.alias) {
    return InvalidField("alias_name", Printable(node.alias),
                        "must be at most %d printable ASCII characters", kValueBytesMax);
  }
  if (node.queue_depth < 0 || static_cast<uint32_t>(node.queue_depth) > queue_depth_max) {
    return InvalidField("queue_depth", node.queue_depth, "must be 0 to %d (max_queue_depth)",
                        queue_depth_max);
  }
  if (node.luns.empty()) return InvalidField("luns", "", "a target needs a LUN");
  if (node.luns.size() > TargetNodes::kLunsAtOnceMax) {
    return InvalidField("luns", node.luns.size(), "at most %d", TargetNodes::kLunsAtOnceMax);
  }
  return OkStatus();
}

// The device's registry calls the name "name"; here it is a LUN's "bdev_name".
Status OfLun(const Status& status) {
  const ErrorDetail detail = DetailOf(status);
  if (status.ok() || detail.field != "name") return status;
  return ErrorOfField(detail.error_number, "bdev_name", detail.value, detail.reason);
}

Status CheckLun(const LunSpec& lun) {
  if (lun.bdev_name.empty()) {
    return ErrorOfField(EINVAL, "bdev_name", "", "a LUN needs a block device");
  }
  if (lun.lun_id && (*lun.lun_id < 0 || *lun.lun_id >= scsi::TargetDevice::kLunsMax)) {
    return InvalidField("lun_id", *lun.lun_id, "must be 0 to %d", scsi::TargetDevice::kLunsMax - 1);
  }
  return OkStatus();
}

Task<Result<int>> AddTo(Node& node, const LunSpec& lun, bool may_be_pending) {
  const scsi::LunOptions options{.read_only = lun.read_only, .removable = lun.removable};
  return node.device().AddLun(lun.lun_id, lun.bdev_name, may_be_pending, options);
}

std::string ToString(const GroupMap& map) {
  return absl::StrFormat("%d:%d", map.pg_tag, map.ig_tag);
}

bool IsMapped(const TargetNode& node, int32_t pg_tag) {
  return std::any_of(node.maps.begin(), node.maps.end(),
                     [pg_tag](const GroupMap& map) { return map.pg_tag == pg_tag; });
}

// What was said of portal groups that lead nowhere any more.
void DropUnmapped(TargetNode& node) {
  std::erase_if(node.redirects,
                [&node](const Redirect& redirect) { return !IsMapped(node, redirect.pg_tag); });
  std::erase_if(node.accesses, [&node](const PortalGroupAccess& access) {
    return !IsMapped(node, access.pg_tag);
  });
}

}  // namespace

Node::Node(TargetNode description, DeviceRegistry& devices, scsi::ReservationStore* reservations)
    : description_(std::move(description)),
      device_(std::make_unique<scsi::TargetDevice>(description_.name, devices, reservations)) {
  description_.luns.clear();
  ShowPortGroups();
}

void Node::ShowPortGroups() {
  std::map<int32_t, scsi::TargetPortGroup> groups;
  for (const GroupMap& map : description_.maps) {
    groups[map.pg_tag].tag = static_cast<uint16_t>(map.pg_tag);
  }
  for (const PortalGroupAccess& access : description_.accesses) {
    scsi::TargetPortGroup& group = groups.at(access.pg_tag);
    group.state = access.state;
    group.preferred = access.preferred;
    group.changed = true;
  }
  scsi::TargetPortGroups in_order;
  for (const auto& [tag, group] : groups) in_order.push_back(group);
  device_->SetPortGroups(std::move(in_order));
}

TargetNode Node::Describe() const {
  TargetNode description = description_;
  description.histogram = !latencies.empty();
  for (const scsi::TargetDevice::Lun& lun : device_->luns()) {
    description.luns.push_back({.bdev_name = lun.device_name,
                                .lun_id = lun.number,
                                .read_only = lun.options.read_only,
                                .removable = lun.options.removable});
  }
  return description;
}

bool Node::Admits(int32_t pg_tag, std::string_view initiator, const SocketAddress& address,
                  const InitiatorGroups& groups) const {
  for (const GroupMap& map : description_.maps) {
    if (map.pg_tag != pg_tag) continue;
    const InitiatorGroup* group = groups.Find(map.ig_tag);
    if (group == nullptr) continue;
    switch (MembershipOf(*group, initiator, address)) {
      case Membership::kMember:
        return true;
      case Membership::kExcluded:
        return false;
      case Membership::kNot:
        break;
    }
  }
  return false;
}

const Portal* Node::RedirectOf(int32_t pg_tag) const {
  for (const Redirect& redirect : description_.redirects) {
    if (redirect.pg_tag == pg_tag) return &redirect.to;
  }
  return nullptr;
}

Task<Status> TargetNodes::Create(TargetNode description, uint32_t queue_depth_max,
                                 bool luns_may_be_pending) {
  CO_RETURN_IF_ERROR(CheckDescription(description, queue_depth_max));
  CO_RETURN_IF_ERROR(CheckMaps(description.maps, {}));
  if (description.queue_depth == 0) {
    description.queue_depth = static_cast<int32_t>(queue_depth_max);
  }
  const auto same_name = [&description](const auto& node) {
    return SameName(node->name(), description.name);
  };
  if (std::any_of(nodes_.begin(), nodes_.end(), same_name)) {
    co_return ErrorOfField(EEXIST, "name", description.name, "a target node has it already");
  }
  if (nodes_.size() >= kNodesMax) {
    co_return ErrorOfField(ENOSPC, "name", description.name,
                           absl::StrFormat("there are %d target nodes already", kNodesMax));
  }

  const std::vector<LunSpec> luns = description.luns;
  auto owned = std::make_unique<Node>(std::move(description), devices_, reservations_);
  Node* const node = owned.get();
  node->removing = true;  // Until it is whole.
  nodes_.push_back(std::move(owned));

  Status status = OkStatus();
  for (size_t i = 0; i < luns.size() && status.ok(); ++i) {
    status = CheckLun(luns[i]);
    if (status.ok()) {
      const Result<int> added = co_await AddTo(*node, luns[i], luns_may_be_pending);
      status = OfLun(added.status());
    }
    if (!status.ok()) status = Within(absl::StrFormat("luns[%d]", i), status);
  }
  if (status.ok()) {
    node->removing = false;
  } else {
    co_await FinishRemoval(node);
  }
  co_return status;
}

Task<Result<int>> TargetNodes::AddLun(std::string name, LunSpec lun, bool may_be_pending) {
  ASSIGN_OR_CO_RETURN(Node* const node, FindOrFail(name));
  CO_RETURN_IF_ERROR(CheckLun(lun));
  const Result<int> added = co_await AddTo(*node, lun, may_be_pending);
  CO_RETURN_IF_ERROR(OfLun(added.status()));
  co_return added;
}

Status TargetNodes::CheckMaps(const std::vector<GroupMap>& maps,
                              const std::vector<GroupMap>& there) const {
  if (maps.size() + there.size() > kMapsMax) {
    return InvalidField("pg_ig_maps", maps.size() + there.size(), "a target has at most %d",
                        kMapsMax);
  }
  for (size_t i = 0; i < maps.size(); ++i) {
    const std::string field = absl::StrFormat("pg_ig_maps[%d]", i);
    if (!portal_groups_.Exists(maps[i].pg_tag)) {
      return ErrorOfField(ENOENT, field + ".pg_tag", std::to_string(maps[i].pg_tag),
                          "there is no such portal group");
    }
    if (initiator_groups_.Find(maps[i].ig_tag) == nullptr) {
      return ErrorOfField(ENOENT, field + ".ig_tag", std::to_string(maps[i].ig_tag),
                          "there is no such initiator group");
    }
    if (std::count(maps.begin(), maps.begin() + static_cast<ptrdiff_t>(i), maps[i]) > 0 ||
        std::count(there.begin(), there.end(), maps[i]) > 0) {
      return ErrorOfField(EEXIST, field, ToString(maps[i]), "the target has this map already");
    }
  }
  return OkStatus();
}

Status TargetNodes::AddMaps(const std::string& name, const std::vector<GroupMap>& maps) {
  ASSIGN_OR_RETURN(Node * node, FindOrFail(name));
  std::vector<GroupMap>& there = node->description_.maps;
  RETURN_IF_ERROR(CheckMaps(maps, there));
  there.insert(there.end(), maps.begin(), maps.end());
  node->ShowPortGroups();
  return OkStatus();
}

Status TargetNodes::RemoveMaps(const std::string& name, const std::vector<GroupMap>& maps) {
  ASSIGN_OR_RETURN(Node * node, FindOrFail(name));
  std::vector<GroupMap>& there = node->description_.maps;
  for (size_t i = 0; i < maps.size(); ++i) {
    if (std::count(there.begin(), there.end(), maps[i]) == 0) {
      return ErrorOfField(ENOENT, absl::StrFormat("pg_ig_maps[%d]", i), ToString(maps[i]),
                          "the target has no such map");
    }
  }
  std::erase_if(there, [&maps](const GroupMap& map) {
    return std::count(maps.begin(), maps.end(), map) > 0;
  });
  DropUnmapped(node->description_);
  node->ShowPortGroups();
  return OkStatus();
}

Status TargetNodes::SetRedirect(const std::string& name, int32_t pg_tag, std::optional<Portal> to) {
  ASSIGN_OR_RETURN(Node * node, FindOrFail(name));
  TargetNode& description = node->description_;
  if (!IsMapped(description, pg_tag)) {
    return ErrorOfField(ENOENT, "pg_tag", std::to_string(pg_tag),
                        "no map of the target has this portal group");
  }
  if (to) RETURN_IF_ERROR(CheckRedirect(pg_tag, *to));
  std::erase_if(description.redirects, [pg_tag](const Redirect& r) { return r.pg_tag == pg_tag; });
  if (to) description.redirects.push_back({.pg_tag = pg_tag, .to = *std::move(to)});
  return OkStatus();
}

Task<Status> TargetNodes::SetAccess(std::string name, PortalGroupAccess access) {
  ASSIGN_OR_CO_RETURN(Node* const node, FindOrFail(name));
  TargetNode& description = node->description_;
  if (!IsMapped(description, access.pg_tag)) {
    co_return ErrorOfField(ENOENT, "pg_tag", std::to_string(access.pg_tag),
                           "no map of the target has this portal group");
  }
  std::erase_if(description.accesses, [&access](const PortalGroupAccess& known) {
    return known.pg_tag == access.pg_tag;
  });
  // What is so by itself is not kept.
  if (access.state != scsi::AccessState::kOptimized || access.preferred) {
    description.accesses.push_back(access);
  }
  node->ShowPortGroups();
  co_await node->device().PortGroupsShown();
  co_return OkStatus();
}

Status TargetNodes::SetAuthentication(const std::string& name, Authentication authentication) {
  ASSIGN_OR_RETURN(Node * node, FindOrFail(name));
  RETURN_IF_ERROR(Validate(authentication));
  node->description_.authentication = authentication;
  return OkStatus();
}

Status TargetNodes::CheckRedirect(int32_t pg_tag, const Portal& to) const {
  const Result<SocketAddress> address = AddressOf(to);
  if (!address.ok()) {
    const ErrorDetail detail = DetailOf(address.status());
    return ErrorOfField(EINVAL, "redirect_" + detail.field, detail.value, detail.reason);
  }
  if (address->IsAny() || address->port() == 0) {
    return ErrorOfField(EINVAL, address->IsAny() ? "redirect_host" : "redirect_port",
                        address->ToString(), "initiators cannot connect to it");
  }
  for (const PortalGroup& group : portal_groups_.groups_as_bound()) {
    if (group.tag != pg_tag) continue;
    if (group.is_private) {
      return InvalidField("pg_tag", pg_tag, "is private: logins end there, and start elsewhere");
    }
    for (const Portal& portal : group.portals) {
      const Result<SocketAddress> own = AddressOf(portal);
      if (own.ok() && own->port() == address->port() &&
          (own->IsAny() || own->host() == address->host())) {
        return ErrorOfField(EINVAL, "redirect_host", address->ToString(),
                            "belongs to the portal group itself: initiators would come back");
      }
    }
  }
  return OkStatus();
}

void TargetNodes::ForgetPortalGroup(int32_t tag) {
  for (const auto& node : nodes_) {
    std::erase_if(node->description_.maps, [tag](const GroupMap& m) { return m.pg_tag == tag; });
    DropUnmapped(node->description_);
    node->ShowPortGroups();
  }
}

void TargetNodes::ForgetInitiatorGroup(int32_t tag) {
  for (const auto& node : nodes_) {
    std::erase_if(node->description_.maps, [tag](const GroupMap& m) { return m.ig_tag == tag; });
    DropUnmapped(node->description_);
    node->ShowPortGroups();
  }
}

Result<Node*> TargetNodes::BeginRemoval(const std::string& name) {
  ASSIGN_OR_RETURN(Node * node, FindOrFail(name));
  node->removing = true;
  return node;
}

Task<void> TargetNodes::FinishRemoval(Node* node) {
  co_await node->device().Shutdown();
  std::erase_if(nodes_, [node](const auto& owned) { return owned.get() == node; });
}

Node* TargetNodes::Find(std::string_view name) {
  for (const auto& node : nodes_) {
    if (!node->removing && SameName(node->name(), name)) return node.get();
  }
  return nullptr;
}

Result<Node*> TargetNodes::FindOrFail(std::string_view name) {
  if (Node* node = Find(name)) return node;
  return ErrorOfField(ENOENT, "name", Printable(name), "there is no such target node");
}

}  // namespace pollux::iscsi
