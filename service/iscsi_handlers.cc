#include "service/iscsi_handlers.h"

#include "absl/strings/ascii.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"
#include "service/histogram_answer.h"
#include "targets/iscsi/auth_file.h"

namespace pollux::service {
namespace {

constexpr char kPortalGroupKind[] = "iscsi_portal_group";
constexpr char kAuthGroupKind[] = "iscsi_auth_group";
constexpr char kInitiatorGroupKind[] = "iscsi_initiator_group";
constexpr char kTargetNodeKind[] = "iscsi_target_node";

template <typename Repeated>
std::vector<std::string> Strings(const Repeated& field) {
  return {field.begin(), field.end()};
}

template <typename Repeated>
std::vector<iscsi::GroupMap> Maps(const Repeated& field) {
  std::vector<iscsi::GroupMap> maps;
  for (const v1::IscsiGroupMap& map : field) {
    maps.push_back({.pg_tag = map.pg_tag(), .ig_tag = map.ig_tag()});
  }
  return maps;
}

// All messages name the four fields alike.
template <typename Message>
iscsi::Authentication AuthenticationOf(const Message& message) {
  return {.disable = message.disable_chap(),
          .require = message.require_chap(),
          .mutual = message.mutual_chap(),
          .group = message.chap_group()};
}

template <typename Message>
void FillAuthentication(const iscsi::Authentication& authentication, Message& message) {
  message.set_disable_chap(authentication.disable);
  message.set_require_chap(authentication.require);
  message.set_mutual_chap(authentication.mutual);
  message.set_chap_group(authentication.group);
}

template <typename Message>
iscsi::ChapSecret SecretOf(const Message& message) {
  return {.user = message.user(),
          .secret = message.secret(),
          .muser = message.muser(),
          .msecret = message.msecret()};
}

template <typename Message>
void FillSecret(const iscsi::ChapSecret& secret, Message& message) {
  message.set_user(secret.user);
  message.set_secret(secret.secret);
  if (secret.muser.empty()) return;
  message.set_muser(secret.muser);
  message.set_msecret(secret.msecret);
}

// The request that makes this node, or the answer that shows it: they name the fields alike.
template <typename Message>
void Fill(const iscsi::TargetNode& node, Message& message) {
  message.set_name(node.name);
  if (!node.alias.empty()) message.set_alias_name(node.alias);
  for (const iscsi::GroupMap& map : node.maps) {
    v1::IscsiGroupMap* entry = message.add_pg_ig_maps();
    entry->set_pg_tag(map.pg_tag);
    entry->set_ig_tag(map.ig_tag);
  }
  for (const iscsi::LunSpec& lun : node.luns) {
    v1::IscsiLun* entry = message.add_luns();
    entry->set_bdev_name(lun.bdev_name);
    if (lun.lun_id.has_value()) entry->set_lun_id(*lun.lun_id);
    if (lun.read_only) entry->set_read_only(true);
    if (lun.removable) entry->set_removable(true);
  }
  message.set_queue_depth(node.queue_depth);
  FillAuthentication(node.authentication, message);
  message.set_header_digest(node.header_digest);
  message.set_data_digest(node.data_digest);
}

// The request has been checked: there is no other state.
scsi::AccessState AccessStateOf(v1::IscsiAccessState state) {
  switch (state) {
    case v1::ISCSI_ACCESS_STATE_NON_OPTIMIZED:
      return scsi::AccessState::kNonOptimized;
    case v1::ISCSI_ACCESS_STATE_STANDBY:
      return scsi::AccessState::kStandby;
    case v1::ISCSI_ACCESS_STATE_UNAVAILABLE:
      return scsi::AccessState::kUnavailable;
    default:
      return scsi::AccessState::kOptimized;
  }
}

v1::IscsiAccessState MessageOf(scsi::AccessState state) {
  switch (state) {
    case scsi::AccessState::kOptimized:
      break;
    case scsi::AccessState::kNonOptimized:
      return v1::ISCSI_ACCESS_STATE_NON_OPTIMIZED;
    case scsi::AccessState::kStandby:
      return v1::ISCSI_ACCESS_STATE_STANDBY;
    case scsi::AccessState::kUnavailable:
      return v1::ISCSI_ACCESS_STATE_UNAVAILABLE;
  }
  return v1::ISCSI_ACCESS_STATE_OPTIMIZED;
}

iscsi::Options OptionsOf(const v1::IscsiSetOptionsRequest& request) {
  iscsi::Options options;
  if (request.has_auth_file()) options.auth_file = request.auth_file();
  options.node_base = request.node_base();
  options.nop_timeout_s = request.nop_timeout();
  options.nop_in_interval_s = request.nop_in_interval();
  options.discovery = AuthenticationOf(request);
  options.max_sessions = request.max_sessions();
  options.max_queue_depth = request.max_queue_depth();
  options.max_connections_per_session = request.max_connections_per_session();
  options.default_time2wait_s = request.default_time2wait();
  options.default_time2retain_s = request.default_time2retain();
  options.first_burst_length = request.first_burst_length();
  options.immediate_data = request.immediate_data();
  options.error_recovery_level = request.error_recovery_level();
  options.allow_duplicated_isid = request.allow_duplicated_isid();
  options.max_large_datain_per_connection = request.max_large_datain_per_connection();
  options.max_r2t_per_connection = request.max_r2t_per_connection();
  options.pdu_pool_size = request.pdu_pool_size();
  options.immediate_data_pool_size = request.immediate_data_pool_size();
  options.data_out_pool_size = request.data_out_pool_size();
  return options;
}

}  // namespace

void IscsiHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("iscsi_set_options", this, &IscsiHandlers::SetOptions);
  dispatcher.Bind("iscsi_get_options", this, &IscsiHandlers::GetOptions);
  dispatcher.Bind("iscsi_create_portal_group", this, &IscsiHandlers::CreatePortalGroup);
  dispatcher.Bind("iscsi_start_portal_group", this, &IscsiHandlers::StartPortalGroup);
  dispatcher.Bind("iscsi_delete_portal_group", this, &IscsiHandlers::DeletePortalGroup);
  dispatcher.Bind("iscsi_get_portal_groups", this, &IscsiHandlers::GetPortalGroups);
  dispatcher.Bind("iscsi_portal_group_set_auth", this, &IscsiHandlers::SetPortalGroupAuth);
  dispatcher.Bind("iscsi_set_discovery_auth", this, &IscsiHandlers::SetDiscoveryAuth);
  dispatcher.Bind("iscsi_create_auth_group", this, &IscsiHandlers::CreateAuthGroup);
  dispatcher.Bind("iscsi_auth_group_add_secret", this, &IscsiHandlers::AddSecret);
  dispatcher.Bind("iscsi_auth_group_remove_secret", this, &IscsiHandlers::RemoveSecret);
  dispatcher.Bind("iscsi_delete_auth_group", this, &IscsiHandlers::DeleteAuthGroup);
  dispatcher.Bind("iscsi_get_auth_groups", this, &IscsiHandlers::GetAuthGroups);
  dispatcher.Bind("iscsi_create_initiator_group", this, &IscsiHandlers::CreateInitiatorGroup);
  dispatcher.Bind("iscsi_initiator_group_add_initiators", this, &IscsiHandlers::AddInitiators);
  dispatcher.Bind("iscsi_initiator_group_remove_initiators", this,
                  &IscsiHandlers::RemoveInitiators);
  dispatcher.Bind("iscsi_delete_initiator_group", this, &IscsiHandlers::DeleteInitiatorGroup);
  dispatcher.Bind("iscsi_get_initiator_groups", this, &IscsiHandlers::GetInitiatorGroups);
  dispatcher.Bind("iscsi_create_target_node", this, &IscsiHandlers::CreateTargetNode);
  dispatcher.Bind("iscsi_target_node_add_lun", this, &IscsiHandlers::AddLun);
  dispatcher.Bind("iscsi_target_node_add_pg_ig_maps", this, &IscsiHandlers::AddMaps);
  dispatcher.Bind("iscsi_target_node_remove_pg_ig_maps", this, &IscsiHandlers::RemoveMaps);
  dispatcher.Bind("iscsi_target_node_set_redirect", this, &IscsiHandlers::SetRedirect);
  dispatcher.Bind("pollux_iscsi_target_node_set_access_state", this,
                  &IscsiHandlers::SetAccessState);
  dispatcher.Bind("iscsi_target_node_request_logout", this, &IscsiHandlers::RequestLogout);
  dispatcher.Bind("iscsi_enable_histogram", this, &IscsiHandlers::EnableHistogram);
  dispatcher.Bind("iscsi_get_histogram", this, &IscsiHandlers::GetHistogram);
  dispatcher.Bind("iscsi_target_node_set_auth", this, &IscsiHandlers::SetTargetNodeAuth);
  dispatcher.Bind("iscsi_delete_target_node", this, &IscsiHandlers::DeleteTargetNode);
  dispatcher.Bind("iscsi_get_target_nodes", this, &IscsiHandlers::GetTargetNodes);
  dispatcher.Bind("iscsi_get_connections", this, &IscsiHandlers::GetConnections);
  dispatcher.Bind("iscsi_get_stats", this, &IscsiHandlers::GetStats);
}

