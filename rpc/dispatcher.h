#pragma once
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/clock.h"
#include "core/status.h"
#include "core/task.h"
#include "core/turn.h"
#include "pollux/v1/options.pb.h"
#include "rpc/access_rules.h"
#include "rpc/auditor.h"
#include "rpc/identity.h"
#include "rpc/method_statistics.h"

// One definition, many faces: a method is an rpc of a .proto with the option (pollux.v1.rpc), and
// one handler bound to its JSON-RPC name. The dispatcher knows the states, the turn for changes and
// the rules for parameters; it names no method. Control loop only.

namespace pollux::rpc {

using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

// Who calls and in what circumstances.
struct Caller {
  std::string name;     // "uid 0 pid 812 (unix)", "127.0.0.1:40112", "replay": for logs.
  bool replay = false;  // The store, rebuilding the configuration at start.
  // What the door knows of it. Null: ourselves.
  std::shared_ptr<const Identity> identity;
  // The turn that the call has. A handler that waits for the outside gives it back meanwhile, and
  // takes it again before it changes something. Null for a read, and where somebody else has it.
  Turn::Holder* turn = nullptr;
  // Turns true when nobody waits for the answer any more. A change that has not begun then never
  // does; one that has begun goes to its end. Null: that cannot be told.
  const std::atomic<bool>* gone = nullptr;
};

// A method as the descriptors define it.
struct Method {
  std::string name;  // JSON-RPC's.
  const MethodDescriptor* descriptor;
  v1::Rpc options;
  std::string subsystem;  // Of its service; empty when it is not configuration.
  // The response field that JSON-RPC returns without its message, or null.
  const google::protobuf::FieldDescriptor* bare = nullptr;
  size_t index = 0;  // Its place in Dispatcher::methods().
};

// A call that rebuilds something: what the store keeps and what SPDK's configuration format lists.
struct SavedCall {
  std::string method;
  std::string params;  // A JSON object, compact.
  bool operator==(const SavedCall&) const = default;
};

// Told of changes, by the dispatcher. The service implements it over the store.
class ChangeKeeper {
 public:
  // Neither is asked about a replay: the keeper makes those calls itself.

  // Runs under the turn, before the handler of a method that changes something. An error is the
  // answer, and the handler does not run. An answer in `done` (of the method's response type) ends
  // the call with success, likewise: a pending object was deleted.
  virtual Status BeforeChange(const Method& method, const Message& request,
                              std::unique_ptr<Message>& done) = 0;
  // After the handler succeeded and the turn was given back: returns when all that was changed so
  // far is durable. An error becomes the caller's.
  virtual Task<Status> Commit() = 0;

 protected:
  ~ChangeKeeper() = default;
};

class Completer;

// Every service of proto/pollux/v1, in the order of the files' names.
std::vector<const ServiceDescriptor*> CompiledServices();

// Whether `status` says that a method was called in a state that does not allow it.
bool IsWrongState(const Status& status);

class Dispatcher {
 public:
  using Handler = std::function<Task<Result<std::unique_ptr<Message>>>(
      std::unique_ptr<Message> request, Caller caller)>;

  // Reads every method of `services` that has the option. `keeper` may be null (then nothing is
  // kept). CHECKs what the .proto files promise: unique names, a bare field that exists, defaults
  // that decode.
  explicit Dispatcher(ChangeKeeper* keeper,
                      const std::vector<const ServiceDescriptor*>& services = CompiledServices());
  ~Dispatcher();

  // Binds a member function `Task<Result<Response>> F(Request)` or `F(Request, Caller)`.
  // CHECKs that the method exists, is unbound, and has these types.
  template <typename Object, typename Request, typename Response>
  void Bind(std::string_view name, Object* object,
            Task<Result<Response>> (Object::*handler)(Request)) {
    Bind(name, Request::descriptor(), Response::descriptor(),
         [object, handler](std::unique_ptr<Message> request, Caller) {
           return Invoke<Response>((object->*handler)(std::move(static_cast<Request&>(*request))));
         });
  }
  template <typename Object, typename Request, typename Response>
  void Bind(std::string_view name, Object* object,
            Task<Result<Response>> (Object::*handler)(Request, Caller)) {
    Bind(name, Request::descriptor(), Response::descriptor(),
         [object, handler](std::unique_ptr<Message> request, Caller caller) {
           return Invoke<Response>(
               (object->*handler)(std::move(static_cast<Request&>(*request)), std::move(caller)));
         });
  }

