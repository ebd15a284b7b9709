#include "drivers/nvme_disk/nvme_subsystem.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/log.h"

namespace pollux {

NvmeSubsystem::~NvmeSubsystem() { CHECK(paths_.empty(), "paths outlive their NVMe subsystem"); }

// --- Paths.

NvmePath& NvmeSubsystem::AddPath(NvmeAttachment attachment, const NvmeOptions& options) {
  paths_.push_back(std::make_unique<NvmePath>(environment_, std::move(attachment), options, *this));
  return *paths_.back();
}

Task<Status> NvmeSubsystem::Publish(NvmePath& path) {
  const Turn::Holder held = co_await changing_.Take();
  CO_RETURN_IF_ERROR(CheckPath(path));
  path.set_published(true);
  const Status added = co_await AddNamespaces(path);
  if (!added.ok()) {
    path.set_published(false);
    co_return added;
  }
  // It may have gone meanwhile, when there was nobody to tell.
  path.TellIfGone();
  co_return OkStatus();
}

// A controller of the subsystem that the other paths lead to, with one namespace for several.
Status NvmeSubsystem::CheckPath(const NvmePath& path) const {
  const NvmePath* const other = first_path();
  if (other == nullptr) return OkStatus();
  if (strcmp(path.info().subnqn, other->info().subnqn) != 0) {
    return ErrorOfField(EINVAL, "name", name_,
                        absl::StrFormat("the controller belongs to the subsystem '%s', and those "
                                        "of this name to '%s'",
                                        path.info().subnqn, other->info().subnqn));
  }
  const bool shares = (path.info().cmic >> 1 & 1) != 0;  // Base figure 275, CMIC.
  if (shares) return OkStatus();
  return ErrorOfField(EINVAL, "name", name_, "the controller is the only one of its subsystem");
}

// With its last path a disk goes, which ends its I/O; before that the I/O goes the other ways.
Task<void> NvmeSubsystem::RemovePath(NvmePath& path) {
  CHECK(!path.leaving());
  path.BeginLeaving();
  if (path.connected()) {
    {
      const Turn::Holder held = co_await changing_.Take();
      for (const uint32_t nsid : DisksOf(path)) {
        NvmeDisk& disk = *disks_.at(nsid);
        if (disk.HasOther(path)) {
          co_await disk.ClosePath(path);
        } else {
          co_await RemoveDisk(nsid);
        }
      }
    }
    co_await path.Drain();
    {
      const Turn::Holder held = co_await changing_.Take();
      for (const uint32_t nsid : DisksOf(path)) {
        // The others may have gone meanwhile.
        NvmeDisk& disk = *disks_.at(nsid);
        if (disk.HasOther(path)) {
          co_await disk.RemovePath(path);
        } else {
          co_await RemoveDisk(nsid);
        }
      }
    }
    co_await tasks_.Drained();
    co_await path.Detach();
  }
  std::erase_if(paths_, [&path](const auto& one) { return one.get() == &path; });
}

std::vector<uint32_t> NvmeSubsystem::DisksOf(const NvmePath& path) const {
  std::vector<uint32_t> nsids;
  for (const auto& [nsid, disk] : disks_) {
    if (disk->KnowsPath(path)) nsids.push_back(nsid);
  }
  return nsids;
}

std::vector<NvmePath*> NvmeSubsystem::usable_paths() const {
  std::vector<NvmePath*> usable;
  for (const auto& path : paths_) {
    if (path->published() && !path->leaving()) usable.push_back(path.get());
  }
  return usable;
}

NvmePath* NvmeSubsystem::first_path() const {
  const std::vector<NvmePath*> usable = usable_paths();
  return usable.empty() ? nullptr : usable.front();
}

void NvmeSubsystem::OnPathGone(NvmePath& path, Status why) {
  owner_.OnPathGone(path, std::move(why));
}

// --- Disks.

std::vector<std::string> NvmeSubsystem::disk_names() const {
  std::vector<std::string> names;
  for (const auto& [nsid, disk] : disks_) names.push_back(disk->name());
  return names;
}

bool NvmeSubsystem::HasDisk(const std::string& name) const {
  return std::any_of(disks_.begin(), disks_.end(),
                     [&name](const auto& entry) { return entry.second->name() == name; });
}

Task<Status> NvmeSubsystem::AddNamespaces(NvmePath& path) {
  std::vector<uint32_t> nsids;
  for (uint32_t nsid = 0;;) {
    const pollux_nvme_namespace* ns = pollux_nvme_namespace_next(path.c(), nsid);
    if (ns == nullptr) break;
    nsid = pollux_nvme_get_namespace_info(ns)->nsid;
    nsids.push_back(nsid);
  }
  const uint32_t max = path.attachment().max_bdevs;
  if (nsids.size() > max) {
    co_return ErrorOfField(ERANGE, "max_bdevs", std::to_string(max),
                           absl::StrFormat("the controller has %d namespaces", nsids.size()));
  }
  for (const uint32_t nsid : nsids) {
    const Status added = co_await AddNamespace(path, nsid);
    if (added.ok()) continue;
    const int error = ErrnoOf(added);
    if (error != ENOTSUP && error != ENXIO && error != EINVAL) co_return added;
    LogWarning("nvme", "%s: namespace %u: %s", path.place(), nsid, added.message());
  }
  co_return OkStatus();
}

void NvmeSubsystem::OnNamespaceEvent(NvmePath& path, pollux_nvme_event_type type, uint32_t nsid) {
  tasks_.Spawn(OnNamespace(&path, type, nsid));
}

Task<void> NvmeSubsystem::OnNamespace(NvmePath* path, pollux_nvme_event_type type, uint32_t nsid) {
  const Turn::Holder held = co_await changing_.Take();
  if (!path->published() || path->leaving()) co_return;
  if (type == POLLUX_NVME_EVENT_NAMESPACE_REMOVED) co_return co_await RemoveNamespace(*path, nsid);
  if (type == POLLUX_NVME_EVENT_NAMESPACE_RESIZED) co_return co_await Resize(*path, nsid);
  const Status added = co_await AddNamespace(*path, nsid);
  if (!added.ok()) {
    LogWarning("nvme", "%s: namespace %u: %s", path->place(), nsid, added.message());
  }
}

Task<Status> NvmeSubsystem::AddNamespace(NvmePath& path, uint32_t nsid) {
  const pollux_nvme_namespace* ns = pollux_nvme_namespace_find(path.c(), nsid);
  if (ns == nullptr) co_return ErrorOfErrno(ENXIO, "the namespace has gone meanwhile");
  const auto found = disks_.find(nsid);
  if (found != disks_.end()) {
    if (found->second->HasPath(path)) co_return OkStatus();
    co_return co_await found->second->AddPath(path, ns);
  }
  NvmeDiskOptions options;
  options.name = absl::StrFormat("%sn%d", name_, nsid);
  options.check_reference_tag = path.attachment().prchk_reftag;
  options.check_guard = path.attachment().prchk_guard;
  options.retries_max = path.options().bdev_retry_count;
  options.count_errors = path.options().nvme_error_stat;
  options.count_paths = path.options().io_path_stat;
  options.choice = path.attachment().choice.value_or(path.options().choice);
  options.choice.failback = path.options().choice.failback;
  ASSIGN_OR_CO_RETURN(std::unique_ptr<NvmeDisk> disk, NvmeDisk::Make(options, path, ns));
  NvmeDisk* const made = disk.get();
  CO_RETURN_IF_ERROR((co_await environment_.devices.Register(std::move(disk))).status());
  disks_[nsid] = made;
  co_return OkStatus();
}

Task<void> NvmeSubsystem::RemoveDisk(uint32_t nsid) {
  const std::string name = disks_.at(nsid)->name();
  const Status removed = co_await environment_.devices.Unregister(name);
  if (!removed.ok()) LogError("nvme", "%s: %s", name, removed.message());
  disks_.erase(nsid);
}

// What is under way there ends by itself: the controller refuses it.
Task<void> NvmeSubsystem::RemoveNamespace(NvmePath& path, uint32_t nsid) {
  const auto found = disks_.find(nsid);
  if (found == disks_.end() || !found->second->HasPath(path)) co_return;
  if (!found->second->HasOther(path)) co_return co_await RemoveDisk(nsid);
  co_await found->second->ClosePath(path);
}

// --- Ways.

void NvmeSubsystem::OnAccess(NvmePath& path) { tasks_.Spawn(UpdateAccess(&path)); }

Task<void> NvmeSubsystem::UpdateAccess(NvmePath* path) {
  const Turn::Holder held = co_await changing_.Take();
  if (!path->published() || path->leaving()) co_return;
  for (const uint32_t nsid : DisksOf(*path)) {
    if (disks_.at(nsid)->HasPath(*path)) co_await disks_.at(nsid)->UpdateAccess(*path);
  }
}

Task<std::vector<NvmeSubsystem::LaneInfo>> NvmeSubsystem::Lanes() {
  const Turn::Holder held = co_await changing_.Take();
  std::vector<LaneInfo> all;
  for (const auto& [nsid, disk] : disks_) {
    const std::vector<NvmeDisk::LaneInfo> lanes = co_await disk->Lanes();
    for (const NvmeDisk::LaneInfo& lane : lanes) all.push_back({disk->name(), lane});
  }
  co_return all;
}

Result<NvmeDisk*> NvmeSubsystem::FindDisk(const std::string& name) const {
  for (const auto& [nsid, disk] : disks_) {
    if (disk->name() == name) return disk;
  }
  return ErrorOfField(ENODEV, "name", name, "there is no such NVMe disk");
}

Task<Status> NvmeSubsystem::SetChoice(std::string disk, NvmePathChoice choice) {
  const Turn::Holder held = co_await changing_.Take();
  ASSIGN_OR_CO_RETURN(NvmeDisk * found, FindDisk(disk));
  choice.failback = found->choice().failback;
  co_await found->SetChoice(choice);
  co_return OkStatus();
}

Task<Result<NvmePathKey>> NvmeSubsystem::SetPreferred(std::string disk, NvmePathKey key) {
  const Turn::Holder held = co_await changing_.Take();
  ASSIGN_OR_CO_RETURN(NvmeDisk * found, FindDisk(disk));
  NvmePath* chosen = nullptr;
  for (NvmePath* path : usable_paths()) {
    const pollux_nvme_transport_id& id = path->attachment().id;
    const bool numbered = path->info().cntlid == key.cntlid;
    const bool there = key.traddr == id.traddr && key.trsvcid == id.trsvcid;
    if (!found->HasPath(*path) || !(key.traddr.empty() ? numbered : there)) continue;
    if (chosen == nullptr || numbered) chosen = path;
  }
  if (chosen == nullptr && !key.traddr.empty()) {
    co_return ErrorOfField(EINVAL, "traddr", key.traddr, "the disk has no path that leads there");
  }
  if (chosen == nullptr) {
    co_return ErrorOfField(EINVAL, "cntlid", std::to_string(key.cntlid),
                           "the disk has no path with this number");
  }
  co_await found->SetPreferred(*chosen);
  const pollux_nvme_transport_id& id = chosen->attachment().id;
  NvmePathKey complete{.cntlid = chosen->info().cntlid, .traddr = id.traddr, .trsvcid = id.trsvcid};
  co_return complete;
}

Task<void> NvmeSubsystem::Resize(NvmePath& path, uint32_t nsid) {
  const auto found = disks_.find(nsid);
  const pollux_nvme_namespace* ns = pollux_nvme_namespace_find(path.c(), nsid);
  if (found == disks_.end() || ns == nullptr) co_return;
  const uint64_t blocks = pollux_nvme_get_namespace_info(ns)->blocks;
  const Status resized = co_await environment_.devices.Resize(*found->second, blocks);
  if (!resized.ok()) LogWarning("nvme", "%s: %s", found->second->name(), resized.message());
}

}  // namespace pollux
