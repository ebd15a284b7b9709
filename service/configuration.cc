#include "service/configuration.h"

#include <algorithm>
#include <ctime>

#include "core/log.h"
#include "core/run_on.h"
#include "service/object_name.h"

namespace pollux::service {

namespace {
// Among the objects of the store; no object of the configuration is of this kind.
constexpr char kStateKind[] = "state";
}  // namespace

// Waits until the write that is under way has ended.
struct Configuration::WriteEnded {
  Configuration& configuration;
  bool await_ready() const noexcept { return !configuration.writing_; }
  void await_suspend(std::coroutine_handle<> waiter) { configuration.waiting_.push_back(waiter); }
  void await_resume() noexcept {}
};

Configuration::Configuration(Loop* store_loop, std::unique_ptr<Store> store)
    : store_loop_(store_loop), store_(std::move(store)) {
  CHECK((store_loop_ == nullptr) == (store_ == nullptr));
}

Configuration::~Configuration() { CHECK(!writing_ && waiting_.empty()); }

Status Configuration::Load() {
  if (store_ == nullptr) return OkStatus();
  ASSIGN_OR_RETURN(const std::vector<SavedObject> saved, store_->Load());
  for (const SavedObject& object : saved) {
    if (object.id.kind == kStateKind) {
      states_[object.id.name] = object.calls.front().params;
      continue;
    }
    objects_[object.id] = {.sequence = object.sequence, .calls = object.calls};
    next_sequence_ = std::max(next_sequence_, object.sequence + 1);
  }
  return OkStatus();
}

void Configuration::Put(const ObjectId& id, std::vector<rpc::SavedCall> calls) {
  if (replaying_) return;
  const auto found = objects_.find(id);
  if (found == objects_.end()) {
    objects_[id] = {.sequence = next_sequence_++, .calls = std::move(calls)};
    dirty_.insert(id);
    ++changed_;
    if (observer_ != nullptr) observer_->OnCreated(id);
  } else {
    Amend(id, std::move(calls));
  }
}

void Configuration::Amend(const ObjectId& id, std::vector<rpc::SavedCall> calls) {
  const auto found = objects_.find(id);
  if (found == objects_.end()) return;
  const bool same = found->second.calls == calls;
  found->second.calls = std::move(calls);
  dirty_.insert(id);
  ++changed_;
  if (observer_ != nullptr && !same) observer_->OnChanged(id);
}

void Configuration::EraseCompanions(const ObjectId& id) {
  const auto [begin, end] = companions_.equal_range(id.kind);
  for (auto i = begin; i != end; ++i) Erase({i->second, id.name});
}

void Configuration::Erase(const ObjectId& id) {
  EraseCompanions(id);
  const bool was_pending = pending_.erase(id) > 0;
  if (objects_.erase(id) == 0) return;
  dirty_.insert(id);
  ++changed_;
  if (observer_ != nullptr) observer_->OnRemoved(id, was_pending);
}

std::vector<rpc::SavedCall> Configuration::CallsOf(const ObjectId& id) const {
  const auto found = objects_.find(id);
  return found == objects_.end() ? std::vector<rpc::SavedCall>() : found->second.calls;
}

std::vector<const std::pair<const ObjectId, Configuration::Object>*> Configuration::InOrder()
    const {
  std::vector<const std::pair<const ObjectId, Object>*> ordered;
  for (const auto& entry : objects_) ordered.push_back(&entry);
  std::sort(ordered.begin(), ordered.end(),
            [](const auto* a, const auto* b) { return a->second.sequence < b->second.sequence; });
  return ordered;
}

std::vector<rpc::SavedCall> Configuration::CallsWhere(
    const std::function<bool(const std::string& method)>& wanted) const {
  std::vector<rpc::SavedCall> calls;
  for (const auto* entry : InOrder()) {
    for (const rpc::SavedCall& call : entry->second.calls) {
      if (wanted(call.method)) calls.push_back(call);
    }
  }
  return calls;
}

Task<void> Configuration::Replay(Turn& turn, Apply apply, Settle settle,
                                 std::function<bool(const std::string& method)> wanted) {
  for (const auto* entry : InOrder()) {
    const auto& calls = entry->second.calls;
    if (calls.empty() || !wanted(calls.front().method)) continue;
    const PendingCalls parked{.id = entry->first,
                              .calls = calls,
                              .why = Unavailable("waits for its turn"),
                              .since = std::time(nullptr)};
    pending_[entry->first] = parked;
  }
  starting_ = true;
  for (bool revived = true; revived;) {
    revived = co_await RetryPending(turn, apply);
    if (revived || !settle) continue;
    revived = co_await settle();
  }
  starting_ = false;
  for (const auto& [id, parked] : pending_) {
    if (observer_ != nullptr) observer_->OnPending(id, parked.why);
    LogWarning("service", "%s '%s' is pending: %s: %s", id.kind, id.name,
               parked.calls.front().method, parked.why.message());
  }
}

Task<bool> Configuration::RetryPending(Turn& turn, Apply apply) {
  std::vector<ObjectId> ids;
  for (const auto* entry : InOrder()) {
    if (pending_.contains(entry->first)) ids.push_back(entry->first);
  }
  bool revived = false;
  for (const ObjectId& id : ids) {
    for (;;) {
      const Turn::Holder held = co_await turn.Take();
      const auto parked = pending_.find(id);
      if (parked == pending_.end()) break;
      replaying_ = true;
      const Status status = co_await apply(parked->second.calls.front());
      replaying_ = false;
      if (!status.ok()) {
        NoteReason(parked->second, status);
        break;
      }
      revived = true;
      parked->second.calls.erase(parked->second.calls.begin());
      if (parked->second.calls.empty()) Unpark(id);
    }
  }
  co_return revived;
}

void Configuration::Park(const ObjectId& id, rpc::SavedCall call, Status why) {
  PendingCalls& parked = pending_[id];
  if (parked.calls.empty()) {
    parked.id = id;
    parked.since = std::time(nullptr);
    parked.calls.push_back(std::move(call));
  }
  NoteReason(parked, std::move(why));
}

void Configuration::ParkAll(const ObjectId& id, Status why) {
  std::vector<rpc::SavedCall> calls = CallsOf(id);
  if (calls.empty()) return;
  PendingCalls& parked = pending_[id];
  parked = {.id = id, .calls = std::move(calls), .why = {}, .since = std::time(nullptr)};
  NoteReason(parked, std::move(why));
}

void Configuration::NoteReason(PendingCalls& parked, Status why) {
  const bool same = parked.why == why;
  parked.why = std::move(why);
  if (observer_ != nullptr && !starting_ && !same) observer_->OnPending(parked.id, parked.why);
}

void Configuration::Unpark(const ObjectId& id) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  const ObjectId restored = found->first;  // `id` may be the one that goes.
  pending_.erase(found);
  if (observer_ != nullptr && !starting_) observer_->OnRestored(restored);
}

