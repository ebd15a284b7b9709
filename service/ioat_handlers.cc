#include "service/ioat_handlers.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "core/log.h"
#include "core/task_group.h"
#include "drivers/pci/pci_address.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"

namespace pollux::service {
namespace {

constexpr char kKind[] = "ioat_device";

ObjectId IdOf(const std::string& address) { return {kKind, address}; }

// One spelling for all that mean the same place.
std::string Spelling(const std::string& address) {
  const Result<pci::PciAddress> function = pci::ParsePciAddress(address);
  if (function.ok()) return ToString(*function);
  std::filesystem::path path = std::filesystem::path(address).lexically_normal();
  if (!path.has_filename() && path.has_parent_path()) path = path.parent_path();  // "/a/b/"
  if (path.filename() == "cntrl") path = path.parent_path();
  return path.string();
}

void Describe(const IoatDevices::ChannelView& view, v1::IoatChannel& channel) {
  channel.set_index(view.index);
  channel.set_state(std::string(view.state));
  channel.set_reason(std::string(view.reason));
  if (view.reactor != nullptr) {
    channel.set_lcore(static_cast<uint32_t>(view.reactor->core()));
    channel.set_thread_name(view.reactor->name());
  }
  const pollux_ioat_statistics& statistics = view.statistics;
  channel.set_submitted(statistics.submitted);
  channel.set_completed(statistics.completed);
  channel.set_failed(statistics.failed);
  channel.set_descriptors(statistics.descriptors);
  channel.set_doorbells(statistics.doorbells);
  channel.set_polls(statistics.polls);
  channel.set_idle_polls(statistics.idle_polls);
  channel.set_errors(statistics.errors);
  channel.set_resets(statistics.resets);
}

void Describe(const IoatDevices::DeviceView& view, v1::IoatDevice& device) {
  const pollux_ioat_device_info& info = view.info;
  device.set_address(info.address);
  device.set_state("attached");
  device.set_model(info.model);
  device.set_version(absl::StrFormat("%d.%d", info.version >> 4, info.version & 0xf));
  device.set_vendor_id(absl::StrFormat("0x%04x", info.vendor));
  device.set_device_id(absl::StrFormat("0x%04x", info.device));
  if (info.numa_node >= 0) device.set_numa_id(info.numa_node);
  device.add_capabilities("copy");
  if (info.fill) device.add_capabilities("fill");
  if (info.xor_) device.add_capabilities("xor");
  if (info.pq) device.add_capabilities("pq");
  device.set_transfer_bytes_max(info.transfer_bytes_max);
  device.set_descriptors(info.descriptors);
  for (const IoatDevices::ChannelView& channel : view.channels) {
    Describe(channel, *device.add_channels());
  }
}

}  // namespace

void IoatHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("ioat_scan_accel_module", this, &IoatHandlers::Scan);
  dispatcher.Bind("ioat_attach_device", this, &IoatHandlers::Attach);
  dispatcher.Bind("ioat_detach_device", this, &IoatHandlers::Detach);
  dispatcher.Bind("ioat_get_devices", this, &IoatHandlers::GetDevices);
}

void IoatHandlers::SpellNames(Configuration& configuration) {
  configuration.SetSpelling(kKind, Spelling);
}

bool IoatHandlers::IsAttached(const std::string& address) const {
  const std::vector<IoatDevices::DeviceView> devices = appliance_.ioat().devices();
  return std::any_of(devices.begin(), devices.end(),
                     [&](const auto& device) { return device.info.address == address; });
}

// --- Attaching.

Task<Result<v1::IoatAttachDeviceResponse>> IoatHandlers::Attach(v1::IoatAttachDeviceRequest request,
                                                                rpc::Caller caller) {
  const std::string address = Spelling(request.address());
  if (address.empty()) {
    co_return InvalidField("address", request.address(),
                           "must be a PCI address, as in 0000:00:04.0, or a vfio-user socket");
  }
  // Before anybody is served nothing waits for the turn.
  if (caller.replay && appliance_.initialised().is_set()) co_return BeginAttachPending(address);
  // Those under way were given up; who begins now would be waited for.
  if (appliance_.stopping()) co_return Cancelled("the appliance is stopping");

  last_failures_.erase(address);
  if (caller.turn != nullptr) caller.turn->GiveBack();
  const Status status = co_await appliance_.ioat().Attach(address);
  if (caller.turn != nullptr) {
    Turn::Holder again = co_await appliance_.dispatcher().turn().Take();
    *caller.turn = std::move(again);
  }
  CO_RETURN_IF_ERROR(status);
  // Between the two others may have had a turn.
  if (!IsAttached(address) || detaching_.contains(address)) {
    co_return ErrorOfField(ENODEV, "address", address, "it was attached, and has gone again");
  }
  request.set_address(address);
  appliance_.configuration().Put(IdOf(address),
                                 {{"ioat_attach_device", rpc::EncodeMessage(request)}});
  co_return Done<v1::IoatAttachDeviceResponse>();
}

