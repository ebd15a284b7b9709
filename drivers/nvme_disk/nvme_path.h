#pragma once
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/event.h"
#include "core/memory/memory.h"
#include "core/task_group.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme_disk/nvme_ana.h"
#include "drivers/nvme_disk/nvme_environment.h"
#include "drivers/nvme_disk/nvme_options.h"
#include "drivers/nvme_disk/nvme_poller.h"
#include "drivers/nvme_disk/nvme_queue.h"

namespace pollux {

class NvmeSubsystem;

// One attached controller: a path to the namespaces of its subsystem. It has a host of its own, so
// that its memory is taken with it and goes with it. Control loop only.
//
//   made --Connect--> connected --(the subsystem takes it)--> published --Detach--> made
class NvmePath final : private NvmeQueue::Keeper, private NvmePoller::Owner {
 public:
  NvmePath(const NvmeEnvironment& environment, NvmeAttachment attachment,
           const NvmeOptions& options, NvmeSubsystem& subsystem);
  ~NvmePath();  // Never connected, or after Detach().

  // Attaches, which may take as long as the device says that it may. On error there is nothing to
  // detach, and it may be tried again.
  Task<Status> Connect();
  // Ends a Connect() that is under way, with ECANCELED.
  void CancelConnect();

  const NvmeEnvironment& environment() const { return environment_; }
  const NvmeAttachment& attachment() const { return attachment_; }
  const NvmeOptions& options() const { return options_; }
  NvmeSubsystem& subsystem() const { return subsystem_; }
  const std::string& name() const { return attachment_.name; }  // The subsystem's.
  std::string place() const;  // "Nvme0 (TCP 127.0.0.1:4420)", for messages.
  bool connected() const { return controller_ != nullptr; }
  bool published() const { return published_; }
  bool leaving() const { return leaving_; }
  pollux_nvme_host* host() { return host_.get(); }
  pollux_nvme_controller* c() const { return controller_; }
  const pollux_nvme_controller_info& info() const {
    return *pollux_nvme_get_controller_info(controller_);
  }
  NvmeState state() const { return pollux_nvme_state(controller_); }
  // As bdev_nvme_get_controllers has it: "enabled", "resetting", ...
  const char* state_name() const;
  const std::vector<std::unique_ptr<NvmeQueue>>& queues() const { return queues_; }

  // Whether it tells how well it reaches each namespace, by the ANA log page (Base §8.1); and what
  // it told last, of one of them.
  bool reports_access() const { return controller_ != nullptr && (info().cmic >> 3 & 1) != 0; }
  NvmeAccess access(const pollux_nvme_namespace_info& ns) const;

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
    explicit Use(NvmePath& path) : path_(path) { ++path_.uses_; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      if (--path_.uses_ == 0) path_.unused_.Pulse();
    }

   private:
    NvmePath& path_;
  };
  // DMA-able; null when there is none. Freed before the last Use ends.
  nvme::Memory Allocate(size_t bytes) { return nvme::Allocate(host_.get(), bytes); }

  // --- The subsystem.

  // From here on the subsystem hears of events, in which each one has its turn after this call.
  void set_published(bool published) { published_ = published; }
  // Tells the subsystem when the controller is no more, once.
  void TellIfGone();
  // Nothing new is asked of it.
  void BeginLeaving() { leaving_ = true; }
  // Until no command is under way, and none that was lost can be executed any more. Commands that
  // take too long are ended.
  Task<void> Drain();
  // Shuts the controller down. Once, after Connect(); no disk uses it any more.
  Task<void> Detach();

 private:
  class AdminCall;
  class IoCall;
  struct SavedEvent {
    pollux_nvme_event_type type;
    uint32_t nsid, value;
    std::string text;
  };

  Status MakeHost();
  Task<Status> WaitUntilAttached();
  Task<Status> TakeQueues();
  Task<void> ReturnQueues();
  Status Failure(const char* what) const;
  bool moves() const;  // By itself, to another state.

  uint64_t PollPeriodNs() const override;
  void OnPolled() override;
  static void OnEvent(void* context, pollux_nvme_controller*, const pollux_nvme_event* event);
  void Handle(const SavedEvent& event);
  void OnState(NvmeState state);
  void OnStuck() override;
  void OnLost(NvmeQueue& queue) override;
  void OnAccessDoubt() override { ReadAccessAt(0); }
  void TellSettled();

  // nvme_path_access.cc.
  void ReadAccessAt(uint64_t time_ns);
  Task<Status> ReadAccess();
  Task<void> RefreshAccess();
  uint64_t NowNs() const { return environment_.control.NowNs(); }

  const NvmeEnvironment environment_;
  const NvmeAttachment attachment_;
  const NvmeOptions options_;
  NvmeSubsystem& subsystem_;

  std::unique_ptr<SharedPages> memory_;
  nvme::Host host_;
  pollux_nvme_controller* controller_ = nullptr;
  std::vector<std::unique_ptr<NvmeQueue>> queues_;  // One per reactor.

  bool cancelled_ = false;
  bool published_ = false;
  bool leaving_ = false;
  bool gone_told_ = false;
  bool nudging_ = false;  // The queues may be told of a change of state.
  uint64_t resets_begun_ = 0;
  size_t admin_in_flight_ = 0;
  std::deque<SavedEvent> events_;
  Event polled_;

  struct Group {
    NvmeAccess access = NvmeAccess::kOptimized;
    uint64_t closed_since_ns = 0;  // 0: it takes I/O.
  };
  std::map<uint32_t, Group> groups_;       // As the ANA log page has them.
  std::map<uint32_t, uint32_t> group_of_;  // Where each namespace is, as far as the page says.
  uint64_t read_access_at_ns_ = Loop::kNever;
  bool reading_access_ = false;
  std::vector<NvmeQueue*> unsettled_;  // They wait to know that what they lost is executed no more.
  TaskGroup tasks_;
  size_t uses_ = 0;
  Event unused_;
  NvmePoller poller_{environment_.control, *this};
};

}  // namespace pollux
