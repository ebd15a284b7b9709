// Who may connect, and how it ends: the control loop's answers to queues.
#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "targets/nvmf/controller.h"
#include "targets/nvmf/names.h"
#include "targets/nvmf/target_impl.h"

namespace pollux::nvmf {
namespace {

// What hosts make, for the observer.
constexpr char kKind[] = "nvmf_controller";

// What is wrong with a Connect, as its completion tells: an offset in the command or in its data.
constexpr uint32_t InData(size_t offset) {
  return nvme::kIattrData | static_cast<uint32_t>(offset);
}
constexpr uint32_t kBadHostid = InData(offsetof(nvme::ConnectData, hostid));
constexpr uint32_t kBadCntlid = InData(offsetof(nvme::ConnectData, cntlid));
constexpr uint32_t kBadSubnqn = InData(offsetof(nvme::ConnectData, subnqn));
constexpr uint32_t kBadHostnqn = InData(offsetof(nvme::ConnectData, hostnqn));
constexpr uint32_t kBadQid = offsetof(nvme::ConnectCommand, qid);

}  // namespace

// --- Connect. Base §6.3, figures 375 and 381. None of the refusals says "do not retry": what is
// missing or forbidden now, a change of the configuration brings.

ConnectVerdict NvmfTarget::Impl::Refuse(const ConnectQuery& query, uint16_t status, uint32_t dw0,
                                        const char* why) {
  log_.Notice("host %s is refused by subsystem %s, queue %d: %s", Printable(query.hostnqn),
              Printable(query.subnqn), query.qid, why);
  return {.status = status, .dw0 = dw0, .identity = nullptr};
}

Task<ConnectVerdict> NvmfTarget::Impl::Admit(ConnectQuery query) {
  Forgive(query.reactor_index);
  if (stopping_) {
    co_return Refuse(query, nvme::status::kConnectControllerBusy, 0, "the target stops");
  }
  if (!IsAcceptableHostNqn(query.hostnqn)) {
    co_return Refuse(query, nvme::status::kConnectInvalidParameters, kBadHostnqn,
                     "its name is no NQN");
  }
  if (query.qid == 0) co_return co_await AdmitAdmin(std::move(query));
  co_return co_await AdmitIo(std::move(query));
}

Task<ConnectVerdict> NvmfTarget::Impl::AdmitAdmin(ConnectQuery query) {
  using namespace nvme::status;
  ControllerIdentity identity;
  identity.subnqn = query.subnqn;
  identity.hostnqn = query.hostnqn;
  identity.hostid = query.hostid;
  identity.listener_id = query.listener_id;
  identity.home = query.reactor_index;
  identity.discovery = query.subnqn == nvme::kDiscoveryNqn;
  if (identity.discovery) {
    auto look = [&query] { return query.queue->carrier().local_address(); };
    identity.local_address = co_await RunOn(env.reactors[query.reactor_index], look);
  }

  // From here on nothing waits: what is checked still holds when the queue has entered.
  if (stopping_) co_return Refuse(query, kConnectControllerBusy, 0, "the target stops");
  const Result<Subsystem*> found = FindOrFail(query.subnqn);
  if (!found.ok()) {
    co_return Refuse(query, kConnectInvalidParameters, kBadSubnqn, "there is no such subsystem");
  }
  const Subsystem& subsystem = **found;
  const bool is_reached_there = identity.discovery ? listeners.Find(query.listener_id) != nullptr
                                                   : subsystem.HasListener(query.listener_id);
  if (!is_reached_there) {
    co_return Refuse(query, kConnectInvalidHost, 0, "the subsystem has no such listener");
  }
  if (!subsystem.Admits(query.hostnqn)) {
    co_return Refuse(query, kConnectInvalidHost, 0, "the host is not admitted");
  }
  // The controllers are dynamic: FFFFh asks for any, and no other is there to be asked for. §3.1.2
  if (query.cntlid != nvme::kDynamicCntlid) {
    co_return Refuse(query, kConnectInvalidParameters, kBadCntlid,
                     "it asks for a static controller");
  }
  if (identity.discovery && registry.CountOf(query.subnqn) >= kDiscoveryControllersMax) {
    co_return Refuse(query, kConnectControllerBusy, 0, "too many hosts discover");
  }
  if (!identity.discovery && options.restrict_duplicate_hosts) {
    const auto same = [&query](const ControllerRegistry::Controller& other) {
      return other.identity->hostnqn == query.hostnqn &&
             other.identity->listener_id == query.listener_id;
    };
    if (!registry.Select(query.subnqn, same).empty()) {
      co_return Refuse(query, kConnectControllerBusy, 0, "the host is there already");
    }
  }
  const ControllerRegistry::QueueEntry admin{.queue = query.queue, .reactor = query.reactor_index};
  const ControllerRegistry::Handle controller = registry.Make(
      std::move(identity), subsystem.spec().min_cntlid, subsystem.spec().max_cntlid, admin);
  if (controller == nullptr) {
    co_return Refuse(query, kConnectControllerBusy, 0, "all controller identifiers are taken");
  }
  registry.Enter(*controller, 0);
  if (env.observer != nullptr && !controller->identity->discovery) {
    env.observer->OnHostConnected(kKind, query.hostnqn, query.subnqn);
  }
  ++past_[query.reactor_index].admin_queues;
  ConnectVerdict verdict{.status = kSuccess, .dw0 = 0, .identity = controller->identity};
  co_return verdict;
}

Task<ConnectVerdict> NvmfTarget::Impl::AdmitIo(ConnectQuery query) {
  using namespace nvme::status;
  if (!FindOrFail(query.subnqn).ok()) {
    co_return Refuse(query, kConnectInvalidParameters, kBadSubnqn, "there is no such subsystem");
  }
  const ControllerRegistry::Handle controller = registry.Find(query.subnqn, query.cntlid);
  if (controller == nullptr || controller->ending) {
    co_return Refuse(query, kConnectInvalidParameters, kBadCntlid, "there is no such controller");
  }
  const ControllerIdentity& identity = *controller->identity;
  if (identity.hostnqn != query.hostnqn) {
    co_return Refuse(query, kConnectInvalidParameters, kBadHostnqn,
                     "the controller is another host's");
  }
  if (identity.hostid != query.hostid) {
    co_return Refuse(query, kConnectInvalidParameters, kBadHostid,
                     "the controller is another host's");
  }
  // Its ANA states, and who ends it, are those of one listener.
  if (identity.listener_id != query.listener_id) {
    co_return Refuse(query, kConnectInvalidParameters, kBadCntlid,
                     "the controller is reached through another listener");
  }
  if (identity.discovery) {
    co_return Refuse(query, kConnectInvalidParameters, kBadQid,
                     "a discovery controller has no I/O queues");
  }
  const ControllerRegistry::QueueEntry queue{.queue = query.queue, .reactor = query.reactor_index};
  if (!registry.Reserve(*controller, query.qid, queue)) {
    co_return Refuse(query, kConnectInvalidParameters, kBadQid, "the queue is there already");
  }

  // Only its home knows whether the controller is enabled. It may end meanwhile.
  struct Readiness {
    bool ready = false;
    uint16_t io_queues = 0;
  };
  const ControllerRegistry::QueueEntry admin = controller->queues.at(0);
  auto ask = [&admin] {
    Readiness answer;
    if (const Controller* asked = admin.queue->admin_controller()) {
      answer = {.ready = asked->ready(), .io_queues = asked->io_queues_max()};
    }
    return answer;
  };
  const Readiness readiness = co_await RunOn(env.reactors[admin.reactor], ask);
  if (controller->ending) {
    registry.Release(controller, query.qid);
    co_return Refuse(query, kConnectInvalidParameters, kBadCntlid, "the controller has ended");
  }
  if (!readiness.ready) {
    registry.Release(controller, query.qid);
    co_return Refuse(query, kCommandSequenceError, 0, "the controller is not enabled");
  }
  if (query.qid > readiness.io_queues) {
    registry.Release(controller, query.qid);
    co_return Refuse(query, kConnectInvalidParameters, kBadQid,
                     "the host was granted fewer queues");
  }
  registry.Enter(*controller, query.qid);
  ++past_[query.reactor_index].io_queues;
  ConnectVerdict verdict{.status = kSuccess, .dw0 = 0, .identity = controller->identity};
  co_return verdict;
}

// --- The end.

Task<void> NvmfTarget::Impl::Leave(std::shared_ptr<const ControllerIdentity> identity,
                                   uint16_t qid) {
  const ControllerRegistry::Handle controller = registry.Find(identity->subnqn, identity->cntlid);
  CHECK(controller != nullptr && controller->identity == identity);
  const auto entry = controller->queues.find(qid);
  CHECK(entry != controller->queues.end() && entry->second.entered);
  if (qid != 0) {
    CommandTotals counted;
    counted += entry->second.queue->counters();
    controller->departed += counted;
    past_[entry->second.reactor].completed += counted.ended();
  }
  registry.Release(controller, qid);
  if (controller->queues.empty()) {
    Remember(*controller);
    if (env.observer != nullptr && !identity->discovery) {
      env.observer->OnHostDisconnected(kKind, identity->hostnqn, identity->subnqn);
    }
  }
  if (qid == 0 && !controller->queues.empty()) {
    tasks_.Spawn(EndQueues(controller, /*with_admin=*/true, "the admin queue has ended"));
  }
  co_return;
}

void NvmfTarget::Impl::Remember(const ControllerRegistry::Controller& controller) {
  const ControllerIdentity& identity = *controller.identity;
  const auto subsystem = by_nqn_.find(identity.subnqn);
  if (identity.discovery || subsystem == by_nqn_.end()) return;
  subsystem->second->past_hosts().Add(identity.hostnqn, controller.departed);
}

// A queue may leave, and its number may be taken again, whenever this waits.
Task<void> NvmfTarget::Impl::EndQueues(ControllerRegistry::Handle controller, bool with_admin,
                                       const char* reason) {
  if (with_admin) controller->ending = true;
  std::map<uint16_t, Queue*> queues;
  for (const auto& [qid, entry] : controller->queues) {
    if (entry.entered && (qid != 0 || with_admin)) queues.emplace(qid, entry.queue);
  }
  for (const auto& [qid, queue] : queues) {
    const auto entry = controller->queues.find(qid);
    if (entry == controller->queues.end() || entry->second.queue != queue) continue;
    auto end = [q = queue, reason] { q->End(reason); };
    co_await RunOn(env.reactors[entry->second.reactor], end);
  }
}

Task<void> NvmfTarget::Impl::EndControllers(std::vector<ControllerRegistry::Handle> controllers,
                                            const char* reason) {
  for (const ControllerRegistry::Handle& controller : controllers) controller->ending = true;
  for (const ControllerRegistry::Handle& controller : controllers) {
    co_await EndQueues(controller, /*with_admin=*/true, reason);
  }
  for (const ControllerRegistry::Handle& controller : controllers) co_await controller->gone;
}

Task<void> NvmfTarget::Impl::EndIoQueues(std::shared_ptr<const ControllerIdentity> identity) {
  const ControllerRegistry::Handle controller = registry.Find(identity->subnqn, identity->cntlid);
  if (controller == nullptr) co_return;
  co_await EndQueues(controller, /*with_admin=*/false, "the controller is reset or shut down");
  while (controller->queues.upper_bound(0) != controller->queues.end()) {
    co_await registry.changed();
  }
}

Task<Status> NvmfTarget::Impl::RemoveHost(std::string nqn, std::string hostnqn,
                                          uint64_t timeout_ms) {
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, FindNvm(nqn));
  CO_RETURN_IF_ERROR(subsystem->RemoveHost(hostnqn));
  DiscoveryChanged();
  if (subsystem->Admits(hostnqn)) co_return OkStatus();  // As any host.

