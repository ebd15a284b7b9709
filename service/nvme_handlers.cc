#include "service/nvme_handlers.h"

#include "core/log.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"
#include "service/nvme_parameters.h"

namespace pollux::service {
namespace {

constexpr uint64_t kHotplugPeriodUs = 100000, kHotplugPeriodMaxUs = 10000000;

ObjectId IdOf(const std::string& name) { return {"nvme_controller", name}; }

void Describe(const NvmePath& controller, v1::NvmePathInfo& path) {
  path.set_state(controller.state_name());
  DescribeTransport(controller.attachment().id, *path.mutable_trid());
  const pollux_nvme_controller_info& info = controller.info();
  path.set_cntlid(info.cntlid);
  path.mutable_host()->set_nqn(controller.attachment().hostnqn);
  path.mutable_host()->set_addr(controller.attachment().hostaddr);
  path.mutable_host()->set_svcid(controller.attachment().hostsvcid);
  if (info.numa_node >= 0) path.set_numa_id(static_cast<uint32_t>(info.numa_node));
}

}  // namespace

void NvmeHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("bdev_nvme_attach_controller", this, &NvmeHandlers::Attach);
  dispatcher.Bind("bdev_nvme_detach_controller", this, &NvmeHandlers::Detach);
  dispatcher.Bind("bdev_nvme_get_controllers", this, &NvmeHandlers::GetControllers);
  dispatcher.Bind("bdev_nvme_set_options", this, &NvmeHandlers::SetOptions);
  dispatcher.Bind("bdev_nvme_set_hotplug", this, &NvmeHandlers::SetHotplug);
}

Task<Result<v1::BdevNvmeAttachControllerResponse>> NvmeHandlers::Attach(
    v1::BdevNvmeAttachControllerRequest request, rpc::Caller caller) {
  ASSIGN_OR_CO_RETURN(const NvmeAttachment attachment, NvmeAttachmentOf(request));
  // Before anybody is served nothing waits for the turn.
  if (caller.replay && appliance_.initialised().is_set()) {
    co_return BeginAttachPending(attachment);
  }
  ASSIGN_OR_CO_RETURN(NvmePath * path, appliance_.nvme().Reserve(attachment));
  CO_RETURN_IF_ERROR(co_await ConnectAndPublish(path, caller.turn));
  appliance_.configuration().Put(IdOf(attachment.name),
                                 {{"bdev_nvme_attach_controller", rpc::EncodeMessage(request)}});
  v1::BdevNvmeAttachControllerResponse response;
  for (const std::string& disk : path->subsystem().disk_names()) response.add_names(disk);
  co_return response;
}

Task<Status> NvmeHandlers::ConnectAndPublish(NvmePath* path, Turn::Holder* turn) {
  if (turn != nullptr) turn->GiveBack();
  Status status = co_await path->Connect();
  if (turn != nullptr) {
    Turn::Holder again = co_await appliance_.dispatcher().turn().Take();
    *turn = std::move(again);
  }
  if (status.ok()) status = co_await path->subsystem().Publish(*path);
  if (!status.ok()) {
    const Status removed = co_await appliance_.nvme().RemovePath(path);
    if (!removed.ok()) LogError("nvme", "%s", removed.message());
  }
  co_return status;
}

// The replay has the turn, and shall not keep it for a slow device.
Status NvmeHandlers::BeginAttachPending(const NvmeAttachment& attachment) {
  if (!attaching_.contains(attachment.name) && !appliance_.stopping()) {
    appliance_.Spawn(AttachPending(attachment));
  }
  const auto failure = last_failures_.find(attachment.name);
  if (failure != last_failures_.end()) return failure->second;
  return Unavailable("it is being attached");
}

