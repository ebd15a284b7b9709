#include "core/net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>
#include <charconv>
#include <cstring>

namespace pollux {
namespace {

// The IPv4 address in an IPv4-mapped IPv6 address, or null. RFC 4291 §2.5.5.2.
const uint8_t* MappedIpv4(const in6_addr& address) {
  return IN6_IS_ADDR_V4MAPPED(&address) ? &address.s6_addr[12] : nullptr;
}

Result<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc() || stop != end) {
    return InvalidField("port", text, "must be a number between 0 and 65535");
  }
  return port;
}

template <typename Call>
Status ReadName(Call call, int fd, sockaddr_storage& storage, socklen_t& length) {
  length = sizeof(storage);
  if (call(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
    return ErrorOfErrno(errno, strerror(errno));
  }
  if (storage.ss_family != AF_INET && storage.ss_family != AF_INET6) {
    return ErrorOfErrno(EAFNOSUPPORT, "the socket is not a TCP socket");
  }
  return OkStatus();
}

}  // namespace

Result<SocketAddress> SocketAddress::Parse(std::string_view host, uint16_t port) {
  std::string numeric(host);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) numeric = host.substr(1, host.size() - 2);

  SocketAddress result;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&result.storage_);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&result.storage_);
  // A NUL would end the text early for inet_pton.
  const bool has_nul = numeric.find('\0') != std::string::npos;
  if (!has_nul && !bracketed && inet_pton(AF_INET, numeric.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    result.length_ = sizeof(*v4);
  } else if (!has_nul && inet_pton(AF_INET6, numeric.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    result.length_ = sizeof(*v6);
  } else {
    return InvalidField("address", host, "must be a numeric IPv4 or IPv6 address");
  }
  return result;
}

Result<SocketAddress> SocketAddress::ParseHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return InvalidField("address", text, "must be ADDR:PORT or [ADDR6]:PORT");
  }
  const std::string_view host = text.substr(0, colon);
  // Without brackets nobody can tell which colon of an IPv6 address is the last.
  if (host.find(':') != std::string_view::npos && host.front() != '[') {
    return InvalidField("address", text, "an IPv6 address with a port needs brackets");
  }
  ASSIGN_OR_RETURN(const uint16_t port, ParsePort(text.substr(colon + 1)));
  return Parse(host, port);
}

Result<SocketAddress> SocketAddress::LocalOf(int fd) {
  SocketAddress result;
  RETURN_IF_ERROR(ReadName(getsockname, fd, result.storage_, result.length_));
  return result;
}

Result<SocketAddress> SocketAddress::PeerOf(int fd) {
  SocketAddress result;
  RETURN_IF_ERROR(ReadName(getpeername, fd, result.storage_, result.length_));
  return result;
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(storage_).sin6_port);
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(storage_).sin_port);
  return 0;
}

bool SocketAddress::IsLoopback() const {
  if (family() == AF_INET6) {
    const in6_addr& address = reinterpret_cast<const sockaddr_in6&>(storage_).sin6_addr;
    if (const uint8_t* v4 = MappedIpv4(address)) return v4[0] == 127;
    return IN6_IS_ADDR_LOOPBACK(&address);
  }
  if (family() != AF_INET) return false;
  return ntohl(reinterpret_cast<const sockaddr_in&>(storage_).sin_addr.s_addr) >> 24 == 127;
}

bool SocketAddress::IsAny() const {
  if (family() == AF_INET6) {
    const in6_addr& address = reinterpret_cast<const sockaddr_in6&>(storage_).sin6_addr;
    return IN6_IS_ADDR_UNSPECIFIED(&address);
  }
  if (family() != AF_INET) return false;
  return reinterpret_cast<const sockaddr_in&>(storage_).sin_addr.s_addr == htonl(INADDR_ANY);
}

std::string SocketAddress::host() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (family() == AF_INET6) {
    const in6_addr& address = reinterpret_cast<const sockaddr_in6&>(storage_).sin6_addr;
    if (const uint8_t* v4 = MappedIpv4(address)) {
      inet_ntop(AF_INET, v4, text.data(), text.size());
    } else {
      inet_ntop(AF_INET6, &address, text.data(), text.size());
    }
  } else if (family() == AF_INET) {
    const in_addr& address = reinterpret_cast<const sockaddr_in&>(storage_).sin_addr;
    inet_ntop(AF_INET, &address, text.data(), text.size());
  }
  return text.data();
}

std::string SocketAddress::ToString() const {
  const std::string shown = host();
  const bool v6 = shown.find(':') != std::string::npos;
  return v6 ? absl::StrFormat("[%s]:%d", shown, port()) : absl::StrFormat("%s:%d", shown, port());
}

}  // namespace pollux
