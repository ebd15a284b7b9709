#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/block/device_registry.h"
#include "core/event.h"
#include "core/memory/memory.h"
#include "core/memory/reactor_buffers.h"
#include "core/task_group.h"
#include "core/turn.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme_disk/nvme_disk.h"
#include "drivers/nvme_disk/nvme_options.h"
#include "drivers/nvme_disk/nvme_queue.h"

namespace pollux {

// What all controllers share. It outlives them.
struct NvmeEnvironment {
  Loop& control;
  Reactors& reactors;
  DeviceRegistry& devices;
  RegionRegistry& regions;
  ReactorBuffers& buffers;
  // pollux_nvme_attach_begin, but in tests.
  std::function<int(pollux_nvme_host*, const pollux_nvme_transport_id*,
                    const pollux_nvme_attach_options*, pollux_nvme_controller**)>
      attach_begin = &pollux_nvme_attach_begin;
  const Clock* clock = nullptr;  // Of the driver. Null: the real one.
};

// One attached controller, and its namespaces as block devices. It has a host of its own, so that
// its memory is taken with it and goes with it. Control loop only.
//
//   made --Connect--> connected --Publish--> published --Detach--> detached
//
// The control loop polls the controller: when its event descriptor is readable, and by a timer,
// which is fast only while the controller has something to do.
class NvmeControllerDisks {
 public:
  // Told, once, when a published controller is no more: it was unplugged, or its peer has died.
  class Owner {
   public:
    virtual void OnControllerGone(NvmeControllerDisks& controller, Status why) = 0;

   protected:
    ~Owner() = default;
  };

  NvmeControllerDisks(const NvmeEnvironment& environment, NvmeAttachment attachment,
                      const NvmeOptions& options, Owner& owner);
  ~NvmeControllerDisks();  // Never connected, or after Detach().

  // Attaches, which may take as long as the device says that it may. On error there is nothing to
  // detach, and it may be tried again.
  Task<Status> Connect();
  // Ends a Connect() that is under way, with ECANCELED.
  void CancelConnect();
  // Makes disks of the namespaces. From here on they come, go and grow by themselves. EEXIST when a
  // name is taken, ERANGE when there are more than max_bdevs: then there are none, and what is left
  // is to detach.
  Task<Status> Publish();
  // Removes the disks and shuts the controller down. Once, after Connect().
  Task<void> Detach();

  const std::string& name() const { return attachment_.name; }
  const NvmeAttachment& attachment() const { return attachment_; }
  bool published() const { return published_; }
  bool leaving() const { return leaving_; }
  pollux_nvme_controller* c() { return controller_; }
  const pollux_nvme_controller_info& info() const {
    return *pollux_nvme_get_controller_info(controller_);
  }
  NvmeState state() const { return pollux_nvme_state(controller_); }
  // As bdev_nvme_get_controllers has it: "enabled", "resetting", ...
  const char* state_name() const;
  // In order of their numbers.
  std::vector<std::string> disk_names() const;
  const std::vector<std::unique_ptr<NvmeQueue>>& queues() const { return queues_; }

  // Each returns when it is done. EALREADY, ENXIO and the like, or why it did not help.
  Task<Status> Reset();
  Task<Status> Disable();
  Task<Status> Enable();

  // A command, and its answer. `data` in memory of Allocate(). ENXIO when the controller is going.
  Task<Result<nvme::Completion>> Admin(pollux_nvme_command command, void* data, size_t bytes);
  // By the first reactor's queue.
  Task<Result<nvme::Completion>> Io(pollux_nvme_command command, iovec data, void* metadata,
                                    size_t metadata_bytes);
  // Keeps the controller, and its memory, while it lives.
  class Use {
   public:
    explicit Use(NvmeControllerDisks& controller) : controller_(controller) { ++controller_.uses_; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      if (--controller_.uses_ == 0) controller_.unused_.Pulse();
    }

   private:
    NvmeControllerDisks& controller_;
  };
  // DMA-able; null when there is none. Freed before the last Use ends.
  nvme::Memory Allocate(size_t bytes) { return nvme::Allocate(host_.get(), bytes); }

 private:
  class Ticker;
  class Waker;
  class AdminCall;
  class IoCall;
  struct SavedEvent {
    pollux_nvme_event_type type;
    uint32_t nsid, value;
    std::string text;
  };

  Status MakeHost();
  pollux_nvme_attach_options AttachOptions();
  Task<Status> WaitUntilAttached();
  Task<Status> TakeQueues();
  Task<void> ReturnQueues();
  Task<void> DrainQueues();
  Task<void> Shutdown();
  Status Failure(const char* what) const;

  void Poll();
  void ArmTicker();
  static void OnEvent(void* context, pollux_nvme_controller*, const pollux_nvme_event* event);
  void Handle(const SavedEvent& event);
  void OnState(NvmeState state);
  Task<void> OnNamespace(pollux_nvme_event_type type, uint32_t nsid);

  Task<Status> AddDisk(uint32_t nsid);
  Task<void> RemoveDisk(uint32_t nsid);
  Task<void> ResizeDisk(uint32_t nsid);

  const NvmeEnvironment environment_;
  const NvmeAttachment attachment_;
  const NvmeOptions options_;
  Owner& owner_;

  std::unique_ptr<SharedPages> memory_;
  nvme::Host host_;
  pollux_nvme_controller* controller_ = nullptr;
  std::vector<std::unique_ptr<NvmeQueue>> queues_;  // One per reactor.
  std::map<uint32_t, std::string> disks_;           // By nsid.

  bool cancelled_ = false;
  bool published_ = false;
  bool leaving_ = false;
  bool gone_told_ = false;
  bool polling_ = false;
  bool nudging_ = false;  // The queues may be told of a change of state.
  uint64_t resets_begun_ = 0;
  size_t admin_in_flight_ = 0;
  int watched_fd_ = -1;
  std::deque<SavedEvent> events_;
  Event polled_;
  Turn changing_;  // Of the disks.
  TaskGroup tasks_;
  size_t uses_ = 0;
  Event unused_;
  std::unique_ptr<Ticker> ticker_;
  std::unique_ptr<Waker> waker_;
};

}  // namespace pollux
