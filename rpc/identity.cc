#include "rpc/identity.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/log.h"

namespace pollux::rpc {
namespace {

// Those beside the first one. What cannot be told gives no role.
std::vector<uint32_t> FurtherGroups(int fd) {
  std::vector<gid_t> groups(64);
  for (;;) {
    auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0) {
      groups.resize(bytes / sizeof(gid_t));
      return {groups.begin(), groups.end()};
    }
    const size_t needed = bytes / sizeof(gid_t);
    if (errno != ERANGE || needed <= groups.size()) return {};
    groups.resize(needed);
  }
}

}  // namespace

Result<Identity> IdentityOfUnixPeer(int fd) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return PermissionDenied("the caller's user cannot be told: %s", strerror(errno));
  }
  Identity caller;
  caller.account = absl::StrFormat("uid %d", peer.uid);
  caller.name = absl::StrFormat("%s pid %d (unix)", caller.account, peer.pid);
  caller.trusted = peer.uid == 0 || peer.uid == geteuid();
  if (!caller.trusted) {
    caller.groups = FurtherGroups(fd);
    if (std::find(caller.groups.begin(), caller.groups.end(), peer.gid) == caller.groups.end()) {
      caller.groups.push_back(peer.gid);
    }
  }
  return caller;
}

Identity IdentityOfLoopback(std::string address) {
  Identity caller;
  caller.account = "loopback";
  caller.name = std::move(address);
  caller.trusted = true;
  return caller;
}

Identity IdentityOfCertificate(const std::string& address, std::string subject) {
  Identity caller;
  caller.account = subject;
  caller.name = absl::StrFormat("%s %s (tls)", address, Printable(subject));
  caller.subject = std::move(subject);
  return caller;
}

}  // namespace pollux::rpc
