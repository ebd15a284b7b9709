#pragma once
#include <atomic>
#include <cstdint>

#include "core/intrusive_list.h"
#include "core/loop.h"
#include "core/reactors.h"
#include "drivers/nvme/nvme.h"

namespace pollux {

// A command that a disk sends through an NvmeQueue, and sends again as long as that helps. It is in
// flight, or it stands in one of the queue's lines, or neither. Small, since it lies in the device
// area of an IoRequest.
class NvmeCommand : public pollux_nvme_request {
 public:
  NvmeCommand(const NvmeCommand&) = delete;
  NvmeCommand& operator=(const NvmeCommand&) = delete;

  // Its turn in the line has come. False: the queue has no room after all, and it stays in line.
  // True: it was sent, or has ended.
  virtual bool TrySend() = 0;
  virtual void OnComplete(nvme::Completion completion) = 0;

  ListNode node;  // In a line: the queue's, or one of its owner's while it is not sent.
  using Line = IntrusiveList<NvmeCommand, &NvmeCommand::node>;

 protected:
  NvmeCommand() : pollux_nvme_request{&NvmeCommand::Complete, {}} {}
  ~NvmeCommand() = default;

 private:
  static void Complete(pollux_nvme_request* request, nvme::Completion completion) {
    static_cast<NvmeCommand*>(request)->OnComplete(completion);
  }
};

// Whether a path takes commands, as the control loop sees it.
enum class NvmeCondition : uint8_t {
  kReady,
  kAwaited,   // Not now: it is being reset, or connected to anew.
  kDisabled,  // What stands in line ends instead of waiting.
  kDead,
};

// One I/O queue of a controller, on its reactor: polls it, rings it once per turn, keeps in order
// what does not fit, and sees to time-outs. All disks of the controller share it. Made and
// destroyed on the control loop, otherwise touched by its reactor alone.
//
// It is wakeable by the queue's event descriptor. Without one it must poll while commands are in
// flight; with nothing in flight only a reset, or what stands in line for the end of one, needs it,
// and its timer is enough for that.
class NvmeQueue final : public Poller {
 public:
  // Who has the controller. Called on the control loop.
  class Keeper {
   public:
    // A command that was aborted has not ended in time.
    virtual void OnStuck() = 0;
    // Commands that may yet be executed were lost: when that is settled, the queue is to be told,
    // by SetSettled().
    virtual void OnLost(NvmeQueue& queue) = 0;
    // A command ended with a state of asymmetric access that we did not know of.
    virtual void OnAccessDoubt() = 0;

   protected:
    ~Keeper() = default;
  };
  // What sends through the queue, and has other ways. On the queue's reactor.
  class Client {
   public:
    virtual void OnCondition() = 0;  // It may be another now.
    virtual void OnSettled() = 0;    // What was lost before AwaitSettled() is executed no more.

   protected:
    ~Client() = default;

   private:
    friend class NvmeQueue;
    ListNode node_;
    bool awaits_ = false, awaits_next_ = false;
  };

  NvmeQueue(Reactor& reactor, Loop& control, pollux_nvme_queue* queue, Keeper& keeper);
  ~NvmeQueue() override;  // After Stop().

  // On the reactor.
  void Start();
  // On the reactor: no disk uses it any more.
  void Stop();
  // On the control loop: the controller's state changes. The queue's owner takes part in resets, so
  // it does not sleep long for a while; clients look at the condition.
  void Nudge();
  // On the control loop, as an answer to OnLost().
  void SetSettled() { reactor_.Post(settled_notice_); }

  // On the reactor.
  void Join(Client& client) { clients_.PushBack(client); }
  void Quit(Client& client) { clients_.Remove(client); }
  // Calls OnSettled() when all that the queue has lost until now is executed no more. The question
  // is put to the driver after the loss, so an answer from before it does not count.
  void AwaitSettled(Client& client);
  void DoubtAccess();

  Reactor& reactor() { return reactor_; }
  pollux_nvme_queue* c() { return queue_; }
  const pollux_nvme_queue* c() const { return queue_; }

