#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/accel/accel.h"
#include "core/accel/error_module.h"
#include "core/block/device_registry.h"
#include "core/event.h"
#include "core/loop.h"
#include "core/memory/memory.h"
#include "core/reactors.h"
#include "core/task_group.h"
#include "core/uring/reactor_rings.h"
#include "drivers/ioat_accel/ioat_devices.h"
#include "drivers/nvme_disk/nvme_controllers.h"
#include "drivers/stacked/stacked_disks.h"
#include "drivers/uring/file_disk.h"
#include "rpc/dispatcher.h"
#include "rpc/grpc/grpc_server.h"
#include "rpc/json_rpc_server.h"
#include "service/access_control.h"
#include "service/audit_log.h"
#include "service/bdev_options.h"
#include "service/configuration.h"
#include "service/event_stream.h"
#include "service/notifications.h"
#include "service/options.h"
#include "service/reservation_keeper.h"
#include "service/watchdog.h"
#include "targets/iscsi/iscsi_target.h"
#include "targets/nvmf/nvmf_target.h"

namespace pollux::service {

class Handlers;

// Everything, wired by hand. Start() reads from top to bottom, Stop() is its mirror.
//
//   kNew --Start--> kStartup --Initialise--> kRunning --Stop--> kStopped
//
// With --wait-for-rpc, Start ends in kStartup and framework_start_init goes on; otherwise Start
// goes through. Control loop only.
class Appliance {
 public:
  // The control loop and the clock outlive the appliance.
  Appliance(DaemonOptions options, Loop& control, const Clock& clock);
  ~Appliance();  // After Stop().

  Task<Status> Start();
  // What framework_start_init asks for: memory, reactors, targets, the saved configuration,
  // listeners. Once: EALREADY when it was begun before. Stop() waits for its end.
  Task<Status> Initialise();
  // A stop was asked for: what answers late, or never, is not waited for any more. Start() ends
  // soon.
  void GiveUpWaits();
  // In order, within 2 seconds: no new work, drain for at most 1.5 s, abort what is left.
  Task<void> Stop();

  // Called, once, when somebody asked the appliance to end: a signal's number.
  void set_on_stop_request(std::function<void(int)> on_stop) { on_stop_ = std::move(on_stop); }
  void RequestStop(int signal) { on_stop_(signal); }

  // --- For the handlers. What Initialise makes is there when the state is RUNTIME.
  Loop& control() { return control_; }
  const Clock& clock() const { return clock_; }
  const DaemonOptions& options() const { return options_; }
  Configuration& configuration() { return *configuration_; }
  rpc::Dispatcher& dispatcher() { return *dispatcher_; }
  AccessControl& access() { return access_; }
  // Grants of groups were made or revoked: Unix sockets open or close to other users.
  void OpenRpcToGroups();
  Memory& memory() { return *memory_; }
  Reactors& reactors() { return *reactors_; }
  Accel& accel() { return *accel_; }
  ErrorModule& accel_errors() { return *accel_errors_; }
  IoatDevices& ioat() { return *ioat_; }
  RegionRegistry& regions() { return regions_; }
  DeviceRegistry& devices() { return *devices_; }
  StackedDisks& stacked() { return *stacked_; }
  Notifications& notifications() { return notifications_; }
  const Watchdog& watchdog() const { return watchdog_; }
  ReactorBuffers& file_disk_buffers() { return *file_disk_buffers_; }
  NvmeControllers& nvme() { return *nvme_; }
  iscsi::IscsiTarget& iscsi() { return *iscsi_; }
  nvmf::NvmfTarget& nvmf() { return *nvmf_; }
  // Set by startup calls, used by Initialise.
  BdevOptions& bdev_options() { return bdev_options_; }
  iscsi::Options& iscsi_options() { return iscsi_options_; }
  nvmf::TargetOptions& nvmf_options() { return nvmf_options_; }
  // In any state, as long as no controller is attached: EPERM then.
  Status SetNvmeOptions(const NvmeOptions& options);

