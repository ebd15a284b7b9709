#pragma once
#include <string>

#include "core/task.h"
#include "pollux/v1/iscsi.pb.h"
#include "rpc/dispatcher.h"
#include "targets/iscsi/iscsi_target.h"

namespace pollux::service {

class Appliance;
class Configuration;

// proto/pollux/v1/iscsi.proto. The rules are the target's; here messages become its structs, and
// what it has become, saved calls.
class IscsiHandlers {
 public:
  explicit IscsiHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);
  void SpellNames(Configuration& configuration);

 private:
  Task<Result<v1::IscsiSetOptionsResponse>> SetOptions(v1::IscsiSetOptionsRequest request,
                                                       rpc::Caller caller);
  Task<Result<v1::IscsiGetOptionsResponse>> GetOptions(v1::IscsiGetOptionsRequest request);

  Task<Result<v1::IscsiCreatePortalGroupResponse>> CreatePortalGroup(
      v1::IscsiCreatePortalGroupRequest request);
  Task<Result<v1::IscsiStartPortalGroupResponse>> StartPortalGroup(
      v1::IscsiStartPortalGroupRequest request, rpc::Caller caller);
  Task<Result<v1::IscsiDeletePortalGroupResponse>> DeletePortalGroup(
      v1::IscsiDeletePortalGroupRequest request);
  Task<Result<v1::IscsiGetPortalGroupsResponse>> GetPortalGroups(
      v1::IscsiGetPortalGroupsRequest request);

  Task<Result<v1::IscsiPortalGroupSetAuthResponse>> SetPortalGroupAuth(
      v1::IscsiPortalGroupSetAuthRequest request);

  Task<Result<v1::IscsiSetDiscoveryAuthResponse>> SetDiscoveryAuth(
      v1::IscsiSetDiscoveryAuthRequest request);
  Task<Result<v1::IscsiCreateAuthGroupResponse>> CreateAuthGroup(
      v1::IscsiCreateAuthGroupRequest request);
  Task<Result<v1::IscsiAuthGroupAddSecretResponse>> AddSecret(
      v1::IscsiAuthGroupAddSecretRequest request);
  Task<Result<v1::IscsiAuthGroupRemoveSecretResponse>> RemoveSecret(
      v1::IscsiAuthGroupRemoveSecretRequest request);
  Task<Result<v1::IscsiDeleteAuthGroupResponse>> DeleteAuthGroup(
      v1::IscsiDeleteAuthGroupRequest request);
  Task<Result<v1::IscsiGetAuthGroupsResponse>> GetAuthGroups(v1::IscsiGetAuthGroupsRequest request);

  Task<Result<v1::IscsiCreateInitiatorGroupResponse>> CreateInitiatorGroup(
      v1::IscsiCreateInitiatorGroupRequest request);
  Task<Result<v1::IscsiInitiatorGroupAddInitiatorsResponse>> AddInitiators(
      v1::IscsiInitiatorGroupAddInitiatorsRequest request);
  Task<Result<v1::IscsiInitiatorGroupRemoveInitiatorsResponse>> RemoveInitiators(
      v1::IscsiInitiatorGroupRemoveInitiatorsRequest request);
  Task<Result<v1::IscsiDeleteInitiatorGroupResponse>> DeleteInitiatorGroup(
      v1::IscsiDeleteInitiatorGroupRequest request);
  Task<Result<v1::IscsiGetInitiatorGroupsResponse>> GetInitiatorGroups(
      v1::IscsiGetInitiatorGroupsRequest request);

  Task<Result<v1::IscsiCreateTargetNodeResponse>> CreateTargetNode(
      v1::IscsiCreateTargetNodeRequest request, rpc::Caller caller);
  Task<Result<v1::IscsiTargetNodeSetAccessStateResponse>> SetAccessState(
      v1::IscsiTargetNodeSetAccessStateRequest request);
  Task<Result<v1::IscsiTargetNodeAddLunResponse>> AddLun(v1::IscsiTargetNodeAddLunRequest request);
  Task<Result<v1::IscsiTargetNodeAddPgIgMapsResponse>> AddMaps(
      v1::IscsiTargetNodeAddPgIgMapsRequest request);
  Task<Result<v1::IscsiTargetNodeRemovePgIgMapsResponse>> RemoveMaps(
      v1::IscsiTargetNodeRemovePgIgMapsRequest request);
  Task<Result<v1::IscsiTargetNodeSetRedirectResponse>> SetRedirect(
      v1::IscsiTargetNodeSetRedirectRequest request);
  Task<Result<v1::IscsiTargetNodeRequestLogoutResponse>> RequestLogout(
      v1::IscsiTargetNodeRequestLogoutRequest request);
  Task<Result<v1::IscsiEnableHistogramResponse>> EnableHistogram(
      v1::IscsiEnableHistogramRequest request);
  Task<Result<v1::IscsiGetHistogramResponse>> GetHistogram(v1::IscsiGetHistogramRequest request);
  Task<Result<v1::IscsiTargetNodeSetAuthResponse>> SetTargetNodeAuth(
      v1::IscsiTargetNodeSetAuthRequest request);
  Task<Result<v1::IscsiDeleteTargetNodeResponse>> DeleteTargetNode(
      v1::IscsiDeleteTargetNodeRequest request);
  Task<Result<v1::IscsiGetTargetNodesResponse>> GetTargetNodes(
      v1::IscsiGetTargetNodesRequest request);

  Task<Result<v1::IscsiGetConnectionsResponse>> GetConnections(
      v1::IscsiGetConnectionsRequest request);
  Task<Result<v1::IscsiGetStatsResponse>> GetStats(v1::IscsiGetStatsRequest request);

  void SaveAuthGroup(int32_t tag);
  void SaveInitiatorGroup(int32_t tag);
  void SaveTargetNode(const std::string& name);
  // Target nodes lost the maps that named a group.
  void SaveTargetNodesWithout(const std::vector<iscsi::TargetNode>& before);

  Appliance& appliance_;
  bool options_set_ = false;
};

}  // namespace pollux::service
