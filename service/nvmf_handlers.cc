#include "service/nvmf_handlers.h"

#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"
#include "service/nvmf_parameters.h"
#include "targets/nvmf/listen_address.h"
#include "targets/nvmf/tcp/tcp_transport.h"

namespace pollux::service {
namespace {

constexpr char kSubsystemKind[] = "nvmf_subsystem";
constexpr uint32_t kSubsystemsMax = 65535;

ObjectId OptionsId(const char* which) { return {"options", which}; }
ObjectId SubsystemId(const std::string& nqn) { return {kSubsystemKind, nqn}; }
// Parts of a subsystem are named by it and, after a blank, which no NQN begins with, their own
// name.
ObjectId HostId(const std::string& nqn, const std::string& host) {
  return {"nvmf_host", nqn + " " + host};
}
ObjectId NamespaceId(const std::string& nqn, uint32_t nsid) {
  return {"nvmf_namespace", nqn + " " + std::to_string(nsid)};
}
ObjectId ListenerId(const std::string& nqn, const nvmf::ListenAddress& address) {
  return {"nvmf_listener", nqn + " " + ToString(address)};
}
ObjectId ReferralId(const nvmf::ListenAddress& address, const std::string& subnqn) {
  return {"nvmf_referral", ToString(address) + " " + subnqn};
}

// There is one target.
template <typename Request>
Status CheckTarget(const Request& request) {
  if (!request.has_tgt_name() || request.tgt_name() == kNvmfTargetName) return OkStatus();
  return ErrorOfErrno(ENODEV, absl::StrFormat("there is no target '%s'; the only one is %s",
                                              Printable(request.tgt_name()), kNvmfTargetName));
}
// The same where only an error of a field has the right code.
template <typename Request>
Status CheckTargetField(const Request& request) {
  const Status status = CheckTarget(request);
  if (status.ok()) return status;
  return ErrorOfField(ENODEV, "tgt_name", Printable(request.tgt_name()), DetailOf(status).reason);
}

template <typename Request>
rpc::SavedCall Saved(const char* method, const Request& request) {
  return {method, rpc::EncodeMessage(request)};
}

template <typename Request>
Result<Request> Decode(const rpc::SavedCall& call) {
  Request request;
  RETURN_IF_ERROR(rpc::DecodeParams(call.params, /*relaxed=*/true, request));
  return request;
}

// Base §8.12: what a power cycle of the subsystem does not end.
bool SurvivesRestart(nvme::WriteProtection state) {
  return state == nvme::WriteProtection::kOn || state == nvme::WriteProtection::kPermanent;
}

Status NoKeys(const char* field) {
  return ErrorOfField(ENOTSUP, field, "", "this version has no authentication and no TLS");
}

}  // namespace

void NvmfHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("nvmf_set_config", this, &NvmfHandlers::SetConfig);
  dispatcher.Bind("nvmf_set_max_subsystems", this, &NvmfHandlers::SetMaxSubsystems);
  dispatcher.Bind("nvmf_set_crdt", this, &NvmfHandlers::SetCrdt);
  dispatcher.Bind("nvmf_create_target", this, &NvmfHandlers::CreateTarget);
  dispatcher.Bind("nvmf_delete_target", this, &NvmfHandlers::DeleteTarget);
  dispatcher.Bind("nvmf_get_targets", this, &NvmfHandlers::GetTargets);
  dispatcher.Bind("nvmf_create_transport", this, &NvmfHandlers::CreateTransport);
  dispatcher.Bind("nvmf_get_transports", this, &NvmfHandlers::GetTransports);
  dispatcher.Bind("nvmf_create_subsystem", this, &NvmfHandlers::CreateSubsystem);
  dispatcher.Bind("nvmf_delete_subsystem", this, &NvmfHandlers::DeleteSubsystem);
  dispatcher.Bind("nvmf_get_subsystems", this, &NvmfHandlers::GetSubsystems);
  dispatcher.Bind("nvmf_subsystem_add_listener", this, &NvmfHandlers::AddListener);
  dispatcher.Bind("nvmf_subsystem_remove_listener", this, &NvmfHandlers::RemoveListener);
  dispatcher.Bind("nvmf_subsystem_listener_set_ana_state", this, &NvmfHandlers::SetAnaState);
  dispatcher.Bind("nvmf_subsystem_get_listeners", this, &NvmfHandlers::GetListeners);
  dispatcher.Bind("nvmf_subsystem_add_ns", this, &NvmfHandlers::AddNs);
  dispatcher.Bind("nvmf_subsystem_remove_ns", this, &NvmfHandlers::RemoveNs);
  dispatcher.Bind("nvmf_subsystem_set_ns_ana_group", this, &NvmfHandlers::SetNsAnaGroup);
  dispatcher.Bind("nvmf_ns_add_host", this, &NvmfHandlers::NsAddHost);
  dispatcher.Bind("nvmf_ns_remove_host", this, &NvmfHandlers::NsRemoveHost);
  dispatcher.Bind("nvmf_subsystem_add_host", this, &NvmfHandlers::AddHost);
  dispatcher.Bind("nvmf_subsystem_remove_host", this, &NvmfHandlers::RemoveHost);
  dispatcher.Bind("nvmf_subsystem_allow_any_host", this, &NvmfHandlers::AllowAnyHost);
  dispatcher.Bind("nvmf_subsystem_set_keys", this, &NvmfHandlers::SetKeys);
  dispatcher.Bind("nvmf_subsystem_get_controllers", this, &NvmfHandlers::GetControllers);
  dispatcher.Bind("nvmf_subsystem_get_qpairs", this, &NvmfHandlers::GetQpairs);
  dispatcher.Bind("nvmf_discovery_add_referral", this, &NvmfHandlers::AddReferral);
  dispatcher.Bind("nvmf_discovery_remove_referral", this, &NvmfHandlers::RemoveReferral);
  dispatcher.Bind("nvmf_discovery_get_referrals", this, &NvmfHandlers::GetReferrals);
  dispatcher.Bind("nvmf_get_stats", this, &NvmfHandlers::GetStats);
  dispatcher.Bind("nvmf_get_subsystem_stats", this, &NvmfHandlers::GetSubsystemStats);
  dispatcher.Bind("nvmf_publish_mdns_prr", this, &NvmfHandlers::PublishMdns);
  dispatcher.Bind("nvmf_stop_mdns_prr", this, &NvmfHandlers::StopMdns);
}

