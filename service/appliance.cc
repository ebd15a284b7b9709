#include "service/appliance.h"

#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/log.h"
#include "core/run_on.h"
#include "rpc/json_codec.h"
#include "rpc/spdk_config.h"
#include "service/handlers.h"
#include "service/ioat_handlers.h"
#include "service/nvme_handlers.h"
#include "service/nvmf_handlers.h"
#include "service/systemd.h"

namespace pollux::service {
namespace {

constexpr uint64_t kRetryEveryNs = 2 * kNsPerSecond;
constexpr uint64_t kDrainNs = 1200 * kNsPerMs;
constexpr uint64_t kRpcDrainNs = 200 * kNsPerMs;

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("cannot read %s: %s", path, strerror(errno));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Options of parts that are not in this version: every configuration that SPDK saved has them, and
// leaving them out changes nothing that is served.
bool SetsOptionsOnly(const std::string& method) {
  return method.ends_with("_set_options") || method.ends_with("_set_hotplug") ||
         method.ends_with("_wait_for_examine") || method.ends_with("_scan_accel_module");
}

Task<void> Remove(DeviceRegistry& devices, std::string name) {
  const Status removed = co_await devices.Unregister(name);
  if (!removed.ok()) LogError("block", "%s: %s", name, removed.message());
}

void MakeDirectoryOfSocket(const std::string& path) {
  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!directory.empty() && std::filesystem::create_directories(directory, error)) {
    chmod(directory.c_str(), 0755);  // The socket itself is for its owner alone.
  }
}

bool HasSubsystem(const rpc::Dispatcher& dispatcher, const std::string& name) {
  for (const rpc::Method* method : dispatcher.methods()) {
    if (method->subsystem == name) return true;
  }
  return false;
}

}  // namespace

// Addresses come up without an event of ours: what is pending is tried now and then.
class Appliance::RetryTimer final : public Timer {
 public:
  explicit RetryTimer(Appliance& appliance) : appliance_(appliance) {}

 private:
  void OnTimer() override {
    if (!appliance_.configuration_->pending().empty()) appliance_.RetrySoon();
    appliance_.control_.ArmTimerIn(*this, kRetryEveryNs);
  }
  Appliance& appliance_;
};

Appliance::Appliance(DaemonOptions options, Loop& control, const Clock& clock)
    : options_(std::move(options)), control_(control), clock_(clock), started_ns_(clock.NowNs()) {}

Appliance::~Appliance() = default;

Task<Status> Appliance::Start() {
  CO_RETURN_IF_ERROR(OpenState());
  if (options_.audit_log.has_value()) {
    ASSIGN_OR_CO_RETURN(audit_log_, AuditLog::Open(*options_.audit_log));
  }
  dispatcher_ = std::make_unique<rpc::Dispatcher>(configuration_.get());
  dispatcher_->SetAccessRules(&access_);
  dispatcher_->SetAuditor(audit_log_.get());
  handlers_ = std::make_unique<Handlers>(*this);
  handlers_->BindAll(*dispatcher_);
  handlers_->DescribeKinds(*configuration_);

  if (options_.config_file.has_value()) {
    if (!configuration_->empty()) {
      co_return AlreadyExists(
          "-c %s: the state directory %s has a configuration already, which is in use by itself; "
          "import into an empty state directory, or with --no-state",
          *options_.config_file, *options_.state_dir);
    }
    ASSIGN_OR_CO_RETURN(const std::string text, ReadFile(*options_.config_file));
    ASSIGN_OR_CO_RETURN(const std::vector<rpc::ConfiguredCall> entries, rpc::ParseSpdkConfig(text));
    for (const rpc::ConfiguredCall& entry : entries) {
      if (dispatcher_->Find(entry.call.method) != nullptr) {
        imported_.push_back(entry.call);
      } else if (!HasSubsystem(*dispatcher_, entry.subsystem) ||
                 SetsOptionsOnly(entry.call.method)) {
        LogNotice("service", "-c: %s of subsystem %s is not in this version: left out",
                  Printable(entry.call.method), Printable(entry.subsystem));
      } else {
        co_return NotSupported("-c: this version has no method %s", Printable(entry.call.method));
      }
    }
  }

  CO_RETURN_IF_ERROR(ListenForRpc());
  const auto startup = [this](const std::string& name) {
    const rpc::Method* method = dispatcher_->Find(name);
    return method != nullptr && method->options.state() == v1::STATE_STARTUP;
  };
  const auto apply = [this](rpc::SavedCall call) { return ApplySaved(std::move(call)); };
  const Configuration::Settle nothing;
  co_await configuration_->Replay(dispatcher_->turn(), apply, nothing, startup);
  std::vector<rpc::SavedCall> first;
  std::vector<rpc::SavedCall> later;
  for (rpc::SavedCall& call : imported_) (startup(call.method) ? first : later).push_back(call);
  imported_ = std::move(later);
  CO_RETURN_IF_ERROR(co_await ImportConfiguration(std::move(first)));

  if (options_.wait_for_rpc) {
    LogNotice("service", "waiting for framework_start_init");
    ResumeRpc();
    NotifySystemd("READY=1");
    co_return OkStatus();
  }
  CO_RETURN_IF_ERROR(co_await Initialise());
  NotifySystemd("READY=1");
  co_return OkStatus();
}