  // What was submitted is announced at the end of this turn.
  void RingLater() { reactor_.AtEndOfTurn(ringer_); }
  // Whether a new command may be submitted at once: nobody stands in line.
  bool MaySubmit() const { return line_.empty(); }
  // Stands in line until there is room again.
  void Await(NvmeCommand& command);
  // The same, not before `delay_ms` from now; in units of kTickNs.
  void AwaitLater(NvmeCommand& command, uint32_t delay_ms);
  // Leaves the line.
  void Leave(NvmeCommand& command);
  // Asks for the end of a command in flight, which then calls Ended().
  void Abort(NvmeCommand& command);
  // A command that was aborted has completed. May be called for any that completes.
  void Ended(NvmeCommand& command) {
    if (command.node.linked()) [[unlikely]]
      aborting_.Remove(command);
  }

  // Any thread.
  void set_condition(NvmeCondition condition) {
    condition_.store(condition, std::memory_order_relaxed);
  }
  NvmeCondition condition() const { return condition_.load(std::memory_order_relaxed); }
  bool refusing() const { return condition() == NvmeCondition::kDisabled; }
  // In flight or in line.
  size_t load() const { return pollux_nvme_queue_in_flight(queue_) + line_.size() + later_.size(); }
  // The same, and somebody who waits to know that what was lost is settled.
  size_t pending() const { return load() + (asking_ ? 1 : 0); }

  // How many commands had to stand in line. Any thread.
  uint64_t queued_count() const { return queued_count_.load(std::memory_order_relaxed); }

  static constexpr uint64_t kTickNs = 100 * kNsPerMs;

 private:
  // Tells the device at the end of a turn.
  class Ringer final : public Deferred {
   public:
    explicit Ringer(NvmeQueue& queue) : queue_(queue) {}
    void RunDeferred() override { pollux_nvme_queue_ring(queue_.queue_); }

   private:
    NvmeQueue& queue_;
  };
  class Ticker final : public Timer {
   public:
    explicit Ticker(NvmeQueue& queue) : queue_(queue) {}
    void OnTimer() override { queue_.Tick(); }

   private:
    NvmeQueue& queue_;
  };
  class Waker final : public FdHandler {
   public:
    explicit Waker(NvmeQueue& queue) : queue_(queue) {}
    void OnReady(uint32_t) override;

   private:
    NvmeQueue& queue_;
  };
  class Nudging final : public Message {
   public:
    explicit Nudging(NvmeQueue& queue) : queue_(queue) {}
    void Run() override;

   private:
    NvmeQueue& queue_;
  };
  // Something to tell the keeper, or from it.
  class Notice final : public Message {
   public:
    Notice(NvmeQueue& queue, void (NvmeQueue::*step)()) : queue_(queue), step_(step) {}
    void Run() override { (queue_.*step_)(); }

   private:
    NvmeQueue& queue_;
    void (NvmeQueue::*const step_)();
  };
  using Line = NvmeCommand::Line;

  const char* name() const override { return "nvme_queue"; }
  int Poll() override;
  bool MayBlock() override;
  int SendLine();
  void Tick();
  void ArmTicker();
  void PressAborts();
  void TellStuck();
  void TellLost() { keeper_.OnLost(*this); }
  void TellDoubt();
  void OnSettled();

  Reactor& reactor_;
  Loop& control_;
  pollux_nvme_queue* const queue_;
  Keeper& keeper_;
  const int event_fd_;
  Line line_;
  Line later_;                // Until their tick.
  Line aborting_;             // In flight.
  uint64_t later_tick_ = 0;   // When later_ joins the line.
  uint64_t abort_since_ = 0;  // In ticks: since when aborting_ has the same front.
  NvmeCommand* abort_front_ = nullptr;
  uint64_t ticks_ = 0;
  int short_ticks_ = 0;  // How many are still to come.
  std::atomic<uint64_t> queued_count_{0};
  std::atomic<NvmeCondition> condition_{NvmeCondition::kReady};
  std::atomic<bool> stuck_told_{false}, doubt_told_{false}, nudge_under_way_{false};
  Ringer ringer_{*this};
  Ticker ticker_{*this};
  Waker waker_{*this};
  Nudging nudging_{*this};
  Notice stuck_notice_{*this, &NvmeQueue::TellStuck};
  Notice doubt_notice_{*this, &NvmeQueue::TellDoubt};
  Notice lost_notice_{*this, &NvmeQueue::TellLost};      // While asking_, one of these two
  Notice settled_notice_{*this, &NvmeQueue::OnSettled};  // is under way.
  bool asking_ = false;
  IntrusiveList<Client, &Client::node_> clients_;
};

}  // namespace pollux
