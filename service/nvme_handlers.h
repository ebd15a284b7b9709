#pragma once
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/task.h"
#include "drivers/nvme_disk/nvme_controllers.h"
#include "pollux/v1/bdev_nvme.pb.h"
#include "rpc/dispatcher.h"
#include "service/configuration.h"
#include "service/nvme_hotplug.h"

namespace pollux::service {

class Appliance;

// proto/pollux/v1/bdev_nvme.proto: paths to controllers that come and go. What is asked of one that
// is there is in nvme_command_handlers.h, how several are used in nvme_multipath_handlers.h.
//
// Each path is an object of the configuration, "Nvme0", "Nvme0 (2)" and so on, so that one that is
// missing keeps no other from coming back; the saved call says which path it is.
//
// An attach that was called takes its name, waits for the device without the turn, and publishes
// the disks under it. One that is replayed, at start or because it was pending, runs beside the
// replay and the others: a device that does not answer holds up none of them.
class NvmeHandlers final : public NvmeControllers::Observer {
 public:
  explicit NvmeHandlers(Appliance& appliance) : appliance_(appliance), hotplug_(appliance) {}
  void Bind(rpc::Dispatcher& dispatcher);
  // Nothing is attached by itself any more: the appliance stops.
  void EndHotplug() { hotplug_.Stop(); }
  // Waits for the attaches that the replay began; true when one succeeded since this was asked.
  Task<bool> AttachesEnded();

 private:
  Task<Result<v1::BdevNvmeAttachControllerResponse>> Attach(
      v1::BdevNvmeAttachControllerRequest request, rpc::Caller caller);
  Task<Result<v1::BdevNvmeDetachControllerResponse>> Detach(
      v1::BdevNvmeDetachControllerRequest request, rpc::Caller caller);
  Task<Result<v1::BdevNvmeGetControllersResponse>> GetControllers(
      v1::BdevNvmeGetControllersRequest request);
  Task<Result<v1::BdevNvmeSetOptionsResponse>> SetOptions(v1::BdevNvmeSetOptionsRequest request);

  Task<Result<v1::BdevNvmeSetHotplugResponse>> SetHotplug(v1::BdevNvmeSetHotplugRequest request);

  // The paths of a name that the configuration has, attached or pending.
  struct SavedPath {
    ObjectId id;
    NvmeAttachment attachment;
  };
  std::vector<SavedPath> SavedPaths(const std::string& name) const;
  // Of the saved path at this place, or of none yet.
  ObjectId IdOf(const NvmeAttachment& attachment) const;
  std::optional<NvmeAttachment> Saved(const ObjectId& id) const;

  // The rest of an attach whose name is reserved. On error nothing of it is left.
  Task<Status> ConnectAndPublish(NvmePath* path, Turn::Holder* turn);
  // Attaches a pending path and takes it off the pending list, or says why it stays there.
  Task<void> AttachPending(NvmeAttachment attachment, ObjectId id);
  // Why it is pending still. At start each path is tried once, however often the replay goes round.
  Status BeginAttachPending(const NvmeAttachment& attachment);
  // The path, if it is saved, is pending for this reason.
  void NoteReason(const ObjectId& id, const Status& why);
  // It is pending from now on, and its saved call attaches it when it is there again.
  void OnPathGone(const NvmeAttachment& attachment, const Status& why) override;

  Appliance& appliance_;
  NvmeHotplug hotplug_;
  std::set<ObjectId> attaching_;              // Pending ones, beside the replay.
  Event attach_ended_;                        // One of them.
  bool one_attached_ = false;                 // Since AttachesEnded().
  std::map<ObjectId, Status> last_failures_;  // Of pending ones.
};

}  // namespace pollux::service