Status NvmfHandlers::Removed(const ObjectId& id, Status status) {
  if (!status.ok() && !appliance_.configuration().IsPending(id)) return status;
  appliance_.configuration().Erase(id);
  return OkStatus();
}

// --- The target.

Task<Result<v1::NvmfSetConfigResponse>> NvmfHandlers::SetConfig(v1::NvmfSetConfigRequest request) {
  ASSIGN_OR_CO_RETURN(nvmf::TargetOptions options,
                      NvmfTargetOptionsOf(request, appliance_.nvmf_options()));
  const std::vector<int>& cores = appliance_.options().cores;
  for (const int core : options.poll_group_cores) {
    if (std::find(cores.begin(), cores.end(), core) == cores.end()) {
      co_return InvalidField("poll_groups_mask", Printable(request.poll_groups_mask()),
                             "core %d is not one of -m", core);
    }
  }
  appliance_.nvmf_options() = std::move(options);
  appliance_.configuration().Put(OptionsId("nvmf"), {Saved("nvmf_set_config", request)});
  co_return Done<v1::NvmfSetConfigResponse>();
}

// A process takes it once; that of the last process, which is replayed, does not count.
Task<Result<v1::NvmfSetMaxSubsystemsResponse>> NvmfHandlers::SetMaxSubsystems(
    v1::NvmfSetMaxSubsystemsRequest request, rpc::Caller caller) {
  if (max_subsystems_set_) co_return ErrorOfErrno(EALREADY, "it was set before");
  if (request.max_subsystems() < 1 || request.max_subsystems() > kSubsystemsMax) {
    co_return InvalidField("max_subsystems", request.max_subsystems(), "must be 1 to %d",
                           kSubsystemsMax);
  }
  max_subsystems_set_ = !caller.replay;
  appliance_.nvmf_options().max_subsystems = request.max_subsystems();
  appliance_.configuration().Put(OptionsId("nvmf_max_subsystems"),
                                 {Saved("nvmf_set_max_subsystems", request)});
  co_return Done<v1::NvmfSetMaxSubsystemsResponse>();
}

