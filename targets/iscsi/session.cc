#include "targets/iscsi/session.h"

#include <algorithm>
#include <bit>

#include "core/check.h"
#include "core/log.h"
#include "targets/iscsi/worker.h"

namespace pollux::iscsi {
namespace {

// Serial number arithmetic, RFC 1982: whether a comes before b.
bool Before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

// Stands for a command that will not come.
class NobodyComes final : public Numbered {
 public:
  void OnItsTurn() override {}
};
NobodyComes nobody;

std::string PortName(const Session::Identity& identity) {
  std::string isid;
  for (const uint8_t byte : identity.isid.bytes) isid += absl::StrFormat("%02x", byte);
  return absl::StrFormat("%s,i,0x%s", identity.initiator_name, isid);
}

}  // namespace

TaskTable::TaskTable(size_t tasks_max)
    : mask_(std::bit_ceil(tasks_max * 2) - 1), buckets_(mask_ + 1) {}

void TaskTable::Insert(ScsiTask& task) {
  ScsiTask*& bucket = buckets_[BucketOf(task.itt_)];
  task.next_in_bucket_ = bucket;
  bucket = &task;
}

void TaskTable::Remove(ScsiTask& task) {
  ScsiTask** link = &buckets_[BucketOf(task.itt_)];
  while (*link != &task) {
    CHECK(*link != nullptr);
    link = &(*link)->next_in_bucket_;
  }
  *link = task.next_in_bucket_;
}

ScsiTask* TaskTable::Find(uint32_t itt) const {
  ScsiTask* task = buckets_[BucketOf(itt)];
  while (task != nullptr && task->itt_ != itt) task = task->next_in_bucket_;
  return task;
}

// Twice the queue depth: a task whose response waits to be sent is still in use, while the window
// already lets the next command come.
Session::Session(Worker& worker, Identity identity, const Parameters& parameters,
                 scsi::DeviceView* view, uint32_t queue_depth, uint32_t first_cmd_sn)
    : worker_(worker),
      identity_(std::move(identity)),
      parameters_(parameters),
      view_(view),
      queue_depth_(queue_depth),
      exp_cmd_sn_(first_cmd_sn),
      max_cmd_sn_(first_cmd_sn - 1),
      held_(queue_depth),
      tasks_(view != nullptr ? 2 * size_t{queue_depth} + kImmediateTasksMax : 0),
      table_(tasks_.size() + 1) {
  for (size_t i = 0; i < tasks_.size(); ++i) {
    tasks_[i].Make(*this, static_cast<uint16_t>(i));
    free_tasks_.PushBack(tasks_[i]);
  }
}

Session::~Session() {
  CHECK(connections_.empty() && free_tasks_.size() == tasks_.size());
  while (free_tasks_.PopFront() != nullptr) {
  }
}

void Session::Open() {
  if (view_ == nullptr) return;
  scsi::Nexus::Identity nexus{
      .initiator_port = PortName(identity_),
      .target_port = absl::StrFormat("%s,t,0x%04x", identity_.target_name, identity_.pg_tag),
      .relative_target_port = identity_.pg_tag,
      .target_port_group = identity_.pg_tag};
  nexus_ = std::make_unique<scsi::Nexus>(*view_, worker_.data_buffers(), std::move(nexus));
}

bool Session::AddConnection(Connection::Arrival arrival) {
  if (state_ != State::kOpen) return false;
  const uint16_t cid = arrival.cid;
  // Connection reinstatement: the same CID anew. RFC 7143 §6.3.4.
  if (Connection* old = FindConnection(cid)) {
    if (connections_.size() > parameters_.max_connections) return false;
    old->MarkReplaced();
    old->Close("the initiator logged in again with the same CID");
  } else if (connections_.size() >= parameters_.max_connections) {
    return false;
  }
  Result<std::unique_ptr<Connection>> connection = Connection::Make(*this, std::move(arrival));
  if (!connection.ok()) {
    worker_.log().Warning("a connection of %s: %s", Printable(identity_.initiator_name),
                          connection.status().message());
    if (connections_.empty()) Close("it has no connection");
    return false;
  }
  connections_.push_back(*std::move(connection));
  connections_.back()->Open();
  return true;
}

Connection* Session::FindConnection(uint16_t cid) {
  for (const auto& connection : connections_) {
    if (connection->cid() == cid && !connection->logged_out()) return connection.get();
  }
  return nullptr;
}

void Session::Enter(State next) {
  CHECK(next > state_);
  state_ = next;
  static constexpr const char* kNames[] = {"open", "draining", "closing", "ended"};
  LogDebug("iscsi", "session %d of %s: %s", identity_.tsih, Printable(identity_.initiator_name),
           kNames[static_cast<int>(next)]);
}

void Session::RequestLogout(uint64_t within_ns) {
  for (const auto& connection : connections_) connection->RequestLogout(within_ns);
}

void Session::Drain(uint64_t within_ns) {
  if (state_ != State::kOpen) return;
  Enter(State::kDraining);
  RequestLogout(within_ns);
  MaybeFinishDrain();
}

void Session::MaybeFinishDrain() {
  if (state_ != State::kDraining || tasks_in_use() > 0) return;
  Enter(State::kClosing);
  for (const auto& connection : connections_) connection->CloseWhenSent("the target stops");
  MaybeEnd();
}

void Session::Close(const char* reason) {
  if (state_ >= State::kClosing) {
    for (const auto& connection : connections_) connection->Close(reason);
    return;
  }
  Enter(State::kClosing);
  for (const auto& connection : connections_) connection->Close(reason);
  MaybeEnd();
}

void Session::CloseOthers(const Connection& by) {
  for (const auto& connection : connections_) {
    if (connection.get() == &by) continue;
    connection->MarkReplaced();
    connection->Close("the session was logged out");
  }
}

void Session::OnConnectionFailed(Connection& connection) {
  if (connection.logged_out()) return;
  Close("another connection of the session failed");
}

void Session::OnConnectionEnded(Connection& connection) {
  std::erase_if(connections_, [&connection](const auto& c) { return c.get() == &connection; });
  MaybeEnd();
}

void Session::MaybeEnd() {
  if (!connections_.empty() || state_ == State::kEnded) return;
  CHECK(tasks_in_use() == 0 && managements_.empty());
  Enter(State::kEnded);
  nexus_.reset();
  worker_.OnSessionEnded(*this);
}

// --- The order of commands.

uint32_t Session::MaxCmdSn() {
  const size_t open = std::min<size_t>(
      queue_depth_ - std::min(executing_, queue_depth_),
      tasks_.empty() ? queue_depth_
                     : free_tasks_.size() - std::min(free_tasks_.size(), kImmediateTasksMax));
  const uint32_t max = exp_cmd_sn_ - 1 + static_cast<uint32_t>(open);
  if (Before(max_cmd_sn_, max)) max_cmd_sn_ = max;
  return max_cmd_sn_;
}

bool Session::InWindow(uint32_t cmd_sn) {
  return !Before(cmd_sn, exp_cmd_sn_) && !Before(MaxCmdSn(), cmd_sn) &&
         cmd_sn - exp_cmd_sn_ < queue_depth_ && held_[cmd_sn % queue_depth_] == nullptr;
}

void Session::Deliver(uint32_t cmd_sn, bool immediate, Numbered& request) {
  if (immediate) return request.OnItsTurn();
  if (cmd_sn != exp_cmd_sn_) {
    // It overtook another one on another connection of the session.
    held_[cmd_sn % queue_depth_] = &request;
    ++held_count_;
    return;
  }
  ++exp_cmd_sn_;
  request.OnItsTurn();
  if (held_count_ > 0) DeliverHeld();
}

void Session::DeliverHeld() {
  while (Numbered* next = std::exchange(held_[exp_cmd_sn_ % queue_depth_], nullptr)) {
    --held_count_;
    ++exp_cmd_sn_;
    next->OnItsTurn();
  }
}

void Session::Forget(Numbered& request) {
  if (held_count_ == 0) return;
  std::replace(held_.begin(), held_.end(), &request, static_cast<Numbered*>(&nobody));
}

void Session::CountAsReceived(uint32_t cmd_sn) {
  if (InWindow(cmd_sn)) Deliver(cmd_sn, /*immediate=*/false, nobody);
}

// --- Tasks.

ScsiTask* Session::TakeTask(bool immediate) {
  if (immediate && immediate_in_use_ == kImmediateTasksMax) return nullptr;
  ScsiTask* const task = free_tasks_.PopFront();
  if (task != nullptr && immediate) ++immediate_in_use_;
  return task;
}

void Session::ReleaseTask(ScsiTask& task) {
  if (task.immediate()) --immediate_in_use_;
  // The one used last is warm.
  free_tasks_.PushFront(task);
  if (!managements_.empty()) ContinueManagement();
  if (state_ == State::kDraining) MaybeFinishDrain();
}

// The generation above the index: an answer to an R2T of long ago is told from one to the last.
uint32_t Session::MakeTtt(const ScsiTask& task) {
  return uint32_t{++ttt_generation_} << 16 | task.index();
}

ScsiTask* Session::TaskOfTtt(uint32_t ttt) {
  const size_t index = ttt & 0xffff;
  if (index >= tasks_.size() || ttt == kReservedTag) return nullptr;
  return tasks_[index].ttt() == ttt ? &tasks_[index] : nullptr;
}

bool Session::WasIssued(uint32_t ttt) const {
  const auto behind = static_cast<uint16_t>(ttt_generation_ - (ttt >> 16));
  return (ttt & 0xffff) < tasks_.size() && behind < 0x8000 && ttt >> 16 != 0;
}

// --- Task management.

bool Session::Management::Concerns(const ScsiTask& task) const {
  if (task.state() == ScsiTask::State::kFree || task.serial() >= request->serial) return false;
  switch (function) {
    case scsi::TaskFunction::kAbortTask:
      return has_referenced && task.itt() == referenced_itt;
    case scsi::TaskFunction::kAbortTaskSet:
    case scsi::TaskFunction::kClearTaskSet:
    case scsi::TaskFunction::kLogicalUnitReset:
      return task.lun == request->request.lun;
    case scsi::TaskFunction::kTargetReset:
      return true;
  }
  return false;
}

void Session::Manage(ControlTask& request, scsi::TaskFunction function, ScsiTask* referenced) {
  request.serial = next_serial_;
  Management management{.request = &request, .function = function};
  if (referenced != nullptr) {
    management.has_referenced = true;
    management.referenced_itt = referenced->itt();
  }
  managements_.push_back(management);
  for (ScsiTask& task : tasks_) {
    if (management.Concerns(task)) task.Abort(/*silent=*/true);
  }
  ContinueManagement();
}

// The SCSI layer is told when this session has no buffers of the tasks any more: what lies in a
// send queue must not be given to somebody else.
void Session::ContinueManagement() {
  for (size_t i = 0; i < managements_.size();) {
    const Management management = managements_[i];
    const bool waits =
        std::any_of(tasks_.begin(), tasks_.end(),
                    [&management](const ScsiTask& task) { return management.Concerns(task); });
    if (waits) {
      ++i;
      continue;
    }
    managements_.erase(managements_.begin() + static_cast<ptrdiff_t>(i));
    ControlTask* const request = management.request;
    nexus_->Manage(management.function, request->request.lun, nullptr,
                   [request](scsi::TaskFunctionResult result) {
                     request->connection->OnManaged(*request, result);
                   });
  }
}

}  // namespace pollux::iscsi
