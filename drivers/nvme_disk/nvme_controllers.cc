#include "drivers/nvme_disk/nvme_controllers.h"

#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "drivers/nvme_disk/nvme_transport.h"

namespace pollux {

NvmeControllers::~NvmeControllers() {
  CHECK(subsystems_.empty(), "NVMe controllers outlive their registry");
}

Status NvmeControllers::SetOptions(const NvmeOptions& options) {
  if (!subsystems_.empty()) {
    return PermissionDenied("controller '%s' is attached: options are set before the first one",
                            subsystems_.begin()->first);
  }
  options_ = options;
  return OkStatus();
}

// A further path of a name that has one.
Status NvmeControllers::CheckFurther(const NvmeAttachment& wanted, const NvmeAttachment& first) {
  using Multipath = NvmeAttachment::Multipath;
  if (wanted.multipath == Multipath::kDisable || first.multipath == Multipath::kDisable) {
    return ErrorOfField(EALREADY, "name", wanted.name,
                        "a controller has this name already, and there shall be no second path");
  }
  if (IsNvmeFabric(wanted.id) && IsNvmeFabric(first.id) &&
      strcmp(wanted.id.subnqn, first.id.subnqn) != 0) {
    return ErrorOfField(EINVAL, "subnqn", wanted.id.subnqn,
                        absl::StrFormat("the other paths lead to '%s'", first.id.subnqn));
  }
  if (wanted.hostnqn != first.hostnqn) {
    return ErrorOfField(EINVAL, "hostnqn", wanted.hostnqn,
                        absl::StrFormat("the other paths are for '%s'", first.hostnqn));
  }
  return OkStatus();
}

Result<NvmePath*> NvmeControllers::Reserve(NvmeAttachment attachment) {
  for (const auto& [name, subsystem] : subsystems_) {
    for (const auto& path : subsystem->paths()) {
      if (!SameNvmePlace(path->attachment().id, attachment.id)) continue;
      return ErrorOfField(name == attachment.name ? EALREADY : EEXIST, "traddr",
                          attachment.id.traddr,
                          absl::StrFormat("controller '%s' has it already", name));
    }
  }
  std::unique_ptr<NvmeSubsystem>& subsystem = subsystems_[attachment.name];
  if (subsystem == nullptr) {
    subsystem = std::make_unique<NvmeSubsystem>(environment_, attachment.name,
                                                static_cast<NvmeSubsystem::Owner&>(*this));
  } else {
    RETURN_IF_ERROR(CheckFurther(attachment, subsystem->paths().front()->attachment()));
  }
  return &subsystem->AddPath(std::move(attachment), options_);
}

Task<Status> NvmeControllers::RemovePath(NvmePath* path) {
  if (removing_.contains(path)) {
    co_return ErrorOfField(EBUSY, "name", path->name(), "it is being detached already");
  }
  removing_.insert(path);
  NvmeSubsystem& subsystem = path->subsystem();
  co_await subsystem.RemovePath(*path);
  removing_.erase(path);
  if (subsystem.paths().empty()) subsystems_.erase(std::string(subsystem.name()));
  co_return OkStatus();
}

Task<Status> NvmeControllers::Remove(std::string name) {
  const auto found = subsystems_.find(name);
  if (found == subsystems_.end()) {
    co_return ErrorOfField(ENODEV, "name", name, "there is no such NVMe controller");
  }
  std::vector<NvmePath*> paths;
  for (const auto& path : found->second->paths()) paths.push_back(path.get());
  co_return co_await RemovePaths(std::move(paths));
}

Task<Status> NvmeControllers::RemovePaths(std::vector<NvmePath*> paths) {
  for (const NvmePath* path : paths) {
    if (removing_.contains(path)) {
      co_return ErrorOfField(EBUSY, "name", path->name(), "it is being detached already");
    }
  }
  // All at once: each waits for its device.
  TaskGroup removals;
  for (NvmePath* path : paths) removals.Spawn(RemoveQuietly(path));
  co_await removals.Drained();
  co_return OkStatus();
}

Task<void> NvmeControllers::RemoveQuietly(NvmePath* path) {
  const Status removed = co_await RemovePath(path);
  CHECK(removed.ok(), "an NVMe path is removed twice");
}

Result<NvmeSubsystem*> NvmeControllers::Find(std::string_view name) const {
  const auto found = subsystems_.find(name);
  if (found == subsystems_.end() || found->second->first_path() == nullptr) {
    return ErrorOfField(ENODEV, "name", name, "there is no such NVMe controller");
  }
  return found->second.get();
}

std::vector<NvmeSubsystem*> NvmeControllers::subsystems() const {
  std::vector<NvmeSubsystem*> all;
  for (const auto& [name, subsystem] : subsystems_) {
    if (subsystem->first_path() != nullptr) all.push_back(subsystem.get());
  }
  return all;
}

std::vector<NvmePath*> NvmeControllers::attached() const {
  std::vector<NvmePath*> all;
  for (const auto& [name, subsystem] : subsystems_) {
    for (const auto& path : subsystem->paths()) {
      if (path->published() && path->connected()) all.push_back(path.get());
    }
  }
  return all;
}

NvmeSubsystem* NvmeControllers::OfDisk(const BlockDevice& disk) const {
  for (const auto& [name, subsystem] : subsystems_) {
    if (subsystem->HasDisk(disk.name())) return subsystem.get();
  }
  return nullptr;
}

void NvmeControllers::CancelConnects() {
  for (const auto& [name, subsystem] : subsystems_) {
    for (const auto& path : subsystem->paths()) {
      if (!path->published()) path->CancelConnect();
    }
  }
}

void NvmeControllers::OnPathGone(NvmePath& path, Status why) {
  LogWarning("nvme", "controller %s has gone: %s", path.place(), why.message());
  tasks_.Spawn(RemoveGone(&path, std::move(why)));
}

// A path that is already being removed may be forgotten by now.
Task<void> NvmeControllers::RemoveGone(NvmePath* path, Status why) {
  if (removing_.contains(path)) co_return;
  const NvmeAttachment attachment = path->attachment();
  const Status removed = co_await RemovePath(path);
  if (removed.ok() && observer_ != nullptr) observer_->OnPathGone(attachment, why);
}

Task<void> NvmeControllers::Stop() {
  CancelConnects();
  co_await tasks_.Drained();
  std::vector<NvmePath*> paths;
  for (const auto& [name, subsystem] : subsystems_) {
    for (const auto& path : subsystem->paths()) paths.push_back(path.get());
  }
  for (NvmePath* path : paths) tasks_.Spawn(RemoveQuietly(path));
  co_await tasks_.Drained();
}

}  // namespace pollux