Task<Result<v1::NvmfSetCrdtResponse>> NvmfHandlers::SetCrdt(v1::NvmfSetCrdtRequest request) {
  struct Wanted {
    const char* field;
    uint32_t value;
    uint16_t& place;
  };
  nvmf::TargetOptions& options = appliance_.nvmf_options();
  const Wanted wanted[] = {{"crdt1", request.crdt1(), options.crdt1},
                           {"crdt2", request.crdt2(), options.crdt2},
                           {"crdt3", request.crdt3(), options.crdt3}};
  for (const Wanted& one : wanted) {
    if (one.value > UINT16_MAX) co_return InvalidField(one.field, one.value, "is above 65535");
  }
  for (const Wanted& one : wanted) one.place = static_cast<uint16_t>(one.value);
  appliance_.configuration().Put(OptionsId("nvmf_crdt"), {Saved("nvmf_set_crdt", request)});
  co_return Done<v1::NvmfSetCrdtResponse>();
}

Task<Result<v1::NvmfCreateTargetResponse>> NvmfHandlers::CreateTarget(
    v1::NvmfCreateTargetRequest request) {
  if (request.name() == kNvmfTargetName) {
    co_return AlreadyExists("the target %s is there from the start", kNvmfTargetName);
  }
  co_return NotSupported("there is one target, %s, and no other can be made", kNvmfTargetName);
}

Task<Result<v1::NvmfDeleteTargetResponse>> NvmfHandlers::DeleteTarget(
    v1::NvmfDeleteTargetRequest request) {
  if (request.name() == kNvmfTargetName) {
    co_return PermissionDenied("the target %s cannot be deleted", kNvmfTargetName);
  }
  co_return NoDevice("there is no target '%s'; the only one is %s", Printable(request.name()),
                     kNvmfTargetName);
}

Task<Result<v1::NvmfGetTargetsResponse>> NvmfHandlers::GetTargets(v1::NvmfGetTargetsRequest) {
  v1::NvmfGetTargetsResponse response;
  response.add_targets(kNvmfTargetName);
  co_return response;
}

// --- Transports.

Task<Result<v1::NvmfCreateTransportResponse>> NvmfHandlers::CreateTransport(
    v1::NvmfCreateTransportRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  ASSIGN_OR_CO_RETURN(const nvmf::TransportOptions options, NvmfTransportOptionsOf(request));
  CO_RETURN_IF_ERROR(appliance_.nvmf().AddTransport(
      nvmf::MakeTcpTransport(appliance_.nvmf().transport_host(), appliance_.control(),
                             appliance_.reactors(), StreamKind::kEpoll, options)));
  appliance_.configuration().Put({"nvmf_transport", options.trtype},
                                 {Saved("nvmf_create_transport", request)});
  co_return Done<v1::NvmfCreateTransportResponse>();
}

Task<Result<v1::NvmfGetTransportsResponse>> NvmfHandlers::GetTransports(
    v1::NvmfGetTransportsRequest request) {
  CO_RETURN_IF_ERROR(CheckTargetField(request));
  v1::NvmfGetTransportsResponse response;
  for (const nvmf::TransportOptions* options : appliance_.nvmf().transports()) {
    if (request.has_trtype()) {
      const Result<std::string> wanted = nvmf::TransportTypeOf(request.trtype());
      if (!wanted.ok() || *wanted != options->trtype) continue;
    }
    v1::NvmfTransport& entry = *response.add_transports();
    Describe(*options, entry);
    // What the target does not use is shown as it was given.
    for (const rpc::SavedCall& call :
         appliance_.configuration().CallsOf({"nvmf_transport", options->trtype})) {
      ASSIGN_OR_CO_RETURN(const auto given, Decode<v1::NvmfCreateTransportRequest>(call));
      entry.set_ack_timeout(given.ack_timeout());
      entry.set_data_wr_pool_size(given.data_wr_pool_size());
      entry.set_disable_command_passthru(given.disable_command_passthru());
    }
  }
  if (request.has_trtype() && response.transports_size() == 0) {
    co_return NoDevice("there is no transport '%s'", Printable(request.trtype()));
  }
  co_return response;
}

// --- Subsystems.

