#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "core/status.h"
#include "core/task.h"
#include "drivers/nvme/admin.h"
#include "drivers/nvme/identify.h"
#include "drivers/nvme/injections.h"
#include "drivers/nvme/nvme.h"
#include "drivers/nvme/queue_pair.h"
#include "drivers/nvme/transport.h"

namespace pollux::nvme {

// The controller's I/O queue pairs: made while it is attached, created anew on the device after
// each reset, handed out to one owner each. Control thread.
class Queues {
 public:
  explicit Queues(AdminQueue& admin) : admin_(admin) {}
  ~Queues() = default;

  struct Plan {
    Transport* transport = nullptr;
    uint16_t depth = 0;
    uint64_t timeout_ns = 0;
    pollux_nvme_timeout_action on_timeout = POLLUX_NVME_ON_TIMEOUT_NOTHING;
  };

  // Asks how many there may be. Base §5.27.1.5. At most plan.wanted.
  Task<Result<uint16_t>> Negotiate(uint16_t wanted);
  // Makes `count` pairs, or as many as there is memory for; an error when that is none.
  Status Make(const Plan& plan, uint16_t count, const ControllerFacts& facts);
  // Has the controller create all of them. While `first`, those that it refuses are given up, if it
  // takes one at all.
  Task<Status> Create(bool first);
  // Has the device delete them, which is how a host takes its leave. Nobody uses them any more.
  // Base §5.6, §5.7, §3.6.1. What the device says to that makes no difference.
  Task<void> Delete();

  uint16_t count() const { return static_cast<uint16_t>(pairs_.size()); }
  QueuePair& at(uint16_t index) { return *pairs_[index]->queue; }
  // How many lie in the controller memory buffer.
  uint16_t in_cmb() const { return in_cmb_; }

  // As nvme.h has it.
  Result<pollux_nvme_queue*> Take(int index);
  bool any_taken() const;

  void OpenAll();
  void CloseAll();
  void DrainAll(uint16_t status);
  void RefuseAll(int error);
  void KillAll(uint16_t status);
  // Those that nobody has taken are polled here. Returns how much was done.
  int PollIdle();
  // Every owner has ended what was in flight, and keeps its hands off the rings.
  bool AllDrained() const;

  // Has the device abort what the owners wish to be aborted. Base §5.1.
  int SendAborts(uint32_t aborts_max);
  // What CheckTimeouts() found since the last call: queue << 16 | CID; 0: nothing.
  uint32_t TakeTimeoutNotice();
  bool TakeResetWish();
  void SetInjections(const std::shared_ptr<const Injections>& injections);

 private:
  struct Pair final : Request {
    QueueMemory memory;
    std::unique_ptr<pollux_nvme_queue> queue;
    // The Abort command that is out for the queue.
    Queues* owner = nullptr;
    bool aborting = false;
    void OnComplete(Completion completion) override;
  };
  Status MakeOne(const Plan& plan, uint16_t qid, const ControllerFacts& facts);

  AdminQueue& admin_;
  Transport* transport_ = nullptr;  // Since Make().
  std::vector<std::unique_ptr<Pair>> pairs_;
  uint16_t in_cmb_ = 0;
  uint32_t aborts_out_ = 0;
};

}  // namespace pollux::nvme
