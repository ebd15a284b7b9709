#include "rpc/grpc/grpc_server.h"

#include <fcntl.h>
#include <google/protobuf/stubs/logging.h>
#include <sys/epoll.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/check.h"
#include "core/event.h"
#include "core/log.h"
#include "core/log_limiter.h"
#include "core/net/listener.h"
#include "core/task_group.h"
#include "rpc/error_map.h"
#include "rpc/grpc/health.h"
#include "rpc/grpc/message_rules.h"
#include "rpc/grpc/reflection.h"
#include "rpc/grpc/status.h"
#include "rpc/grpc/tls_door.h"
#include "rpc/grpc/transport.h"
#include "rpc/identity.h"

namespace pollux::rpc {
namespace {

constexpr char kHealth[] = "grpc.health.v1.Health";
constexpr char kReflection[] = "grpc.reflection.v1alpha.ServerReflection";

std::string PathOf(const std::string& service, const std::string& method) {
  return "/" + service + "/" + method;
}

// Of all services that have a method of ours.
std::set<std::string> ServiceNames(const Dispatcher& dispatcher,
                                   const std::vector<GrpcStreamMethod*>& streams) {
  std::set<std::string> names{kHealth, kReflection};
  for (const GrpcStreamMethod* stream : streams) names.insert(stream->service());
  for (const Method* method : dispatcher.methods()) {
    names.insert(method->descriptor->service()->full_name());
  }
  return names;
}

std::vector<std::string> InOrder(const std::set<std::string>& names) {
  return {names.begin(), names.end()};
}

}  // namespace

struct GrpcServer::Impl final : GrpcTransport::Owner, TlsDoor::Owner {
  // A listener and its connections.
  struct Door final : Listener::Owner {
    Door(Impl& owner, bool unix_socket) : impl(owner), is_unix(unix_socket) {}
    void OnAccepted(UniqueFd socket) override { impl.OnAccepted(*this, std::move(socket)); }
    Impl& impl;
    const bool is_unix;
    std::unique_ptr<Listener> listener;
    size_t connections = 0;
  };
  // A connection that gRPC has. A second descriptor of the socket tells when it is over, which gRPC
  // tells nobody.
  struct Guest final : FdHandler {
    Guest(Impl& owner, Door* through, Identity who, UniqueFd second)
        : impl(owner),
          door(through),
          caller(std::make_shared<Identity>(std::move(who))),
          socket(std::move(second)) {}
    void OnReady(uint32_t) override { impl.OnClosed(*this); }
    Impl& impl;
    Door* const door;  // Null: it came through one with TLS, which counts by itself.
    const std::shared_ptr<const Identity> caller;
    const UniqueFd socket;
    int number = -1;  // gRPC's descriptor.
  };

  Impl(Loop& control, Dispatcher& methods, std::vector<GrpcStreamMethod*> stream_methods);
  ~Impl() { CHECK(guests.empty(), "a server died without Stop()"); }

  void OnAccepted(Door& door, UniqueFd socket);
  void OnArrived(UniqueFd socket, Identity caller) override;
  void OnTurnedAway(const std::string& who, const Status& why) override;
  // False: no descriptor is left.
  bool Receive(Door* door, UniqueFd socket, Identity caller);
  void OnClosed(Guest& guest);
  void OnCall(std::shared_ptr<GrpcStream> stream) override;
  void OnGone() override;
  Task<void> ServeStream(GrpcStreamMethod* method, std::shared_ptr<GrpcStream> stream,
                         Caller caller);
  Task<void> Serve(const Method* method, std::shared_ptr<GrpcStream> stream, Caller caller);
  Result<std::unique_ptr<Message>> Decode(const Method& method, const std::string& bytes) const;
  void Fail(GrpcStream& stream, const Method& method, CallPhase phase, const Status& error);
  Caller CallerOf(const GrpcStream& stream) const;