  // Set when the state is RUNTIME, or when there will be none since the appliance stops.
  Event& initialised() { return initialised_; }
  bool stopping() const { return stopping_; }
  // Something that was pending may now be made.
  void RetryPendingSoon() { RetrySoon(); }
  // Until all that is to be tried for now has been.
  Task<void> PendingTried();
  // Runs a task that Stop() waits for.
  void Spawn(Task<void> task) { tasks_.Spawn(std::move(task)); }
  uint64_t started_ns() const { return started_ns_; }
  // What is not as it should be, in words; empty when all is well.
  std::vector<std::string> Complaints() const;

 private:
  class RetryTimer;

  Status OpenState();
  Status ListenForRpc();
  Status BindForGrpc();
  // Calls wait meanwhile: during initialisation.
  void PauseRpc();
  void ResumeRpc();
  Task<void> StopRpc();
  // Makes the calls without saving them: the commit that follows the last one takes all or none.
  Task<Status> ImportConfiguration(std::vector<rpc::SavedCall> calls);
  Task<Status> BringUp();
  Task<Status> StartDataPlane();
  Task<Status> StartTargets();
  Task<void> GiveBuffersToRings();
  Task<void> OpenListeners();
  Task<void> ReplayAll();
  Task<Status> ApplySaved(rpc::SavedCall call);
  Task<void> RetryPending();
  void RetrySoon();

  const DaemonOptions options_;
  Loop& control_;
  const Clock& clock_;
  uint64_t started_ns_ = 0;
  std::function<void(int)> on_stop_;

  Notifications notifications_{control_};
  Watchdog watchdog_{control_, notifications_};
  EventStream event_stream_{*this};
  std::unique_ptr<Loop> store_loop_;
  std::unique_ptr<Configuration> configuration_;
  std::unique_ptr<AuditLog> audit_log_;  // Null with --audit-log off.
  AccessControl access_;
  std::unique_ptr<rpc::Dispatcher> dispatcher_;
  std::unique_ptr<rpc::JsonRpcServer> rpc_server_;
  std::unique_ptr<rpc::GrpcServer> grpc_server_;  // Null with --grpc off.
  std::vector<rpc::SavedCall> imported_;
  std::string store_warning_;

  BdevOptions bdev_options_;
  iscsi::Options iscsi_options_;
  nvmf::TargetOptions nvmf_options_;
  NvmeOptions nvme_options_;

  RegionRegistry regions_;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<Reactors> reactors_;
  std::unique_ptr<ReactorRings> rings_;
  std::unique_ptr<ReactorBuffers> file_disk_buffers_;
  std::unique_ptr<ReactorBuffers> nvme_disk_buffers_;
  std::unique_ptr<Accel> accel_;
  std::unique_ptr<ErrorModule> accel_errors_;
  std::unique_ptr<IoatDevices> ioat_;
  std::unique_ptr<DeviceRegistry> devices_;
  std::unique_ptr<StackedDisks> stacked_;
  std::unique_ptr<NvmeControllers> nvme_;
  std::unique_ptr<ReservationKeeper> reservation_keeper_;  // Null without a state directory.
  std::unique_ptr<iscsi::IscsiTarget> iscsi_;
  std::unique_ptr<nvmf::NvmfTarget> nvmf_;
  std::unique_ptr<Handlers> handlers_;

  enum class Initialisation { kNotBegun, kRunning, kEnded };
  Initialisation initialisation_ = Initialisation::kNotBegun;
  Event initialisation_ended_;
  Event initialised_;
  TaskGroup tasks_;
  bool retrying_ = false;
  bool retry_again_ = false;
  Event tried_;
  bool stopping_ = false;
  std::unique_ptr<RetryTimer> retry_timer_;
};

}  // namespace pollux::service
