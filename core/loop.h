#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/intrusive_list.h"
#include "core/mailbox.h"
#include "core/timer_queue.h"
#include "core/waiter.h"

namespace pollux {

// Something asked every turn whether there is work. Embed it; it must be removed before it dies.
class Poller {
 public:
  virtual ~Poller() = default;
  virtual const char* name() const = 0;
  // Does what there is to do, within bounds, and returns how much that was. 0: nothing.
  virtual int Poll() = 0;
  // The loop would like to block. A poller whose work rings a watched descriptor or a timer arms
  // it, looks once more, and returns true when there is still nothing: it is *wakeable*. One whose
  // work nobody announces (memory mapped to a peer) returns false always: it *must poll*.
  virtual bool MayBlock() = 0;

  uint64_t run_count() const { return run_count_.load(std::memory_order_relaxed); }
  uint64_t busy_count() const { return busy_count_.load(std::memory_order_relaxed); }
  uint64_t id() const { return id_; }

 private:
  friend class Loop;
  ListNode node_;
  uint64_t id_ = 0;
  std::atomic<uint64_t> run_count_{0}, busy_count_{0};  // Written by the loop alone.
};

// Something to be run later in this turn or the next, by the same loop. Embed it.
class Deferred {
 public:
  virtual void RunDeferred() = 0;
  bool deferred() const { return deferred_node_.linked(); }

 protected:
  ~Deferred() = default;

 private:
  friend class Loop;
  ListNode deferred_node_;
};

// A poller as thread_get_pollers shows it.
struct PollerInfo {
  std::string name;
  uint64_t id;
  uint64_t run_count;
  uint64_t busy_count;
};

// One thread that runs messages, deferred work, pollers, ready descriptors and timers, in turns.
// What belongs to a loop is touched by its thread alone, so it needs no locks; loops talk by
// Post().
//
// A loop that found nothing to do for `idle_after_ns` blocks in its Waiter and wakes within
// microseconds of a message, a ready descriptor or a timer. The control loop is one with
// idle_after_ns = 0; reactors (reactor.h) are those that are pinned to the cores of -m.
//
// A turn runs in this order, each stage bounded:
//   1. messages       what others want comes first, or they would wait for our backlog
//   2. pollers        devices: completions
//   3. descriptors    sockets: new commands
//   4. timers
//   5. deferred       what 1-4 completed at once; what it defers in turn runs in the next turn
//   6. end of turn    what gathered in 1-5 leaves: doorbells, gathered sends
//   7. submission     the ring that 1-6 filled
class Loop {
 public:
  struct Options {
    std::string name;
    // How long it polls in vain before it blocks. kNever: it never blocks.
    uint64_t idle_after_ns = 0;
    // The core it is pinned to, or -1.
    int core = -1;
  };
  // What it is, where a cast has to be cheap.
  enum class Kind : uint8_t { kPlain, kReactor };
  static constexpr uint64_t kNever = UINT64_MAX;
  static constexpr size_t kMailboxCapacity = 4096;

  // The clock outlives the loop.
  Loop(Options options, const Clock& clock, std::unique_ptr<Waiter> waiter)
      : Loop(std::move(options), clock, std::move(waiter), Kind::kPlain) {}
  virtual ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // The loop whose thread this is, or null.
  static Loop* Current();
  bool IsCurrent() const { return Current() == this; }

  // Runs turns on a thread of its own until Stop().
  void StartThread();
  // Runs turns on the calling thread until Stop().
  void Run();
  // Asks the loop to end after the current turn; StopThread() also waits for that. Any thread.
  void Stop();
  void StopThread();
  // One turn on the calling thread, which becomes the loop's for the call. For tests and
  // simulation. Never blocks unless `may_block`. Returns how much was done.
  int RunTurn(bool may_block = false);

  // --- Any thread.

  // Hands over a message. It never fails: where the mailbox is full, the message waits at the
  // sender, in order, or (from a thread without a loop) the sender waits. Those that wait hang
  // together by themselves, so there are never more than there are messages.
  void Post(Message& message);