  Loop& loop;
  Dispatcher& dispatcher;
  std::map<std::string, const Method*> methods;      // By path.
  std::map<std::string, GrpcStreamMethod*> streams;  // By path.
  GrpcHealth health;
  GrpcReflection reflection;
  TaskGroup calls;
  LogLimiter caller_log{loop, "rpc", "gRPC callers"};
  std::vector<std::unique_ptr<Door>> doors;
  std::vector<std::unique_ptr<TlsDoor>> tls_doors;
  std::map<int, std::unique_ptr<Guest>> guests;  // By their own descriptor.
  std::map<int, Guest*> by_number;
  bool paused = false;
  bool stopping = false;
  Event resumed;
  GrpcTransport transport{loop, *this};  // Last: calls may come from here on.
};

GrpcServer::Impl::Impl(Loop& control, Dispatcher& all,
                       std::vector<GrpcStreamMethod*> stream_methods)
    : loop(control),
      dispatcher(all),
      health(ServiceNames(all, stream_methods)),
      reflection(InOrder(ServiceNames(all, stream_methods))) {
  // Protobuf writes a line for each text of a caller that is not UTF-8; it gets an error anyway.
  google::protobuf::SetLogHandler(nullptr);
  for (const Method* method : dispatcher.methods()) {
    methods[PathOf(method->descriptor->service()->full_name(), method->descriptor->name())] =
        method;
  }
  for (GrpcStreamMethod* method : stream_methods) {
    streams[PathOf(method->service(), method->method())] = method;
  }
}

// --- Connections.

void GrpcServer::Impl::OnAccepted(Door& door, UniqueFd socket) {
  Result<Identity> caller = Identity();
  if (door.is_unix) {
    caller = IdentityOfUnixPeer(socket.get());
  } else if (const auto peer = SocketAddress::PeerOf(socket.get()); peer.ok()) {
    caller = IdentityOfLoopback(peer->ToString());
  } else {
    return;  // It is gone already.
  }
  const Status admitted = caller.ok() ? dispatcher.AdmitConnection(*caller) : caller.status();
  if (!admitted.ok()) return caller_log.Warning("a caller was refused: %s", admitted.message());
  if (!Receive(&door, std::move(socket), *std::move(caller))) return;
  if (++door.connections == kConnectionsMax) door.listener->Pause();
}

// Whether it has a role is asked for each call, whose answer can say why not.
void GrpcServer::Impl::OnArrived(UniqueFd socket, Identity caller) {
  if (!stopping) Receive(nullptr, std::move(socket), std::move(caller));
}

void GrpcServer::Impl::OnTurnedAway(const std::string& who, const Status& why) {
  if (who.empty()) return LogError("rpc", "TLS goes on with the old files: %s", why.message());
  dispatcher.NoteRefusal(who, why);
  caller_log.Warning("%s was refused: %s", who, why.message());
}

bool GrpcServer::Impl::Receive(Door* door, UniqueFd socket, Identity caller) {
  auto guest = std::make_unique<Guest>(*this, door, std::move(caller),
                                       UniqueFd(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0)));
  const int fd = guest->socket.get();
  const Status watched =
      fd < 0 ? ErrorOfErrno(errno, "no descriptor is left") : loop.Watch(fd, EPOLLRDHUP, *guest);
  if (!watched.ok()) {
    caller_log.Warning("no connection for %s: %s", guest->caller->name, watched.message());
    return false;
  }
  guest->number = socket.get();
  by_number[guest->number] = guest.get();
  guests[fd] = std::move(guest);
  transport.Serve(std::move(socket));
  return true;
}

void GrpcServer::Impl::OnClosed(Guest& guest) {
  loop.Unwatch(guest.socket.get(), guest);
  if (Door* const door = guest.door; door != nullptr) {
    if (door->connections-- == kConnectionsMax && door->listener != nullptr) {
      door->listener->Resume();
    }
  }
  const auto numbered = by_number.find(guest.number);
  if (numbered != by_number.end() && numbered->second == &guest) by_number.erase(numbered);
  guests.erase(guest.socket.get());
}

