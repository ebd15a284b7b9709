#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/loop.h"
#include "core/net/address.h"
#include "core/status.h"
#include "rpc/dispatcher.h"

namespace pollux::rpc {

// JSON-RPC 2.0 as SPDK's clients speak it, on Unix and TCP sockets, on the control loop: requests
// pipelined and in batches, answers as they come, matched by id.
class JsonRpcServer {
 public:
  // Per connection unless said.
  static constexpr size_t kRequestBytesMax = 256 * 1024;
  static constexpr size_t kValuesPerRequestMax = 8192;
  static constexpr int kNestingMax = 64;
  static constexpr size_t kAnswerBytesMax = 32 * 1024 * 1024;
  static constexpr size_t kRequestsInFlightMax = 1024;
  static constexpr size_t kConnectionsMax =
      64;  // Of one listener; the next one waits in the backlog.

  JsonRpcServer(Loop& loop, Dispatcher& dispatcher);
  ~JsonRpcServer();  // After Stop().

  // Mode 0600; who calls must be root, our user, or have a role by the dispatcher's rules. On all
  // paths or on none: nobody is served on one as long as another can be refused.
  Status ListenUnix(const std::vector<std::string>& paths);
  // The same in two steps, for who has other sockets to get in between: makes the paths ours, and
  // who connects is refused;
  Status BindUnix(const std::vector<std::string>& paths);
  // takes connections on all of them.
  Status ListenBound();
  // Loopback addresses only. Port 0: the kernel chooses.
  Result<SocketAddress> ListenTcp(const SocketAddress& address);

  // Whether users other than ours and root can connect to Unix sockets at all (mode 0666), so that
  // their roles count.
  void OpenToOthers(bool open);

  // Until Resume, connections are taken and requests are left unread: during initialisation.
  void Pause();
  void Resume();

  // No new requests; answers of those in flight are sent, for at most `drain_ns`; then all closes.
  // Returns when no handler runs: one that waits for an event must be given it before.
  Task<void> Stop(uint64_t drain_ns);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux::rpc
