#include "drivers/nvme_disk/nvme_subsystem.h"

#include <algorithm>
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

Task<void> NvmeSubsystem::RemovePath(NvmePath& path) {
  CHECK(!path.leaving());
  path.BeginLeaving();
  if (path.connected()) {
    {
      const Turn::Holder held = co_await changing_.Take();
      while (!disks_.empty()) co_await RemoveNamespace(path, disks_.begin()->first);
    }
    co_await tasks_.Drained();
    co_await path.Detach();
  }
  std::erase_if(paths_, [&path](const auto& one) { return one.get() == &path; });
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
    if (ErrnoOf(added) != ENOTSUP && ErrnoOf(added) != ENXIO) co_return added;
    LogNotice("nvme", "%s: %s", path.place(), added.message());
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
  if (disks_.contains(nsid)) co_return OkStatus();
  const pollux_nvme_namespace* ns = pollux_nvme_namespace_find(path.c(), nsid);
  if (ns == nullptr) co_return ErrorOfErrno(ENXIO, "the namespace has gone meanwhile");
  NvmeDiskOptions options;
  options.name = absl::StrFormat("%sn%d", name_, nsid);
  options.check_reference_tag = path.attachment().prchk_reftag;
  options.check_guard = path.attachment().prchk_guard;
  options.retries_max = path.options().bdev_retry_count;
  options.count_errors = path.options().nvme_error_stat;
  const NvmeDiskParts parts{.host = path.host(),
                            .controller = path.c(),
                            .ns = ns,
                            .queues = &path.queues(),
                            .buffers = &environment_.buffers};
  ASSIGN_OR_CO_RETURN(std::unique_ptr<NvmeDisk> disk, NvmeDisk::Make(options, parts));
  NvmeDisk* const made = disk.get();
  CO_RETURN_IF_ERROR((co_await environment_.devices.Register(std::move(disk))).status());
  disks_[nsid] = made;
  co_return OkStatus();
}

Task<void> NvmeSubsystem::RemoveNamespace(NvmePath&, uint32_t nsid) {
  const auto found = disks_.find(nsid);
  if (found == disks_.end()) co_return;
  const std::string name = found->second->name();
  const Status removed = co_await environment_.devices.Unregister(name);
  if (!removed.ok()) LogError("nvme", "%s: %s", name, removed.message());
  disks_.erase(nsid);
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