// A target node has a short name, a whole one, and both in letters of either case.
void IscsiHandlers::SpellNames(Configuration& configuration) {
  configuration.SetSpelling(kTargetNodeKind, [this](const std::string& name) {
    return absl::AsciiStrToLower(appliance_.iscsi().FullName(name));
  });
}

// A process takes options once; those of the last process, which are replayed, do not count.
Task<Result<v1::IscsiSetOptionsResponse>> IscsiHandlers::SetOptions(
    v1::IscsiSetOptionsRequest request, rpc::Caller caller) {
  if (options_set_) co_return ErrorOfErrno(EALREADY, "the options were set before");
  iscsi::Options options = OptionsOf(request);
  CO_RETURN_IF_ERROR(iscsi::Validate(options));
  // A file that was damaged since is the start's to refuse, or all options would be left out.
  if (options.auth_file.has_value() && !caller.replay) {
    CO_RETURN_IF_ERROR(iscsi::ReadAuthFile(*options.auth_file).status());
  }
  options_set_ = !caller.replay;
  appliance_.iscsi_options() = std::move(options);
  // They say how discovery is authenticated, in place of what was said before.
  if (!caller.replay) appliance_.configuration().Erase({"options", "iscsi_discovery_auth"});
  appliance_.configuration().Put({"options", "iscsi"},
                                 {{"iscsi_set_options", rpc::EncodeMessage(request)}});
  co_return Done<v1::IscsiSetOptionsResponse>();
}

