#include "targets/nvmf/tcp/tcp_transport.h"

#include <sys/socket.h>

#include <map>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/event.h"
#include "core/log.h"
#include "core/log_limiter.h"
#include "core/net/listener.h"
#include "core/run_on.h"
#include "core/task_group.h"
#include "targets/nvmf/tcp/connection_group.h"

namespace pollux::nvmf {
namespace {

// Connections of the process that are not yet connected to a controller. One more, and the oldest
// has to go.
constexpr size_t kUnconnectedMax = 1024;

// What a reactor tells the control loop, or the other way round. It lies in a Record.
template <typename T, void (T::*kMethod)()>
class MessageCall final : public Message {
 public:
  explicit MessageCall(T& object) : object_(object) {}
  void Run() override { (object_.*kMethod)(); }

 private:
  T& object_;
};

class TcpTransport final : public Transport {
 public:
  TcpTransport(Host& host, Loop& control, Reactors& reactors, StreamKind stream,
               TransportOptions options)
      : host_(host),
        control_(control),
        stream_(stream),
        options_(std::move(options)),
        groups_(reactors.size()) {}
  ~TcpTransport() override {
    CHECK(records_.empty(), "a transport was destroyed with connections");
  }

  const TransportOptions& options() const override { return options_; }
  Result<SocketAddress> Listen(uint32_t listener_id, const SocketAddress& address) override;
  void StopListening(uint32_t listener_id) override { listening_.erase(listener_id); }
  Task<void> CloseConnections(uint32_t listener_id, const char* reason) override;

 private:
  // A connection, on the control loop, from accept until its reactor has let go of it.
  struct Record final : Arrival::Home {
    Record(TcpTransport& t, ConnectionGroup& g) : transport(t), group(g) {}
    void OnConnected() override { transport.control_.Post(connected); }
    void OnGone() override { transport.control_.Post(gone); }
    void Arrive() { group.Adopt(std::move(arrival)); }
    void Connected() { transport.unconnected_.erase(id); }
    void Gone() { transport.Forget(*this); }

    TcpTransport& transport;
    ConnectionGroup& group;
    uint64_t id = 0;
    uint32_t listener_id = 0;
    Arrival arrival;  // The reactor's, once it was sent there.
    MessageCall<Record, &Record::Arrive> arrive{*this};
    MessageCall<Record, &Record::Connected> connected{*this};
    MessageCall<Record, &Record::Gone> gone{*this};
  };
  class Listening final : public Listener::Owner {
   public:
    Listening(TcpTransport& transport, uint32_t id) : transport_(transport), id_(id) {}
    std::unique_ptr<Listener> listener;

   private:
    void OnAccepted(UniqueFd socket) override { transport_.OnAccepted(id_, std::move(socket)); }
    TcpTransport& transport_;
    const uint32_t id_;
  };

  void OnAccepted(uint32_t listener_id, UniqueFd socket);
  void Forget(Record& record);
  void MakeRoom();
  ConnectionGroup& GroupOf(Worker& worker);
  bool HasConnectionsOf(uint32_t listener_id) const;

  Host& host_;
  Loop& control_;
  const StreamKind stream_;
  const TransportOptions options_;
  std::vector<std::unique_ptr<ConnectionGroup>> groups_;  // By reactor, made when first needed.
  std::map<uint32_t, std::unique_ptr<Listening>> listening_;
  std::map<uint64_t, std::unique_ptr<Record>> records_;  // By age.
  std::map<uint64_t, Record*> unconnected_;              // Likewise, without those told to close.
  uint64_t next_id_ = 1;
  Event changed_;
  TaskGroup tasks_;
  LogLimiter log_{control_, "nvmf", "connections"};
};

Result<SocketAddress> TcpTransport::Listen(uint32_t listener_id, const SocketAddress& address) {
  CHECK(!listening_.contains(listener_id));
  auto listening = std::make_unique<Listening>(*this, listener_id);
  ASSIGN_OR_RETURN(listening->listener, Listener::Tcp(control_, address, *listening));
  const SocketAddress opened = listening->listener->address();
  listening_.emplace(listener_id, std::move(listening));
  return opened;
}

void TcpTransport::OnAccepted(uint32_t listener_id, UniqueFd socket) {
  const Result<SocketAddress> peer = SocketAddress::PeerOf(socket.get());
  if (!peer.ok()) return log_.Info("a connection ended before it began");
  if (options_.sock_priority != 0) {
    const int priority = static_cast<int>(options_.sock_priority);
    if (setsockopt(socket.get(), SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority)) != 0) {
      log_.Warning("cannot give a connection the priority %d", priority);
    }
  }
  MakeRoom();
  Worker& worker = host_.LeastBusyWorker();
  auto record = std::make_unique<Record>(*this, GroupOf(worker));
  record->id = next_id_++;
  record->listener_id = listener_id;
  record->arrival = {record.get(), record->id, listener_id, std::move(socket), *peer};
  unconnected_.emplace(record->id, record.get());
  Record& added = *records_.emplace(record->id, std::move(record)).first->second;
  worker.reactor().Post(added.arrive);
}

void TcpTransport::MakeRoom() {
  if (unconnected_.size() < kUnconnectedMax) return;
  const auto oldest = unconnected_.begin();
  ConnectionGroup* const group = &oldest->second->group;
  const uint64_t id = oldest->first;
  unconnected_.erase(oldest);
  auto close = [group, id] { group->Close(id, "too many others want to connect"); };
  tasks_.Spawn(RunOn(group->worker().reactor(), close));
}

ConnectionGroup& TcpTransport::GroupOf(Worker& worker) {
  std::unique_ptr<ConnectionGroup>& group = groups_[worker.reactor().index()];
  if (group == nullptr) {
    group = std::make_unique<ConnectionGroup>(worker, stream_, options_);
  }
  return *group;
}

void TcpTransport::Forget(Record& record) {
  const uint64_t id = record.id;
  unconnected_.erase(id);
  records_.erase(id);
  changed_.Pulse();
}

bool TcpTransport::HasConnectionsOf(uint32_t listener_id) const {
  for (const auto& [id, record] : records_) {
    if (listener_id == 0 || record->listener_id == listener_id) return true;
  }
  return false;
}

Task<void> TcpTransport::CloseConnections(uint32_t listener_id, const char* reason) {
  for (const auto& group : groups_) {
    if (group == nullptr) continue;
    ConnectionGroup* const here = group.get();
    auto close = [here, listener_id, reason] { here->CloseAll(listener_id, reason); };
    co_await RunOn(here->worker().reactor(), close);
  }
  while (HasConnectionsOf(listener_id)) co_await changed_;
  co_await tasks_.Drained();
}

}  // namespace

std::unique_ptr<Transport> MakeTcpTransport(Transport::Host& host, Loop& control,
                                            Reactors& reactors, StreamKind stream,
                                            TransportOptions options) {
  return std::make_unique<TcpTransport>(host, control, reactors, stream, std::move(options));
}

}  // namespace pollux::nvmf
