#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/loop.h"
#include "core/task.h"
#include "rpc/dispatcher.h"
#include "rpc/store/store.h"

namespace pollux::service {

using rpc::ObjectId;
using rpc::SavedObject;
using rpc::Store;

// A call that could not be made at start, and those of the same object after it. It stays in the
// saved configuration, is tried again, and can be deleted.
struct PendingCalls {
  ObjectId id;
  std::vector<rpc::SavedCall> calls;
  Status why;
  int64_t since = 0;  // Seconds since 1970.
};

// The configuration as a list of calls: what the running objects, and the pending ones, say would
// rebuild them. Handlers note changes here; the dispatcher commits them before it answers; start
// replays them. Control loop only; the disk is written on a loop of its own.
class Configuration final : public rpc::ChangeKeeper {
 public:
  // Runs the handler of a saved call, as the caller "replay". The turn is taken already.
  using Apply = std::function<Task<Status>(rpc::SavedCall call)>;

  // Told of every change of an object, under the turn. Not of what start rebuilds, apart from what
  // is pending after it.
  class Observer {
   public:
    virtual void OnCreated(const ObjectId& id) = 0;
    virtual void OnChanged(const ObjectId& id) = 0;  // Other calls rebuild it now.
    virtual void OnRemoved(const ObjectId& id, bool was_pending) = 0;
    // It, or a part of it, waits. Told again when the reason is another one.
    virtual void OnPending(const ObjectId& id, const Status& why) = 0;
    virtual void OnRestored(const ObjectId& id) = 0;  // It waits no more.

   protected:
    ~Observer() = default;
  };

  // `store` may be null, with its loop: nothing is kept (--no-state). The loop outlives this.
  Configuration(Loop* store_loop, std::unique_ptr<Store> store);
  ~Configuration();

  // Reads what the store has. Before anything else.
  Status Load();
  bool empty() const { return objects_.empty(); }
  // Objects of this kind have names with several spellings; those of one object have this one in
  // common. Names of other kinds are compared as they are.
  using CommonSpelling = std::function<std::string(const std::string& name)>;
  void SetSpelling(const std::string& kind, CommonSpelling spelling) {
    spellings_[kind] = std::move(spelling);
  }
  // Objects of the kind `companion` say something of those of `kind` that have the same name, and
  // are erased with them.
  void SetCompanion(const std::string& kind, const std::string& companion) {
    companions_.emplace(kind, companion);
  }

  // --- Handlers, under the turn.

  // The object is now rebuilt by these calls. A new object comes last in order.
  void Put(const ObjectId& id, std::vector<rpc::SavedCall> calls);
  // The same for an object that is there, in or out of the turn, and while another is rebuilt: a
  // host has changed it. Nothing, when it is not there.
  void Amend(const ObjectId& id, std::vector<rpc::SavedCall> calls);
  void Erase(const ObjectId& id);
  void EraseCompanions(const ObjectId& id);
  // Its calls, or none.
  std::vector<rpc::SavedCall> CallsOf(const ObjectId& id) const;

  // --- Replay.

  // Waits for what calls have begun and go on with beside the replay; true when something came to
  // life by it. Without the turn. None: no call does that.
  using Settle = std::function<Task<bool>()>;
  // Makes the saved calls of the methods that `wanted` accepts, in order, and goes round again as
  // long as a round brought something to life. What fails is parked with its reason.
  Task<void> Replay(Turn& turn, Apply apply, Settle settle,
                    std::function<bool(const std::string& method)> wanted);
  // Tries what is parked once more, a turn for each call; true when something came to life. One at
  // a time.
  Task<bool> RetryPending(Turn& turn, Apply apply);
  // An object is there but a part of it is not up yet: kept as pending beside it.
  void Park(const ObjectId& id, rpc::SavedCall call, Status why);
  // The object is gone, for a reason that may pass: all its calls are pending.
  void ParkAll(const ObjectId& id, Status why);
  void Unpark(const ObjectId& id);

  // In the order of their making.
  std::vector<ObjectId> ids() const;
  std::vector<PendingCalls> pending() const;
  bool IsPending(const ObjectId& id) const { return pending_.contains(id); }
  // All calls of one subsystem, in order, pending ones too.
  std::vector<rpc::SavedCall> CallsWhere(
      const std::function<bool(const std::string& method)>& wanted) const;

  // --- ChangeKeeper.

  // Deleting a pending object is done here; making one of its name is refused with EEXIST.
  Status BeforeChange(const rpc::Method& method, const rpc::Message& request,
                      std::unique_ptr<rpc::Message>& done) override;
  // One transaction takes all changes that wait.
  Task<Status> Commit() override;

  // Outlives this. Null: nobody is told.
  void set_observer(Observer* observer) { observer_ = observer; }
  // Called at the end of every commit of a change: pending calls may now succeed.
  void set_on_commit(std::function<void()> on_commit) { on_commit_ = std::move(on_commit); }

  // --- State that is no configuration: it is kept under a name, and nobody replays it. Durable
  // when the task ends. Empty text: no more.
  Task<Status> KeepState(std::string name, std::string text);
  // Empty when there is none.
  std::string StateOf(const std::string& name) const;

  Task<Status> KeepGoodCopy();
  // OK, or why the last write failed: what runs is not what is saved.
  const Status& health() const { return health_; }
  const Store* store() const { return store_.get(); }

 private:
  struct Object {
    uint64_t sequence;
    std::vector<rpc::SavedCall> calls;
  };
  Task<Status> Write();
  void NoteReason(PendingCalls& parked, Status why);
  std::vector<const std::pair<const ObjectId, Object>*> InOrder() const;
  // The pending object that the request calls by one of its names, or the end.
  std::map<ObjectId, PendingCalls>::iterator FindPending(const std::string& kind,
                                                         const rpc::Message& request);

  Loop* const store_loop_;
  std::unique_ptr<Store> store_;
  std::map<ObjectId, Object> objects_;
  std::map<ObjectId, PendingCalls> pending_;
  std::map<std::string, std::string> states_;
  std::map<std::string, CommonSpelling> spellings_;     // By kind.
  std::multimap<std::string, std::string> companions_;  // By kind.
  uint64_t next_sequence_ = 1;
  bool replaying_ = false;  // Under the turn: what is rebuilt is saved already.

  // Group commit. Changes are numbered; a write covers all up to the number it began at.
  std::set<ObjectId> dirty_;
  uint64_t changed_ = 0;
  uint64_t durable_ = 0;
  bool writing_ = false;
  std::vector<std::coroutine_handle<>> waiting_;
  Status health_;
  std::function<void()> on_commit_;
  Observer* observer_ = nullptr;
  bool starting_ = false;  // In Replay: what comes to life is no news.

  struct WriteEnded;
};

}  // namespace pollux::service