Task<Result<v1::NvmfCreateSubsystemResponse>> NvmfHandlers::CreateSubsystem(
    v1::NvmfCreateSubsystemRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  ASSIGN_OR_CO_RETURN(nvmf::SubsystemSpec spec, NvmfSubsystemSpecOf(request));
  CO_RETURN_IF_ERROR(co_await appliance_.nvmf().CreateSubsystem(std::move(spec)));
  appliance_.configuration().Put(SubsystemId(request.nqn()),
                                 {Saved("nvmf_create_subsystem", request)});
  co_return Done<v1::NvmfCreateSubsystemResponse>();
}

// Its parts go with it, those that are pending too.
Task<Result<v1::NvmfDeleteSubsystemResponse>> NvmfHandlers::DeleteSubsystem(
    v1::NvmfDeleteSubsystemRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  Configuration& configuration = appliance_.configuration();
  const std::string& nqn = request.nqn();
  std::vector<ObjectId> parts;
  if (const Result<nvmf::SubsystemInfo> info = appliance_.nvmf().FindSubsystem(nqn); info.ok()) {
    for (const std::string& host : info->hosts) parts.push_back(HostId(nqn, host));
    for (const auto& listener : info->listeners) {
      parts.push_back(ListenerId(nqn, listener.address));
    }
    for (const auto& ns : info->namespaces) parts.push_back(NamespaceId(nqn, ns.spec.nsid));
  }
  CO_RETURN_IF_ERROR(Removed(SubsystemId(nqn), co_await appliance_.nvmf().DeleteSubsystem(nqn)));
  for (const PendingCalls& pending : configuration.pending()) {
    const bool is_part = pending.id.kind.starts_with("nvmf_") &&
                         pending.id.kind != kSubsystemKind &&
                         pending.id.name.starts_with(nqn + " ");
    if (is_part) parts.push_back(pending.id);
  }
  for (const ObjectId& id : parts) configuration.Erase(id);
  co_return Done<v1::NvmfDeleteSubsystemResponse>();
}

Task<Result<v1::NvmfGetSubsystemsResponse>> NvmfHandlers::GetSubsystems(
    v1::NvmfGetSubsystemsRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  v1::NvmfGetSubsystemsResponse response;
  if (request.has_nqn()) {
    ASSIGN_OR_CO_RETURN(const nvmf::SubsystemInfo info,
                        appliance_.nvmf().FindSubsystem(request.nqn()));
    Describe(info, *response.add_subsystems());
    co_return response;
  }
  for (const nvmf::SubsystemInfo& info : appliance_.nvmf().subsystems()) {
    Describe(info, *response.add_subsystems());
  }
  co_return response;
}

// --- Listeners.

Task<Result<v1::NvmfSubsystemAddListenerResponse>> NvmfHandlers::AddListener(
    v1::NvmfSubsystemAddListenerRequest request, rpc::Caller caller) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  // Saved with the address as it was opened, so that a port that was free stays the same.
  const nvmf::ListenAddress asked = NvmfAddressOf(request.listen_address());
  const nvme::AnaState state = NvmfAnaStateOf(request.ana_state());
  ASSIGN_OR_CO_RETURN(const nvmf::ListenAddress opened,
                      co_await appliance_.nvmf().AddListener(
                          request.nqn(), asked, state, request.secure_channel(), caller.replay));
  Describe(opened, *request.mutable_listen_address());
  appliance_.configuration().Put(ListenerId(request.nqn(), opened),
                                 {Saved("nvmf_subsystem_add_listener", request)});
  co_return Done<v1::NvmfSubsystemAddListenerResponse>();
}

void NvmfHandlers::ParkListener(const nvmf::NvmfTarget::Unopened& unopened) {
  const ObjectId id = ListenerId(unopened.nqn, unopened.address);
  LogWarning("nvmf", "listener %s of subsystem %s is pending: %s", ToString(unopened.address),
             Printable(unopened.nqn), unopened.why.message());
  const std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(id);
  if (!calls.empty()) appliance_.configuration().Park(id, calls.front(), unopened.why);
}

Task<Result<v1::NvmfSubsystemRemoveListenerResponse>> NvmfHandlers::RemoveListener(
    v1::NvmfSubsystemRemoveListenerRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  const nvmf::ListenAddress asked = NvmfAddressOf(request.listen_address());
  const Result<nvmf::ListenAddress> address = nvmf::NvmfTarget::Spell(request.nqn(), asked);
  CO_RETURN_IF_ERROR(Within("listen_address", address.status()));
  CO_RETURN_IF_ERROR(Removed(ListenerId(request.nqn(), *address),
                             co_await appliance_.nvmf().RemoveListener(request.nqn(), *address)));
  co_return Done<v1::NvmfSubsystemRemoveListenerResponse>();
}

