#include "drivers/nvme_disk/nvme_controllers.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "drivers/nvme_disk/nvme_transport.h"

namespace pollux {

NvmeControllers::~NvmeControllers() {
  CHECK(entries_.empty(), "NVMe controllers outlive their registry");
}

Status NvmeControllers::SetOptions(const NvmeOptions& options) {
  if (!entries_.empty()) {
    return PermissionDenied("controller '%s' is attached: options are set before the first one",
                            entries_.begin()->first);
  }
  options_ = options;
  return OkStatus();
}

Result<NvmeControllerDisks*> NvmeControllers::Reserve(NvmeAttachment attachment) {
  const auto same_place = [&attachment](const auto& entry) {
    return SameNvmePlace(entry.second.controller->attachment().id, attachment.id);
  };
  const auto there = std::find_if(entries_.begin(), entries_.end(), same_place);
  if (there != entries_.end()) {
    const bool same_name = there->first == attachment.name;
    return ErrorOfField(same_name ? EALREADY : EEXIST, "traddr", attachment.id.traddr,
                        absl::StrFormat("controller '%s' has it already", there->first));
  }
  if (entries_.contains(attachment.name)) {
    return ErrorOfField(ENOTSUP, "name", attachment.name,
                        "a controller has this name already, and there are no second paths in "
                        "this version");
  }
  std::string name = attachment.name;
  auto controller =
      std::make_unique<NvmeControllerDisks>(environment_, std::move(attachment), options_,
                                            static_cast<NvmeControllerDisks::Owner&>(*this));
  NvmeControllerDisks* const made = controller.get();
  entries_[std::move(name)].controller = std::move(controller);
  return made;
}

Task<Status> NvmeControllers::Remove(std::string name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    co_return ErrorOfField(ENODEV, "name", name, "there is no such NVMe controller");
  }
  if (found->second.removing) {
    co_return ErrorOfField(EBUSY, "name", name, "it is being detached already");
  }
  found->second.removing = true;
  NvmeControllerDisks& controller = *found->second.controller;
  if (controller.c() != nullptr) co_await controller.Detach();
  entries_.erase(name);
  co_return OkStatus();
}

Result<NvmeControllerDisks*> NvmeControllers::Find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.removing || !found->second.controller->published()) {
    return ErrorOfField(ENODEV, "name", name, "there is no such NVMe controller");
  }
  return found->second.controller.get();
}

std::vector<NvmeControllerDisks*> NvmeControllers::attached() const {
  std::vector<NvmeControllerDisks*> all;
  for (const auto& [name, entry] : entries_) {
    if (entry.controller->published() && entry.controller->c() != nullptr) {
      all.push_back(entry.controller.get());
    }
  }
  return all;
}

NvmeControllerDisks* NvmeControllers::OfDisk(const BlockDevice& disk) const {
  for (NvmeControllerDisks* controller : attached()) {
    const std::vector<std::string> names = controller->disk_names();
    if (std::find(names.begin(), names.end(), disk.name()) != names.end()) return controller;
  }
  return nullptr;
}

void NvmeControllers::CancelConnects() {
  for (const auto& [name, entry] : entries_) {
    if (!entry.controller->published()) entry.controller->CancelConnect();
  }
}

void NvmeControllers::OnControllerGone(NvmeControllerDisks& controller, Status why) {
  LogWarning("nvme", "controller %s has gone: %s", controller.name(), why.message());
  tasks_.Spawn(RemoveGone(controller.name(), std::move(why)));
}

Task<void> NvmeControllers::RemoveGone(std::string name, Status why) {
  const Status removed = co_await Remove(name);
  if (removed.ok() && observer_ != nullptr) observer_->OnControllerGone(name, why);
}

Task<void> NvmeControllers::Stop() {
  CancelConnects();
  co_await tasks_.Drained();
  // All at once: each waits for its device.
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  for (std::string& name : names) tasks_.Spawn(RemoveLast(std::move(name)));
  co_await tasks_.Drained();
}

Task<void> NvmeControllers::RemoveLast(std::string name) {
  const Status removed = co_await Remove(name);
  CHECK(removed.ok(), "somebody removes a controller while all stops");
}

}  // namespace pollux
