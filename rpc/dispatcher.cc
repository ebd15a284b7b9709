#include "rpc/dispatcher.h"

#include <optional>

#include "absl/strings/cord.h"
#include "rpc/completer.h"
#include "rpc/json_codec.h"

namespace pollux::rpc {
namespace {

constexpr char kWrongState[] = "pollux.v1.WrongState";

Status WrongState(std::string text, const std::string& hint) {
  if (!hint.empty()) text += ": " + hint;
  Status status = ErrorOfErrno(EPERM, text);
  status.SetPayload(kWrongState, absl::Cord());
  return status;
}

}  // namespace

bool IsWrongState(const Status& status) { return status.GetPayload(kWrongState).has_value(); }

Dispatcher::Dispatcher(ChangeKeeper* keeper, const std::vector<const ServiceDescriptor*>& services)
    : completer_(std::make_unique<Completer>()), keeper_(keeper) {
  for (const ServiceDescriptor* service : services) {
    for (int i = 0; i < service->method_count(); ++i) AddMethod(*service->method(i));
  }
}

Dispatcher::~Dispatcher() = default;

void Dispatcher::AddMethod(const MethodDescriptor& descriptor) {
  if (!descriptor.options().HasExtension(v1::rpc)) return;
  auto entry = std::make_unique<Entry>();
  Method& method = entry->method;
  method.options = descriptor.options().GetExtension(v1::rpc);
  method.name = method.options.name();
  method.descriptor = &descriptor;
  method.index = entries_.size();
  method.subsystem = descriptor.service()->options().GetExtension(v1::subsystem);
  if (!method.options.bare().empty()) {
    method.bare = descriptor.output_type()->FindFieldByName(method.options.bare());
    CHECK(method.bare != nullptr, method.name.c_str());
  }
  completer_->AddType(descriptor.input_type());
  const bool is_new = by_name_.emplace(method.name, entry.get()).second;
  CHECK(is_new, method.name.c_str());
  entries_.push_back(std::move(entry));
}

void Dispatcher::Bind(std::string_view name, const google::protobuf::Descriptor* request,
                      const google::protobuf::Descriptor* response, Handler handler) {
  const auto found = by_name_.find(name);
  CHECK(found != by_name_.end(), "a handler for a method that no .proto has");
  Entry& entry = *found->second;
  CHECK(entry.handler == nullptr, "a method with two handlers");
  CHECK(entry.method.descriptor->input_type() == request, "a handler of another request type");
  CHECK(entry.method.descriptor->output_type() == response, "a handler of another response type");
  entry.handler = std::move(handler);
}

const Method* Dispatcher::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &found->second->method;
}

std::vector<const Method*> Dispatcher::methods() const {
  std::vector<const Method*> all;
  for (const auto& entry : entries_) all.push_back(&entry->method);
  return all;
}

std::vector<std::string> Dispatcher::unbound() const {
  std::vector<std::string> names;
  for (const auto& entry : entries_) {
    if (entry->handler == nullptr) names.push_back(entry->method.name);
  }
  return names;
}

bool Dispatcher::Callable(const Method& method) const {
  return method.options.state() == v1::STATE_ANY || method.options.state() == state_;
}

Status Dispatcher::CheckState(const Method& method) const {
  if (Callable(method)) return OkStatus();
  if (method.options.state() == v1::STATE_STARTUP) {
    return WrongState("Method may only be called before the framework is initialized", too_late_);
  }
  return WrongState("Method may only be called after the framework is initialized", too_early_);
}

