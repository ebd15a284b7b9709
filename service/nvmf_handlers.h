#pragma once
#include <string>

#include "core/task.h"
#include "pollux/v1/nvmf.pb.h"
#include "rpc/dispatcher.h"
#include "service/configuration.h"
#include "targets/nvmf/nvmf_target.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/nvmf.proto. The rules are the target's; here messages become its structs, and
// what it has become, saved calls. Each host, namespace and listener is an object of its own in the
// configuration, so that a subsystem of thousands is not written anew for each change.
class NvmfHandlers final : public nvmf::NvmfTarget::Keeper {
 public:
  explicit NvmfHandlers(Appliance& appliance) : appliance_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);
  // A listener could not be opened at start: it is tried again.
  void ParkListener(const nvmf::NvmfTarget::Unopened& unopened);
  // What a host did to the namespace becomes part of the call that adds it.
  Task<Status> KeepNamespace(std::string nqn, uint32_t nsid) override;

 private:
  Task<Result<v1::NvmfSetConfigResponse>> SetConfig(v1::NvmfSetConfigRequest request);
  Task<Result<v1::NvmfSetMaxSubsystemsResponse>> SetMaxSubsystems(
      v1::NvmfSetMaxSubsystemsRequest request, rpc::Caller caller);
  Task<Result<v1::NvmfSetCrdtResponse>> SetCrdt(v1::NvmfSetCrdtRequest request);
  Task<Result<v1::NvmfCreateTargetResponse>> CreateTarget(v1::NvmfCreateTargetRequest request);
  Task<Result<v1::NvmfDeleteTargetResponse>> DeleteTarget(v1::NvmfDeleteTargetRequest request);
  Task<Result<v1::NvmfGetTargetsResponse>> GetTargets(v1::NvmfGetTargetsRequest request);

  Task<Result<v1::NvmfCreateTransportResponse>> CreateTransport(
      v1::NvmfCreateTransportRequest request);
  Task<Result<v1::NvmfGetTransportsResponse>> GetTransports(v1::NvmfGetTransportsRequest request);

  Task<Result<v1::NvmfCreateSubsystemResponse>> CreateSubsystem(
      v1::NvmfCreateSubsystemRequest request);
  Task<Result<v1::NvmfDeleteSubsystemResponse>> DeleteSubsystem(
      v1::NvmfDeleteSubsystemRequest request);
  Task<Result<v1::NvmfGetSubsystemsResponse>> GetSubsystems(v1::NvmfGetSubsystemsRequest request);

  Task<Result<v1::NvmfSubsystemAddListenerResponse>> AddListener(
      v1::NvmfSubsystemAddListenerRequest request, rpc::Caller caller);
  Task<Result<v1::NvmfSubsystemRemoveListenerResponse>> RemoveListener(
      v1::NvmfSubsystemRemoveListenerRequest request);
  Task<Result<v1::NvmfSubsystemListenerSetAnaStateResponse>> SetAnaState(
      v1::NvmfSubsystemListenerSetAnaStateRequest request);
  Task<Result<v1::NvmfSubsystemGetListenersResponse>> GetListeners(
      v1::NvmfSubsystemGetListenersRequest request);

  Task<Result<v1::NvmfSubsystemAddNsResponse>> AddNs(v1::NvmfSubsystemAddNsRequest request,
                                                     rpc::Caller caller);
  Task<Result<v1::NvmfSubsystemRemoveNsResponse>> RemoveNs(
      v1::NvmfSubsystemRemoveNsRequest request);
  Task<Result<v1::NvmfSubsystemSetNsAnaGroupResponse>> SetNsAnaGroup(
      v1::NvmfSubsystemSetNsAnaGroupRequest request);
  Task<Result<v1::NvmfNsAddHostResponse>> NsAddHost(v1::NvmfNsAddHostRequest request);
  Task<Result<v1::NvmfNsRemoveHostResponse>> NsRemoveHost(v1::NvmfNsRemoveHostRequest request);

  Task<Result<v1::NvmfSubsystemAddHostResponse>> AddHost(v1::NvmfSubsystemAddHostRequest request);
  Task<Result<v1::NvmfSubsystemRemoveHostResponse>> RemoveHost(
      v1::NvmfSubsystemRemoveHostRequest request, rpc::Caller caller);
  Task<Result<v1::NvmfSubsystemAllowAnyHostResponse>> AllowAnyHost(
      v1::NvmfSubsystemAllowAnyHostRequest request);
  Task<Result<v1::NvmfSubsystemSetKeysResponse>> SetKeys(v1::NvmfSubsystemSetKeysRequest request);

  Task<Result<v1::NvmfSubsystemGetControllersResponse>> GetControllers(
      v1::NvmfSubsystemGetControllersRequest request);
  Task<Result<v1::NvmfSubsystemGetQpairsResponse>> GetQpairs(
      v1::NvmfSubsystemGetQpairsRequest request);

  Task<Result<v1::NvmfDiscoveryAddReferralResponse>> AddReferral(
      v1::NvmfDiscoveryAddReferralRequest request);
  Task<Result<v1::NvmfDiscoveryRemoveReferralResponse>> RemoveReferral(
      v1::NvmfDiscoveryRemoveReferralRequest request);
  Task<Result<v1::NvmfDiscoveryGetReferralsResponse>> GetReferrals(
      v1::NvmfDiscoveryGetReferralsRequest request);

  Task<Result<v1::NvmfGetStatsResponse>> GetStats(v1::NvmfGetStatsRequest request);
  Task<Result<v1::NvmfGetSubsystemStatsResponse>> GetSubsystemStats(
      v1::NvmfGetSubsystemStatsRequest request);
  Task<Result<v1::NvmfPublishMdnsPrrResponse>> PublishMdns(v1::NvmfPublishMdnsPrrRequest request);
  Task<Result<v1::NvmfStopMdnsPrrResponse>> StopMdns(v1::NvmfStopMdnsPrrRequest request);

  // After a removal: its object is gone from the configuration. One that is pending, so that the
  // target does not know it, goes too, and that is a success.
  Status Removed(const ObjectId& id, Status status);

  Appliance& appliance_;
  bool max_subsystems_set_ = false;
};

}  // namespace pollux::service