// The last word on all groups, and then what was said of single ones, rebuilds the states.
Task<Result<v1::NvmfSubsystemListenerSetAnaStateResponse>> NvmfHandlers::SetAnaState(
    v1::NvmfSubsystemListenerSetAnaStateRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  if (request.has_anagrpid() && request.anagrpid() == 0) {
    co_return InvalidField("anagrpid", 0, "ANA groups are numbered from 1");
  }
  const nvmf::ListenAddress asked = NvmfAddressOf(request.listen_address());
  const Result<nvmf::ListenAddress> address = nvmf::NvmfTarget::Spell(request.nqn(), asked);
  CO_RETURN_IF_ERROR(Within("listen_address", address.status()));
  CO_RETURN_IF_ERROR(co_await appliance_.nvmf().SetAnaState(
      request.nqn(), *address, NvmfAnaStateOf(request.ana_state()), request.anagrpid()));

  const ObjectId id = ListenerId(request.nqn(), *address);
  std::vector<rpc::SavedCall> calls;
  for (const rpc::SavedCall& call : appliance_.configuration().CallsOf(id)) {
    if (call.method == "nvmf_subsystem_listener_set_ana_state") {
      ASSIGN_OR_CO_RETURN(const auto earlier,
                          Decode<v1::NvmfSubsystemListenerSetAnaStateRequest>(call));
      const bool is_overruled =
          !request.has_anagrpid() ||
          (earlier.has_anagrpid() && earlier.anagrpid() == request.anagrpid());
      if (is_overruled) continue;
    }
    calls.push_back(call);
  }
  Describe(*address, *request.mutable_listen_address());
  calls.push_back(Saved("nvmf_subsystem_listener_set_ana_state", request));
  appliance_.configuration().Put(id, std::move(calls));
  co_return Done<v1::NvmfSubsystemListenerSetAnaStateResponse>();
}

Task<Result<v1::NvmfSubsystemGetListenersResponse>> NvmfHandlers::GetListeners(
    v1::NvmfSubsystemGetListenersRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  ASSIGN_OR_CO_RETURN(const nvmf::SubsystemInfo info,
                      appliance_.nvmf().FindSubsystem(request.nqn()));
  v1::NvmfSubsystemGetListenersResponse response;
  for (const nvmf::ListenerInfo& listener : info.listeners) {
    Describe(listener, *response.add_listeners());
  }
  co_return response;
}

// --- Namespaces. Identifiers that come from the disk are not saved: they are as stable as it is,
// and a memory disk that comes back empty must not look like the one before.

Task<Result<v1::NvmfSubsystemAddNsResponse>> NvmfHandlers::AddNs(
    v1::NvmfSubsystemAddNsRequest request, rpc::Caller caller) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  Result<nvmf::NamespaceSpec> spec = NvmfNamespaceSpecOf(request.namespace_());
  CO_RETURN_IF_ERROR(Within("namespace", spec.status()));
  ASSIGN_OR_CO_RETURN(const uint32_t nsid,
                      co_await appliance_.nvmf().AddNamespace(request.nqn(), *std::move(spec),
                                                              /*may_be_pending=*/caller.replay));
  request.mutable_namespace_()->set_nsid(nsid);
  appliance_.configuration().Put(NamespaceId(request.nqn(), nsid),
                                 {Saved("nvmf_subsystem_add_ns", request)});
  v1::NvmfSubsystemAddNsResponse response;
  response.set_nsid(static_cast<int32_t>(nsid));
  co_return response;
}

// Two hosts may be at it: what is saved is what it has come to by now.
Task<Status> NvmfHandlers::KeepNamespace(std::string nqn, uint32_t nsid) {
  const Result<nvmf::NamespaceInfo> info = appliance_.nvmf().FindNamespace(nqn, nsid);
  const ObjectId id = NamespaceId(nqn, nsid);
  std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(id);
  if (!info.ok() || calls.empty()) co_return OkStatus();  // It was removed meanwhile.
  ASSIGN_OR_CO_RETURN(auto add, Decode<v1::NvmfSubsystemAddNsRequest>(calls.front()));
  v1::NvmfNewNamespace& ns = *add.mutable_namespace_();
  ns.clear_write_protection();
  if (SurvivesRestart(info->spec.write_protection)) {
    ns.set_write_protection(NvmfWriteProtectionOf(info->spec.write_protection));
  }
  calls.front() = Saved("nvmf_subsystem_add_ns", add);
  appliance_.configuration().Amend(id, std::move(calls));
  co_return co_await appliance_.configuration().Commit();
}