  const auto its = [&hostnqn](const ControllerRegistry::Controller& controller) {
    return controller.identity->hostnqn == hostnqn;
  };
  std::vector<ControllerRegistry::Handle> controllers = registry.Select(nqn, its);
  // Without a time, and in the time that no clock reaches, they are cut off at once.
  constexpr uint64_t kTimeoutMaxMs = 3600 * 1000;
  const uint64_t deadline_ns = env.control.NowNs() + std::min(timeout_ms, kTimeoutMaxMs) * kNsPerMs;
  if (timeout_ms > 0) {
    for (const ControllerRegistry::Handle& controller : controllers) {
      if (!co_await controller->gone.Until(deadline_ns)) break;
    }
  }
  co_await EndControllers(std::move(controllers), "the host is no longer admitted");
  co_return OkStatus();
}

Task<Status> NvmfTarget::Impl::AllowAnyHost(std::string nqn, bool allow) {
  ASSIGN_OR_CO_RETURN(Subsystem* const subsystem, FindNvm(nqn));
  subsystem->AllowAnyHost(allow);
  DiscoveryChanged();
  const auto no_longer = [subsystem](const ControllerRegistry::Controller& controller) {
    return !subsystem->Admits(controller.identity->hostnqn);
  };
  std::vector<ControllerRegistry::Handle> controllers = registry.Select(nqn, no_longer);
  co_await EndControllers(std::move(controllers), "the host is no longer admitted");
  co_return OkStatus();
}