Task<void> NvmeHandlers::AttachPending(NvmeAttachment attachment) {
  const std::string name = attachment.name;
  attaching_.insert(name);
  Status status = OkStatus();
  {
    const Result<NvmePath*> reserved = appliance_.nvme().Reserve(attachment);
    status = reserved.status();
    if (status.ok()) {
      NvmePath& path = **reserved;
      status = co_await path.Connect();
      const Turn::Holder held = co_await appliance_.dispatcher().turn().Take();
      // It may have been deleted meanwhile.
      const bool wanted = appliance_.configuration().IsPending(IdOf(name));
      if (status.ok() && wanted) status = co_await path.subsystem().Publish(path);
      if (!status.ok() || !wanted) {
        const Status removed = co_await appliance_.nvme().RemovePath(&path);
        if (!removed.ok()) LogError("nvme", "%s", removed.message());
      } else {
        appliance_.configuration().Unpark(IdOf(name));
        LogNotice("nvme", "controller %s is attached", name);
      }
    }
  }
  attaching_.erase(name);
  if (status.ok()) {
    last_failures_.erase(name);
    appliance_.RetryPendingSoon();  // What waits for its disks.
  } else {
    last_failures_[name] = status;
  }
}

Task<Result<v1::BdevNvmeDetachControllerResponse>> NvmeHandlers::Detach(
    v1::BdevNvmeDetachControllerRequest request, rpc::Caller caller) {
  ASSIGN_OR_CO_RETURN(NvmeSubsystem * subsystem, appliance_.nvme().Find(request.name()));
  CO_RETURN_IF_ERROR(CheckNvmePath(request, subsystem->first_path()->attachment()));
  appliance_.configuration().Erase(IdOf(request.name()));
  // The name stays taken until it is gone.
  if (caller.turn != nullptr) caller.turn->GiveBack();
  CO_RETURN_IF_ERROR(co_await appliance_.nvme().Remove(request.name()));
  co_return Done<v1::BdevNvmeDetachControllerResponse>();
}

Task<Result<v1::BdevNvmeGetControllersResponse>> NvmeHandlers::GetControllers(
    v1::BdevNvmeGetControllersRequest request) {
  v1::BdevNvmeGetControllersResponse response;
  v1::NvmeControllerInfo* info = nullptr;
  for (const NvmePath* path : appliance_.nvme().attached()) {
    if (request.has_name() && path->name() != request.name()) continue;
    if (info == nullptr || info->name() != path->name()) {
      info = response.add_controllers();
      info->set_name(path->name());
    }
    Describe(*path, *info->add_ctrlrs());
  }
  if (request.has_name() && response.controllers().empty()) {
    co_return InvalidField("name", request.name(), "there is no such NVMe controller");
  }
  co_return response;
}

Task<Result<v1::BdevNvmeSetOptionsResponse>> NvmeHandlers::SetOptions(
    v1::BdevNvmeSetOptionsRequest request) {
  ASSIGN_OR_CO_RETURN(const NvmeOptions options, NvmeOptionsOf(request));
  CO_RETURN_IF_ERROR(appliance_.SetNvmeOptions(options));
  appliance_.configuration().Put({"options", "bdev_nvme"},
                                 {{"bdev_nvme_set_options", rpc::EncodeMessage(request)}});
  co_return Done<v1::BdevNvmeSetOptionsResponse>();
}

Task<Result<v1::BdevNvmeSetHotplugResponse>> NvmeHandlers::SetHotplug(
    v1::BdevNvmeSetHotplugRequest request) {
  if (request.period_us() > kHotplugPeriodMaxUs) {
    co_return InvalidField("period_us", request.period_us(), "is at most %u", kHotplugPeriodMaxUs);
  }
  if (request.period_us() == 0) request.set_period_us(kHotplugPeriodUs);
  request.enable() ? hotplug_.Start(request.period_us()) : hotplug_.Stop();
  appliance_.configuration().Put({"options", "bdev_nvme_hotplug"},
                                 {{"bdev_nvme_set_hotplug", rpc::EncodeMessage(request)}});
  co_return Done<v1::BdevNvmeSetHotplugResponse>();
}

void NvmeHandlers::OnPathGone(const NvmeAttachment& attachment, const Status& why) {
  const std::string& name = attachment.name;
  last_failures_.erase(name);
  if (appliance_.stopping()) return;
  const std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(IdOf(name));
  if (!calls.empty()) appliance_.configuration().Park(IdOf(name), calls.front(), why);
}

}  // namespace pollux::service
