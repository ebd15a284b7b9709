#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/status.h"
#include "core/task.h"
#include "drivers/nvme/admin.h"
#include "drivers/nvme/async_events.h"
#include "drivers/nvme/discovery_reading.h"
#include "drivers/nvme/identify.h"
#include "drivers/nvme/injections.h"
#include "drivers/nvme/keep_alive.h"
#include "drivers/nvme/namespaces.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme/polls.h"
#include "drivers/nvme/queues.h"
#include "drivers/nvme/quirks.h"
#include "drivers/nvme/transport.h"

namespace pollux::nvme {

class NvmeHost;

// The name is a function's too.
using ControllerState = enum pollux_nvme_state;

// One attached controller, whatever its transport. Control thread.
//
//   kAttaching --+--> kReady <--+--> kResetting --+--> kFailed
//                |      ^       |                 |      |
//                |      +--- kDisabled <----------+------+   (a reset leads from kFailed to
//                kResetting)
//                +--> kFailed
//
//   all of these --> kGone;  all of these and kGone --> kDetaching --> kDetached
//
// Poll() does everything. The controller's life is one coroutine, Live(), which goes on at each
// poll: it sees what is wished or has happened, and does one thing at a time. What a ready
// controller has to do meanwhile is Poll()'s own (keep-alive, aborts, the device's state) and that
// of a second coroutine, Attend() (events). Whoever waits for an admin command goes on, in the
// worst case, when the admin queue is drained: that ends whatever was under way.
class NvmeController : private Transport::User {
 public:
  NvmeController(NvmeHost& host, const Transport::Maker& make_transport,
                 const pollux_nvme_transport_id& id, const pollux_nvme_attach_options& options);
  virtual ~NvmeController();  // It is detached, or was never polled.
  NvmeController(const NvmeController&) = delete;
  NvmeController& operator=(const NvmeController&) = delete;

  // As nvme.h has them.
  int Poll();
  int event_fd() const { return transport_->event_fd(); }
  // What was asked for counts at once, though it is the next poll that does it.
  ControllerState state() const;
  // Inside Poll(), where nobody may wait.
  bool polling() const { return polling_; }
  // Why it is FAILED or GONE, or why the last reset was made.
  const Status& failure() const { return failure_; }

  // Whether commands that ended without an answer cannot be executed any more.
  bool settled() const { return transport_->settled(); }

  // Each begins; later polls do it. An error, and nothing happens, where the state forbids it.
  Status Reset();
  Status Disable();
  Status Enable();
  Status Rescan();
  Status Detach();

  NvmeHost& host() { return host_; }
  // Where it is, for messages.
  const std::string& name() const { return transport_->name(); }
  const ControllerFacts& facts() const { return facts_; }
  Namespaces& namespaces() { return namespaces_; }
  Queues& queues() { return queues_; }
  AdminQueue& admin() { return admin_; }
  DiscoveryReading& discovery_reading() { return discovery_reading_; }

  Result<pollux_nvme_queue*> TakeQueue(int index);

  // An admin command of the user's; data in memory that the host knows. A negative errno.
  int SubmitAdmin(pollux_nvme_request& request, const SubmissionEntry& entry, void* data,
                  size_t bytes);
  // The same, and polls until it has ended.
  Result<Completion> RunAdmin(const SubmissionEntry& entry, void* data, size_t bytes);

  void SetInjections(std::shared_ptr<const Injections> injections);
  const std::shared_ptr<const Injections>& injections() const { return injections_; }

 private:
  // controller.cc: what happens at each poll, and in which order.
  Task<void> Live();
  Task<void> Attend();
  bool WantsReset() const;
  Status ResetReason() const;
  Task<void> HandleEvent(uint32_t dw0);
  void Enter(ControllerState next);
  void LookAtDevice(uint64_t now_ns);
  int Serve(uint64_t now_ns);
  void Lose(Status why);
  bool Alive() override;  // False: lost_ says why.
  void Trouble(Status why);
  void Emit(const pollux_nvme_event& event);
  void Log(int priority, const std::string& text) override;
  uint64_t NowNs() const;
  Status CheckAlive() const;

  // start.cc: from a device in any state to one that takes I/O.
  Task<Status> Start(bool first);
  Task<Status> StartSteps(bool first);
  Task<Status> IdentifyController();
  Task<Status> ChooseCommandSets();
  Task<Status> LearnLimits();
  Task<Status> SetUpFeatures();
  Task<Status> SetUpQueues(bool first);
  Task<Status> SetUpEvents();
  Task<Completion> SetFeature(uint8_t feature, uint32_t cdw11);
  Status Tolerate(const Status& status) override;

  // reset.cc: from one that takes I/O to one that does nothing.
  Task<void> ResetUntilReady(Status reason);
  Task<void> Quiesce(uint16_t status);
  Task<void> BecomeDisabled();
  Task<void> BecomeGone();
  Task<void> Leave();
  bool AllQuiet() const;
  void FailFast(bool fail);
  void EndAdminCommands();
  // A wish, trouble, or the loss of the device.
  Status Interruption() const override;

  NvmeHost& host_;
  const pollux_nvme_transport_id id_;
  const pollux_nvme_attach_options options_;

  ControllerState state_ = POLLUX_NVME_STATE_ATTACHING;
  Status failure_;
  bool polling_ = false;
  bool starting_ = false;           // Start() runs: the admin queue is its alone.
  bool stop_attending_ = false;     // Attend() is to end.
  uint64_t fail_fast_at_ns_ = 0;    // While resetting. 0: never, or done.
  uint64_t admin_deadline_ns_ = 0;  // While leaving: when admin commands are ended. 0: never.

  // What Live() has to see to.
  struct Wishes {
    bool reset = false, disable = false, enable = false, detach = false, rescan = false;
  } wishes_;
  Status trouble_;  // What a reset is needed for.
  Status lost_;     // Why the device is gone.

  Polls polls_;
  const std::unique_ptr<Transport> transport_;
  const Quirks quirks_;
  ControllerFacts facts_;
  bool io_command_sets_ = false;  // CC.CSS is 110b.
  AdminQueue admin_;
  Queues queues_;
  Namespaces namespaces_;
  AsyncEvents events_;
  KeepAlive keep_alive_;
  DiscoveryReading discovery_reading_;
  std::shared_ptr<const Injections> injections_;
  // Last, so that they end first.
  std::optional<Task<void>> attend_;
  std::optional<Task<void>> live_;
};

}  // namespace pollux::nvme

struct pollux_nvme_controller final : pollux::nvme::NvmeController {
  using NvmeController::NvmeController;
};