// --- What controllers ask.

Task<ControlSide::Totals> NvmfTarget::Impl::CountOf(
    std::shared_ptr<const ControllerIdentity> identity) {
  const ControllerRegistry::Handle controller = registry.Find(identity->subnqn, identity->cntlid);
  co_return controller == nullptr ? Totals{} : controller->Counted();
}

Task<bool> NvmfTarget::Impl::Abort(std::shared_ptr<const ControllerIdentity> identity,
                                   uint16_t sqid, uint16_t cid) {
  const ControllerRegistry::Handle controller = registry.Find(identity->subnqn, identity->cntlid);
  if (controller == nullptr) co_return false;
  const auto entry = controller->queues.find(sqid);
  if (entry == controller->queues.end() || !entry->second.entered) co_return false;
  auto abort = [queue = entry->second.queue, cid] { return queue->Abort(cid); };
  co_return co_await RunOn(env.reactors[entry->second.reactor], abort);
}

Task<uint16_t> NvmfTarget::Impl::SetWriteProtection(std::string nqn, uint32_t nsid,
                                                    nvme::WriteProtection state) {
  const Result<Subsystem*> subsystem = FindNvm(nqn);
  if (!subsystem.ok()) co_return nvme::status::kInvalidNamespace;
  co_return co_await (*subsystem)->namespaces().SetWriteProtection(nsid, state);
}

