#include "targets/nvmf/nvmf_target.h"

#include "targets/nvmf/target_impl.h"

namespace pollux::nvmf {

NvmfTarget::NvmfTarget(Environment environment) : impl_(std::make_unique<Impl>(environment)) {}
NvmfTarget::~NvmfTarget() = default;

Task<Status> NvmfTarget::Start(TargetOptions options) { return impl_->Start(std::move(options)); }
Task<void> NvmfTarget::Stop(uint64_t drain_ns) { return impl_->Stop(drain_ns); }

// --- Transports and subsystems.

Transport::Host& NvmfTarget::transport_host() { return *impl_; }
Status NvmfTarget::AddTransport(std::unique_ptr<Transport> transport) {
  return impl_->listeners.AddTransport(std::move(transport));
}
std::vector<const TransportOptions*> NvmfTarget::transports() const {
  std::vector<const TransportOptions*> options;
  for (const auto& transport : impl_->listeners.transports()) {
    options.push_back(&transport->options());
  }
  return options;
}

Task<Status> NvmfTarget::CreateSubsystem(SubsystemSpec spec) {
  return impl_->CreateSubsystem(std::move(spec));
}
Task<Status> NvmfTarget::DeleteSubsystem(std::string nqn) {
  return impl_->DeleteSubsystem(std::move(nqn));
}
std::vector<SubsystemInfo> NvmfTarget::subsystems() const {
  std::vector<SubsystemInfo> infos;
  for (const auto& subsystem : impl_->subsystems) {
    if (!subsystem->removing) infos.push_back(subsystem->info());
  }
  return infos;
}
Result<SubsystemInfo> NvmfTarget::FindSubsystem(const std::string& nqn) const {
  ASSIGN_OR_RETURN(const Subsystem* const subsystem, impl_->FindOrFail(nqn));
  return subsystem->info();
}
Result<NamespaceInfo> NvmfTarget::FindNamespace(const std::string& nqn, uint32_t nsid) const {
  ASSIGN_OR_RETURN(Subsystem* const subsystem, impl_->FindOrFail(nqn));
  if (std::optional<NamespaceInfo> info = subsystem->namespaces().Find(nsid)) return *info;
  return ErrorOfField(ENOENT, "nsid", std::to_string(nsid), "the subsystem has no such namespace");
}

std::vector<PendingNamespace> NvmfTarget::pending_namespaces() const {
  std::vector<PendingNamespace> pending;
  for (const auto& subsystem : impl_->subsystems) {
    subsystem->namespaces().AppendPending(pending);
  }
  return pending;
}

// --- Listeners.

Result<ListenAddress> NvmfTarget::Spell(const std::string& nqn, const ListenAddress& address) {
  const uint16_t port = nqn == nvme::kDiscoveryNqn ? kDefaultDiscoveryPort : kDefaultPort;
  ASSIGN_OR_RETURN(const ResolvedAddress resolved, Resolve(address, port));
  return resolved.text;
}

void NvmfTarget::HoldListeners() { impl_->held = true; }
Task<std::vector<NvmfTarget::Unopened>> NvmfTarget::ReleaseListeners() {
  return impl_->ReleaseListeners();
}
Task<Result<ListenAddress>> NvmfTarget::AddListener(std::string nqn, ListenAddress address,
                                                    nvme::AnaState state, bool secure_channel,
                                                    bool retry) {
  return impl_->AddListener(std::move(nqn), std::move(address), state, secure_channel, retry);
}
Task<Status> NvmfTarget::RemoveListener(std::string nqn, ListenAddress address) {
  return impl_->RemoveListener(std::move(nqn), std::move(address));
}
Task<Status> NvmfTarget::SetAnaState(std::string nqn, ListenAddress address, nvme::AnaState state,
                                     uint32_t group) {
  return impl_->SetAnaState(std::move(nqn), std::move(address), state, group);
}

// --- Namespaces.

Task<Result<uint32_t>> NvmfTarget::AddNamespace(std::string nqn, NamespaceSpec spec,
                                                bool may_be_pending) {
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, impl_->FindNvm(nqn));
  const Result<uint32_t> added =
      co_await subsystem->namespaces().Add(std::move(spec), may_be_pending);
  if (!added.ok()) co_return Within("namespace", added.status());
  co_return *added;
}
Task<Status> NvmfTarget::RemoveNamespace(std::string nqn, uint32_t nsid) {
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, impl_->FindNvm(nqn));
  co_return co_await subsystem->namespaces().Remove(nsid);
}
Task<Status> NvmfTarget::SetAnaGroup(std::string nqn, uint32_t nsid, uint32_t group) {
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, impl_->FindNvm(nqn));
  co_return co_await subsystem->SetAnaGroup(nsid, group);
}
Task<Status> NvmfTarget::AddNamespaceHost(std::string nqn, uint32_t nsid, std::string hostnqn) {
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, impl_->FindNvm(nqn));
  co_return co_await subsystem->namespaces().AddHost(nsid, std::move(hostnqn));
}
Task<Status> NvmfTarget::RemoveNamespaceHost(std::string nqn, uint32_t nsid, std::string hostnqn) {
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, impl_->FindNvm(nqn));
  co_return co_await subsystem->namespaces().RemoveHost(nsid, std::move(hostnqn));
}