  Kind kind() const { return kind_; }
  const std::string& name() const { return options_.name; }
  int core() const { return options_.core; }
  uint64_t NowNs() const { return clock_.NowNs(); }
  // The time as it was when this stage of the turn began: one reading of the clock for all that
  // the stage does. The loop's thread, within a turn.
  uint64_t StageNs() const { return stage_ns_; }
  // Statistics have one writer, the loop.
  uint64_t busy_ns() const { return busy_ns_.load(std::memory_order_relaxed); }
  uint64_t idle_ns() const { return idle_ns_.load(std::memory_order_relaxed); }
  // Changes with every turn, and when a sleep ends.
  uint64_t progress_ns() const { return busy_ns() + idle_ns(); }
  // It waits for something to do.
  bool sleeping() const { return blocking_.load(std::memory_order_relaxed); }
  uint64_t blocked_count() const { return blocked_count_.load(std::memory_order_relaxed); }
  bool must_poll() const { return must_poll_.load(std::memory_order_relaxed); }
  int thread_id() const { return thread_id_.load(std::memory_order_relaxed); }

  // --- The loop's thread only (or before it starts, or after it ended).

  void AddPoller(Poller& poller);
  void RemovePoller(Poller& poller);
  std::vector<PollerInfo> pollers();

  // The handler's OnReady runs whenever the descriptor is ready for `events` (level-triggered).
  Status Watch(int fd, uint32_t events, FdHandler& handler);
  void Rewatch(int fd, uint32_t events, FdHandler& handler);
  // From here on the handler is not called, not even for what was ready in this turn.
  void Unwatch(int fd, FdHandler& handler);

  void ArmTimer(Timer& timer, uint64_t deadline_ns) { timers_.Arm(timer, deadline_ns); }
  void ArmTimerIn(Timer& timer, uint64_t delay_ns) { timers_.Arm(timer, NowNs() + delay_ns); }
  void CancelTimer(Timer& timer) { timers_.Cancel(timer); }
  size_t timer_count() const { return timers_.size(); }

  // Runs `work` once at stage 5 of this turn, or of the next when called from stage 5 on.
  void Defer(Deferred& work) { deferred_.PushBack(work); }
  // Runs `work` once at stage 6 of this turn, or of the next when called from stage 6 on. Asking
  // again before that changes nothing.
  void AtEndOfTurn(Deferred& work) {
    if (!work.deferred()) end_of_turn_.PushBack(work);
  }
  // The same at stage 7: for what others fill at stage 6.
  void AfterEndOfTurn(Deferred& work) {
    if (!work.deferred()) submission_.PushBack(work);
  }
  void CancelDeferred(Deferred& work);

 protected:
  Loop(Options options, const Clock& clock, std::unique_ptr<Waiter> waiter, Kind kind);

 private:
  friend class LoopScope;
  using DeferredList = IntrusiveList<Deferred, &Deferred::deferred_node_>;
  using Outbox = IntrusiveList<Message, &Message::outbox_node_>;

  int RunMessages();
  int RunPollers();
  int RunReady();
  static int RunDeferredList(DeferredList& list);
  void EndTurn();
  bool HasWorkLeft() const;
  bool PollersMayBlock();
  void Account(std::atomic<uint64_t>& kind);
  void Block();
  bool TryDeliver(Message& message);
  bool HasWaiting(const Loop& receiver);
  void FlushOutbox();
  void Main();

  const Options options_;
  const Kind kind_;
  const Clock& clock_;
  const std::unique_ptr<Waiter> waiter_;
  Mailbox mailbox_{kMailboxCapacity};

  // True from the announcement that the loop will block until it wakes. A sender that pushed and
  // then sees it rings the bell; the loop looks into the mailbox once more after setting it.
  alignas(64) std::atomic<bool> blocking_{false};
  std::atomic<bool> stop_{false};

  alignas(64) IntrusiveList<Poller, &Poller::node_> pollers_;
  Poller* next_poller_ = nullptr;     // Where RunPollers goes on, should that one be removed.
  Poller* running_poller_ = nullptr;  // Null once it removed itself.
  DeferredList deferred_, end_of_turn_, submission_;
  TimerQueue timers_;
  Outbox outbox_;  // What full mailboxes have refused.
  size_t watched_ = 0;
  std::array<Waiter::Ready, 64> ready_;
  size_t ready_count_ = 0;       // What the last Wait found, until stage 3 has run.
  bool poller_refused_ = false;  // To block, with no work since.
  uint64_t last_work_ns_ = 0;
  uint64_t turn_ended_ns_ = 0;
  uint64_t stage_ns_ = 0;
  uint64_t next_poller_id_ = 1;

  std::atomic<uint64_t> busy_ns_{0}, idle_ns_{0}, blocked_count_{0};
  std::atomic<bool> must_poll_{false};
  std::atomic<int> thread_id_{0};
  std::thread thread_;
};

}  // namespace pollux