Task<Result<v1::IscsiGetOptionsResponse>> IscsiHandlers::GetOptions(v1::IscsiGetOptionsRequest) {
  const iscsi::Options& options = appliance_.iscsi().options();
  v1::IscsiGetOptionsResponse response;
  if (options.auth_file.has_value()) response.set_auth_file(*options.auth_file);
  response.set_node_base(options.node_base);
  response.set_nop_timeout(options.nop_timeout_s);
  response.set_nop_in_interval(options.nop_in_interval_s);
  FillAuthentication(options.discovery, response);
  response.set_max_sessions(options.max_sessions);
  response.set_max_queue_depth(options.max_queue_depth);
  response.set_max_connections_per_session(options.max_connections_per_session);
  response.set_default_time2wait(options.default_time2wait_s);
  response.set_default_time2retain(options.default_time2retain_s);
  response.set_first_burst_length(options.first_burst_length);
  response.set_immediate_data(options.immediate_data);
  response.set_error_recovery_level(options.error_recovery_level);
  response.set_allow_duplicated_isid(options.allow_duplicated_isid);
  response.set_max_large_datain_per_connection(options.max_large_datain_per_connection);
  response.set_max_r2t_per_connection(options.max_r2t_per_connection);
  response.set_pdu_pool_size(options.pdu_pool_size);
  response.set_immediate_data_pool_size(options.immediate_data_pool_size);
  response.set_data_out_pool_size(options.data_out_pool_size);
  co_return response;
}

Task<Result<v1::IscsiCreatePortalGroupResponse>> IscsiHandlers::CreatePortalGroup(
    v1::IscsiCreatePortalGroupRequest request) {
  iscsi::PortalGroup group;
  group.tag = request.tag();
  group.is_private = request.private_();
  for (const v1::IscsiPortal& portal : request.portals()) {
    group.portals.push_back({.host = portal.host(), .port = portal.port()});
  }
  CO_RETURN_IF_ERROR(appliance_.iscsi().CreatePortalGroup(std::move(group), request.wait()));
  appliance_.configuration().Put({kPortalGroupKind, std::to_string(request.tag())},
                                 {{"iscsi_create_portal_group", rpc::EncodeMessage(request)}});
  co_return Done<v1::IscsiCreatePortalGroupResponse>();
}