Status Appliance::OpenState() {
  std::unique_ptr<Store> store;
  if (options_.state_dir.has_value()) {
    ASSIGN_OR_RETURN(store, Store::Open(*options_.state_dir));
    store_warning_ = store->warning();
    if (!store_warning_.empty()) LogWarning("store", "%s", store_warning_);
    ASSIGN_OR_RETURN(std::unique_ptr<Waiter> waiter, MakeEpollWaiter());
    Loop::Options loop{.name = "store", .idle_after_ns = 0, .core = -1};
    store_loop_ = std::make_unique<Loop>(std::move(loop), clock_, std::move(waiter));
    store_loop_->StartThread();
  }
  configuration_ = std::make_unique<Configuration>(store_loop_.get(), std::move(store));
  configuration_->set_observer(&notifications_);
  configuration_->set_on_commit([this] { RetrySoon(); });
  return configuration_->Load();
}

Status Appliance::ListenForRpc() {
  rpc_server_ = std::make_unique<rpc::JsonRpcServer>(control_, *dispatcher_);
  if (!options_.grpc_sockets.empty() || !options_.grpc_tcp.empty()) {
    grpc_server_ = std::make_unique<rpc::GrpcServer>(
        control_, *dispatcher_, std::vector<rpc::GrpcStreamMethod*>{&event_stream_});
  }
  PauseRpc();
  for (const auto* paths : {&options_.rpc_sockets, &options_.grpc_sockets}) {
    for (const std::string& path : *paths) MakeDirectoryOfSocket(path);
  }
  RETURN_IF_ERROR(rpc_server_->BindUnix(options_.rpc_sockets));
  if (grpc_server_ != nullptr) RETURN_IF_ERROR(BindForGrpc());
  if (options_.rpc_tcp.has_value()) {
    ASSIGN_OR_RETURN(const SocketAddress asked, SocketAddress::ParseHostPort(*options_.rpc_tcp));
    ASSIGN_OR_RETURN(const SocketAddress address, rpc_server_->ListenTcp(asked));
    LogNotice("rpc", "JSON-RPC on %s", address.ToString());
  }
  // Last, so that who finds a socket finds a process that has all it was told to listen on.
  if (grpc_server_ != nullptr) RETURN_IF_ERROR(grpc_server_->Listen());
  return rpc_server_->ListenBound();
}

Status Appliance::BindForGrpc() {
  for (const std::string& path : options_.grpc_sockets) {
    RETURN_IF_ERROR(grpc_server_->BindUnix(path));
  }
  for (const std::string& text : options_.grpc_tcp) {
    ASSIGN_OR_RETURN(const SocketAddress asked, SocketAddress::ParseHostPort(text));
    const bool tls = options_.grpc_tls.has_value();
    ASSIGN_OR_RETURN(
        const SocketAddress address,
        tls ? grpc_server_->ListenTls(asked, *options_.grpc_tls) : grpc_server_->ListenTcp(asked));
    LogNotice("rpc", "gRPC%s on %s", tls ? " with TLS" : "", address.ToString());
  }
  return OkStatus();
}

