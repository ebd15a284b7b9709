#include "rpc/unix_caller.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace pollux::rpc {

Result<std::string> UnixCaller(int fd) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return PermissionDenied("the caller's user cannot be told: %s", strerror(errno));
  }
  if (peer.uid != 0 && peer.uid != geteuid()) {
    return PermissionDenied("uid %d may not call: only uid %d and root may", peer.uid, geteuid());
  }
  return absl::StrFormat("uid %d pid %d (unix)", peer.uid, peer.pid);
}

}  // namespace pollux::rpc
