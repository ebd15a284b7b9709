#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/status.h"
#include "core/task.h"
#include "drivers/nvme/admin.h"
#include "drivers/nvme/bring_up.h"
#include "drivers/nvme/identify.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme/polls.h"
#include "drivers/nvme/queue_pair.h"
#include "drivers/nvme/quirks.h"
#include "drivers/pci/dma_map.h"

namespace pollux::nvme {

class NvmeHost;

// How a controller is reached: a PCI function with its registers and doorbells, or connections of a
// network. What any controller has in common (identify, features, namespaces, events, resets) is
// NvmeController's, and speaks to it by admin commands. Control thread.
//
// Commands go the same way in either case: QueuePair writes submission entries into a ring and
// takes completion entries from another. Behind the rings is the device itself, or the transport's
// QueueWire, so that I/O passes no virtual call on its way to a device.
class Transport {
 public:
  // What the controller offers to its transport. All of it outlives the transport's last call.
  class User {
   public:
    // Why an attempt to start is to end, or OK.
    virtual Status Interruption() const = 0;
    // False: nothing will be answered any more.
    virtual bool Alive() = 0;
    // OK for what need not be there, with a warning when it was refused.
    virtual Status Tolerate(const Status& status) = 0;
    virtual void Log(int priority, const std::string& text) = 0;

   protected:
    ~User() = default;
  };
  struct Surroundings {
    NvmeHost& host;
    const pollux_nvme_attach_options& options;
    Polls& polls;
    AdminQueue& admin;
    User& user;
  };
  using Maker = std::function<std::unique_ptr<Transport>(const Surroundings&)>;
  virtual ~Transport() = default;

  // Where the controller is, for messages.
  virtual const std::string& name() const = 0;
  virtual Quirks quirks() const { return {}; }
  // Of the last MakeReady().
  virtual const Capabilities& capabilities() const = 0;
  // What it knows of the controller beyond Identify; an error when the controller cannot be driven
  // by it after all.
  virtual Status Describe(ControllerFacts& facts) = 0;

  // --- Looking, at each poll.

  struct Findings {
    Status lost;     // Why nothing will be answered any more, for good.
    Status trouble;  // What a reset is needed for.
  };
  virtual Findings Look(uint64_t now_ns) = 0;
  // Why nothing answers, as far as that was noticed by the way; OK when it does.
  virtual Status Silence() = 0;
  // Readable when the controller is to be polled, or -1.
  virtual int event_fd() const = 0;
  // What comes from now on is announced again.
  virtual void ClearEvents() = 0;

  // --- Starting.

  // From any state to CSTS.RDY: makes the admin queue when there is none, and opens it. Queues that
  // there are keep their rings.
  virtual Task<Status> MakeReady(bool first, uint16_t io_queues, uint16_t io_queue_depth) = 0;
  bool weighted() const;  // CC.AMS: queues have priorities.
  // Memory that the controller is to be lent. Need not be.
  virtual Task<Status> LendMemory(ControllerFacts& /*facts*/) { co_return OkStatus(); }
  // Before I/O queues are made, and again before they are created after a reset.
  virtual Task<Status> PrepareQueues(ControllerFacts& /*facts*/, bool /*made*/) {
    co_return OkStatus();
  }
  // How many there may be at most, and how long they may be.
  virtual uint32_t io_queues_max() const = 0;
  uint16_t ClampedDepth(uint16_t asked) const;
  // Memory for an I/O queue; `parts` has id and depth, and gets the rest.
  virtual Result<QueueMemory> MakeQueue(QueuePair::Parts& parts, const ControllerFacts& facts) = 0;
  // Makes it known to the controller. Of the kind Internal, when the controller refused.
  virtual Task<Status> CreateQueue(QueuePair& queue) = 0;
  // What the controller says to that makes no difference.
  virtual Task<void> DeleteQueue(QueuePair& /*queue*/) { co_return; }

  // A keep alive time-out that is in force already, 0: none, or it is a feature to be set.
  virtual uint32_t agreed_keep_alive_ms() const { return 0; }

  // How often, and how long, a reset is tried.
  struct RetryPolicy {
    uint32_t attempts_max = 0;  // 0: without end.
    uint64_t delay_ns = 0;      // Between two attempts. 0: longer and longer.
    uint64_t loss_ns = 0;       // After which it is gone. 0: never.
  };
  virtual RetryPolicy retry_policy() const;

  // --- Stopping.

  virtual bool ready() const = 0;
  // From when it returns the controller neither reads nor writes our memory.
  virtual void Cut() = 0;
  // The same, and gives the controller a moment to end in order. Closes the admin queue.
  virtual Task<void> Stop() = 0;
  virtual Task<void> TakeBackMemory() { co_return; }
  // Tells the controller that nobody will need it any more. Base §3.6.
  virtual Task<Status> ShutDown(uint64_t limit_ns) = 0;
  // Whether commands that ended without an answer cannot be executed any more.
  virtual bool settled() const { return true; }

 protected:
  explicit Transport(const Surroundings& around) : around_(around) {}
  const Surroundings around_;
};

}  // namespace pollux::nvme