Task<Result<v1::NvmfSubsystemRemoveNsResponse>> NvmfHandlers::RemoveNs(
    v1::NvmfSubsystemRemoveNsRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  CO_RETURN_IF_ERROR(
      Removed(NamespaceId(request.nqn(), request.nsid()),
              co_await appliance_.nvmf().RemoveNamespace(request.nqn(), request.nsid())));
  co_return Done<v1::NvmfSubsystemRemoveNsResponse>();
}

Task<Result<v1::NvmfSubsystemSetNsAnaGroupResponse>> NvmfHandlers::SetNsAnaGroup(
    v1::NvmfSubsystemSetNsAnaGroupRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  CO_RETURN_IF_ERROR(
      co_await appliance_.nvmf().SetAnaGroup(request.nqn(), request.nsid(), request.anagrpid()));
  const ObjectId id = NamespaceId(request.nqn(), request.nsid());
  std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(id);
  if (!calls.empty()) {
    ASSIGN_OR_CO_RETURN(auto add, Decode<v1::NvmfSubsystemAddNsRequest>(calls.front()));
    add.mutable_namespace_()->set_anagrpid(request.anagrpid());
    calls.front() = Saved("nvmf_subsystem_add_ns", add);
    appliance_.configuration().Put(id, std::move(calls));
  }
  co_return Done<v1::NvmfSubsystemSetNsAnaGroupResponse>();
}

Task<Result<v1::NvmfNsAddHostResponse>> NvmfHandlers::NsAddHost(v1::NvmfNsAddHostRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  CO_RETURN_IF_ERROR(
      co_await appliance_.nvmf().AddNamespaceHost(request.nqn(), request.nsid(), request.host()));
  const ObjectId id = NamespaceId(request.nqn(), request.nsid());
  std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(id);
  calls.push_back(Saved("nvmf_ns_add_host", request));
  appliance_.configuration().Put(id, std::move(calls));
  co_return Done<v1::NvmfNsAddHostResponse>();
}

Task<Result<v1::NvmfNsRemoveHostResponse>> NvmfHandlers::NsRemoveHost(
    v1::NvmfNsRemoveHostRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  CO_RETURN_IF_ERROR(co_await appliance_.nvmf().RemoveNamespaceHost(request.nqn(), request.nsid(),
                                                                    request.host()));
  const ObjectId id = NamespaceId(request.nqn(), request.nsid());
  std::vector<rpc::SavedCall> calls;
  for (const rpc::SavedCall& call : appliance_.configuration().CallsOf(id)) {
    if (call.method == "nvmf_ns_add_host") {
      ASSIGN_OR_CO_RETURN(const auto earlier, Decode<v1::NvmfNsAddHostRequest>(call));
      if (earlier.host() == request.host()) continue;
    }
    calls.push_back(call);
  }
  appliance_.configuration().Put(id, std::move(calls));
  co_return Done<v1::NvmfNsRemoveHostResponse>();
}

// --- Hosts.

Task<Result<v1::NvmfSubsystemAddHostResponse>> NvmfHandlers::AddHost(
    v1::NvmfSubsystemAddHostRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  if (request.has_psk()) co_return NoKeys("psk");
  if (request.has_dhchap_key()) co_return NoKeys("dhchap_key");
  if (request.has_dhchap_ctrlr_key()) co_return NoKeys("dhchap_ctrlr_key");
  CO_RETURN_IF_ERROR(co_await appliance_.nvmf().AddHost(request.nqn(), request.host()));
  appliance_.configuration().Put(HostId(request.nqn(), request.host()),
                                 {Saved("nvmf_subsystem_add_host", request)});
  co_return Done<v1::NvmfSubsystemAddHostResponse>();
}