// The replay has the turn, and shall not keep it for a slow device.
Status IoatHandlers::BeginAttachPending(const std::string& address) {
  if (!attaching_.contains(address) && !appliance_.stopping()) {
    appliance_.Spawn(AttachPending(address));
  }
  const auto failure = last_failures_.find(address);
  if (failure != last_failures_.end()) return failure->second;
  return Unavailable("it is being attached");
}

Task<void> IoatHandlers::AttachPending(std::string address) {
  attaching_.insert(address);
  Status status = co_await appliance_.ioat().Attach(address);
  if (status.ok()) {
    const Turn::Holder held = co_await appliance_.dispatcher().turn().Take();
    // It may have gone, or been deleted, meanwhile.
    if (!IsAttached(address)) {
      status = NoDevice("it was attached, and has gone again");
    } else if (appliance_.configuration().IsPending(IdOf(address))) {
      appliance_.configuration().Unpark(IdOf(address));
      LogNotice("ioat", "%s is attached", Printable(address));
    } else {
      status = co_await appliance_.ioat().Detach(address);
    }
  }
  attaching_.erase(address);
  if (status.ok()) {
    last_failures_.erase(address);
  } else {
    last_failures_[address] = status;
  }
}

Task<Result<v1::IoatScanAccelModuleResponse>> IoatHandlers::Scan(
    v1::IoatScanAccelModuleRequest request) {
  const ObjectId id{"options", "ioat_scan"};
  scan_ = request.enable();
  if (scan_) {
    appliance_.configuration().Put(id, {{"ioat_scan_accel_module", rpc::EncodeMessage(request)}});
  } else {
    appliance_.configuration().Erase(id);
  }
  co_return Done<v1::IoatScanAccelModuleResponse>();
}

Task<void> IoatHandlers::AttachFound() {
  if (!scan_) co_return;
  TaskGroup attaches;
  for (const std::string& address : appliance_.ioat().Scan()) {
    // What is configured has its own call.
    if (appliance_.configuration().CallsOf(IdOf(address)).empty()) {
      attaches.Spawn(AttachOneFound(address));
    }
  }
  co_await attaches.Drained();
}

Task<void> IoatHandlers::AttachOneFound(std::string address) {
  const Status status = co_await appliance_.ioat().Attach(address);
  if (status.ok()) {
    LogNotice("ioat", "%s was found and is attached", address);
  } else {
    LogWarning("ioat", "%s was found and cannot be attached: %s", address, status.message());
  }
}

// --- Detaching.

Task<Result<v1::IoatDetachDeviceResponse>> IoatHandlers::Detach(v1::IoatDetachDeviceRequest request,
                                                                rpc::Caller caller) {
  const std::string address = Spelling(request.address());
  appliance_.configuration().Erase(IdOf(address));
  last_failures_.erase(address);
  // The address stays taken until it is detached.
  if (caller.turn != nullptr) caller.turn->GiveBack();
  const bool first = detaching_.insert(address).second;
  const Status status = co_await appliance_.ioat().Detach(address);
  if (first) detaching_.erase(address);
  CO_RETURN_IF_ERROR(status);
  co_return Done<v1::IoatDetachDeviceResponse>();
}

void IoatHandlers::OnDeviceGone(const std::string& address, const Status& why) {
  last_failures_.erase(address);
  if (appliance_.stopping()) return;
  const std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(IdOf(address));
  if (!calls.empty()) appliance_.configuration().Park(IdOf(address), calls.front(), why);
}

Task<Result<v1::IoatGetDevicesResponse>> IoatHandlers::GetDevices(v1::IoatGetDevicesRequest) {
  v1::IoatGetDevicesResponse response;
  for (const IoatDevices::DeviceView& device : appliance_.ioat().devices()) {
    Describe(device, *response.add_devices());
  }
  for (const PendingCalls& pending : appliance_.configuration().pending()) {
    if (pending.id.kind != kKind || IsAttached(pending.id.name)) continue;
    v1::IoatDevice& device = *response.add_devices();
    device.set_address(pending.id.name);
    device.set_state("pending");
    device.set_reason(std::string(pending.why.message()));
  }
  co_return response;
}

}  // namespace pollux::service