void Appliance::OpenRpcToGroups() {
  rpc_server_->OpenToOthers(access_.has_groups());
  if (grpc_server_ != nullptr) grpc_server_->OpenToOthers(access_.has_groups());
}

void Appliance::PauseRpc() {
  rpc_server_->Pause();
  if (grpc_server_ != nullptr) grpc_server_->Pause();
}

void Appliance::ResumeRpc() {
  rpc_server_->Resume();
  if (grpc_server_ != nullptr) grpc_server_->Resume();
}

// Both in the same time.
Task<void> Appliance::StopRpc() {
  if (grpc_server_ != nullptr) tasks_.Spawn(grpc_server_->Stop(kRpcDrainNs));
  if (rpc_server_ != nullptr) co_await rpc_server_->Stop(kRpcDrainNs);
}

Task<Status> Appliance::ImportConfiguration(std::vector<rpc::SavedCall> calls) {
  const auto apply = [this](rpc::SavedCall call) { return ApplySaved(std::move(call)); };
  for (const rpc::SavedCall& call : calls) {
    const rpc::Method& method = *dispatcher_->Find(call.method);
    std::unique_ptr<rpc::Message> request = dispatcher_->NewRequest(method);
    Status status = rpc::DecodeParams(call.params, method.options.relaxed(), *request);
    if (status.ok()) status = dispatcher_->Complete(*request);
    if (status.ok()) {
      const Turn::Holder held = co_await dispatcher_->turn().Take();
      rpc::Caller caller{.name = "-c", .replay = false};
      status = (co_await dispatcher_->CallHandler(method, std::move(request), std::move(caller)))
                   .status();
    }
    if (!status.ok()) {
      co_return ErrorOfErrno(ErrnoOf(status),
                             absl::StrFormat("-c: %s: %s", call.method, status.message()));
    }
    // SPDK writes stacked disks before their bases, and what uses them later.
    while (!configuration_->pending().empty()) {
      const bool revived = co_await configuration_->RetryPending(dispatcher_->turn(), apply);
      if (!revived) break;
    }
  }
  co_return OkStatus();
}

Task<Status> Appliance::Initialise() {
  if (initialisation_ != Initialisation::kNotBegun) {
    co_return ErrorOfErrno(EALREADY, "the initialisation has begun already");
  }
  initialisation_ = Initialisation::kRunning;
  PauseRpc();
  const Status status = co_await BringUp();
  initialisation_ = Initialisation::kEnded;
  initialisation_ended_.Set();
  co_return status;
}

Task<Status> Appliance::BringUp() {
  CO_RETURN_IF_ERROR(co_await StartDataPlane());
  co_await GiveBuffersToRings();
  dispatcher_->SetState(v1::STATE_RUNTIME);

  iscsi_->HoldListeners();
  nvmf_->HoldListeners();
  co_await ReplayAll();
  CO_RETURN_IF_ERROR(co_await ImportConfiguration(std::exchange(imported_, {})));
  CO_RETURN_IF_ERROR(co_await configuration_->Commit());
  co_await handlers_->ioat().AttachFound();
  co_await OpenListeners();

  // From here on hosts are served; the copy is of a configuration that came up.
  if (const Status kept = co_await configuration_->KeepGoodCopy(); !kept.ok()) {
    LogWarning("store", "%s", kept.message());
  }
  retry_timer_ = std::make_unique<RetryTimer>(*this);
  control_.ArmTimerIn(*retry_timer_, kRetryEveryNs);
  LogNotice("service", "ready after %d ms: %d reactors, %d block devices, %d pending",
            (clock_.NowNs() - started_ns_) / kNsPerMs, reactors_->size(),
            devices_->devices().size(), configuration_->pending().size());
  ResumeRpc();
  if (grpc_server_ != nullptr) grpc_server_->SetServing(true);
  initialised_.Set();
  co_return OkStatus();
}