// Others do not wait for a host that takes its time. It is out of the list at once, so what is
// saved goes before the wait: whoever adds it again meanwhile finds it as he left it.
Task<Result<v1::NvmfSubsystemRemoveHostResponse>> NvmfHandlers::RemoveHost(
    v1::NvmfSubsystemRemoveHostRequest request, rpc::Caller caller) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  const ObjectId id = HostId(request.nqn(), request.host());
  const bool was_pending = appliance_.configuration().IsPending(id);
  const bool gives_turn = request.timeout_ms() > 0 && caller.turn != nullptr;
  appliance_.configuration().Erase(id);
  if (gives_turn) caller.turn->GiveBack();
  const Status removed =
      co_await appliance_.nvmf().RemoveHost(request.nqn(), request.host(), request.timeout_ms());
  if (gives_turn) {
    Turn::Holder again = co_await appliance_.dispatcher().turn().Take();
    *caller.turn = std::move(again);
  }
  if (!removed.ok() && !was_pending) co_return removed;
  co_return Done<v1::NvmfSubsystemRemoveHostResponse>();
}

Task<Result<v1::NvmfSubsystemAllowAnyHostResponse>> NvmfHandlers::AllowAnyHost(
    v1::NvmfSubsystemAllowAnyHostRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  CO_RETURN_IF_ERROR(
      co_await appliance_.nvmf().AllowAnyHost(request.nqn(), request.allow_any_host()));
  const ObjectId id = SubsystemId(request.nqn());
  const std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(id);
  if (!calls.empty()) {
    ASSIGN_OR_CO_RETURN(auto create, Decode<v1::NvmfCreateSubsystemRequest>(calls.front()));
    create.set_allow_any_host(request.allow_any_host());
    appliance_.configuration().Put(id, {Saved("nvmf_create_subsystem", create)});
  }
  co_return Done<v1::NvmfSubsystemAllowAnyHostResponse>();
}

Task<Result<v1::NvmfSubsystemSetKeysResponse>> NvmfHandlers::SetKeys(
    v1::NvmfSubsystemSetKeysRequest request) {
  CO_RETURN_IF_ERROR(CheckTargetField(request));
  CO_RETURN_IF_ERROR(appliance_.nvmf().FindSubsystem(request.nqn()).status());
  co_return NotSupported("this version has no authentication");
}

// --- What is connected.

Task<Result<v1::NvmfSubsystemGetControllersResponse>> NvmfHandlers::GetControllers(
    v1::NvmfSubsystemGetControllersRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  ASSIGN_OR_CO_RETURN(const std::vector<nvmf::ControllerInfo> controllers,
                      co_await appliance_.nvmf().Controllers(request.nqn()));
  v1::NvmfSubsystemGetControllersResponse response;
  for (const nvmf::ControllerInfo& controller : controllers) {
    v1::NvmfController& entry = *response.add_controllers();
    entry.set_cntlid(controller.cntlid);
    entry.set_cntrltype(controller.discovery ? "discovery" : "io");
    entry.set_hostnqn(controller.hostnqn);
    entry.set_hostid(controller.hostid);
    entry.set_num_io_qpairs(controller.io_queues);
  }
  co_return response;
}

Task<Result<v1::NvmfSubsystemGetQpairsResponse>> NvmfHandlers::GetQpairs(
    v1::NvmfSubsystemGetQpairsRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  ASSIGN_OR_CO_RETURN(const std::vector<nvmf::QueueInfo> queues,
                      co_await appliance_.nvmf().Queues(request.nqn()));
  v1::NvmfSubsystemGetQpairsResponse response;
  for (const nvmf::QueueInfo& queue : queues) {
    v1::NvmfQpair& entry = *response.add_qpairs();
    entry.set_cntlid(queue.cntlid);
    entry.set_qid(queue.qid);
    entry.set_state(queue.state);
    entry.set_thread(queue.thread);
    entry.set_hostnqn(queue.hostnqn);
    Describe(queue.listen_address, *entry.mutable_listen_address());
    if (!queue.peer_address.traddr.empty()) {
      Describe(queue.peer_address, *entry.mutable_peer_address());
    }
  }
  co_return response;
}

// --- Discovery.