std::vector<ObjectId> Configuration::ids() const {
  std::vector<ObjectId> ids;
  for (const auto* entry : InOrder()) ids.push_back(entry->first);
  return ids;
}

std::vector<PendingCalls> Configuration::pending() const {
  std::vector<PendingCalls> result;
  for (const auto& [id, parked] : pending_) result.push_back(parked);
  return result;
}

std::map<ObjectId, PendingCalls>::iterator Configuration::FindPending(const std::string& kind,
                                                                      const rpc::Message& request) {
  const std::string name = ObjectName(kind, request);
  const auto spelling = spellings_.find(kind);
  if (spelling == spellings_.end()) return pending_.find({kind, name});
  const std::string wanted = spelling->second(name);
  return std::find_if(pending_.begin(), pending_.end(), [&](const auto& entry) {
    return entry.first.kind == kind && spelling->second(entry.first.name) == wanted;
  });
}

Status Configuration::BeforeChange(const rpc::Method& method, const rpc::Message& request,
                                   std::unique_ptr<rpc::Message>& done) {
  if (replaying_ || pending_.empty()) return OkStatus();
  if (!method.options.makes().empty()) {
    const auto parked = FindPending(method.options.makes(), request);
    if (parked != pending_.end()) {
      return ErrorOfField(EEXIST, "name", ObjectName(method.options.makes(), request),
                          absl::StrFormat("this %s is configured already and pending (%s); delete "
                                          "it first",
                                          parked->first.kind, parked->second.why.message()));
    }
  }
  if (!method.options.removes().empty()) {
    const auto parked = FindPending(method.options.removes(), request);
    // A part of a living object is pending: the handler deletes the object, and that with it.
    if (parked == pending_.end() || parked->second.calls != CallsOf(parked->first)) {
      return OkStatus();
    }
    Erase(ObjectId(parked->first));
    done = SuccessOf(method);
  }
  return OkStatus();
}

