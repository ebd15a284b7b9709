#include "targets/iscsi/target_impl.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "core/memory/pool_bound.h"
#include "core/run_on.h"
#include "targets/iscsi/auth_file.h"
#include "targets/iscsi/names.h"
#include "targets/iscsi/options.h"

namespace pollux::iscsi {
namespace {

constexpr uint32_t kDiscoveryQueueDepth = 8;

bool SamePort(const Session::Identity& session, const Login::Identity& login, int32_t pg_tag) {
  return session.isid == login.isid && session.discovery == login.discovery &&
         session.pg_tag == pg_tag && SameName(session.initiator_name, login.initiator_name) &&
         SameName(session.target_name, login.target_name);
}

}  // namespace

IscsiTarget::Impl::Impl(Environment environment)
    : env(environment),
      portal_groups(environment.control,
                    [this](UniqueFd socket, int32_t tag) { OnConnection(std::move(socket), tag); }),
      nodes(environment.devices, portal_groups, initiator_groups, environment.reservations) {}

IscsiTarget::Impl::~Impl() {
  CHECK(logins_.empty() && sessions_.size() == 0, "an iSCSI target was destroyed before Stop");
}

Task<Status> IscsiTarget::Impl::Start(Options wanted) {
  CHECK(!started_);
  CO_RETURN_IF_ERROR(Validate(wanted));
  if (wanted.auth_file.has_value()) {
    ASSIGN_OR_CO_RETURN(std::vector<AuthGroup> groups, ReadAuthFile(*wanted.auth_file));
    auth_groups.Load(std::move(groups));
  }
  options = std::move(wanted);
  const size_t reactors = env.reactors.size();
  PoolSizes sizes = PoolSizesOf(options, reactors);
  sizes.unsolicited_buffers = BoundedPool(sizes.unsolicited_buffers);
  // What was left to us is shown as what it has become.
  options.data_out_pool_size = static_cast<uint32_t>(sizes.data_buffers * reactors);
  options.immediate_data_pool_size = static_cast<uint32_t>(sizes.unsolicited_buffers * reactors);
  if (options.pdu_pool_size == 0) {
    options.pdu_pool_size = options.max_sessions * options.max_queue_depth;
  }
  const ReactorBuffers::Size data{Worker::kDataBufferBytes, sizes.data_buffers};
  ASSIGN_OR_CO_RETURN(data_buffers_,
                      ReactorBuffers::Make(env.memory, kDataBuffersConsumer, reactors, data));
  for (size_t i = 0; i < reactors; ++i) {
    const Worker::Environment on_reactor{.loop = env.reactors[i],
                                         .control = env.control,
                                         .control_side = *this,
                                         .stream = env.stream,
                                         .data = &data_buffers_->of(i),
                                         .options = options};
    workers_.push_back(
        std::make_unique<Worker>(on_reactor, sizes.unsolicited_bytes, sizes.unsolicited_buffers));
  }
  const Worker::Environment on_control{.loop = env.control,
                                       .control = env.control,
                                       .control_side = *this,
                                       .stream = StreamKind::kEpoll,
                                       .data = nullptr,
                                       .options = options};
  discovery_worker_ = std::make_unique<Worker>(on_control, kLoginDataBytes, size_t{1});
  started_ = true;
  co_return OkStatus();
}

Task<void> IscsiTarget::Impl::Stop(uint64_t drain_ns) {
  stopping_ = true;
  portal_groups.CloseAll();
  for (const auto& login : logins_) login->Close("the target stops");

  const uint64_t deadline = env.control.NowNs() + drain_ns;
  std::vector<Worker*> workers;
  for (const auto& worker : workers_) workers.push_back(worker.get());
  if (discovery_worker_) workers.push_back(discovery_worker_.get());
  for (Worker* worker : workers) {
    auto drain = [worker, drain_ns] { worker->Drain(drain_ns); };
    co_await RunOn(worker->loop(), drain);
  }
  bool in_time = true;
  while (sessions_.size() > 0 && in_time) in_time = co_await sessions_.changed().Until(deadline);
  if (sessions_.size() > 0) {
    LogNotice("iscsi", "%d sessions did not end within the time to drain", sessions_.size());
    for (Worker* worker : workers) {
      auto close = [worker] { worker->CloseAll("the target stops"); };
      co_await RunOn(worker->loop(), close);
    }
  }
  while (sessions_.size() > 0) co_await sessions_.changed();
  while (!logins_.empty()) co_await login_gone_;
  co_await tasks_.Drained();
  log_.Settle();
  for (Worker* worker : workers) {
    auto settle = [worker] { worker->log().Settle(); };
    co_await RunOn(worker->loop(), settle);
  }
  while (!nodes.nodes().empty()) co_await nodes.FinishRemoval(nodes.nodes().back().get());
  workers_.clear();
  discovery_worker_.reset();
  data_buffers_.reset();
}

// --- Logins.

void IscsiTarget::Impl::OnConnection(UniqueFd socket, int32_t tag) {
  if (!started_ || stopping_) return;
  if (logins_.size() >= kLoginsMax) {
    const auto oldest = std::find_if(logins_.begin(), logins_.end(), [](const auto& login) {
      return login->state() == LoginConnection::State::kNegotiating;
    });
    if (oldest != logins_.end()) (*oldest)->Close("too many others want to log in");
    if (logins_.size() >= 2 * kLoginsMax) return;  // Closing takes a turn or two.
  }
  Result<std::unique_ptr<LoginConnection>> login = LoginConnection::Make(
      env.control, *this, std::move(socket), next_connection_id_, tag, WishesOf(options));
  if (!login.ok()) {
    log_.Info("a connection ended before it began: %s", login.status().message());
    return;
  }
  next_connection_id_ = (next_connection_id_ + 1) & 0x7fffffff;
  logins_.push_back(*std::move(login));
  logins_.back()->Open();
}

Login::Verdict IscsiTarget::Impl::Admit(const LoginConnection& login,
                                        const Login::Identity& identity) {
  Login::Verdict verdict;
  if (stopping_) {
    verdict.status = LoginStatus::kServiceUnavailable;
    return verdict;
  }
  if (identity.discovery) {
    verdict.authentication =
        portal_groups.AuthenticationOf(login.pg_tag()).value_or(options.discovery);
    verdict.secrets = auth_groups.Find(verdict.authentication.group);
    return verdict;
  }
  const Node* const node = nodes.Find(identity.target_name);
  if (node == nullptr) {
    verdict.status = LoginStatus::kNotFound;
  } else if (!node->Admits(login.pg_tag(), identity.initiator_name, login.initiator_address(),
                           initiator_groups)) {
    verdict.status = LoginStatus::kNotAuthorized;
  } else if (const Portal* portal = node->RedirectOf(login.pg_tag());
             portal != nullptr && identity.tsih == 0) {
    verdict.status = LoginStatus::kMovedTemporarily;
    verdict.moved_to = AddressOf(*portal)->ToString();
  } else {
    const TargetNode& target = node->description();
    verdict.authentication = target.authentication;
    verdict.secrets = auth_groups.Find(target.authentication.group);
    verdict.header_digest_required = target.header_digest;
    verdict.data_digest_required = target.data_digest;
    verdict.portal_group_tag = static_cast<uint16_t>(login.pg_tag());
    verdict.target_alias = target.alias;
  }
  return verdict;
}

void IscsiTarget::Impl::OnLoginComplete(LoginConnection& login) { tasks_.Spawn(Join(&login)); }

void IscsiTarget::Impl::OnLoginGone(LoginConnection&) {
  if (!burial_.deferred()) env.control.Defer(burial_);
}

void IscsiTarget::Impl::RunBurial() {
  std::erase_if(logins_,
                [](const auto& login) { return login->state() == LoginConnection::State::kGone; });
  login_gone_.Pulse();
}

Task<void> IscsiTarget::Impl::Join(LoginConnection* login) {
  auto status = LoginStatus::kSuccess;
  if (login->identity().tsih == 0) {
    status = co_await OpenSession(login);
  } else {
    status = co_await JoinSession(login);
  }
  if (status == LoginStatus::kSuccess) {
    login->HandedOver();
  } else {
    login->Refuse(status);
  }
}

// A further connection of a session, on the session's reactor. §6.3.1
Task<LoginStatus> IscsiTarget::Impl::JoinSession(LoginConnection* login) {
  const SessionRegistry::Entry* const entry = sessions_.Find(login->identity().tsih);
  if (entry == nullptr || !SamePort(entry->identity, login->identity(), login->pg_tag())) {
    co_return LoginStatus::kNoSuchSession;
  }
  Result<Connection::Arrival> arrival = login->MakeArrival();
  if (!arrival.ok()) co_return LoginStatus::kOutOfResources;
  Worker& worker = *entry->worker;
  auto join = [&worker, &arrival, tsih = login->identity().tsih] {
    Session* const session = worker.Find(tsih);
    if (session == nullptr) return LoginStatus::kNoSuchSession;
    return session->AddConnection(*std::move(arrival)) ? LoginStatus::kSuccess
                                                       : LoginStatus::kTooManyConnections;
  };
  co_return co_await RunOn(worker.loop(), join);
}

Task<LoginStatus> IscsiTarget::Impl::OpenSession(LoginConnection* login) {
  const Login::Identity& who = login->identity();
  Session::Identity identity{
      .discovery = who.discovery,
      .initiator_name = who.initiator_name,
      .isid = who.isid,
      .target_name = who.target_name,
      .target_short_name = std::string(WithoutNodeBase(options.node_base, who.target_name)),
      .pg_tag = static_cast<uint16_t>(login->pg_tag())};

  // Session reinstatement: the old one ends first. §6.3.5
  while (!identity.discovery && !options.allow_duplicated_isid) {
    const SessionRegistry::Entry* const old = sessions_.FindSame(identity);
    if (old == nullptr) break;
    std::vector<SessionRegistry::Entry> olds{*old};
    co_await EndSessions(std::move(olds), "the initiator logged in again");
  }
  if (stopping_) co_return LoginStatus::kServiceUnavailable;
  Node* const node = identity.discovery ? nullptr : nodes.Find(identity.target_name);
  if (!identity.discovery && node == nullptr) co_return LoginStatus::kTargetRemoved;
  // Each kind has a bound of its own, so that discovery cannot keep sessions out.
  if (sessions_.CountOf(identity.discovery) >= options.max_sessions) {
    co_return LoginStatus::kOutOfResources;
  }
  Result<Connection::Arrival> arrival = login->MakeArrival();
  if (!arrival.ok()) co_return LoginStatus::kOutOfResources;

  Worker& worker = identity.discovery ? *discovery_worker_ : LeastLoaded();
  const SessionRegistry::Entry* const entry = sessions_.Add(std::move(identity), worker);
  if (entry == nullptr) co_return LoginStatus::kOutOfResources;
  Tell(&HostObserver::OnHostConnected, entry->identity);
  arrival->final_response.tsih = entry->identity.tsih;
  scsi::DeviceView* view = nullptr;
  Histogram* latencies = nullptr;
  uint32_t queue_depth = kDiscoveryQueueDepth;
  if (node != nullptr) {
    view = &node->device().view(static_cast<Reactor&>(worker.loop()).index());
    latencies = node->latencies_at(static_cast<Reactor&>(worker.loop()).index());
    queue_depth = static_cast<uint32_t>(node->description().queue_depth);
  }
  auto session = std::make_unique<Session>(worker, entry->identity, login->parameters(), view,
                                           queue_depth, login->cmd_sn());
  session->SetLatencies(latencies);
  auto open = [&worker, &session, &arrival] {
    return worker.Adopt(std::move(session))->AddConnection(*std::move(arrival));
  };
  const bool opened = co_await RunOn(worker.loop(), open);
  co_return opened ? LoginStatus::kSuccess : LoginStatus::kOutOfResources;
}

Worker& IscsiTarget::Impl::LeastLoaded() {
  const auto least =
      std::min_element(workers_.begin(), workers_.end(), [this](const auto& a, const auto& b) {
        return sessions_.CountOf(*a) < sessions_.CountOf(*b);
      });
  return **least;
}

// --- Sessions.

void IscsiTarget::Impl::OnSessionGone(uint16_t tsih) {
  if (const SessionRegistry::Entry* const entry = sessions_.Find(tsih); entry != nullptr) {
    Tell(&HostObserver::OnHostDisconnected, entry->identity);
  }
  sessions_.Remove(tsih);
}

void IscsiTarget::Impl::Tell(HostEvent event, const Session::Identity& identity) {
  if (env.observer == nullptr || identity.discovery) return;
  (env.observer->*event)("iscsi_session", identity.initiator_name, identity.target_name);
}

Task<void> IscsiTarget::Impl::EndSessions(std::vector<SessionRegistry::Entry> sessions,
                                          const char* reason) {
  for (const SessionRegistry::Entry& entry : sessions) {
    Worker& worker = *entry.worker;
    auto close = [&worker, tsih = entry.identity.tsih, reason] {
      if (Session* session = worker.Find(tsih)) session->Close(reason);
    };
    co_await RunOn(worker.loop(), close);
  }
  for (const SessionRegistry::Entry& entry : sessions) co_await *entry.gone;
}

Task<void> IscsiTarget::Impl::EndSessionsOf(std::string target_name, const char* reason) {
  co_await EndSessions(SessionsOf(target_name), reason);
}

std::vector<SessionRegistry::Entry> IscsiTarget::Impl::SessionsOf(
    const std::string& target_name) const {
  return sessions_.Select([&target_name](const SessionRegistry::Entry& entry) {
    return !entry.identity.discovery && SameName(entry.identity.target_name, target_name);
  });
}

Task<Status> IscsiTarget::Impl::RequestLogout(std::string name, std::optional<int32_t> pg_tag) {
  ASSIGN_OR_CO_RETURN(const Node* const node, nodes.FindOrFail(name));
  if (pg_tag && !portal_groups.Exists(*pg_tag)) {
    co_return ErrorOfField(ENOENT, "pg_tag", std::to_string(*pg_tag),
                           "there is no such portal group");
  }
  for (const SessionRegistry::Entry& entry : SessionsOf(node->name())) {
    if (pg_tag && entry.identity.pg_tag != *pg_tag) continue;
    Worker& worker = *entry.worker;
    auto request = [&worker, tsih = entry.identity.tsih] {
      if (Session* session = worker.Find(tsih)) session->RequestLogout(kLogoutWithinNs);
    };
    co_await RunOn(worker.loop(), request);
  }
  co_return OkStatus();
}

Task<Status> IscsiTarget::Impl::EnableHistogram(std::string name, bool enable) {
  ASSIGN_OR_CO_RETURN(Node* const node, nodes.FindOrFail(name));
  std::vector<std::unique_ptr<Histogram>> before;
  for (size_t i = 0; enable && i < workers_.size(); ++i) {
    before.push_back(std::make_unique<Histogram>(Histogram::kDefaultShift));
  }
  // Sessions that open from now on take the new ones.
  std::swap(before, node->latencies);
  const std::string target_name = node->name();
  for (size_t i = 0; i < workers_.size(); ++i) {
    Worker& worker = *workers_[i];
    Histogram* const latencies = node->latencies_at(i);
    auto set = [&worker, &target_name, latencies] { worker.SetLatencies(target_name, latencies); };
    co_await RunOn(worker.loop(), set);
  }
  // Nobody adds to the old ones any more.
  co_return OkStatus();
}

void IscsiTarget::Impl::OnColdReset(const std::string& target_name) {
  tasks_.Spawn(EndSessionsOf(target_name, "the target was reset"));
}

std::string IscsiTarget::Impl::SendTargets(const DiscoveryQuery& query) {
  return iscsi::SendTargets(query, nodes, portal_groups, initiator_groups);
}

// --- Removal.

Task<Status> IscsiTarget::Impl::DeletePortalGroup(int32_t tag) {
  CO_RETURN_IF_ERROR(portal_groups.Delete(tag));
  nodes.ForgetPortalGroup(tag);
  for (const auto& login : logins_) {
    if (login->pg_tag() == tag) login->Close("its portal group is deleted");
  }
  std::vector<SessionRegistry::Entry> sessions = sessions_.Select(
      [tag](const SessionRegistry::Entry& entry) { return entry.identity.pg_tag == tag; });
  co_await EndSessions(std::move(sessions), "its portal group is deleted");
  co_return OkStatus();
}

Task<Status> IscsiTarget::Impl::DeleteTargetNode(std::string name) {
  ASSIGN_OR_CO_RETURN(Node* const node, nodes.BeginRemoval(name));
  co_await EndSessionsOf(node->name(), "the target is deleted");
  co_await node->device().ForgetReservations();
  co_await nodes.FinishRemoval(node);
  co_return OkStatus();
}

Task<std::vector<ConnectionInfo>> IscsiTarget::Impl::Connections() {
  std::vector<ConnectionInfo> infos;
  for (const auto& login : logins_) {
    if (login->state() >= LoginConnection::State::kClosing) continue;
    infos.push_back(login->info());
    infos.back().target_node_name =
        WithoutNodeBase(options.node_base, login->identity().target_name);
  }
  std::vector<Worker*> workers;
  for (const auto& worker : workers_) workers.push_back(worker.get());
  if (discovery_worker_) workers.push_back(discovery_worker_.get());
  for (Worker* worker : workers) {
    auto append = [worker, &infos] { worker->AppendConnections(infos); };
    co_await RunOn(worker->loop(), append);
  }
  std::sort(infos.begin(), infos.end(),
            [](const ConnectionInfo& a, const ConnectionInfo& b) { return a.id < b.id; });
  co_return infos;
}

}  // namespace pollux::iscsi
