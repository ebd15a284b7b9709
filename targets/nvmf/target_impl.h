#pragma once
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/log_limiter.h"
#include "core/memory/reactor_buffers.h"
#include "core/task_group.h"
#include "core/turn.h"
#include "targets/nvmf/controller_registry.h"
#include "targets/nvmf/listeners.h"
#include "targets/nvmf/nvmf_target.h"
#include "targets/nvmf/subsystem.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

// The control loop's side of the target: which subsystems there are and where they are reached
// (target_impl.cc), who may connect and how that ends (admission.cc), what discovery tells
// (target_discovery.cc).
struct NvmfTarget::Impl final : public Transport::Host,
                                private ControlSide,
                                private DeviceRegistry::Observer {
 public:
  // Persistent discovery controllers are few; a flood of them must not cost us our memory.
  static constexpr size_t kDiscoveryControllersMax = 2048;
  static constexpr size_t kReferralsMax = 256;

  explicit Impl(Environment environment);
  ~Impl();

  Task<Status> Start(TargetOptions options);
  Task<void> Stop(uint64_t drain_ns);
  Task<std::vector<Unopened>> ReleaseListeners();

  Task<Status> CreateSubsystem(SubsystemSpec spec);
  Task<Status> DeleteSubsystem(std::string nqn);
  Task<Result<ListenAddress>> AddListener(std::string nqn, ListenAddress address,
                                          nvme::AnaState state, bool secure_channel, bool retry);
  Task<Status> RemoveListener(std::string nqn, ListenAddress address);
  Task<Status> SetAnaState(std::string nqn, ListenAddress address, nvme::AnaState state,
                           uint32_t group);
  Task<Status> RemoveHost(std::string nqn, std::string hostnqn, uint64_t timeout_ms);
  Task<Status> AllowAnyHost(std::string nqn, bool allow);

  Status AddReferral(Referral referral);
  Status RemoveReferral(const ListenAddress& address, const std::string& subnqn);

  Task<Result<std::vector<QueueInfo>>> Queues(std::string nqn);
  Task<std::vector<PollGroupInfo>> PollGroups();
  Task<uint16_t> SetWriteProtection(std::string nqn, uint32_t nsid, nvme::WriteProtection state);
  SubsystemStatistics StatisticsOf(const Subsystem& subsystem) const;

  // ENOENT: there is none, or it is being deleted.
  Result<Subsystem*> FindOrFail(const std::string& nqn) const;
  // The same; EPERM for the discovery subsystem, which has no namespaces or hosts of its own.
  Result<Subsystem*> FindNvm(const std::string& nqn) const;
  // What hosts find has changed.
  void DiscoveryChanged();

  // --- Transport::Host
  Worker& LeastBusyWorker() override;

  const Environment env;
  TargetOptions options;
  bool held = false;
  Listeners listeners;
  ControllerRegistry registry;
  std::vector<std::unique_ptr<Subsystem>> subsystems;  // The discovery subsystem first.
  std::vector<Referral> referrals;

 private:
  // What one reactor has had.
  struct Past {
    uint32_t admin_queues = 0, io_queues = 0;
    uint64_t completed = 0;  // By queues that have left.
  };
  // A connection that was given to a reactor, and has not been admitted yet.
  struct Given {
    size_t reactor;
    uint64_t at_ns;
  };
  static constexpr uint64_t kGivenForNs = kNsPerSecond;

  // --- ControlSide
  Task<ConnectVerdict> Admit(ConnectQuery query) override;
  Task<void> Leave(std::shared_ptr<const ControllerIdentity> identity, uint16_t qid) override;
  std::string DiscoveryLog(const ControllerIdentity& identity) override;
  Task<Totals> CountOf(std::shared_ptr<const ControllerIdentity> identity) override;
  Task<bool> Abort(std::shared_ptr<const ControllerIdentity> identity, uint16_t sqid,
                   uint16_t cid) override;
  Task<uint16_t> ProtectNamespace(std::string subnqn, uint32_t nsid,
                                  nvme::WriteProtection state) override;
  Task<void> EndIoQueues(std::shared_ptr<const ControllerIdentity> identity) override;
  size_t IoQueuesOf(const ControllerIdentity& identity) override;
  std::vector<uint16_t> ControllersOf(const std::string& subnqn, uint32_t nsid) override;
  // --- DeviceRegistry::Observer
  void OnRegistered(BlockDevice& device) override;
  void OnUnregistered(const std::string&) override {}  // Users are told before.
  void OnResized(BlockDevice&) override {}             // Likewise.

  Task<ConnectVerdict> AdmitAdmin(ConnectQuery query);
  Task<ConnectVerdict> AdmitIo(ConnectQuery query);
  ConnectVerdict Refuse(const ConnectQuery& query, uint16_t status, uint32_t dw0, const char* why);
  void Forgive(size_t reactor);

  // `with_admin`: its admin queue too, and nobody joins it any more.
  Task<void> EndQueues(ControllerRegistry::Handle controller, bool with_admin, const char* reason);
  // It is gone: what it has counted is its host's.
  void Remember(const ControllerRegistry::Controller& controller);
  // Ends the controllers and returns when they are gone.
  Task<void> EndControllers(std::vector<ControllerRegistry::Handle> controllers,
                            const char* reason);
  // I/O queues end when nothing is in flight on them, until the deadline.
  Task<void> DrainIoQueues(uint64_t deadline_ns);

  Task<Status> OpenListener(Subsystem& subsystem, ListenAddress address);
  Task<void> CloseListener(Subsystem& subsystem, ListenAddress address, const char* reason);
  uint16_t DefaultPortOf(const Subsystem& subsystem) const;
  Task<void> TellDiscovery();
  Subsystem& discovery() { return *subsystems.front(); }

  bool started_ = false;
  bool stopping_ = false;
  std::unique_ptr<ReactorBuffers> small_buffers_, large_buffers_;
  Workers workers_;
  std::vector<Past> past_;  // By reactor.
  std::map<std::string, Subsystem*, std::less<>> by_nqn_;
  std::deque<Given> given_;
  size_t last_worker_ = 0;
  uint64_t discovery_generation_ = 0;
  bool telling_discovery_ = false;
  Turn turn_;  // Of changes to the subsystems and their listeners.
  TaskGroup tasks_;
  LogLimiter log_{env.control, "nvmf", "connecting hosts"};
};

}  // namespace pollux::nvmf
