#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "core/net/address.h"
#include "core/net/byte_stream.h"
#include "core/unique_fd.h"
#include "targets/nvmf/transport.h"
#include "targets/nvmf/worker.h"

namespace pollux::nvmf {

class TcpConnection;

// What was accepted.
struct Arrival {
  // Who is told, on the connection's reactor.
  class Home {
   public:
    // It carries a controller's queue now.
    virtual void OnConnected() = 0;
    // The last word about the connection.
    virtual void OnGone() = 0;

   protected:
    ~Home() = default;
  };
  Home* home = nullptr;
  uint64_t id = 0;
  uint32_t listener_id = 0;
  UniqueFd socket;
  SocketAddress peer;
};

// The TCP connections of one reactor. Its reactor only, apart from the constructor and, when no
// connection is left, the destructor.
class ConnectionGroup {
 public:
  // `options` outlive it.
  ConnectionGroup(Worker& worker, StreamKind stream, const TransportOptions& options);
  ~ConnectionGroup();

  void Adopt(Arrival arrival);
  // Ends the connection `id`, if it is still there.
  void Close(uint64_t id, const char* reason);
  // Those that came through the listener, or all (0).
  void CloseAll(uint32_t listener_id, const char* reason);

  Worker& worker() { return worker_; }
  StreamKind stream() const { return stream_; }
  const TransportOptions& options() const { return options_; }
  // Where bytes go that nobody wants.
  std::span<std::byte> scrap() { return scrap_; }

  // By a connection: destroys it.
  void OnEnded(TcpConnection& connection);

 private:
  Worker& worker_;
  const StreamKind stream_;
  const TransportOptions& options_;
  std::map<uint64_t, std::unique_ptr<TcpConnection>> connections_;
  std::array<std::byte, 64 * 1024> scrap_;
};

}  // namespace pollux::nvmf