Task<void> Appliance::OpenListeners() {
  for (const auto& unopened : iscsi_->ReleaseListeners()) {
    const std::string tag = std::to_string(unopened.tag);
    LogWarning("iscsi", "portal group %s is pending: %s", tag, unopened.why.message());
    configuration_->Park({"iscsi_portal_group", tag},
                         {"iscsi_start_portal_group", absl::StrFormat("{\"tag\":%s}", tag)},
                         unopened.why);
  }
  const std::vector<nvmf::NvmfTarget::Unopened> unopened_listeners =
      co_await nvmf_->ReleaseListeners();
  for (const auto& unopened : unopened_listeners) {
    handlers_->nvmf().ParkListener(unopened);
  }
}

Task<Status> Appliance::StartDataPlane() {
  Memory::Options memory{.hugepages = options_.hugepages,
                         .mib = options_.mem_mib,
                         .needs = iscsi::MemoryNeeds(iscsi_options_, options_.cores.size())};
  for (MemoryNeed& need : nvmf::MemoryNeeds(nvmf_options_, options_.cores.size())) {
    memory.needs.push_back(std::move(need));
  }
  memory.needs.push_back(FileDiskBuffersNeed(options_.cores.size()));
  memory.needs.push_back(NvmeDiskBuffersNeed(options_.cores.size()));
  ASSIGN_OR_CO_RETURN(memory_, Memory::Start(memory, regions_));

  Reactors::Options reactors;
  reactors.cores = options_.cores;
  reactors.idle_after_ns = options_.poll ? Loop::kNever : options_.idle_after_us * kNsPerUs;
  ASSIGN_OR_CO_RETURN(reactors_, Reactors::Start(reactors, clock_));
  for (const auto& reactor : *reactors_) watchdog_.Watch(*reactor);
  watchdog_.Start();
  rings_ = std::make_unique<ReactorRings>(*reactors_);
  CO_RETURN_IF_ERROR(co_await rings_->Make());

  ASSIGN_OR_CO_RETURN(file_disk_buffers_, MakeFileDiskBuffers(*memory_, reactors_->size()));
  ASSIGN_OR_CO_RETURN(nvme_disk_buffers_, MakeNvmeDiskBuffers(*memory_, reactors_->size()));
  accel_ = std::make_unique<Accel>(*reactors_);
  accel_errors_ = std::make_unique<ErrorModule>(*accel_, *reactors_);
  accel_->Add(*accel_errors_, Accel::Use::kWhenAssigned);
  const IoatDevices::Environment ioat{
      .accel = *accel_, .reactors = *reactors_, .control = control_, .regions = regions_};
  ioat_ = std::make_unique<IoatDevices>(ioat, &handlers_->ioat());
  devices_ = std::make_unique<DeviceRegistry>(*reactors_);
  stacked_ = std::make_unique<StackedDisks>(*devices_);
  devices_->AddObserver(notifications_);
  handlers_->Observe(*devices_);
  const NvmeEnvironment nvme{.control = control_,
                             .reactors = *reactors_,
                             .devices = *devices_,
                             .regions = regions_,
                             .buffers = *nvme_disk_buffers_};
  nvme_ = std::make_unique<NvmeControllers>(nvme, &handlers_->nvme_observer());
  CO_RETURN_IF_ERROR(nvme_->SetOptions(nvme_options_));
  co_return co_await StartTargets();
}

Task<Status> Appliance::StartTargets() {
  if (configuration_->store() != nullptr) {
    reservation_keeper_ = std::make_unique<ReservationKeeper>(*configuration_);
  }
  const iscsi::IscsiTarget::Environment iscsi{.control = control_,
                                              .reactors = *reactors_,
                                              .devices = *devices_,
                                              .memory = *memory_,
                                              .stream = StreamKind::kEpoll,
                                              .reservations = reservation_keeper_.get(),
                                              .observer = &notifications_};
  iscsi_ = std::make_unique<iscsi::IscsiTarget>(iscsi);
  CO_RETURN_IF_ERROR(co_await iscsi_->Start(iscsi_options_));
  const nvmf::NvmfTarget::Environment nvmf{.control = control_,
                                           .reactors = *reactors_,
                                           .devices = *devices_,
                                           .memory = *memory_,
                                           .stream = StreamKind::kEpoll,
                                           .keeper = &handlers_->nvmf(),
                                           .observer = &notifications_};
  nvmf_ = std::make_unique<nvmf::NvmfTarget>(nvmf);
  co_return co_await nvmf_->Start(nvmf_options_);
}

