#include "core/loop.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <utility>

#include "core/log.h"

namespace pollux {
namespace {

constexpr int kMessagesPerTurnMax = 256;
constexpr int kTimersPerTurnMax = 256;

thread_local Loop* current_loop = nullptr;

void AddRelaxed(std::atomic<uint64_t>& counter, uint64_t value) {
  counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

}  // namespace

// Makes the calling thread a loop's for a while.
class LoopScope {
 public:
  explicit LoopScope(Loop* loop) : previous_(std::exchange(current_loop, loop)) {
    thread_local const int id = gettid();
    loop->thread_id_.store(id, std::memory_order_relaxed);
  }
  ~LoopScope() { current_loop = previous_; }

 private:
  Loop* previous_;
};

Loop::Loop(Options options, const Clock& clock, std::unique_ptr<Waiter> waiter, Kind kind)
    : options_(std::move(options)), kind_(kind), clock_(clock), waiter_(std::move(waiter)) {
  turn_ended_ns_ = last_work_ns_ = NowNs();
}

Loop::~Loop() {
  CHECK(!thread_.joinable(), "a loop was destroyed while its thread runs");
  CHECK(pollers_.empty() && watched_ == 0, "a loop ended with pollers or descriptors");
  while (outbox_.PopFront() != nullptr) {  // Nobody runs them any more.
  }
}

Loop* Loop::Current() { return current_loop; }

void Loop::StartThread() {
  CHECK(!thread_.joinable());
  stop_.store(false, std::memory_order_relaxed);
  thread_ = std::thread([this] { Main(); });
}

void Loop::Main() {
  pthread_setname_np(pthread_self(), options_.name.substr(0, 15).c_str());
  if (options_.core >= 0) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(static_cast<size_t>(options_.core), &cores);
    if (pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores) != 0) {
      LogWarning("core", "%s: cannot be pinned to core %d", options_.name, options_.core);
    }
  }
  Run();
}

void Loop::Run() {
  last_work_ns_ = turn_ended_ns_ = NowNs();
  while (!stop_.load(std::memory_order_acquire)) RunTurn(/*may_block=*/true);
}

void Loop::Stop() {
  stop_.store(true, std::memory_order_release);
  waiter_->Wake();
}

void Loop::StopThread() {
  Stop();
  if (thread_.joinable()) thread_.join();
}

int Loop::RunTurn(bool may_block) {
  const LoopScope scope(this);
  stage_ns_ = turn_ended_ns_;
  int work = RunMessages();
  work += RunPollers();
  work += RunReady();
  stage_ns_ = NowNs();
  work += timers_.RunDue(stage_ns_, kTimersPerTurnMax);
  work += RunDeferredList(deferred_);
  EndTurn();

  Account(work > 0 ? busy_ns_ : idle_ns_);
  if (work > 0) {
    last_work_ns_ = turn_ended_ns_;
    poller_refused_ = false;
  } else if (may_block && !HasWorkLeft() && options_.idle_after_ns != kNever &&
             turn_ended_ns_ - last_work_ns_ >= options_.idle_after_ns) {
    Block();
  }
  return work;
}

void Loop::Account(std::atomic<uint64_t>& kind) {
  const uint64_t now = NowNs();
  AddRelaxed(kind, now - turn_ended_ns_);
  turn_ended_ns_ = now;
}

void Loop::EndTurn() {
  RunDeferredList(end_of_turn_);
  RunDeferredList(submission_);
  if (!outbox_.empty()) FlushOutbox();
}

bool Loop::HasWorkLeft() const {
  return !deferred_.empty() || !end_of_turn_.empty() || !submission_.empty() || !outbox_.empty();
}

int Loop::RunMessages() {
  int count = 0;
  while (count < kMessagesPerTurnMax) {
    Message* message = mailbox_.TryPop();
    if (message == nullptr) break;
    ++count;
    message->Run();
  }
  return count;
}

int Loop::RunPollers() {
  int work = 0;
  for (Poller* poller = pollers_.Front(); poller != nullptr; poller = next_poller_) {
    next_poller_ = pollers_.Next(*poller);
    running_poller_ = poller;
    AddRelaxed(poller->run_count_, 1);
    const int done = poller->Poll();
    work += done;
    // It may have removed itself, and be gone.
    if (done > 0 && running_poller_ != nullptr) AddRelaxed(poller->busy_count_, 1);
  }
  next_poller_ = running_poller_ = nullptr;
  return work;
}

int Loop::RunReady() {
  // When the loop has blocked, it was for these.
  if (ready_count_ == 0 && watched_ > 0) ready_count_ = waiter_->Wait(0, ready_);
  if (ready_count_ > 0) stage_ns_ = NowNs();
  int work = 0;
  for (size_t i = 0; i < ready_count_; ++i) {
    if (ready_[i].handler == nullptr) continue;  // Unwatched earlier in this turn.
    ++work;
    ready_[i].handler->OnReady(ready_[i].events);
  }
  ready_count_ = 0;
  return work;
}

