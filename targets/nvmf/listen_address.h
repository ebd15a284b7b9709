#pragma once
#include "core/net/address.h"
#include "targets/nvmf/nvmf_target.h"

namespace pollux::nvmf {

// An address as people write it, with its parts in one spelling ("TCP", "IPv4", the numeric address
// as the C library writes it, a port) and what it stands for.
struct ResolvedAddress {
  ListenAddress text;
  SocketAddress socket;
};

inline constexpr uint16_t kDefaultPort = 4420, kDefaultDiscoveryPort = 8009;

// `default_port` takes the place of an empty trsvcid. An empty adrfam follows from the address.
// Errors name traddr, trsvcid, adrfam or trtype.
Result<ResolvedAddress> Resolve(const ListenAddress& address, uint16_t default_port);

// "TCP", ... in capitals. Fails with ENOTSUP for those that are not in this version, with EINVAL
// for words that name none.
Result<std::string> TransportTypeOf(const std::string& trtype);

ListenAddress AddressOf(const std::string& trtype, const SocketAddress& socket);
// The same of a numeric address and a port as text; "" stays "".
ListenAddress AddressOf(const std::string& trtype, const std::string& host,
                        const std::string& port);

// "TCP 10.0.0.1:4420", for people.
std::string ToString(const ListenAddress& address);

}  // namespace pollux::nvmf