Task<Result<v1::IscsiStartPortalGroupResponse>> IscsiHandlers::StartPortalGroup(
    v1::IscsiStartPortalGroupRequest request, rpc::Caller caller) {
  CO_RETURN_IF_ERROR(appliance_.iscsi().StartPortalGroup(request.tag()));
  const ObjectId id{kPortalGroupKind, std::to_string(request.tag())};
  if (!caller.replay) {
    appliance_.configuration().Unpark(id);
    // What rebuilds it now starts it at once.
    const std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(id);
    if (!calls.empty()) {
      v1::IscsiCreatePortalGroupRequest create;
      CO_RETURN_IF_ERROR(rpc::DecodeParams(calls.front().params, /*relaxed=*/true, create));
      create.set_wait(false);
      std::vector<rpc::SavedCall> changed = calls;
      changed.front().params = rpc::EncodeMessage(create);
      appliance_.configuration().Put(id, std::move(changed));
    }
  }
  co_return Done<v1::IscsiStartPortalGroupResponse>();
}

Task<Result<v1::IscsiDeletePortalGroupResponse>> IscsiHandlers::DeletePortalGroup(
    v1::IscsiDeletePortalGroupRequest request) {
  const std::vector<iscsi::TargetNode> before = appliance_.iscsi().target_nodes();
  CO_RETURN_IF_ERROR(co_await appliance_.iscsi().DeletePortalGroup(request.tag()));
  appliance_.configuration().Erase({kPortalGroupKind, std::to_string(request.tag())});
  SaveTargetNodesWithout(before);
  co_return Done<v1::IscsiDeletePortalGroupResponse>();
}

Task<Result<v1::IscsiGetPortalGroupsResponse>> IscsiHandlers::GetPortalGroups(
    v1::IscsiGetPortalGroupsRequest) {
  v1::IscsiGetPortalGroupsResponse response;
  for (const iscsi::PortalGroup& group : appliance_.iscsi().portal_groups()) {
    v1::IscsiPortalGroup* entry = response.add_portal_groups();
    entry->set_tag(group.tag);
    entry->set_private_(group.is_private);
    for (const iscsi::Portal& portal : group.portals) {
      v1::IscsiPortal* where = entry->add_portals();
      where->set_host(portal.host);
      where->set_port(portal.port);
    }
  }
  co_return response;
}

Task<Result<v1::IscsiPortalGroupSetAuthResponse>> IscsiHandlers::SetPortalGroupAuth(
    v1::IscsiPortalGroupSetAuthRequest request) {
  CO_RETURN_IF_ERROR(
      appliance_.iscsi().SetPortalGroupAuthentication(request.tag(), AuthenticationOf(request)));
  const ObjectId id{kPortalGroupKind, std::to_string(request.tag())};
  std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(id);
  if (calls.size() > 1) calls.resize(1);  // What makes the group; what was set before.
  calls.push_back({"iscsi_portal_group_set_auth", rpc::EncodeMessage(request)});
  appliance_.configuration().Put(id, std::move(calls));
  co_return Done<v1::IscsiPortalGroupSetAuthResponse>();
}

Task<Result<v1::IscsiSetDiscoveryAuthResponse>> IscsiHandlers::SetDiscoveryAuth(
    v1::IscsiSetDiscoveryAuthRequest request) {
  CO_RETURN_IF_ERROR(appliance_.iscsi().SetDiscoveryAuthentication(AuthenticationOf(request)));
  appliance_.configuration().Put({"options", "iscsi_discovery_auth"},
                                 {{"iscsi_set_discovery_auth", rpc::EncodeMessage(request)}});
  co_return Done<v1::IscsiSetDiscoveryAuthResponse>();
}

Task<Result<v1::IscsiCreateAuthGroupResponse>> IscsiHandlers::CreateAuthGroup(
    v1::IscsiCreateAuthGroupRequest request) {
  iscsi::AuthGroup group{.tag = request.tag(), .secrets = {}};
  for (const v1::IscsiChapSecret& secret : request.secrets()) {
    group.secrets.push_back(SecretOf(secret));
  }
  CO_RETURN_IF_ERROR(appliance_.iscsi().CreateAuthGroup(std::move(group)));
  SaveAuthGroup(request.tag());
  co_return Done<v1::IscsiCreateAuthGroupResponse>();
}

