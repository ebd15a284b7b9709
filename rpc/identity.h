#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"

namespace pollux::rpc {

// Who a caller is, as far as the door it came by can prove it.
struct Identity {
  std::string account;  // "uid 0", the subject of the certificate, "loopback".
  std::string
      name;  // Of this connection: "uid 0 pid 812 (unix)", "192.0.2.7:40112 CN=backup (tls)".
  bool trusted = false;  // Root, our own user, or this machine's loopback: may do everything.
  std::string subject;   // Of the certificate shown, as RFC 2253 writes it; empty: none.
  std::vector<uint32_t> groups;  // Of the process at the other end of a Unix socket.
};

// Of the process at the other end of a connected Unix socket. Trusted: root and our own user.
Result<Identity> IdentityOfUnixPeer(int fd);
// Of whoever calls from `address`, on the loopback interface: nothing tells who that is.
Identity IdentityOfLoopback(std::string address);
// Of a client that proved to be `subject`.
Identity IdentityOfCertificate(const std::string& address, std::string subject);

}  // namespace pollux::rpc