// --- Hosts and referrals.

Task<Status> NvmfTarget::AddHost(std::string nqn, std::string hostnqn) {
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, impl_->FindNvm(nqn));
  CO_RETURN_IF_ERROR(subsystem->AddHost(hostnqn));
  impl_->DiscoveryChanged();
  co_return OkStatus();
}
Task<Status> NvmfTarget::RemoveHost(std::string nqn, std::string hostnqn, uint64_t timeout_ms) {
  return impl_->RemoveHost(std::move(nqn), std::move(hostnqn), timeout_ms);
}
Task<Status> NvmfTarget::AllowAnyHost(std::string nqn, bool allow) {
  return impl_->AllowAnyHost(std::move(nqn), allow);
}
Status NvmfTarget::AddReferral(Referral referral) {
  return impl_->AddReferral(std::move(referral));
}
Status NvmfTarget::RemoveReferral(ListenAddress address, std::string subnqn) {
  return impl_->RemoveReferral(address, subnqn);
}
std::vector<Referral> NvmfTarget::referrals() const { return impl_->referrals; }

// --- What is connected.

Task<Result<std::vector<ControllerInfo>>> NvmfTarget::Controllers(std::string nqn) {
  CO_RETURN_IF_ERROR(impl_->FindOrFail(nqn).status());
  const auto every = [](const ControllerRegistry::Controller&) { return true; };
  std::vector<ControllerInfo> infos;
  for (const auto& controller : impl_->registry.Select(nqn, every)) {
    const ControllerIdentity& identity = *controller->identity;
    ControllerInfo info;
    info.cntlid = identity.cntlid;
    info.discovery = identity.discovery;
    info.hostnqn = identity.hostnqn;
    info.hostid = Uuid{identity.hostid}.ToString();
    info.io_queues = static_cast<uint32_t>(controller->queues.size() - controller->queues.count(0));
    infos.push_back(std::move(info));
  }
  co_return infos;
}
Task<Result<std::vector<QueueInfo>>> NvmfTarget::Queues(std::string nqn) {
  return impl_->Queues(std::move(nqn));
}
Task<std::vector<PollGroupInfo>> NvmfTarget::PollGroups() { return impl_->PollGroups(); }
Result<std::vector<SubsystemStatistics>> NvmfTarget::Statistics(const std::string& nqn) const {
  std::vector<SubsystemStatistics> statistics;
  if (!nqn.empty()) {
    ASSIGN_OR_RETURN(const Subsystem* const subsystem, impl_->FindNvm(nqn));
    statistics.push_back(impl_->StatisticsOf(*subsystem));
    return statistics;
  }
  for (const auto& subsystem : impl_->subsystems) {
    if (subsystem->removing || subsystem->discovery()) continue;
    statistics.push_back(impl_->StatisticsOf(*subsystem));
  }
  return statistics;
}

}  // namespace pollux::nvmf
