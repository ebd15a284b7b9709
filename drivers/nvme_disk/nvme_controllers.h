#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/task.h"
#include "core/task_group.h"
#include "drivers/nvme_disk/nvme_options.h"
#include "drivers/nvme_disk/nvme_path.h"
#include "drivers/nvme_disk/nvme_subsystem.h"

namespace pollux {

// All NVMe controllers of the process: subsystems by name, each with its paths. A name and a place
// are taken from Reserve() to the end of RemovePath(). Control loop only.
//
// An attach has three steps, of which the second waits for a device and needs no turn:
//
//   ASSIGN_OR_CO_RETURN(NvmePath * path, controllers.Reserve(attachment));
//   Status status = co_await path->Connect();
//   if (status.ok()) status = co_await path->subsystem().Publish(*path);
//   if (!status.ok()) co_await controllers.RemovePath(path);
class NvmeControllers final : private NvmeSubsystem::Owner {
 public:
  class Observer {
   public:
    // A path has gone by itself, and is detached and forgotten. With the last path of a name, its
    // disks are.
    virtual void OnPathGone(const NvmeAttachment& attachment, const Status& why) = 0;

   protected:
    ~Observer() = default;
  };

  // The observer may be null.
  NvmeControllers(const NvmeEnvironment& environment, Observer* observer)
      : environment_(environment), observer_(observer) {}
  ~NvmeControllers();  // After Stop().

  const NvmeEnvironment& environment() const { return environment_; }

  // Of the paths that are reserved from now on. EPERM when there is one already.
  Status SetOptions(const NvmeOptions& options);
  const NvmeOptions& options() const { return options_; }

  // Takes the name and the place for a path that is to be connected and published. EALREADY when
  // the name has this place, EEXIST when another name has it; where the name has other paths:
  // EINVAL when this one is not of the same subsystem, or not for the same host, EALREADY when
  // there shall be no second path.
  Result<NvmePath*> Reserve(NvmeAttachment attachment);
  // Gives a path back: detaches it when it was connected. EBUSY when it is being removed already.
  Task<Status> RemovePath(NvmePath* path);
  // The same for several at once. EBUSY when one of them is being removed already: then none is.
  Task<Status> RemovePaths(std::vector<NvmePath*> paths);
  // The same for all paths of a name. ENODEV when there is none, EBUSY when one of them is being
  // removed already.
  Task<Status> Remove(std::string name);

  // One that has a path: published, and not being removed. ENODEV otherwise.
  Result<NvmeSubsystem*> Find(std::string_view name) const;
  // By name; those that Find() finds.
  std::vector<NvmeSubsystem*> subsystems() const;
  // Paths that are attached, or being detached, by name and arrival.
  std::vector<NvmePath*> attached() const;
  // Whether any path has the name, attached or not yet.
  bool IsTaken(std::string_view name) const { return subsystems_.contains(name); }
  // The one that a disk belongs to, or null.
  NvmeSubsystem* OfDisk(const BlockDevice& disk) const;

  // Ends attaches that are under way; whoever began them removes them.
  void CancelConnects();
  // Removes what is left.
  Task<void> Stop();

 private:
  static Status CheckFurther(const NvmeAttachment& wanted, const NvmeAttachment& first);
  void OnPathGone(NvmePath& path, Status why) override;
  Task<void> RemoveGone(NvmePath* path, Status why);
  Task<void> RemoveQuietly(NvmePath* path);

  const NvmeEnvironment environment_;
  Observer* const observer_;
  NvmeOptions options_;
  std::map<std::string, std::unique_ptr<NvmeSubsystem>, std::less<>> subsystems_;
  std::set<const NvmePath*> removing_;
  TaskGroup tasks_;
};

}  // namespace pollux