int Loop::RunDeferredList(DeferredList& list) {
  if (list.empty()) return 0;
  // Only what is there now: work that defers itself again must not keep the turn from ending.
  int count = 0;
  for (size_t left = list.size(); left > 0 && !list.empty(); --left) {
    list.PopFront()->RunDeferred();
    ++count;
  }
  return count;
}

// The order matters: announce, then look once more, then block. A sender pushes, then looks for the
// announcement. One of the two sees the other (both sides are fenced), so no message is slept over.
// What ends the wait is dealt with by the next turn.
void Loop::Block() {
  blocking_.store(true, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (mailbox_.empty() && !stop_.load(std::memory_order_acquire) && PollersMayBlock()) {
    std::optional<uint64_t> timeout;
    if (const auto deadline = timers_.NextDeadlineNs()) {
      const uint64_t now = NowNs();
      timeout = *deadline > now ? *deadline - now : 0;
    }
    AddRelaxed(blocked_count_, 1);
    ready_count_ = waiter_->Wait(timeout, ready_);
    Account(idle_ns_);
  }
  blocking_.store(false, std::memory_order_relaxed);
}

bool Loop::PollersMayBlock() {
  bool may_block = true;
  for (Poller* poller = pollers_.Front(); poller != nullptr && may_block;
       poller = pollers_.Next(*poller)) {
    may_block = poller->MayBlock();
  }
  // A wakeable poller refuses when it has work, and has done it by the next time.
  must_poll_.store(!may_block && poller_refused_, std::memory_order_relaxed);
  poller_refused_ = !may_block;
  // While it is announced that the loop will block, others ring for each message. So one that must
  // poll does not try again at once.
  if (!may_block) last_work_ns_ = turn_ended_ns_;
  return may_block;
}

bool Loop::TryDeliver(Message& message) {
  if (!mailbox_.TryPush(&message)) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (blocking_.load(std::memory_order_relaxed)) waiter_->Wake();
  return true;
}

void Loop::Post(Message& message) {
  Loop* sender = Current();
  if (sender != nullptr) {
    // Behind what waits already for the same loop, or the order would change.
    if (!sender->HasWaiting(*this) && TryDeliver(message)) return;
    message.receiver_ = this;
    return sender->outbox_.PushBack(message);
  }
  while (!TryDeliver(message)) sched_yield();
}

bool Loop::HasWaiting(const Loop& receiver) {
  for (Message* m = outbox_.Front(); m != nullptr; m = outbox_.Next(*m)) {
    if (m->receiver_ == &receiver) return true;
  }
  return false;
}

void Loop::FlushOutbox() {
  Outbox waiting;
  waiting.TakeAll(outbox_);
  while (Message* message = waiting.PopFront()) message->receiver_->Post(*message);
}

void Loop::AddPoller(Poller& poller) {
  poller.id_ = next_poller_id_++;
  pollers_.PushBack(poller);
}

void Loop::RemovePoller(Poller& poller) {
  if (next_poller_ == &poller) next_poller_ = pollers_.Next(poller);
  if (running_poller_ == &poller) running_poller_ = nullptr;
  pollers_.Remove(poller);
}

std::vector<PollerInfo> Loop::pollers() {
  std::vector<PollerInfo> result;
  for (Poller* p = pollers_.Front(); p != nullptr; p = pollers_.Next(*p)) {
    result.push_back({p->name(), p->id(), p->run_count(), p->busy_count()});
  }
  return result;
}

Status Loop::Watch(int fd, uint32_t events, FdHandler& handler) {
  RETURN_IF_ERROR(waiter_->Watch(fd, events, handler));
  ++watched_;
  return OkStatus();
}

void Loop::Rewatch(int fd, uint32_t events, FdHandler& handler) {
  waiter_->Rewatch(fd, events, handler);
}

void Loop::Unwatch(int fd, FdHandler& handler) {
  waiter_->Unwatch(fd);
  CHECK(watched_ > 0);
  --watched_;
  for (size_t i = 0; i < ready_count_; ++i) {
    if (ready_[i].handler == &handler) ready_[i].handler = nullptr;
  }
}

void Loop::CancelDeferred(Deferred& work) {
  if (!work.deferred()) return;
  for (DeferredList* list : {&deferred_, &end_of_turn_, &submission_}) {
    for (Deferred* d = list->Front(); d != nullptr; d = list->Next(*d)) {
      if (d == &work) return list->Remove(work);
    }
  }
  CHECK(false, "deferred on another loop");
}

}  // namespace pollux