Task<Result<v1::NvmfDiscoveryAddReferralResponse>> NvmfHandlers::AddReferral(
    v1::NvmfDiscoveryAddReferralRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  nvmf::Referral referral;
  referral.address = NvmfAddressOf(request.address());
  referral.subnqn = request.subnqn();
  referral.secure_channel = request.secure_channel();
  CO_RETURN_IF_ERROR(appliance_.nvmf().AddReferral(referral));
  ASSIGN_OR_CO_RETURN(const nvmf::ListenAddress address,
                      nvmf::NvmfTarget::Spell(nvme::kDiscoveryNqn, referral.address));
  appliance_.configuration().Put(ReferralId(address, referral.subnqn),
                                 {Saved("nvmf_discovery_add_referral", request)});
  co_return Done<v1::NvmfDiscoveryAddReferralResponse>();
}

Task<Result<v1::NvmfDiscoveryRemoveReferralResponse>> NvmfHandlers::RemoveReferral(
    v1::NvmfDiscoveryRemoveReferralRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  const nvmf::ListenAddress asked = NvmfAddressOf(request.address());
  const Result<nvmf::ListenAddress> address = nvmf::NvmfTarget::Spell(nvme::kDiscoveryNqn, asked);
  CO_RETURN_IF_ERROR(Within("address", address.status()));
  CO_RETURN_IF_ERROR(Removed(ReferralId(*address, request.subnqn()),
                             appliance_.nvmf().RemoveReferral(*address, request.subnqn())));
  co_return Done<v1::NvmfDiscoveryRemoveReferralResponse>();
}

Task<Result<v1::NvmfDiscoveryGetReferralsResponse>> NvmfHandlers::GetReferrals(
    v1::NvmfDiscoveryGetReferralsRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  v1::NvmfDiscoveryGetReferralsResponse response;
  for (const nvmf::Referral& referral : appliance_.nvmf().referrals()) {
    v1::NvmfReferral& entry = *response.add_referrals();
    Describe(referral.address, *entry.mutable_address());
    entry.set_secure_channel(referral.secure_channel);
    entry.set_subnqn(referral.subnqn);
  }
  co_return response;
}

// --- Statistics and announcements.

Task<Result<v1::NvmfGetStatsResponse>> NvmfHandlers::GetStats(v1::NvmfGetStatsRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  v1::NvmfGetStatsResponse response;
  response.set_tick_rate(kNsPerSecond);
  const std::vector<nvmf::PollGroupInfo> groups = co_await appliance_.nvmf().PollGroups();
  for (const nvmf::PollGroupInfo& group : groups) {
    v1::NvmfPollGroup& entry = *response.add_poll_groups();
    entry.set_name(group.name);
    entry.set_admin_qpairs(group.admin_qpairs);
    entry.set_io_qpairs(group.io_qpairs);
    entry.set_current_admin_qpairs(group.current_admin_qpairs);
    entry.set_current_io_qpairs(group.current_io_qpairs);
    entry.set_current_unassociated_qpairs(group.current_unassociated_qpairs);
    entry.set_pending_bdev_io(group.pending_bdev_io);
    entry.set_completed_nvme_io(group.completed_nvme_io);
    for (const nvmf::TransportOptions* transport : appliance_.nvmf().transports()) {
      entry.add_transports()->set_trtype(transport->trtype);
    }
  }
  co_return response;
}

Task<Result<v1::NvmfGetSubsystemStatsResponse>> NvmfHandlers::GetSubsystemStats(
    v1::NvmfGetSubsystemStatsRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  ASSIGN_OR_CO_RETURN(const std::vector<nvmf::SubsystemStatistics> statistics,
                      appliance_.nvmf().Statistics(request.nqn()));
  v1::NvmfGetSubsystemStatsResponse response;
  for (const nvmf::SubsystemStatistics& of : statistics) {
    Describe(of, *response.add_subsystems());
  }
  co_return response;
}

Task<Result<v1::NvmfPublishMdnsPrrResponse>> NvmfHandlers::PublishMdns(
    v1::NvmfPublishMdnsPrrRequest request) {
  CO_RETURN_IF_ERROR(CheckTargetField(request));
  co_return NotSupported("this version announces nothing by mDNS");
}

Task<Result<v1::NvmfStopMdnsPrrResponse>> NvmfHandlers::StopMdns(
    v1::NvmfStopMdnsPrrRequest request) {
  CO_RETURN_IF_ERROR(CheckTarget(request));
  co_return NotSupported("this version announces nothing by mDNS");
}

}  // namespace pollux::service
