#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/task_group.h"
#include "core/turn.h"
#include "drivers/nvme_disk/nvme_disk.h"
#include "drivers/nvme_disk/nvme_environment.h"
#include "drivers/nvme_disk/nvme_path.h"

namespace pollux {

// Which path: by address, or, where that is empty, by number. A target may number controllers anew
// at each connect; where several paths lead to one address the number tells them apart, if it can.
struct NvmePathKey {
  uint16_t cntlid = 0;
  std::string traddr, trsvcid;
};

// What a name ("Nvme0") stands for: an NVM subsystem as this host sees it, with its paths and its
// disks. A path is one attached controller; a disk is a namespace, reached by every path that has
// it. Control loop only.
//
// Paths come by AddPath, Connect and Publish, and go by RemovePath; the disks come with the first
// path that is published and go with the last.
class NvmeSubsystem {
 public:
  // Told, once each, when a published path is no more: it was unplugged, or its peer has died.
  class Owner {
   public:
    virtual void OnPathGone(NvmePath& path, Status why) = 0;

   protected:
    ~Owner() = default;
  };

  NvmeSubsystem(const NvmeEnvironment& environment, std::string name, Owner& owner)
      : environment_(environment), name_(std::move(name)), owner_(owner) {}
  ~NvmeSubsystem();  // It has no paths.

  const std::string& name() const { return name_; }

  // One more path, which is to be connected and then published.
  NvmePath& AddPath(NvmeAttachment attachment, const NvmeOptions& options);
  // Makes disks of the namespaces that a connected path has. From here on they come, go and grow by
  // themselves. EEXIST when a name is taken, ERANGE when there are more than max_bdevs, EINVAL when
  // the controller is of another subsystem than the other paths. On error what is left is to remove
  // the path.
  Task<Status> Publish(NvmePath& path);
  // Detaches the path, where it was connected, and forgets it. Once.
  Task<void> RemovePath(NvmePath& path);

  // All of them, also those that are not connected yet, or being removed; in order of arrival.
  const std::vector<std::unique_ptr<NvmePath>>& paths() const { return paths_; }
  // Those that are published and not being removed.
  std::vector<NvmePath*> usable_paths() const;
  // The first of them, or null.
  NvmePath* first_path() const;

  // Of the disk of that name. ENODEV: there is none. EINVAL: there is no such path.
  Task<Status> SetChoice(std::string disk, NvmePathChoice choice);
  // The answer is complete.
  Task<Result<NvmePathKey>> SetPreferred(std::string disk, NvmePathKey key);
  // Each reactor's way to each disk over each path. The paths stay until the caller waits.
  struct LaneInfo {
    std::string disk;
    NvmeDisk::LaneInfo info;
  };
  Task<std::vector<LaneInfo>> Lanes();
  // In order of their numbers.
  const std::map<uint32_t, NvmeDisk*>& disks() const { return disks_; }
  std::vector<std::string> disk_names() const;
  bool HasDisk(const std::string& name) const;

  // --- A path.

  void OnAccess(NvmePath& path);
  void OnNamespaceEvent(NvmePath& path, pollux_nvme_event_type type, uint32_t nsid);
  void OnPathGone(NvmePath& path, Status why);

 private:
  std::vector<uint32_t> DisksOf(const NvmePath& path) const;
  Status CheckPath(const NvmePath& path) const;
  Result<NvmeDisk*> FindDisk(const std::string& name) const;
  Task<void> UpdateAccess(NvmePath* path);
  Task<void> RemoveDisk(uint32_t nsid);
  Task<void> OnNamespace(NvmePath* path, pollux_nvme_event_type type, uint32_t nsid);
  Task<Status> AddNamespaces(NvmePath& path);
  Task<Status> AddNamespace(NvmePath& path, uint32_t nsid);
  Task<void> RemoveNamespace(NvmePath& path, uint32_t nsid);
  Task<void> Resize(NvmePath& path, uint32_t nsid);

  const NvmeEnvironment environment_;
  const std::string name_;
  Owner& owner_;
  std::vector<std::unique_ptr<NvmePath>> paths_;
  std::map<uint32_t, NvmeDisk*> disks_;  // By nsid.
  Turn changing_;                        // Of the disks.
  TaskGroup tasks_;                      // On events of the paths.
};

}  // namespace pollux
