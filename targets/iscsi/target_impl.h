#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/event.h"
#include "core/log_limiter.h"
#include "core/memory/reactor_buffers.h"
#include "core/task_group.h"
#include "targets/iscsi/auth_groups.h"
#include "targets/iscsi/initiator_group.h"
#include "targets/iscsi/iscsi_target.h"
#include "targets/iscsi/login_connection.h"
#include "targets/iscsi/portal_group.h"
#include "targets/iscsi/session_registry.h"
#include "targets/iscsi/target_node.h"
#include "targets/iscsi/worker.h"

namespace pollux::iscsi {

// The control loop's side of the target: who may log in, where the session goes, and how it ends.
struct IscsiTarget::Impl final : private ControlSide, private LoginConnection::Host {
 public:
  // A flood of connections that never log in must not keep others out: the oldest goes.
  static constexpr size_t kLoginsMax = 1024;

  explicit Impl(Environment environment);
  ~Impl();

  Task<Status> Start(Options options);
  Task<void> Stop(uint64_t drain_ns);

  Task<Status> DeletePortalGroup(int32_t tag);
  Task<Status> DeleteTargetNode(std::string name);
  Task<Status> EnableHistogram(std::string name, bool enable);
  Task<Status> RequestLogout(std::string name, std::optional<int32_t> pg_tag);
  Task<std::vector<ConnectionInfo>> Connections();

  const Environment env;
  Options options;
  AuthGroups auth_groups;
  PortalGroups portal_groups;
  InitiatorGroups initiator_groups;
  TargetNodes nodes;

 private:
  // ControlSide
  std::string SendTargets(const DiscoveryQuery& query) override;
  void OnSessionGone(uint16_t tsih) override;
  void OnColdReset(const std::string& target_name) override;
  // LoginConnection::Host
  Login::Verdict Admit(const LoginConnection& login, const Login::Identity& identity) override;
  void OnLoginComplete(LoginConnection& login) override;
  void OnLoginGone(LoginConnection& login) override;
  LogLimiter& log() override { return log_; }

  void OnConnection(UniqueFd socket, int32_t tag);
  void RunBurial();

  Task<void> Join(LoginConnection* login);
  Task<LoginStatus> JoinSession(LoginConnection* login);
  Task<LoginStatus> OpenSession(LoginConnection* login);
  // Closes the sessions and returns when they are gone.
  Task<void> EndSessions(std::vector<SessionRegistry::Entry> sessions, const char* reason);
  Task<void> EndSessionsOf(std::string target_name, const char* reason);
  std::vector<SessionRegistry::Entry> SessionsOf(const std::string& target_name) const;
  Worker& LeastLoaded();
  using HostEvent = decltype(&HostObserver::OnHostConnected);
  void Tell(HostEvent event, const Session::Identity& identity);

  bool started_ = false;
  bool stopping_ = false;
  std::unique_ptr<ReactorBuffers> data_buffers_;
  std::vector<std::unique_ptr<Worker>> workers_;  // One per reactor, by its index.
  std::unique_ptr<Worker> discovery_worker_;      // The control loop's.
  SessionRegistry sessions_;
  std::vector<std::unique_ptr<LoginConnection>> logins_;  // Oldest first.
  Event login_gone_;
  int32_t next_connection_id_ = 0;
  TaskGroup tasks_;
  LogLimiter log_{env.control, "iscsi", "logins"};
  DeferredCall<Impl, &Impl::RunBurial> burial_{*this};
};

}  // namespace pollux::iscsi