Task<Result<v1::IscsiAuthGroupAddSecretResponse>> IscsiHandlers::AddSecret(
    v1::IscsiAuthGroupAddSecretRequest request) {
  CO_RETURN_IF_ERROR(appliance_.iscsi().AddSecret(request.tag(), SecretOf(request)));
  SaveAuthGroup(request.tag());
  co_return Done<v1::IscsiAuthGroupAddSecretResponse>();
}

Task<Result<v1::IscsiAuthGroupRemoveSecretResponse>> IscsiHandlers::RemoveSecret(
    v1::IscsiAuthGroupRemoveSecretRequest request) {
  CO_RETURN_IF_ERROR(appliance_.iscsi().RemoveSecret(request.tag(), request.user()));
  SaveAuthGroup(request.tag());
  co_return Done<v1::IscsiAuthGroupRemoveSecretResponse>();
}

Task<Result<v1::IscsiDeleteAuthGroupResponse>> IscsiHandlers::DeleteAuthGroup(
    v1::IscsiDeleteAuthGroupRequest request) {
  CO_RETURN_IF_ERROR(appliance_.iscsi().DeleteAuthGroup(request.tag()));
  appliance_.configuration().Erase({kAuthGroupKind, std::to_string(request.tag())});
  co_return Done<v1::IscsiDeleteAuthGroupResponse>();
}

Task<Result<v1::IscsiGetAuthGroupsResponse>> IscsiHandlers::GetAuthGroups(
    v1::IscsiGetAuthGroupsRequest) {
  v1::IscsiGetAuthGroupsResponse response;
  for (const iscsi::AuthGroup& group : appliance_.iscsi().auth_groups()) {
    v1::IscsiAuthGroup* entry = response.add_auth_groups();
    entry->set_tag(group.tag);
    for (const iscsi::ChapSecret& secret : group.secrets) FillSecret(secret, *entry->add_secrets());
  }
  co_return response;
}

Task<Result<v1::IscsiCreateInitiatorGroupResponse>> IscsiHandlers::CreateInitiatorGroup(
    v1::IscsiCreateInitiatorGroupRequest request) {
  iscsi::InitiatorGroup group{.tag = request.tag(),
                              .initiators = Strings(request.initiators()),
                              .netmasks = Strings(request.netmasks())};
  CO_RETURN_IF_ERROR(appliance_.iscsi().CreateInitiatorGroup(std::move(group)));
  SaveInitiatorGroup(request.tag());
  co_return Done<v1::IscsiCreateInitiatorGroupResponse>();
}

Task<Result<v1::IscsiInitiatorGroupAddInitiatorsResponse>> IscsiHandlers::AddInitiators(
    v1::IscsiInitiatorGroupAddInitiatorsRequest request) {
  CO_RETURN_IF_ERROR(appliance_.iscsi().AddInitiators(request.tag(), Strings(request.initiators()),
                                                      Strings(request.netmasks())));
  SaveInitiatorGroup(request.tag());
  co_return Done<v1::IscsiInitiatorGroupAddInitiatorsResponse>();
}

Task<Result<v1::IscsiInitiatorGroupRemoveInitiatorsResponse>> IscsiHandlers::RemoveInitiators(
    v1::IscsiInitiatorGroupRemoveInitiatorsRequest request) {
  CO_RETURN_IF_ERROR(appliance_.iscsi().RemoveInitiators(
      request.tag(), Strings(request.initiators()), Strings(request.netmasks())));
  SaveInitiatorGroup(request.tag());
  co_return Done<v1::IscsiInitiatorGroupRemoveInitiatorsResponse>();
}

Task<Result<v1::IscsiDeleteInitiatorGroupResponse>> IscsiHandlers::DeleteInitiatorGroup(
    v1::IscsiDeleteInitiatorGroupRequest request) {
  const std::vector<iscsi::TargetNode> before = appliance_.iscsi().target_nodes();
  CO_RETURN_IF_ERROR(co_await appliance_.iscsi().DeleteInitiatorGroup(request.tag()));
  appliance_.configuration().Erase({kInitiatorGroupKind, std::to_string(request.tag())});
  SaveTargetNodesWithout(before);
  co_return Done<v1::IscsiDeleteInitiatorGroupResponse>();
}