std::unique_ptr<Message> Dispatcher::NewRequest(const Method& method) const {
  const auto* type = method.descriptor->input_type();
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

Status Dispatcher::Complete(Message& request) const { return completer_->Complete(request); }

Task<Result<std::unique_ptr<Message>>> Dispatcher::Call(const Method& method,
                                                        std::unique_ptr<Message> request,
                                                        Caller caller) {
  const v1::Role needed = RoleFor(method.options);
  CO_RETURN_IF_ERROR(Admit(method.name, needed, caller));
  std::optional<Auditor::Call> call;
  if (auditor_ != nullptr && needed != v1::ROLE_READ_ONLY) {
    call.emplace();
    call->who = caller.name;
    call->method = method.name;
    call->params = EncodeMessage(*request);
  }
  MethodStatistics& statistics = entries_[method.index]->statistics;
  ++statistics.running;
  const uint64_t begin_ns = clock_.NowNs();
  const bool in_turn = method.options.changes();
  Task<Result<std::unique_ptr<Message>>> running =
      in_turn ? CallInTurn(method, std::move(request), std::move(caller))
              : CallHandler(method, std::move(request), std::move(caller));
  Result<std::unique_ptr<Message>> answer = co_await running;
  statistics.OnEnded(clock_.NowNs() - begin_ns, answer.ok());
  if (call.has_value()) auditor_->OnCallEnded(*call, answer.status());
  co_return std::move(answer);
}

Status Dispatcher::Admit(const std::string& method, v1::Role needed, const Caller& caller) const {
  if (rules_ == nullptr || caller.identity == nullptr || caller.identity->trusted) {
    return OkStatus();
  }
  Status admitted = rules_->Admit(method, needed, *caller.identity);
  if (!admitted.ok() && auditor_ != nullptr) {
    auditor_->OnCallEnded({.who = caller.name, .method = method, .params = ""}, admitted);
  }
  return admitted;
}

Status Dispatcher::AdmitConnection(const Identity& caller) const {
  if (caller.trusted) return OkStatus();
  if (rules_ != nullptr && rules_->RoleOf(caller) != v1::ROLE_UNSPECIFIED) return OkStatus();
  Status refused = AccessDenied(
      absl::StrFormat("%s may not call: it is neither root nor the user that polluxd runs as, and "
                      "no role was granted to it",
                      caller.name));
  NoteRefusal(caller.name, refused);
  return refused;
}

void Dispatcher::NoteRefusal(const std::string& who, const Status& why) const {
  if (auditor_ != nullptr) auditor_->OnCallerRefused(who, why);
}

// Changes take their turn, but the disk is awaited after it was given back: those that wait for it
// share one commit.
Task<Result<std::unique_ptr<Message>>> Dispatcher::CallInTurn(const Method& method,
                                                              std::unique_ptr<Message> request,
                                                              Caller caller) {
  ChangeKeeper* const keeper = caller.replay ? nullptr : keeper_;
  Result<std::unique_ptr<Message>> answer = nullptr;
  {
    Turn::Holder held = co_await turn_.Take();
    caller.turn = &held;
    if (caller.gone != nullptr && *caller.gone) {
      co_return Cancelled("the caller gave up before its turn came: nothing was changed");
    }
    if (keeper != nullptr) {
      CO_RETURN_IF_ERROR(CheckState(method));
      std::unique_ptr<Message> done;
      CO_RETURN_IF_ERROR(keeper->BeforeChange(method, *request, done));
      answer = std::move(done);
    }
    if (*answer == nullptr) {
      answer = co_await CallHandler(method, std::move(request), std::move(caller));
    }
  }
  if (answer.ok() && keeper != nullptr) {
    CO_RETURN_IF_ERROR(co_await keeper->Commit());
  }
  co_return std::move(answer);
}

Task<Result<std::unique_ptr<Message>>> Dispatcher::CallHandler(const Method& method,
                                                               std::unique_ptr<Message> request,
                                                               Caller caller) {
  if (!caller.replay) CO_RETURN_IF_ERROR(CheckState(method));
  const Handler& handler = entries_[method.index]->handler;
  if (handler == nullptr) {
    co_return ErrorOfErrno(ENOSYS, "this build has no handler for the method");
  }
  co_return co_await handler(std::move(request), std::move(caller));
}

}  // namespace pollux::rpc
