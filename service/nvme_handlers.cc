#include "service/nvme_handlers.h"

#include <algorithm>
#include <utility>

#include "core/log.h"
#include "drivers/nvme_disk/nvme_transport.h"
#include "rpc/json_codec.h"
#include "service/answers.h"
#include "service/appliance.h"
#include "service/nvme_parameters.h"

namespace pollux::service {
namespace {

constexpr uint64_t kHotplugPeriodUs = 100000, kHotplugPeriodMaxUs = 10000000;

constexpr int kSavedPathsMax = 64;  // Of one name.

ObjectId NumberedId(const std::string& name, int number) {
  return {"nvme_controller", number == 1 ? name : absl::StrFormat("%s (%d)", name, number)};
}

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

// Paths for failover are told as other places of the path before them.
void Describe(const std::vector<const NvmePath*>& paths, v1::NvmeControllerInfo& into) {
  v1::NvmePathInfo* last = nullptr;
  for (const NvmePath* path : paths) {
    if (last != nullptr && path->attachment().multipath == NvmeAttachment::Multipath::kFailover) {
      DescribeTransport(path->attachment().id, *last->add_alternate_trids());
    } else {
      last = into.add_ctrlrs();
      Describe(*path, *last);
    }
  }
}

bool SamePlace(const NvmeAttachment& a, const NvmeAttachment& b) {
  return SameNvmePlace(a.id, b.id);
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
  if (caller.replay) co_return BeginAttachPending(attachment);
  // Those under way were given up; who begins now would be waited for.
  if (appliance_.stopping()) co_return Cancelled("the appliance is stopping");
  const ObjectId id = IdOf(attachment);
  if (appliance_.configuration().IsPending(id)) {
    co_return ErrorOfField(EEXIST, "name", attachment.name,
                           "this path is configured already and pending; detach it first");
  }
  ASSIGN_OR_CO_RETURN(NvmePath * path, appliance_.nvme().Reserve(attachment));
  CO_RETURN_IF_ERROR(co_await ConnectAndPublish(path, caller.turn));
  appliance_.configuration().Put(IdOf(attachment),
                                 {{"bdev_nvme_attach_controller", rpc::EncodeMessage(request)}});
  v1::BdevNvmeAttachControllerResponse response;
  for (const auto& [nsid, disk] : path->subsystem().disks()) response.add_names(disk->name());
  co_return response;
}

// --- What is saved.

std::optional<NvmeAttachment> NvmeHandlers::Saved(const ObjectId& id) const {
  const std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(id);
  if (calls.empty()) return std::nullopt;
  v1::BdevNvmeAttachControllerRequest request;
  if (!rpc::DecodeParams(calls.front().params, /*relaxed=*/false, request).ok() ||
      !appliance_.dispatcher().Complete(request).ok()) {
    return std::nullopt;
  }
  Result<NvmeAttachment> attachment = NvmeAttachmentOf(request);
  if (!attachment.ok()) return std::nullopt;
  return *std::move(attachment);
}

std::vector<NvmeHandlers::SavedPath> NvmeHandlers::SavedPaths(const std::string& name) const {
  std::vector<SavedPath> paths;
  for (int number = 1; number <= kSavedPathsMax; ++number) {
    const ObjectId id = NumberedId(name, number);
    const std::optional<NvmeAttachment> saved = Saved(id);
    if (saved.has_value() && saved->name == name) paths.push_back({id, *saved});
  }
  return paths;
}

ObjectId NvmeHandlers::IdOf(const NvmeAttachment& attachment) const {
  for (const SavedPath& path : SavedPaths(attachment.name)) {
    if (SamePlace(path.attachment, attachment)) return path.id;
  }
  int number = 1;
  while (number < kSavedPathsMax &&
         !appliance_.configuration().CallsOf(NumberedId(attachment.name, number)).empty()) {
    ++number;
  }
  return NumberedId(attachment.name, number);
}

// --- Attaching.

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
  const ObjectId id = IdOf(attachment);
  const bool tried = last_failures_.contains(id) && !appliance_.initialised().is_set();
  if (!tried && !attaching_.contains(id) && !appliance_.stopping()) {
    appliance_.Spawn(AttachPending(attachment, id));
  }
  const auto failure = last_failures_.find(id);
  if (failure != last_failures_.end()) return failure->second;
  return Unavailable("it is being attached");
}

Task<bool> NvmeHandlers::AttachesEnded() {
  while (!attaching_.empty()) co_await attach_ended_;
  co_return std::exchange(one_attached_, false);
}

Task<void> NvmeHandlers::AttachPending(NvmeAttachment attachment, ObjectId id) {
  attaching_.insert(id);
  Status status = OkStatus();
  {
    const Result<NvmePath*> reserved = appliance_.nvme().Reserve(attachment);
    status = reserved.status();
    if (status.ok()) {
      NvmePath& path = **reserved;
      status = co_await path.Connect();
      const Turn::Holder held = co_await appliance_.dispatcher().turn().Take();
      // It may have been deleted meanwhile.
      const bool wanted = appliance_.configuration().IsPending(id);
      if (status.ok() && wanted) status = co_await path.subsystem().Publish(path);
      if (!status.ok() || !wanted) {
        const Status removed = co_await appliance_.nvme().RemovePath(&path);
        if (!removed.ok()) LogError("nvme", "%s", removed.message());
      } else {
        appliance_.configuration().Unpark(id);
        LogNotice("nvme", "%s is attached", path.place());
      }
    }
  }
  attaching_.erase(id);
  if (status.ok()) {
    one_attached_ = true;
    last_failures_.erase(id);
    appliance_.RetryPendingSoon();  // What waits for its disks.
  } else {
    last_failures_[id] = status;
    if (appliance_.configuration().IsPending(id)) NoteReason(id, status);
  }
  attach_ended_.Pulse();
}

// --- Detaching.

Task<Result<v1::BdevNvmeDetachControllerResponse>> NvmeHandlers::Detach(
    v1::BdevNvmeDetachControllerRequest request, rpc::Caller caller) {
  // Those that are meant: attached, and configured.
  std::vector<NvmePath*> paths;
  for (NvmePath* path : appliance_.nvme().attached()) {
    if (path->name() != request.name() || path->leaving()) continue;
    if (IsMeant(request, path->attachment())) paths.push_back(path);
  }
  std::vector<SavedPath> saved = SavedPaths(request.name());
  std::erase_if(saved, [&](const SavedPath& one) { return !IsMeant(request, one.attachment); });
  const bool pending = std::any_of(saved.begin(), saved.end(), [this](const SavedPath& one) {
    return appliance_.configuration().IsPending(one.id);
  });
  if (paths.empty() && !pending) {
    co_return ErrorOfField(ENODEV, "name", request.name(),
                           "there is no such NVMe controller, or it has no such path");
  }
  for (const SavedPath& one : saved) {
    appliance_.configuration().Erase(one.id);
    last_failures_.erase(one.id);
  }
  const Result<NvmeSubsystem*> subsystem = appliance_.nvme().Find(request.name());
  if (subsystem.ok() && SavedPaths(request.name()).empty()) {
    // Nor is there anything to say of its disks.
    for (const auto& [nsid, disk] : (*subsystem)->disks()) {
      appliance_.configuration().EraseCompanions({"bdev", disk->name()});
    }
  }
  // The name stays taken until they are gone.
  if (caller.turn != nullptr) caller.turn->GiveBack();
  CO_RETURN_IF_ERROR(co_await appliance_.nvme().RemovePaths(std::move(paths)));
  co_return Done<v1::BdevNvmeDetachControllerResponse>();
}

Task<Result<v1::BdevNvmeGetControllersResponse>> NvmeHandlers::GetControllers(
    v1::BdevNvmeGetControllersRequest request) {
  std::map<std::string, std::vector<const NvmePath*>> by_name;
  for (const NvmePath* path : appliance_.nvme().attached()) {
    if (!request.has_name() || path->name() == request.name())
      by_name[path->name()].push_back(path);
  }
  if (request.has_name() && by_name.empty()) {
    co_return InvalidField("name", request.name(), "there is no such NVMe controller");
  }
  v1::BdevNvmeGetControllersResponse response;
  for (const auto& [name, paths] : by_name) {
    v1::NvmeControllerInfo& info = *response.add_controllers();
    info.set_name(name);
    Describe(paths, info);
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
  const ObjectId id = IdOf(attachment);
  last_failures_.erase(id);
  NoteReason(id, why);
}

void NvmeHandlers::NoteReason(const ObjectId& id, const Status& why) {
  if (appliance_.stopping()) return;
  const std::vector<rpc::SavedCall> calls = appliance_.configuration().CallsOf(id);
  if (!calls.empty()) appliance_.configuration().Park(id, calls.front(), why);
}

}  // namespace pollux::service
