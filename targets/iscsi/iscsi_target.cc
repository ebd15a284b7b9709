#include "targets/iscsi/iscsi_target.h"

#include "targets/iscsi/names.h"
#include "targets/iscsi/target_impl.h"

namespace pollux::iscsi {

IscsiTarget::IscsiTarget(Environment environment) : impl_(std::make_unique<Impl>(environment)) {}
IscsiTarget::~IscsiTarget() = default;

Task<Status> IscsiTarget::Start(Options options) { return impl_->Start(std::move(options)); }
Task<void> IscsiTarget::Stop(uint64_t drain_ns) { return impl_->Stop(drain_ns); }
const Options& IscsiTarget::options() const { return impl_->options; }

// --- Portal groups.

void IscsiTarget::HoldListeners() { impl_->portal_groups.Hold(); }
std::vector<IscsiTarget::Unopened> IscsiTarget::ReleaseListeners() {
  return impl_->portal_groups.Release();
}
Status IscsiTarget::CreatePortalGroup(PortalGroup group, bool wait) {
  return impl_->portal_groups.Create(std::move(group), wait);
}
Status IscsiTarget::StartPortalGroup(int32_t tag) { return impl_->portal_groups.Start(tag); }
Task<Status> IscsiTarget::DeletePortalGroup(int32_t tag) { return impl_->DeletePortalGroup(tag); }
std::vector<PortalGroup> IscsiTarget::portal_groups() const {
  return impl_->portal_groups.groups();
}
std::vector<PortalGroup> IscsiTarget::portal_groups_as_bound() const {
  return impl_->portal_groups.groups_as_bound();
}

Status IscsiTarget::SetPortalGroupAuthentication(int32_t tag, Authentication authentication) {
  return impl_->portal_groups.SetAuthentication(tag, authentication);
}

// --- Authentication.

Status IscsiTarget::CreateAuthGroup(AuthGroup group) {
  return impl_->auth_groups.Create(std::move(group));
}
Status IscsiTarget::AddSecret(int32_t tag, ChapSecret secret) {
  return impl_->auth_groups.AddSecret(tag, std::move(secret));
}
Status IscsiTarget::RemoveSecret(int32_t tag, const std::string& user) {
  return impl_->auth_groups.RemoveSecret(tag, user);
}
Status IscsiTarget::DeleteAuthGroup(int32_t tag) { return impl_->auth_groups.Delete(tag); }
std::vector<AuthGroup> IscsiTarget::auth_groups() const { return impl_->auth_groups.groups(); }
// Reactors see the same options, and never this part of them.
Status IscsiTarget::SetDiscoveryAuthentication(Authentication authentication) {
  RETURN_IF_ERROR(Validate(authentication));
  impl_->options.discovery = authentication;
  return OkStatus();
}

// --- Initiator groups.

Status IscsiTarget::CreateInitiatorGroup(InitiatorGroup group) {
  return impl_->initiator_groups.Create(std::move(group));
}
Status IscsiTarget::AddInitiators(int32_t tag, std::vector<std::string> initiators,
                                  std::vector<std::string> netmasks) {
  return impl_->initiator_groups.Add(tag, initiators, netmasks);
}
Status IscsiTarget::RemoveInitiators(int32_t tag, std::vector<std::string> initiators,
                                     std::vector<std::string> netmasks) {
  return impl_->initiator_groups.Remove(tag, initiators, netmasks);
}
// Sessions stay: as with SPDK, a group says who may log in.
Task<Status> IscsiTarget::DeleteInitiatorGroup(int32_t tag) {
  CO_RETURN_IF_ERROR(impl_->initiator_groups.Delete(tag));
  impl_->nodes.ForgetInitiatorGroup(tag);
  co_return OkStatus();
}
std::vector<InitiatorGroup> IscsiTarget::initiator_groups() const {
  return impl_->initiator_groups.groups();
}

// --- Target nodes.

std::string IscsiTarget::FullName(const std::string& name) const {
  const std::string whole = WithNodeBase(impl_->options.node_base, name);
  const Node* const node = impl_->nodes.Find(whole);
  return node != nullptr ? node->name() : whole;
}

Task<Result<std::string>> IscsiTarget::CreateTargetNode(TargetNode node, bool luns_may_be_pending) {
  if (node.name.empty()) co_return InvalidField("name", "", "must not be empty");
  node.name = FullName(node.name);
  const std::string name = node.name;
  const uint32_t queue_depth_max = impl_->options.max_queue_depth;
  CO_RETURN_IF_ERROR(
      co_await impl_->nodes.Create(std::move(node), queue_depth_max, luns_may_be_pending));
  co_return name;
}

Task<Result<int>> IscsiTarget::AddLun(std::string name, LunSpec lun, bool may_be_pending) {
  return impl_->nodes.AddLun(FullName(name), std::move(lun), may_be_pending);
}

Status IscsiTarget::AddMaps(const std::string& name, const std::vector<GroupMap>& maps) {
  return impl_->nodes.AddMaps(FullName(name), maps);
}
Status IscsiTarget::RemoveMaps(const std::string& name, const std::vector<GroupMap>& maps) {
  return impl_->nodes.RemoveMaps(FullName(name), maps);
}
Status IscsiTarget::SetRedirect(const std::string& name, int32_t pg_tag, std::optional<Portal> to) {
  return impl_->nodes.SetRedirect(WithNodeBase(impl_->options.node_base, name), pg_tag,
                                  std::move(to));
}
Task<Status> IscsiTarget::SetAccess(std::string name, PortalGroupAccess access) {
  return impl_->nodes.SetAccess(FullName(name), access);
}
Status IscsiTarget::SetAuthentication(const std::string& name, Authentication authentication) {
  return impl_->nodes.SetAuthentication(FullName(name), authentication);
}
Task<Status> IscsiTarget::RequestLogout(std::string name, std::optional<int32_t> pg_tag) {
  return impl_->RequestLogout(WithNodeBase(impl_->options.node_base, name), pg_tag);
}
Task<Status> IscsiTarget::EnableHistogram(std::string name, bool enable) {
  return impl_->EnableHistogram(WithNodeBase(impl_->options.node_base, name), enable);
}
Result<LatencyHistogram> IscsiTarget::HistogramOf(const std::string& name) const {
  const std::string whole = WithNodeBase(impl_->options.node_base, name);
  ASSIGN_OR_RETURN(const Node* node, impl_->nodes.FindOrFail(whole));
  if (node->latencies.empty()) {
    return ErrorOfField(EFAULT, "name", Printable(name), "its histogram is not enabled");
  }
  const LatencyHistogramOptions shown;
  return CollectLatencies(node->latencies, shown.min_nsec, shown.max_nsec);
}
Task<Status> IscsiTarget::DeleteTargetNode(std::string name) {
  return impl_->DeleteTargetNode(FullName(name));
}

std::vector<TargetNode> IscsiTarget::target_nodes() const {
  std::vector<TargetNode> nodes;
  for (const auto& node : impl_->nodes.nodes()) {
    if (!node->removing) nodes.push_back(node->Describe());
  }
  return nodes;
}

std::vector<PendingLun> IscsiTarget::pending_luns() const {
  std::vector<PendingLun> pending;
  for (const auto& node : impl_->nodes.nodes()) {
    for (const scsi::TargetDevice::Lun& lun : node->device().luns()) {
      if (lun.pending) {
        pending.push_back({node->name(), lun.number, lun.device_name, lun.reason});
      }
    }
  }
  return pending;
}

// --- Connections.

Task<std::vector<ConnectionInfo>> IscsiTarget::Connections() { return impl_->Connections(); }

Task<ConnectionCounts> IscsiTarget::CountConnections() {
  ConnectionCounts counts;
  const std::vector<ConnectionInfo> infos = co_await impl_->Connections();
  for (const ConnectionInfo& info : infos) {
    if (info.state == "running") ++counts.running;
    if (info.state == "exiting") ++counts.exiting;
    if (info.state == "exited") ++counts.exited;
  }
  co_return counts;
}

}  // namespace pollux::iscsi