Task<uint16_t> NvmfTarget::Impl::ProtectNamespace(std::string subnqn, uint32_t nsid,
                                                  nvme::WriteProtection state) {
  const uint16_t status = co_await SetWriteProtection(subnqn, nsid, state);
  if (status != nvme::status::kSuccess || env.keeper == nullptr) co_return status;
  const Status kept = co_await env.keeper->KeepNamespace(subnqn, nsid);
  if (kept.ok()) co_return nvme::status::kSuccess;
  log_.Warning("subsystem %s: the write protection of namespace %d is in effect, but not saved: %s",
               Printable(subnqn), nsid, kept.message());
  co_return nvme::status::kInternalError;
}

size_t NvmfTarget::Impl::IoQueuesOf(const ControllerIdentity& identity) {
  const ControllerRegistry::Handle controller = registry.Find(identity.subnqn, identity.cntlid);
  if (controller == nullptr) return 0;
  return controller->queues.size() - controller->queues.count(0);
}

std::vector<uint16_t> NvmfTarget::Impl::ControllersOf(const std::string& subnqn, uint32_t nsid) {
  std::vector<uint16_t> cntlids;
  std::optional<NamespaceInfo> info;
  if (nsid != 0) {
    const Result<Subsystem*> subsystem = FindOrFail(subnqn);
    if (subsystem.ok()) info = (*subsystem)->namespaces().Find(nsid);
    if (!info) return cntlids;
  }
  const auto sees_it = [&info](const ControllerRegistry::Controller& controller) {
    if (!info || !info->spec.no_auto_visible) return true;
    return std::binary_search(info->hosts.begin(), info->hosts.end(), controller.identity->hostnqn);
  };
  for (const auto& controller : registry.Select(subnqn, sees_it)) {
    cntlids.push_back(controller->identity->cntlid);
  }
  return cntlids;
}

// --- For people.

