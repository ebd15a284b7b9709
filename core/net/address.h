#pragma once
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace pollux {

// An IP address and a TCP port.
class SocketAddress {
 public:
  SocketAddress() = default;
  // Numeric addresses only: "127.0.0.1", "::1", "[::1]", "0.0.0.0". No names are looked up.
  static Result<SocketAddress> Parse(std::string_view host, uint16_t port);
  // "ADDR:PORT", "[ADDR6]:PORT".
  static Result<SocketAddress> ParseHostPort(std::string_view text);
  static Result<SocketAddress> LocalOf(int fd);
  static Result<SocketAddress> PeerOf(int fd);

  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t length() const { return length_; }
  int family() const { return storage_.ss_family; }
  uint16_t port() const;
  bool IsLoopback() const;
  bool IsAny() const;
  // "127.0.0.1"; "::1"; an IPv4-mapped address as IPv4. Without brackets.
  std::string host() const;
  // "127.0.0.1:3260"; "[::1]:3260".
  std::string ToString() const;

 private:
  sockaddr_storage storage_{};
  socklen_t length_ = 0;
};

}  // namespace pollux