  // Null when there is none.
  const Method* Find(std::string_view name) const;
  // In the order of the descriptors.
  std::vector<const Method*> methods() const;
  std::vector<std::string> unbound() const;

  // STARTUP until Initialised().
  v1::State state() const { return state_; }
  void SetState(v1::State state) { state_ = state; }
  bool Callable(const Method& method) const;

  // What a caller can do who came too late for methods of the start-up, and too early for those of
  // run time: the end of the answer.
  void SetStateHints(std::string too_late, std::string too_early) {
    too_late_ = std::move(too_late);
    too_early_ = std::move(too_early);
  }
  // Both outlive this. Null, as to begin with: everybody may call everything, nobody is told.
  void SetAccessRules(const AccessRules* rules) { rules_ = rules; }
  void SetAuditor(Auditor* auditor) { auditor_ = auditor; }
  // Whether a caller may have what a method gives; told to the auditor when it may not.
  Status Admit(const std::string& method, v1::Role needed, const Caller& caller) const;
  // Whether anybody who is not trusted may call anything; likewise.
  Status AdmitConnection(const Identity& caller) const;

  // Somebody did not even get to call.
  void NoteRefusal(const std::string& who, const Status& why) const;

  const MethodStatistics& statistics(const Method& method) const {
    return entries_[method.index]->statistics;
  }

  // What an answer says when the method may not be called now; OK otherwise.
  Status CheckState(const Method& method) const;

  // An empty request of the method's type.
  std::unique_ptr<Message> NewRequest(const Method& method) const;
  // Fills in (default) for absent fields and fails for an absent (required) field, for an enum's
  // value that is none and for a field that the .proto does not know, with the path; everywhere in
  // the message. Runs once for every face.
  Status Complete(Message& request) const;

  // Calls the handler of a completed request. A method that changes something waits for its turn,
  // and is answered when the keeper has committed. The state is checked when the handler would run,
  // since it may have changed during the wait; a replay may be made in any state. A caller who may
  // not make the call gets AccessDenied before anything else.
  Task<Result<std::unique_ptr<Message>>> Call(const Method& method,
                                              std::unique_ptr<Message> request, Caller caller);

  // The handler alone, for whoever holds the turn: the keeper is not asked.
  Task<Result<std::unique_ptr<Message>>> CallHandler(const Method& method,
                                                     std::unique_ptr<Message> request,
                                                     Caller caller);

  Turn& turn() { return turn_; }

 private:
  template <typename Response>
  static Task<Result<std::unique_ptr<Message>>> Invoke(Task<Result<Response>> task) {
    Result<Response> response = co_await task;
    if (!response.ok()) co_return response.status();
    std::unique_ptr<Message> message = std::make_unique<Response>(*std::move(response));
    co_return std::move(message);
  }
  void Bind(std::string_view name, const google::protobuf::Descriptor* request,
            const google::protobuf::Descriptor* response, Handler handler);

  struct Entry {
    Method method;
    Handler handler;
    MethodStatistics statistics;
  };
  void AddMethod(const MethodDescriptor& descriptor);
  Task<Result<std::unique_ptr<Message>>> CallInTurn(const Method& method,
                                                    std::unique_ptr<Message> request,
                                                    Caller caller);

  const std::unique_ptr<Completer> completer_;
  ChangeKeeper* const keeper_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::map<std::string, Entry*, std::less<>> by_name_;
  const RealClock clock_;
  const AccessRules* rules_ = nullptr;
  Auditor* auditor_ = nullptr;
  v1::State state_ = v1::STATE_STARTUP;
  std::string too_late_, too_early_;
  Turn turn_;
};

}  // namespace pollux::rpc
