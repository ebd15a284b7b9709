#include "service/framework_handlers.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <map>

#include "core/version.h"
#include "drivers/pci/pci_address.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"
#include "service/threads.h"

namespace pollux::service {
namespace {

// In the order of initialisation; each name stands before those that depend on it.
struct SubsystemInfo {
  const char* name;
  std::vector<const char*> depends_on;
  bool has_configuration;
  // Methods in the order in which SPDK writes them; others come after them. Empty: the calls stay
  // as they came.
  std::vector<std::string_view> order = {};
};
const std::vector<SubsystemInfo>& Subsystems() {
  static const std::vector<SubsystemInfo> subsystems = {
      {"accel",
       {},
       true,
       {"accel_set_options", "ioat_scan_accel_module", "ioat_attach_device", "accel_assign_opc"}},
      {"bdev", {"accel"}, true},
      {"scsi", {"bdev"}, false},
      {"nvmf",
       {"bdev"},
       true,
       {"nvmf_set_config", "nvmf_set_max_subsystems", "nvmf_set_crdt", "nvmf_create_transport",
        "nvmf_discovery_add_referral", "nvmf_create_subsystem", "nvmf_subsystem_add_host",
        "nvmf_subsystem_add_ns", "nvmf_ns_add_host", "nvmf_subsystem_add_listener"}},
      {"iscsi",
       {"scsi"},
       true,
       {"iscsi_set_options", "iscsi_set_discovery_auth", "iscsi_create_auth_group",
        "iscsi_create_portal_group", "iscsi_portal_group_set_auth", "iscsi_create_initiator_group",
        "iscsi_create_target_node"}}};
  return subsystems;
}

// As hexadecimal digits; without the extended part where that is all zeroes.
std::string ConfigSpaceOf(const std::string& address) {
  constexpr size_t kConventionalBytes = 256;
  std::ifstream file("/sys/bus/pci/devices/" + address + "/config", std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  if (bytes.find_last_not_of('\0') < kConventionalBytes) bytes.resize(kConventionalBytes);
  std::string digits;
  for (const char byte : bytes) {
    digits += absl::StrFormat("%02X", static_cast<unsigned char>(byte));
  }
  return digits;
}

int SignalNumber(v1::Signal signal) {
  switch (signal) {
    case v1::SIGNAL_SIGINT:
      return SIGINT;
    case v1::SIGNAL_SIGTERM:
      return SIGTERM;
    case v1::SIGNAL_SIGQUIT:
      return SIGQUIT;
    case v1::SIGNAL_SIGHUP:
      return SIGHUP;
    case v1::SIGNAL_SIGKILL:
      return SIGKILL;
    case v1::SIGNAL_SIGUSR1:
      return SIGUSR1;
    default:
      return 0;
  }
}

}  // namespace

void FrameworkHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("rpc_get_methods", this, &FrameworkHandlers::GetMethods);
  dispatcher.Bind("spdk_get_version", this, &FrameworkHandlers::GetVersion);
  dispatcher.Bind("spdk_kill_instance", this, &FrameworkHandlers::KillInstance);
  dispatcher.Bind("framework_start_init", this, &FrameworkHandlers::StartInit);
  dispatcher.Bind("framework_wait_init", this, &FrameworkHandlers::WaitInit);
  dispatcher.Bind("framework_get_config", this, &FrameworkHandlers::GetConfig);
  dispatcher.Bind("framework_get_subsystems", this, &FrameworkHandlers::GetSubsystems);
  dispatcher.Bind("framework_get_reactors", this, &FrameworkHandlers::GetReactors);
  dispatcher.Bind("framework_get_pci_devices", this, &FrameworkHandlers::GetPciDevices);
  dispatcher.SetStateHints("start with --wait-for-rpc, and call it before framework_start_init",
                           "call framework_start_init first");
}

Task<Result<v1::RpcGetMethodsResponse>> FrameworkHandlers::GetMethods(
    v1::RpcGetMethodsRequest request) {
  v1::RpcGetMethodsResponse response;
  for (const rpc::Method* method : appliance_.dispatcher().methods()) {
    if (request.current() && !appliance_.dispatcher().Callable(*method)) continue;
    response.add_methods(method->name);
  }
  co_return response;
}

Task<Result<v1::SpdkGetVersionResponse>> FrameworkHandlers::GetVersion(v1::SpdkGetVersionRequest) {
  v1::SpdkGetVersionResponse response;
  response.set_version(absl::StrFormat("Pollux v%s, compatible with SPDK v%d.%02d%s", kVersion,
                                       kSpdkMajor, kSpdkMinor, kSpdkSuffix));
  response.mutable_fields()->set_major(kSpdkMajor);
  response.mutable_fields()->set_minor(kSpdkMinor);
  response.mutable_fields()->set_patch(kSpdkPatch);
  response.mutable_fields()->set_suffix(kSpdkSuffix);
  co_return response;
}

// SIGKILL is what it always is; the others end the appliance in order, after this answer.
Task<Result<v1::SpdkKillInstanceResponse>> FrameworkHandlers::KillInstance(
    v1::SpdkKillInstanceRequest request) {
  const int signal = SignalNumber(request.sig_name());
  if (signal == SIGKILL) {
    kill(getpid(), SIGKILL);
  } else {
    appliance_.RequestStop(signal);
  }
  co_return Done<v1::SpdkKillInstanceResponse>();
}

Task<Result<v1::FrameworkStartInitResponse>> FrameworkHandlers::StartInit(
    v1::FrameworkStartInitRequest) {
  const Status status = co_await appliance_.Initialise();
  if (ErrnoOf(status) == EALREADY) co_return status;
  if (!status.ok()) {
    LogError("service", "initialisation failed: %s", status.message());
    appliance_.RequestStop(SIGTERM);
    co_return status;
  }
  co_return Done<v1::FrameworkStartInitResponse>();
}

Task<Result<v1::FrameworkWaitInitResponse>> FrameworkHandlers::WaitInit(
    v1::FrameworkWaitInitRequest) {
  co_await appliance_.initialised();
  if (appliance_.stopping()) co_return Cancelled("the appliance is stopping");
  co_return Done<v1::FrameworkWaitInitResponse>();
}

Task<Result<v1::FrameworkGetConfigResponse>> FrameworkHandlers::GetConfig(
    v1::FrameworkGetConfigRequest request) {
  const SubsystemInfo* subsystem = nullptr;
  for (const SubsystemInfo& known : Subsystems()) {
    if (request.name() == known.name) subsystem = &known;
  }
  if (subsystem == nullptr) co_return InvalidField("name", request.name(), "no such subsystem");
  v1::FrameworkGetConfigResponse response;
  if (!subsystem->has_configuration) co_return response;  // null

  const auto of_subsystem = [&](const std::string& name) {
    const rpc::Method* method = appliance_.dispatcher().Find(name);
    return method != nullptr && method->subsystem == request.name();
  };
  std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsWhere(of_subsystem);
  const auto& order = subsystem->order;
  const auto place = [&order](const rpc::SavedCall& call) {
    return std::find(order.begin(), order.end(), call.method) - order.begin();
  };
  std::stable_sort(calls.begin(), calls.end(),
                   [&place](const auto& a, const auto& b) { return place(a) < place(b); });
  std::string config = "[";
  for (const rpc::SavedCall& call : calls) {
    if (config.size() > 1) config += ',';
    config += "{\"method\":" + rpc::QuoteJson(call.method) + ",\"params\":" + call.params + "}";
  }
  // What comes after the disks in SPDK's own files, so that a loader waits for them.
  if (request.name() == "bdev") {
    config += std::string(config.size() > 1 ? "," : "") + "{\"method\":\"bdev_wait_for_examine\"}";
  }
  response.set_config(config + "]");
  co_return response;
}

Task<Result<v1::FrameworkGetSubsystemsResponse>> FrameworkHandlers::GetSubsystems(
    v1::FrameworkGetSubsystemsRequest) {
  v1::FrameworkGetSubsystemsResponse response;
  for (const SubsystemInfo& known : Subsystems()) {
    v1::Subsystem* subsystem = response.add_subsystems();
    subsystem->set_subsystem(known.name);
    for (const char* other : known.depends_on) subsystem->add_depends_on(other);
  }
  co_return response;
}

Task<Result<v1::FrameworkGetReactorsResponse>> FrameworkHandlers::GetReactors(
    v1::FrameworkGetReactorsRequest) {
  v1::FrameworkGetReactorsResponse response;
  response.set_tick_rate(kNsPerSecond);
  response.set_pid(static_cast<uint64_t>(getpid()));
  for (auto& reactor : appliance_.reactors()) {
    const CoreTimes times = core_times_.Of(reactor->core());
    v1::ReactorInfo* info = response.add_reactors();
    info->set_lcore(static_cast<uint32_t>(reactor->core()));
    info->set_numa_id(NumaNodeOf(*reactor));
    info->set_tid(static_cast<uint64_t>(reactor->thread_id()));
    info->set_busy(reactor->busy_ns());
    info->set_idle(reactor->idle_ns());
    info->set_in_interrupt(!appliance_.options().poll && !reactor->must_poll());
    info->set_irq(times.interrupt);
    info->set_sys(times.system);
    info->set_usr(times.user);
    if (reactor->index() == 0) {
      v1::LightweightThread* app = info->add_lw_threads();
      app->set_name(appliance_.control().name());
      app->set_id(kControlThreadId);
      app->set_cpumask(CpumaskOf(appliance_.control()));
      app->set_elapsed(appliance_.control().busy_ns() + appliance_.control().idle_ns());
    }
    v1::LightweightThread* thread = info->add_lw_threads();
    thread->set_name(reactor->name());
    thread->set_id(ThreadIdOfReactor(reactor->index()));
    thread->set_cpumask(CpumaskOf(*reactor));
    thread->set_elapsed(reactor->busy_ns() + reactor->idle_ns());
  }
  co_return response;
}

Task<Result<v1::FrameworkGetPciDevicesResponse>> FrameworkHandlers::GetPciDevices(
    v1::FrameworkGetPciDevicesRequest) {
  std::map<std::string, int> numa_nodes;  // By address.
  for (const NvmePath* path : appliance_.nvme().attached()) {
    const pollux_nvme_transport_id& id = path->attachment().id;
    if (id.trtype != POLLUX_NVME_TRANSPORT_PCIE) continue;
    numa_nodes[id.traddr] = path->info().numa_node;
  }
  for (const IoatDevices::DeviceView& device : appliance_.ioat().devices()) {
    if (!pci::ParsePciAddress(device.info.address).ok()) continue;  // A vfio-user socket.
    numa_nodes[device.info.address] = device.info.numa_node;
  }
  v1::FrameworkGetPciDevicesResponse response;
  for (const auto& [address, numa_node] : numa_nodes) {
    v1::PciDevice& device = *response.add_devices();
    device.set_address(address);
    device.set_type("pci");
    device.set_numa_id(numa_node);
    device.set_config_space(ConfigSpaceOf(address));
  }
  co_return response;
}

}  // namespace pollux::service