Task<Status> Configuration::Commit() {
  const uint64_t wanted = changed_;
  Status status = OkStatus();
  while (durable_ < wanted && status.ok()) {
    if (writing_) {
      co_await WriteEnded{*this};
      if (!health_.ok()) status = health_;
      continue;
    }
    status = co_await Write();
  }
  if (on_commit_ && wanted > 0 && !pending_.empty()) on_commit_();
  if (!status.ok()) {
    co_return ErrorOfErrno(
        ErrnoOf(status),
        absl::StrFormat("the change is in effect but could not be saved, and is tried again with "
                        "the next one: %s",
                        status.message()));
  }
  co_return OkStatus();
}

Task<Status> Configuration::Write() {
  if (store_ == nullptr) {
    durable_ = changed_;
    dirty_.clear();
    co_return OkStatus();
  }
  writing_ = true;
  const uint64_t covered = changed_;
  const std::set<ObjectId> ids = std::exchange(dirty_, {});
  std::vector<SavedObject> batch;
  for (const ObjectId& id : ids) {
    const auto found = objects_.find(id);
    SavedObject object{.id = id, .sequence = 0, .calls = {}};
    if (found != objects_.end()) {
      object.sequence = found->second.sequence;
      object.calls = found->second.calls;
    }
    batch.push_back(std::move(object));
  }
  auto write = [this, &batch] { return store_->Write(batch); };
  const Status status = co_await RunOn(*store_loop_, write);
  writing_ = false;
  if (status.ok()) {
    durable_ = covered;
  } else {
    dirty_.insert(ids.begin(), ids.end());
    LogError("store", "the configuration could not be saved: %s", status.message());
  }
  health_ = status;
  for (std::coroutine_handle<> waiter : std::exchange(waiting_, {})) waiter.resume();
  co_return status;
}

Task<Status> Configuration::KeepState(std::string name, std::string text) {
  if (store_ == nullptr) co_return NotSupported("nothing is kept");
  std::vector<SavedObject> change(1);
  change[0].id = {kStateKind, name};
  if (!text.empty()) change[0].calls.push_back({kStateKind, text});
  auto write = [this, &change] { return store_->Write(change); };
  const Status status = co_await RunOn(*store_loop_, write);
  CO_RETURN_IF_ERROR(status);
  if (text.empty()) {
    states_.erase(name);
  } else {
    states_[name] = std::move(text);
  }
  co_return OkStatus();
}

std::string Configuration::StateOf(const std::string& name) const {
  const auto found = states_.find(name);
  return found == states_.end() ? "" : found->second;
}

Task<Status> Configuration::KeepGoodCopy() {
  if (store_ == nullptr) co_return OkStatus();
  auto keep = [this] { return store_->KeepGoodCopy(); };
  co_return co_await RunOn(*store_loop_, keep);
}

}  // namespace pollux::service
