#include "rpc/json_rpc_server.h"

#include <sys/socket.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "core/check.h"
#include "core/log_limiter.h"
#include "core/method_call.h"
#include "core/net/byte_stream.h"
#include "core/net/listener.h"
#include "core/task_group.h"
#include "rpc/error_map.h"
#include "rpc/json_rpc_connection.h"

namespace pollux::rpc {
namespace {

// A caller who may not call learns why, if its socket takes the line.
void Refuse(int fd, const Status& why, LogLimiter& log) {
  std::string line = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":";
  AppendJsonRpcError(line, -ErrnoOf(why), why);
  line += "}\n";
  const ssize_t sent = send(fd, line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  log.Warning("a caller was refused%s: %s", sent < 0 ? " without a word" : "", why.message());
}

}  // namespace

struct JsonRpcServer::Impl final : JsonRpcConnection::Owner {
  // A listener and its connections.
  struct Door final : Listener::Owner {
    Door(Impl& owner, bool unix_socket) : impl(owner), is_unix(unix_socket) {}
    void OnAccepted(UniqueFd socket) override { impl.OnAccepted(*this, std::move(socket)); }
    Impl& impl;
    const bool is_unix;
    std::unique_ptr<Listener> listener;
    size_t connections = 0;
  };
  struct Guest {
    std::shared_ptr<JsonRpcConnection> connection;
    Door* door;
  };

  Impl(Loop& control, Dispatcher& methods) : loop(control), dispatcher(methods) {}
  ~Impl() { CHECK(guests.empty(), "a server died without Stop()"); }

  void OnAccepted(Door& door, UniqueFd socket);
  void OnConnectionClosed(JsonRpcConnection& connection) override;
  LogLimiter& log() override { return caller_log; }
  void CloseAll() {
    for (auto& [key, guest] : guests) guest.connection->Close();
  }

  Loop& loop;
  Dispatcher& dispatcher;
  TaskGroup calls;
  LogLimiter caller_log{loop, "rpc", "callers"};
  std::vector<std::unique_ptr<Door>> doors;
  std::map<JsonRpcConnection*, Guest> guests;
  bool paused = false;
  bool stopping = false;
  Completion<bool> all_closed;
  TimerCall<Impl, &Impl::CloseAll> drain_timer{*this};
};

void JsonRpcServer::Impl::OnAccepted(Door& door, UniqueFd socket) {
  Result<Identity> caller = Identity();
  if (door.is_unix) {
    caller = IdentityOfUnixPeer(socket.get());
  } else if (const auto peer = SocketAddress::PeerOf(socket.get()); peer.ok()) {
    caller = IdentityOfLoopback(peer->ToString());
  } else {
    return;  // It is gone already.
  }
  const Status admitted = caller.ok() ? dispatcher.AdmitConnection(*caller) : caller.status();
  if (!admitted.ok()) return Refuse(socket.get(), admitted, caller_log);

  Result<std::unique_ptr<ByteStream>> stream =
      MakeByteStream(StreamKind::kEpoll, loop, std::move(socket));
  if (!stream.ok()) {
    return caller_log.Warning("no connection for %s: %s", caller->name, stream.status().message());
  }
  auto connection = std::make_shared<JsonRpcConnection>(loop, dispatcher, calls, *this,
                                                        *std::move(stream), *std::move(caller));
  guests[connection.get()] = {connection, &door};
  if (++door.connections == kConnectionsMax) door.listener->Pause();
  connection->Start(/*hold=*/paused);
}

void JsonRpcServer::Impl::OnConnectionClosed(JsonRpcConnection& connection) {
  const auto guest = guests.find(&connection);
  CHECK(guest != guests.end());
  Door& door = *guest->second.door;
  if (door.connections-- == kConnectionsMax && door.listener != nullptr) door.listener->Resume();
  const std::shared_ptr<JsonRpcConnection> last = std::move(guest->second.connection);
  guests.erase(guest);
  if (stopping && guests.empty()) all_closed.Set(true);
}

JsonRpcServer::JsonRpcServer(Loop& loop, Dispatcher& dispatcher)
    : impl_(std::make_unique<Impl>(loop, dispatcher)) {}

JsonRpcServer::~JsonRpcServer() = default;

Status JsonRpcServer::ListenUnix(const std::vector<std::string>& paths) {
  RETURN_IF_ERROR(BindUnix(paths));
  return ListenBound();
}

Status JsonRpcServer::BindUnix(const std::vector<std::string>& paths) {
  std::vector<std::unique_ptr<Impl::Door>> doors;
  for (const std::string& path : paths) {
    doors.push_back(std::make_unique<Impl::Door>(*impl_, /*unix_socket=*/true));
    Impl::Door& door = *doors.back();
    ASSIGN_OR_RETURN(door.listener, Listener::BoundUnix(impl_->loop, path, door));
  }
  std::move(doors.begin(), doors.end(), std::back_inserter(impl_->doors));
  return OkStatus();
}

Status JsonRpcServer::ListenBound() {
  for (const auto& door : impl_->doors) {
    if (!door->listener->listening()) RETURN_IF_ERROR(door->listener->Listen());
  }
  return OkStatus();
}

Result<SocketAddress> JsonRpcServer::ListenTcp(const SocketAddress& address) {
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

void JsonRpcServer::OpenToOthers(bool open) {
  for (auto& door : impl_->doors) {
    if (door->is_unix) door->listener->OpenToOthers(open);
  }
}

void JsonRpcServer::Pause() {
  impl_->paused = true;
  for (auto& [key, guest] : impl_->guests) guest.connection->Hold(true);
}

void JsonRpcServer::Resume() {
  impl_->paused = false;
  for (auto& [key, guest] : impl_->guests) guest.connection->Hold(false);
}

Task<void> JsonRpcServer::Stop(uint64_t drain_ns) {
  for (auto& door : impl_->doors) door->listener.reset();
  impl_->stopping = true;
  for (auto& [key, guest] : impl_->guests) guest.connection->Finish();
  if (!impl_->guests.empty()) {
    impl_->loop.ArmTimerIn(impl_->drain_timer, drain_ns);
    co_await impl_->all_closed;
    impl_->loop.CancelTimer(impl_->drain_timer);
  }
  co_await impl_->calls.Drained();
  impl_->doors.clear();
}

}  // namespace pollux::rpc