Task<Result<v1::IscsiGetInitiatorGroupsResponse>> IscsiHandlers::GetInitiatorGroups(
    v1::IscsiGetInitiatorGroupsRequest) {
  v1::IscsiGetInitiatorGroupsResponse response;
  for (const iscsi::InitiatorGroup& group : appliance_.iscsi().initiator_groups()) {
    v1::IscsiInitiatorGroup* entry = response.add_initiator_groups();
    entry->set_tag(group.tag);
    for (const std::string& initiator : group.initiators) entry->add_initiators(initiator);
    for (const std::string& netmask : group.netmasks) entry->add_netmasks(netmask);
  }
  co_return response;
}

Task<Result<v1::IscsiCreateTargetNodeResponse>> IscsiHandlers::CreateTargetNode(
    v1::IscsiCreateTargetNodeRequest request, rpc::Caller caller) {
  iscsi::TargetNode node;
  node.name = request.name();
  node.alias = request.alias_name();
  node.maps = Maps(request.pg_ig_maps());
  for (const v1::IscsiLun& lun : request.luns()) {
    iscsi::LunSpec spec{.bdev_name = lun.bdev_name(),
                        .lun_id = std::nullopt,
                        .read_only = lun.read_only(),
                        .removable = lun.removable()};
    if (lun.has_lun_id()) spec.lun_id = lun.lun_id();
    node.luns.push_back(std::move(spec));
  }
  node.queue_depth = request.queue_depth();
  node.authentication = AuthenticationOf(request);
  node.header_digest = request.header_digest();
  node.data_digest = request.data_digest();
  ASSIGN_OR_CO_RETURN(const std::string name,
                      co_await appliance_.iscsi().CreateTargetNode(std::move(node), caller.replay));
  SaveTargetNode(name);
  co_return Done<v1::IscsiCreateTargetNodeResponse>();
}

Task<Result<v1::IscsiTargetNodeAddLunResponse>> IscsiHandlers::AddLun(
    v1::IscsiTargetNodeAddLunRequest request) {
  iscsi::LunSpec lun{.bdev_name = request.bdev_name(),
                     .lun_id = std::nullopt,
                     .read_only = request.read_only(),
                     .removable = request.removable()};
  if (request.lun_id() != -1) lun.lun_id = request.lun_id();
  CO_RETURN_IF_ERROR((co_await appliance_.iscsi().AddLun(request.name(), std::move(lun),
                                                         /*may_be_pending=*/false))
                         .status());
  SaveTargetNode(request.name());
  co_return Done<v1::IscsiTargetNodeAddLunResponse>();
}

Task<Result<v1::IscsiTargetNodeAddPgIgMapsResponse>> IscsiHandlers::AddMaps(
    v1::IscsiTargetNodeAddPgIgMapsRequest request) {
  CO_RETURN_IF_ERROR(appliance_.iscsi().AddMaps(request.name(), Maps(request.pg_ig_maps())));
  SaveTargetNode(request.name());
  co_return Done<v1::IscsiTargetNodeAddPgIgMapsResponse>();
}

Task<Result<v1::IscsiTargetNodeRemovePgIgMapsResponse>> IscsiHandlers::RemoveMaps(
    v1::IscsiTargetNodeRemovePgIgMapsRequest request) {
  CO_RETURN_IF_ERROR(appliance_.iscsi().RemoveMaps(request.name(), Maps(request.pg_ig_maps())));
  SaveTargetNode(request.name());
  co_return Done<v1::IscsiTargetNodeRemovePgIgMapsResponse>();
}

Task<Result<v1::IscsiTargetNodeSetRedirectResponse>> IscsiHandlers::SetRedirect(
    v1::IscsiTargetNodeSetRedirectRequest request) {
  if (request.has_redirect_host() != request.has_redirect_port()) {
    co_return ErrorOfField(EINVAL, request.has_redirect_host() ? "redirect_port" : "redirect_host",
                           "", "host and port belong together");
  }
  std::optional<iscsi::Portal> to;
  if (request.has_redirect_host()) {
    to = {.host = request.redirect_host(), .port = request.redirect_port()};
  }
  CO_RETURN_IF_ERROR(
      appliance_.iscsi().SetRedirect(request.name(), request.pg_tag(), std::move(to)));
  SaveTargetNode(request.name());
  co_return Done<v1::IscsiTargetNodeSetRedirectResponse>();
}