// The pools of targets and disks, before any disk adds memory of its own. What io_uring is given
// stays resident: hugepages are so anyway; of ordinary memory it gets the smallest pool alone.
Task<void> Appliance::GiveBuffersToRings() {
  const bool resident = memory_->usage().hugepages;
  const std::string smallest = FileDiskBuffersNeed(reactors_->size()).consumer;
  std::vector<Region> pools;
  for (const Region& region : regions_.regions()) {
    if (resident || region.name == smallest) pools.push_back(region);
  }
  for (auto& reactor : *reactors_) {
    auto give = [&pools, &ring = (*rings_)[reactor->index()]] {
      Status status;
      for (const Region& pool : pools) status.Update(ring.AddBuffers(pool.address, pool.bytes));
      return status;
    };
    const Status given = co_await RunOn(*reactor, give);
    if (!given.ok()) LogNotice("core", "%s: it does without", given.message());
  }
}

Task<void> Appliance::ReplayAll() {
  const auto runtime = [this](const std::string& name) {
    const rpc::Method* method = dispatcher_->Find(name);
    return method == nullptr || method->options.state() != v1::STATE_STARTUP;
  };
  const auto apply = [this](rpc::SavedCall call) { return ApplySaved(std::move(call)); };
  const auto settle = [this] { return handlers_->nvme().AttachesEnded(); };
  co_await configuration_->Replay(dispatcher_->turn(), apply, settle, runtime);
}

Task<Status> Appliance::ApplySaved(rpc::SavedCall call) {
  const rpc::Method* method = dispatcher_->Find(call.method);
  if (method == nullptr) co_return NotSupported("this version has no method %s", call.method);
  std::unique_ptr<rpc::Message> request = dispatcher_->NewRequest(*method);
  CO_RETURN_IF_ERROR(rpc::DecodeParams(call.params, method->options.relaxed(), *request));
  CO_RETURN_IF_ERROR(dispatcher_->Complete(*request));
  rpc::Caller caller{.name = "replay", .replay = true};
  co_return (co_await dispatcher_->CallHandler(*method, std::move(request), std::move(caller)))
      .status();
}

Status Appliance::SetNvmeOptions(const NvmeOptions& options) {
  if (nvme_ != nullptr) RETURN_IF_ERROR(nvme_->SetOptions(options));
  nvme_options_ = options;
  return OkStatus();
}

void Appliance::RetrySoon() {
  if (stopping_ || !initialised_.is_set()) return;
  if (retrying_) {
    retry_again_ = true;
    return;
  }
  tasks_.Spawn(RetryPending());
}

Task<void> Appliance::RetryPending() {
  retrying_ = true;
  const auto apply = [this](rpc::SavedCall call) { return ApplySaved(std::move(call)); };
  bool again = true;
  while (again && !stopping_) {
    retry_again_ = false;
    again = co_await configuration_->RetryPending(dispatcher_->turn(), apply) || retry_again_;
  }
  retrying_ = false;
  tried_.Pulse();
}

Task<void> Appliance::PendingTried() {
  while (retrying_) co_await tried_;
}

