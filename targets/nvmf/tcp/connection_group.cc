#include "targets/nvmf/tcp/connection_group.h"

#include <vector>

#include "core/check.h"
#include "targets/nvmf/tcp/tcp_connection.h"

namespace pollux::nvmf {

ConnectionGroup::ConnectionGroup(Worker& worker, StreamKind stream, const TransportOptions& options)
    : worker_(worker), stream_(stream), options_(options) {}

ConnectionGroup::~ConnectionGroup() {
  CHECK(connections_.empty(), "a connection outlived its group");
}

void ConnectionGroup::Adopt(Arrival arrival) {
  Result<std::unique_ptr<ByteStream>> stream =
      MakeByteStream(stream_, worker_.reactor(), std::move(arrival.socket));
  if (!stream.ok()) {
    worker_.log().Notice("a connection from %s ended before it began: %s", arrival.peer.ToString(),
                         stream.status().message());
    return arrival.home->OnGone();
  }
  auto connection = std::make_unique<TcpConnection>(*this, std::move(arrival), *std::move(stream));
  TcpConnection& added = *connection;
  connections_.emplace(added.id(), std::move(connection));
  added.Open();
}

void ConnectionGroup::Close(uint64_t id, const char* reason) {
  const auto found = connections_.find(id);
  if (found != connections_.end()) found->second->Close(reason);
}

void ConnectionGroup::CloseAll(uint32_t listener_id, const char* reason) {
  for (const auto& [id, connection] : connections_) {
    if (listener_id == 0 || connection->listener_id() == listener_id) connection->Close(reason);
  }
}

void ConnectionGroup::OnEnded(TcpConnection& connection) {
  Arrival::Home& home = connection.home();
  connections_.erase(connection.id());
  home.OnGone();  // With the last connection this group may go.
}

}  // namespace pollux::nvmf