Task<Result<v1::IscsiTargetNodeSetAccessStateResponse>> IscsiHandlers::SetAccessState(
    v1::IscsiTargetNodeSetAccessStateRequest request) {
  const iscsi::PortalGroupAccess access{.pg_tag = request.pg_tag(),
                                        .state = AccessStateOf(request.access_state()),
                                        .preferred = request.preferred()};
  CO_RETURN_IF_ERROR(co_await appliance_.iscsi().SetAccess(request.name(), access));
  SaveTargetNode(request.name());
  co_return Done<v1::IscsiTargetNodeSetAccessStateResponse>();
}

Task<Result<v1::IscsiTargetNodeRequestLogoutResponse>> IscsiHandlers::RequestLogout(
    v1::IscsiTargetNodeRequestLogoutRequest request) {
  std::optional<int32_t> pg_tag;
  if (request.pg_tag() != -1) pg_tag = request.pg_tag();
  CO_RETURN_IF_ERROR(co_await appliance_.iscsi().RequestLogout(request.name(), pg_tag));
  co_return Done<v1::IscsiTargetNodeRequestLogoutResponse>();
}

Task<Result<v1::IscsiEnableHistogramResponse>> IscsiHandlers::EnableHistogram(
    v1::IscsiEnableHistogramRequest request) {
  CO_RETURN_IF_ERROR(co_await appliance_.iscsi().EnableHistogram(request.name(), request.enable()));
  SaveTargetNode(request.name());
  co_return Done<v1::IscsiEnableHistogramResponse>();
}

Task<Result<v1::IscsiGetHistogramResponse>> IscsiHandlers::GetHistogram(
    v1::IscsiGetHistogramRequest request) {
  ASSIGN_OR_CO_RETURN(const LatencyHistogram histogram,
                      appliance_.iscsi().HistogramOf(request.name()));
  v1::IscsiGetHistogramResponse response;
  Fill(histogram, response);
  co_return response;
}

Task<Result<v1::IscsiTargetNodeSetAuthResponse>> IscsiHandlers::SetTargetNodeAuth(
    v1::IscsiTargetNodeSetAuthRequest request) {
  CO_RETURN_IF_ERROR(
      appliance_.iscsi().SetAuthentication(request.name(), AuthenticationOf(request)));
  SaveTargetNode(request.name());
  co_return Done<v1::IscsiTargetNodeSetAuthResponse>();
}

Task<Result<v1::IscsiDeleteTargetNodeResponse>> IscsiHandlers::DeleteTargetNode(
    v1::IscsiDeleteTargetNodeRequest request) {
  const std::string name = appliance_.iscsi().FullName(request.name());
  CO_RETURN_IF_ERROR(co_await appliance_.iscsi().DeleteTargetNode(name));
  appliance_.configuration().Erase({kTargetNodeKind, name});
  co_return Done<v1::IscsiDeleteTargetNodeResponse>();
}

Task<Result<v1::IscsiGetTargetNodesResponse>> IscsiHandlers::GetTargetNodes(
    v1::IscsiGetTargetNodesRequest) {
  v1::IscsiGetTargetNodesResponse response;
  for (const iscsi::TargetNode& node : appliance_.iscsi().target_nodes()) {
    v1::IscsiTargetNode* entry = response.add_target_nodes();
    Fill(node, *entry);
    for (const iscsi::Redirect& redirect : node.redirects) {
      v1::IscsiRedirect* shown = entry->add_redirects();
      shown->set_pg_tag(redirect.pg_tag);
      shown->set_redirect_host(redirect.to.host);
      shown->set_redirect_port(redirect.to.port);
    }
    for (const iscsi::PortalGroupAccess& access : node.accesses) {
      v1::IscsiPortalGroupAccess* shown = entry->add_accesses();
      shown->set_pg_tag(access.pg_tag);
      shown->set_access_state(MessageOf(access.state));
      shown->set_preferred(access.preferred);
    }
  }
  co_return response;
}

Task<Result<v1::IscsiGetConnectionsResponse>> IscsiHandlers::GetConnections(
    v1::IscsiGetConnectionsRequest) {
  v1::IscsiGetConnectionsResponse response;
  const std::vector<iscsi::ConnectionInfo> connections = co_await appliance_.iscsi().Connections();
  for (const iscsi::ConnectionInfo& connection : connections) {
    v1::IscsiConnection* entry = response.add_connections();
    entry->set_id(connection.id);
    entry->set_cid(connection.cid);
    entry->set_tsih(connection.tsih);
    entry->set_state(connection.state);
    entry->set_login_phase(connection.login_phase);
    entry->set_initiator_addr(connection.initiator_address);
    entry->set_target_addr(connection.target_address);
    entry->set_target_node_name(connection.target_node_name);
    entry->set_thread_name(connection.thread_name);
  }
  co_return response;
}

