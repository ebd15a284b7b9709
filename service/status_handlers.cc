#include "service/status_handlers.h"

#include <algorithm>
#include <map>

#include "core/version.h"
#include "service/appliance.h"
#include "service/time_text.h"

namespace pollux::service {
namespace {

v1::MethodStats Show(const std::string& name, const rpc::MethodStatistics& statistics) {
  v1::MethodStats shown;
  shown.set_method(name);
  shown.set_calls(statistics.calls);
  shown.set_failures(statistics.failures);
  shown.set_running(statistics.running);
  shown.set_total_ns(statistics.total_ns);
  shown.set_max_ns(statistics.max_ns);
  if (statistics.latency == nullptr) return shown;
  const Histogram& latency = *statistics.latency;
  shown.set_p50_ns(std::min(latency.Percentile(0.5), statistics.max_ns));
  shown.set_p99_ns(std::min(latency.Percentile(0.99), statistics.max_ns));
  for (size_t i = 0; i < latency.bucket_count(); ++i) {
    if (latency.bucket(i) == 0) continue;
    v1::LatencyBucket& bucket = *shown.add_latency();
    bucket.set_up_to_ns(latency.LastOf(i));
    bucket.set_count(latency.bucket(i));
  }
  return shown;
}

}  // namespace

void StatusHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("pollux_get_status", this, &StatusHandlers::GetStatus);
  dispatcher.Bind("pollux_get_method_stats", this, &StatusHandlers::GetMethodStats);
  dispatcher.Bind("scsi_get_devices", this, &StatusHandlers::GetScsiDevices);
}

Task<Result<v1::PolluxGetStatusResponse>> StatusHandlers::GetStatus(v1::PolluxGetStatusRequest) {
  v1::PolluxGetStatusResponse response;
  response.set_version(kVersion);
  response.set_uptime_ms((appliance_.clock().NowNs() - appliance_.started_ns()) / kNsPerMs);

  const std::vector<std::string> complaints = appliance_.Complaints();
  response.mutable_health()->set_state(complaints.empty() ? v1::HEALTH_STATE_OK
                                                          : v1::HEALTH_STATE_DEGRADED);
  for (const std::string& complaint : complaints) {
    response.mutable_health()->add_reasons(complaint);
  }
  if (appliance_.options().state_dir.has_value()) {
    response.set_state_dir(*appliance_.options().state_dir);
  }

  for (const PendingCalls& pending : appliance_.configuration().pending()) {
    for (const rpc::SavedCall& call : pending.calls) {
      v1::Pending* entry = response.add_pending();
      entry->set_kind(pending.id.kind);
      entry->set_name(pending.id.name);
      entry->set_method(call.method);
      entry->set_params(call.params);
      entry->set_reason(std::string(pending.why.message()));
      entry->set_since(TimeTextOfSeconds(pending.since));
    }
  }
  for (const iscsi::PendingLun& lun : appliance_.iscsi().pending_luns()) {
    v1::Pending* entry = response.add_pending();
    entry->set_kind("iscsi_lun");
    entry->set_name(absl::StrFormat("%s:%d", lun.target, lun.lun));
    entry->set_method("iscsi_target_node_add_lun");
    entry->set_params("{}");
    entry->set_reason(absl::StrFormat("block device '%s': %s", lun.bdev_name, lun.reason));
  }
  for (const nvmf::PendingNamespace& ns : appliance_.nvmf().pending_namespaces()) {
    v1::Pending* entry = response.add_pending();
    entry->set_kind("nvmf_namespace");
    entry->set_name(absl::StrFormat("%s %d", ns.nqn, ns.nsid));
    entry->set_method("nvmf_subsystem_add_ns");
    entry->set_params("{}");
    entry->set_reason(absl::StrFormat("block device '%s': %s", ns.device_name, ns.reason));
  }

  const Memory::Usage usage = appliance_.memory().usage();
  v1::MemoryStatus& memory = *response.mutable_memory();
  memory.set_hugepages(usage.hugepages);
  memory.set_page_size(usage.page_bytes);
  memory.set_total_bytes(usage.total_bytes);
  memory.set_free_bytes(usage.free_bytes);
  for (const MemoryNeed& need : usage.allocated) {
    v1::MemoryConsumer* consumer = memory.add_consumers();
    consumer->set_name(need.consumer);
    consumer->set_bytes(need.bytes);
  }
  for (auto& reactor : appliance_.reactors()) {
    v1::ReactorStatus* entry = response.add_reactors();
    entry->set_lcore(static_cast<uint32_t>(reactor->core()));
    entry->set_busy_ns(reactor->busy_ns());
    entry->set_idle_ns(reactor->idle_ns());
    entry->set_blocked_count(reactor->blocked_count());
    entry->set_must_poll(reactor->must_poll());
    entry->set_stuck_ms(appliance_.watchdog().StuckNs(*reactor) / kNsPerMs);
    entry->set_in_interrupt(!appliance_.options().poll && !reactor->must_poll());
  }
  co_return response;
}

Task<Result<v1::PolluxGetMethodStatsResponse>> StatusHandlers::GetMethodStats(
    v1::PolluxGetMethodStatsRequest request) {
  const rpc::Dispatcher& dispatcher = appliance_.dispatcher();
  if (request.has_method() && dispatcher.Find(request.method()) == nullptr) {
    co_return InvalidField("method", request.method(), "there is no such method");
  }
  std::map<std::string, const rpc::Method*> by_name;
  for (const rpc::Method* method : dispatcher.methods()) {
    if (request.has_method() && method->name != request.method()) continue;
    by_name[method->name] = method;
  }
  v1::PolluxGetMethodStatsResponse response;
  for (const auto& [name, method] : by_name) {
    const rpc::MethodStatistics& statistics = dispatcher.statistics(*method);
    if (statistics.calls + statistics.running > 0) *response.add_methods() = Show(name, statistics);
  }
  co_return response;
}

Task<Result<v1::ScsiGetDevicesResponse>> StatusHandlers::GetScsiDevices(v1::ScsiGetDevicesRequest) {
  v1::ScsiGetDevicesResponse response;
  int32_t id = 0;
  for (const iscsi::TargetNode& node : appliance_.iscsi().target_nodes()) {
    v1::ScsiDevice* device = response.add_devices();
    device->set_id(id++);
    device->set_device_name(node.name);
  }
  co_return response;
}

}  // namespace pollux::service
