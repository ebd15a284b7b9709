#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/task.h"
#include "core/task_group.h"
#include "drivers/nvme_disk/nvme_controller_disks.h"
#include "drivers/nvme_disk/nvme_options.h"

namespace pollux {

// All NVMe controllers of the process, by name. A name and a device are taken from Reserve() to
// the end of Remove(). Control loop only.
class NvmeControllers final : private NvmeControllerDisks::Owner {
 public:
  class Observer {
   public:
    // An attached controller has gone by itself, and is detached and forgotten.
    virtual void OnControllerGone(const std::string& name, const Status& why) = 0;

   protected:
    ~Observer() = default;
  };

  // The observer may be null.
  NvmeControllers(const NvmeEnvironment& environment, Observer* observer)
      : environment_(environment), observer_(observer) {}
  ~NvmeControllers();  // After Stop().

  // Of the controllers that are reserved from now on. EPERM when there is one already.
  Status SetOptions(const NvmeOptions& options);
  const NvmeOptions& options() const { return options_; }

  // Takes the name and the device for a controller that is to be connected and published. EALREADY
  // when the name has this device, EEXIST when another name has it, ENOTSUP for a second path.
  Result<NvmeControllerDisks*> Reserve(NvmeAttachment attachment);
  // Gives both back: detaches what was connected. ENODEV when there is none, EBUSY when it is being
  // removed already.
  Task<Status> Remove(std::string name);

  // One that is attached: connected and published, and not being removed. ENODEV otherwise.
  Result<NvmeControllerDisks*> Find(std::string_view name) const;
  // Those that are attached, or being detached, by name.
  std::vector<NvmeControllerDisks*> attached() const;
  // The one that a disk belongs to, or null.
  NvmeControllerDisks* OfDisk(const BlockDevice& disk) const;

  // Ends attaches that are under way; whoever began them removes them.
  void CancelConnects();
  // Removes what is left.
  Task<void> Stop();

 private:
  struct Entry {
    std::unique_ptr<NvmeControllerDisks> controller;
    bool removing = false;
  };
  void OnControllerGone(NvmeControllerDisks& controller, Status why) override;
  Task<void> RemoveGone(std::string name, Status why);
  Task<void> RemoveLast(std::string name);

  const NvmeEnvironment environment_;
  Observer* const observer_;
  NvmeOptions options_;
  std::map<std::string, Entry, std::less<>> entries_;
  TaskGroup tasks_;
};

}  // namespace pollux