Task<Result<v1::IscsiGetStatsResponse>> IscsiHandlers::GetStats(v1::IscsiGetStatsRequest) {
  const iscsi::ConnectionCounts counts = co_await appliance_.iscsi().CountConnections();
  v1::IscsiGetStatsResponse response;
  response.set_invalid(counts.invalid);
  response.set_running(counts.running);
  response.set_exiting(counts.exiting);
  response.set_exited(counts.exited);
  co_return response;
}

void IscsiHandlers::SaveAuthGroup(int32_t tag) {
  for (const iscsi::AuthGroup& group : appliance_.iscsi().auth_groups()) {
    if (group.tag != tag) continue;
    v1::IscsiCreateAuthGroupRequest create;
    create.set_tag(tag);
    for (const iscsi::ChapSecret& secret : group.secrets) {
      FillSecret(secret, *create.add_secrets());
    }
    appliance_.configuration().Put(
        {kAuthGroupKind, std::to_string(tag)},
        {{"iscsi_create_auth_group", rpc::EncodeMessage(create, rpc::Secrets::kWritten)}});
  }
}

void IscsiHandlers::SaveInitiatorGroup(int32_t tag) {
  for (const iscsi::InitiatorGroup& group : appliance_.iscsi().initiator_groups()) {
    if (group.tag != tag) continue;
    v1::IscsiCreateInitiatorGroupRequest create;
    create.set_tag(tag);
    for (const std::string& initiator : group.initiators) create.add_initiators(initiator);
    for (const std::string& netmask : group.netmasks) create.add_netmasks(netmask);
    appliance_.configuration().Put({kInitiatorGroupKind, std::to_string(tag)},
                                   {{"iscsi_create_initiator_group", rpc::EncodeMessage(create)}});
  }
}

void IscsiHandlers::SaveTargetNode(const std::string& name) {
  const std::string full_name = appliance_.iscsi().FullName(name);
  for (const iscsi::TargetNode& node : appliance_.iscsi().target_nodes()) {
    if (node.name != full_name) continue;
    v1::IscsiCreateTargetNodeRequest create;
    create.set_alias_name("");  // Required, and may be empty.
    Fill(node, create);
    std::vector<rpc::SavedCall> calls{{"iscsi_create_target_node", rpc::EncodeMessage(create)}};
    for (const iscsi::Redirect& redirect : node.redirects) {
      v1::IscsiTargetNodeSetRedirectRequest set;
      set.set_name(node.name);
      set.set_pg_tag(redirect.pg_tag);
      set.set_redirect_host(redirect.to.host);
      set.set_redirect_port(redirect.to.port);
      calls.push_back({"iscsi_target_node_set_redirect", rpc::EncodeMessage(set)});
    }
    for (const iscsi::PortalGroupAccess& access : node.accesses) {
      v1::IscsiTargetNodeSetAccessStateRequest set;
      set.set_name(node.name);
      set.set_pg_tag(access.pg_tag);
      set.set_access_state(MessageOf(access.state));
      set.set_preferred(access.preferred);
      calls.push_back({"pollux_iscsi_target_node_set_access_state", rpc::EncodeMessage(set)});
    }
    if (node.histogram) {
      v1::IscsiEnableHistogramRequest enable;
      enable.set_name(node.name);
      enable.set_enable(true);
      calls.push_back({"iscsi_enable_histogram", rpc::EncodeMessage(enable)});
    }
    appliance_.configuration().Put({kTargetNodeKind, full_name}, std::move(calls));
  }
}

void IscsiHandlers::SaveTargetNodesWithout(const std::vector<iscsi::TargetNode>& before) {
  const std::vector<iscsi::TargetNode> now = appliance_.iscsi().target_nodes();
  for (const iscsi::TargetNode& old : before) {
    for (const iscsi::TargetNode& node : now) {
      if (node.name == old.name && node.maps != old.maps) SaveTargetNode(node.name);
    }
  }
}

}  // namespace pollux::service