std::vector<std::string> Appliance::Complaints() const {
  std::vector<std::string> complaints;
  if (!store_warning_.empty()) complaints.push_back(store_warning_);
  if (!configuration_->health().ok()) {
    complaints.push_back(absl::StrFormat("the configuration could not be saved: %s",
                                         configuration_->health().message()));
  }
  if (audit_log_ != nullptr && !audit_log_->complaint().empty()) {
    complaints.push_back(audit_log_->complaint());
  }
  if (reactors_ != nullptr) {
    for (const auto& reactor : *reactors_) {
      const uint64_t stuck_ms = watchdog_.StuckNs(*reactor) / kNsPerMs;
      if (stuck_ms == 0) continue;
      complaints.push_back(absl::StrFormat("%s (core %d) has not turned for %d ms: hosts wait",
                                           reactor->name(), reactor->core(), stuck_ms));
    }
  }
  for (const PendingCalls& pending : configuration_->pending()) {
    complaints.push_back(absl::StrFormat("%s '%s' is pending: %s", pending.id.kind, pending.id.name,
                                         pending.why.message()));
  }
  if (ioat_ != nullptr) {
    for (const IoatDevices::DeviceView& device : ioat_->devices()) {
      for (const IoatDevices::ChannelView& channel : device.channels) {
        if (channel.state != IoatDevices::kOutOfService) continue;
        complaints.push_back(absl::StrFormat("channel %d of I/OAT device %s is out of service: %s",
                                             channel.index, device.info.address, channel.reason));
      }
    }
  }
  if (iscsi_ != nullptr && initialised_.is_set()) {
    for (const iscsi::PendingLun& lun : iscsi_->pending_luns()) {
      complaints.push_back(
          absl::StrFormat("LUN %d of %s is pending: %s", lun.lun, lun.target, lun.reason));
    }
  }
  if (nvmf_ != nullptr && initialised_.is_set()) {
    for (const nvmf::PendingNamespace& ns : nvmf_->pending_namespaces()) {
      complaints.push_back(
          absl::StrFormat("namespace %d of %s is pending: %s", ns.nsid, ns.nqn, ns.reason));
    }
  }
  return complaints;
}

void Appliance::GiveUpWaits() {
  stopping_ = true;
  if (nvme_ != nullptr) nvme_->CancelConnects();
  if (ioat_ != nullptr) ioat_->CancelAttaches();
}

Task<void> Appliance::Stop() {
  GiveUpWaits();
  if (grpc_server_ != nullptr) grpc_server_->SetServing(false);
  if (initialisation_ == Initialisation::kRunning) co_await initialisation_ended_;
  initialised_.Set();
  if (handlers_ != nullptr) handlers_->EndWaits();
  notifications_.End();
  NotifySystemd("STOPPING=1");
  if (retry_timer_ != nullptr) control_.CancelTimer(*retry_timer_);
  co_await StopRpc();
  co_await tasks_.Drained();
  // Both in the same time.
  if (nvmf_ != nullptr) tasks_.Spawn(nvmf_->Stop(kDrainNs));
  if (iscsi_ != nullptr) co_await iscsi_->Stop(kDrainNs);
  co_await tasks_.Drained();
  if (nvme_ != nullptr) co_await nvme_->Stop();
  if (devices_ != nullptr) {
    // All at once: thousands of them, one by one, would take longer than there is to stop.
    for (BlockDevice* device : devices_->devices()) {
      tasks_.Spawn(Remove(*devices_, device->name()));
    }
    co_await tasks_.Drained();
    co_await stacked_->Drained();
    handlers_->StopObserving(*devices_);
    devices_->RemoveObserver(notifications_);
  }
  if (ioat_ != nullptr) co_await ioat_->Stop();
  nvme_.reset();
  handlers_.reset();
  nvmf_.reset();
  iscsi_.reset();
  reservation_keeper_.reset();
  stacked_.reset();
  devices_.reset();
  accel_.reset();
  ioat_.reset();
  accel_errors_.reset();
  if (reactors_ != nullptr) {
    if (rings_ != nullptr) co_await rings_->Destroy();
    rings_.reset();
    watchdog_.Stop();
    reactors_->Stop();
    reactors_.reset();
  }
  nvme_disk_buffers_.reset();
  file_disk_buffers_.reset();
  memory_.reset();
  grpc_server_.reset();
  rpc_server_.reset();
  dispatcher_.reset();
  audit_log_.reset();
  configuration_.reset();
  if (store_loop_ != nullptr) store_loop_->StopThread();
  LogNotice("service", "stopped");
}

}  // namespace pollux::service