Task<Result<std::vector<QueueInfo>>> NvmfTarget::Impl::Queues(std::string nqn) {
  CO_RETURN_IF_ERROR(FindOrFail(nqn).status());
  const auto every = [](const ControllerRegistry::Controller&) { return true; };
  std::vector<QueueInfo> infos;
  const std::vector<ControllerRegistry::Handle> controllers = registry.Select(nqn, every);
  for (const ControllerRegistry::Handle& controller : controllers) {
    std::vector<uint16_t> qids;
    for (const auto& [qid, entry] : controller->queues) qids.push_back(qid);
    for (const uint16_t qid : qids) {
      const auto entry = controller->queues.find(qid);
      if (entry == controller->queues.end()) continue;  // It has left while we asked for others.
      const ControllerIdentity& identity = *controller->identity;
      QueueInfo info;
      info.cntlid = identity.cntlid;
      info.qid = qid;
      info.hostnqn = identity.hostnqn;
      if (const Listeners::Listener* listener = listeners.Find(identity.listener_id)) {
        info.listen_address = listener->address;
      }
      Reactor& reactor = env.reactors[entry->second.reactor];
      info.thread = reactor.name();
      info.state = "connecting";
      if (entry->second.entered) {
        auto look = [queue = entry->second.queue, &info] {
          const Queue::Carrier& carrier = queue->carrier();
          info.peer_address =
              AddressOf(info.listen_address.trtype, carrier.peer_address(), carrier.peer_port());
          const std::string local = carrier.local_address();
          if (!local.empty()) {
            info.listen_address =
                AddressOf(info.listen_address.trtype, local, info.listen_address.trsvcid);
          }
          switch (queue->state()) {
            case Queue::State::kNew:
            case Queue::State::kConnecting:
              break;
            case Queue::State::kAdmin:
            case Queue::State::kIo:
              info.state = "enabled";
              break;
            case Queue::State::kClosing:
            case Queue::State::kEnded:
              info.state = "deactivating";
          }
        };
        co_await RunOn(reactor, look);
      }
      infos.push_back(std::move(info));
    }
  }
  co_return infos;
}

SubsystemStatistics NvmfTarget::Impl::StatisticsOf(const Subsystem& subsystem) const {
  SubsystemStatistics statistics;
  statistics.nqn = subsystem.nqn();
  statistics.namespaces = subsystem.namespaces().Statistics();
  std::map<std::string, SubsystemStatistics::OfHost> hosts;
  for (const auto& [hostnqn, past] : subsystem.past_hosts().all()) {
    hosts[hostnqn].totals = past.totals;
  }
  const auto every = [](const ControllerRegistry::Controller&) { return true; };
  for (const auto& controller : registry.Select(subsystem.nqn(), every)) {
    SubsystemStatistics::OfHost& host = hosts[controller->identity->hostnqn];
    ++host.controllers;
    host.totals += controller->Counted();
  }
  for (auto& [hostnqn, host] : hosts) {
    host.hostnqn = hostnqn;
    statistics.hosts.push_back(std::move(host));
  }
  return statistics;
}

Task<std::vector<PollGroupInfo>> NvmfTarget::Impl::PollGroups() {
  std::vector<PollGroupInfo> infos;
  for (const auto& owned : workers_) {
    Worker& worker = *owned;
    PollGroupInfo info;
    info.name = absl::StrFormat("nvmf_tgt_poll_group_%03d", worker.reactor().index());
    CommandTotals counted;
    auto count = [&worker, &info, &counted] {
      for (const Queue* queue : worker.queues()) {
        switch (queue->state()) {
          case Queue::State::kNew:
          case Queue::State::kConnecting:
            ++info.current_unassociated_qpairs;
            break;
          case Queue::State::kAdmin:
            ++info.current_admin_qpairs;
            break;
          case Queue::State::kIo:
            ++info.current_io_qpairs;
            info.pending_bdev_io += queue->in_flight();
            counted += queue->counters();
            break;
          case Queue::State::kClosing:
          case Queue::State::kEnded:
            break;
        }
      }
    };
    co_await RunOn(worker.reactor(), count);
    const Past& past = past_[worker.reactor().index()];
    info.admin_qpairs = past.admin_queues;
    info.io_qpairs = past.io_queues;
    info.completed_nvme_io = past.completed + counted.ended();
    infos.push_back(std::move(info));
  }
  co_return infos;
}

}  // namespace pollux::nvmf