// Who is gone already may do what a stranger may: nothing.
Caller GrpcServer::Impl::CallerOf(const GrpcStream& stream) const {
  static const auto kStranger = std::make_shared<const Identity>();
  Caller caller{.name = "a caller who is gone (gRPC)", .identity = kStranger};
  if (const auto found = by_number.find(stream.connection()); found != by_number.end()) {
    caller.name = found->second->caller->name + " (gRPC)";
    caller.identity = found->second->caller;
  }
  caller.gone = &stream.gone_flag();
  return caller;
}

// --- Calls.

void GrpcServer::Impl::OnCall(std::shared_ptr<GrpcStream> stream) {
  const std::string& path = stream->path();
  Caller caller = CallerOf(*stream);  // Now: its connection's number may be another's later.
  if (const auto found = methods.find(path); found != methods.end()) {
    calls.Spawn(Serve(found->second, std::move(stream), std::move(caller)));
  } else if (const auto streaming = streams.find(path); streaming != streams.end()) {
    calls.Spawn(ServeStream(streaming->second, std::move(stream), std::move(caller)));
  } else if (path == PathOf(kHealth, "Check")) {
    calls.Spawn(health.Check(std::move(stream)));
  } else if (path == PathOf(kHealth, "Watch")) {
    calls.Spawn(health.Watch(std::move(stream)));
  } else if (path == PathOf(kReflection, "ServerReflectionInfo")) {
    calls.Spawn(reflection.Info(std::move(stream)));
  } else {
    const Status error = ErrorOfField(ENOSYS, "method", path, "Method not found");
    stream->Finish(ToGrpcStatus(error, kMethodNotFound));
  }
}

void GrpcServer::Impl::OnGone() {
  health.LookAgain();
  for (const auto& [path, method] : streams) method->LookAgain();
}

Task<void> GrpcServer::Impl::ServeStream(GrpcStreamMethod* method,
                                         std::shared_ptr<GrpcStream> stream, Caller caller) {
  while (paused) co_await resumed;
  if (stopping) {
    stream->Finish({.code = GrpcCode::kUnavailable, .message = "the server is stopping"});
    co_return;
  }
  const std::string name = method->service() + "." + method->method();
  if (const Status admitted = dispatcher.Admit(name, v1::ROLE_READ_ONLY, caller); !admitted.ok()) {
    co_return stream->Finish(ToGrpcStatus(admitted, kAccessDenied));
  }
  co_await method->Serve(std::move(stream));
}

Task<void> GrpcServer::Impl::Serve(const Method* method, std::shared_ptr<GrpcStream> stream,
                                   Caller caller) {
  while (paused) co_await resumed;
  if (stopping) {
    stream->Finish({.code = GrpcCode::kUnavailable, .message = "the server is stopping"});
    co_return;
  }
  if (stream->gone()) {
    stream->Finish({.code = GrpcCode::kDeadlineExceeded,
                    .message = "the deadline passed before the call began"});
    co_return;
  }
  if (const Status state = dispatcher.CheckState(*method); !state.ok()) {
    co_return Fail(*stream, *method, CallPhase::kParams, state);
  }
  const std::optional<std::string> bytes = co_await stream->Receive();
  Result<std::unique_ptr<Message>> request = InvalidArgument("the call has no request message");
  if (bytes.has_value()) request = Decode(*method, *bytes);
  if (!request.ok()) co_return Fail(*stream, *method, CallPhase::kParams, request.status());

  const Result<std::unique_ptr<Message>> answer =
      co_await dispatcher.Call(*method, *std::move(request), std::move(caller));
  if (!answer.ok()) co_return Fail(*stream, *method, CallPhase::kOperation, answer.status());

  RemoveSecrets(**answer);
  std::string out;
  if ((*answer)->ByteSizeLong() > GrpcTransport::kAnswerBytesMax) {
    const std::string reason =
        absl::StrFormat("the answer has %u bytes, more than the %u that one may have",
                        (*answer)->ByteSizeLong(), GrpcTransport::kAnswerBytesMax);
    co_return stream->Finish(ToGrpcStatus(ErrorOfErrno(EMSGSIZE, reason), kInternalError));
  }
  (*answer)->SerializeToString(&out);
  stream->FinishWith(std::move(out));
}

