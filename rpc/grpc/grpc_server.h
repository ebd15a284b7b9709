#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/loop.h"
#include "core/net/address.h"
#include "core/status.h"
#include "core/tls/tls_context.h"
#include "rpc/dispatcher.h"
#include "rpc/grpc/stream.h"

namespace pollux::rpc {

// The methods of the dispatcher as gRPC services, on Unix and TCP sockets, with health and
// reflection. A call runs as one of JSON-RPC does: on the control loop, by the same rules. One
// whose caller is gone is not begun; one that has begun goes to its end, and its answer is dropped.
// Control loop only.
class GrpcServer {
 public:
  // Of one listener; the next one waits in the backlog.
  static constexpr size_t kConnectionsMax = 128;

  // `streams` are served beside the dispatcher's methods, and outlive this.
  GrpcServer(Loop& loop, Dispatcher& dispatcher, std::vector<GrpcStreamMethod*> streams = {});
  ~GrpcServer();  // After Stop().

  // Makes the path ours; who connects is refused until Listen(). Mode 0600; who calls must be root,
  // our user, or have a role by the dispatcher's rules.
  Status BindUnix(const std::string& path);
  // Loopback addresses only: nothing tells who calls. Port 0: the kernel chooses.
  Result<SocketAddress> ListenTcp(const SocketAddress& address);
  // Any address; callers prove who they are by a certificate, and have the role that the
  // dispatcher's rules give its subject. Listens at once.
  Result<SocketAddress> ListenTls(const SocketAddress& address, const TlsFiles& files);
  // Whether users other than ours and root can connect to Unix sockets at all.
  void OpenToOthers(bool open);
  // Takes connections on what was bound.
  Status Listen();

  // Until Resume, calls wait, apart from health and reflection: during initialisation.
  void Pause();
  void Resume();
  // What health says. Not, to begin with.
  void SetServing(bool serving);

  // No new calls; those in flight are answered, for at most `drain_ns`; then all closes. Returns
  // when no handler runs: one that waits for an event must be given it before.
  Task<void> Stop(uint64_t drain_ns);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux::rpc