Result<std::unique_ptr<Message>> GrpcServer::Impl::Decode(const Method& method,
                                                          const std::string& bytes) const {
  std::unique_ptr<Message> request = dispatcher.NewRequest(method);
  if (!request->ParseFromString(bytes)) {
    return InvalidField("params", "", "the request is no %s", request->GetTypeName());
  }
  RETURN_IF_ERROR(HoldToJson(*request));
  RETURN_IF_ERROR(dispatcher.Complete(*request));
  return request;
}

void GrpcServer::Impl::Fail(GrpcStream& stream, const Method& method, CallPhase phase,
                            const Status& error) {
  if (phase == CallPhase::kOperation && LogEnabled(LogLevel::kInfo, "rpc")) {
    const absl::string_view message = error.message();
    caller_log.Info("%s from %s: %s", method.name, CallerOf(stream).name,
                    Printable({message.data(), message.size()}));
  }
  stream.Finish(ToGrpcStatus(error, JsonRpcCode(method, phase, error)));
}

// --- The server.

GrpcServer::GrpcServer(Loop& loop, Dispatcher& dispatcher, std::vector<GrpcStreamMethod*> streams)
    : impl_(std::make_unique<Impl>(loop, dispatcher, std::move(streams))) {}

GrpcServer::~GrpcServer() = default;

Status GrpcServer::BindUnix(const std::string& path) {
  auto door = std::make_unique<Impl::Door>(*impl_, /*unix_socket=*/true);
  ASSIGN_OR_RETURN(door->listener, Listener::BoundUnix(impl_->loop, path, *door));
  impl_->doors.push_back(std::move(door));
  return OkStatus();
}

Result<SocketAddress> GrpcServer::ListenTcp(const SocketAddress& address) {
  if (!address.IsLoopback()) {
    return InvalidField("address", address.ToString(),
                        "must be a loopback address: nothing tells who calls by TCP");
  }
  auto door = std::make_unique<Impl::Door>(*impl_, /*unix_socket=*/false);
  ASSIGN_OR_RETURN(door->listener, Listener::Tcp(impl_->loop, address, *door));
  const SocketAddress bound = door->listener->address();
  impl_->doors.push_back(std::move(door));
  return bound;
}

Result<SocketAddress> GrpcServer::ListenTls(const SocketAddress& address, const TlsFiles& files) {
  ASSIGN_OR_RETURN(std::unique_ptr<TlsDoor> door,
                   TlsDoor::Open(impl_->loop, address, files, *impl_));
  const SocketAddress bound = door->address();
  impl_->tls_doors.push_back(std::move(door));
  return bound;
}

void GrpcServer::OpenToOthers(bool open) {
  for (const auto& door : impl_->doors) {
    if (door->is_unix) door->listener->OpenToOthers(open);
  }
}

Status GrpcServer::Listen() {
  for (const auto& door : impl_->doors) {
    if (!door->listener->listening()) RETURN_IF_ERROR(door->listener->Listen());
  }
  return OkStatus();
}

void GrpcServer::Pause() { impl_->paused = true; }

void GrpcServer::Resume() {
  impl_->paused = false;
  impl_->resumed.Pulse();
}

void GrpcServer::SetServing(bool serving) { impl_->health.SetServing(serving); }

Task<void> GrpcServer::Stop(uint64_t drain_ns) {
  for (auto& door : impl_->doors) door->listener.reset();
  impl_->stopping = true;
  impl_->health.End();
  for (const auto& door : impl_->tls_doors) co_await door->StopListening();
  for (const auto& [path, method] : impl_->streams) method->End();
  Resume();
  co_await impl_->transport.Stop(drain_ns);
  co_await impl_->calls.Drained();
  while (!impl_->guests.empty()) impl_->OnClosed(*impl_->guests.begin()->second);
  impl_->doors.clear();
  impl_->tls_doors.clear();
}

}  // namespace pollux::rpc
